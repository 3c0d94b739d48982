//! Pass 1, select: which objects are ours (spec/routing §2, §3.1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use legate_api::{Kind, Object, ObjectKey};
use legate_config::{Diagnostic, ObjectRef};

use crate::codes;
use crate::options::Options;
use crate::resources::{Held, Resources};

/// Element that makes an object belong to every id.
const AUTOMATIC: &str = "_automatic_";
/// What an object without ids belongs to.
const DEFAULT: &str = "default";

/// Whether the kind is scoped by `ambassador_id`.
pub(crate) fn is_scoped(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Service
            | Kind::EndpointSlice
            | Kind::Endpoints
            | Kind::Secret
            | Kind::ConfigMap
            | Kind::Namespace
            | Kind::Ingress
            | Kind::IngressClass
    )
}

/// Whether an object may be seen at all: in single-namespace mode only those of our namespace.
pub(crate) fn is_visible(key: &ObjectKey, options: &Options) -> bool {
    !options.single_namespace
        || key.namespace == options.namespace
        || matches!(key.kind, Kind::Namespace | Kind::IngressClass)
}

/// Whether an object is visible and belongs to our id (spec/routing §2).
#[must_use]
pub fn is_ours(object: &Object, key: &ObjectKey, options: &Options) -> bool {
    is_visible(key, options) && (!is_scoped(key.kind) || has_our_id(object.ids(), options))
}

fn has_our_id(ids: &[String], options: &Options) -> bool {
    if ids.is_empty() {
        return options.ambassador_id == DEFAULT;
    }
    ids.iter()
        .any(|id| *id == options.ambassador_id || id == AUTOMATIC)
}

/// The objects of one kind that are ours, in processing order: by `name.namespace`, name first.
pub(crate) fn of_kind<'a>(
    resources: &'a Resources,
    options: &Options,
    kind: Kind,
) -> Vec<(&'a ObjectKey, &'a Held)> {
    let mut found: Vec<_> = resources
        .of_kind(kind)
        .filter(|(key, held)| is_ours(&held.current, key, options))
        .collect();
    found.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    found
}

/// The version of an object to use where only the schema can reject it: the current one, unless it
/// is rejected and there is a last good one.
pub(crate) fn effective(held: &Held) -> &Arc<Object> {
    match &held.last_good {
        Some(last_good) if held.current.is_rejected() => last_good,
        _ => &held.current,
    }
}

/// The object that a bare name refers to: in the referrer's namespace, else in the first of the
/// others (spec/routing §1.0). The flag says that there were several others.
pub(crate) fn by_name<'a>(
    resources: &'a Resources,
    options: &Options,
    kind: Kind,
    name: &str,
    namespace: &str,
) -> Option<(&'a ObjectKey, &'a Held, bool)> {
    let key = ObjectKey {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    if let Some((key, held)) = resources.entry(&key)
        && is_ours(&held.current, key, options)
    {
        return Some((key, held, false));
    }
    let mut others = resources
        .of_kind(kind)
        .filter(|(key, held)| key.name == name && is_ours(&held.current, key, options));
    let (key, held) = others.next()?;
    Some((key, held, others.next().is_some()))
}

/// Processing order of objects: `name.namespace`, as bytes.
pub(crate) fn order(key: &ObjectKey) -> NameDotNamespace<'_> {
    NameDotNamespace(&key.name, &key.namespace)
}

/// Compares like the text `name.namespace`, without building it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameDotNamespace<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl NameDotNamespace<'_> {
    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0
            .bytes()
            .chain(std::iter::once(b'.'))
            .chain(self.1.bytes())
    }
}

impl Ord for NameDotNamespace<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl PartialOrd for NameDotNamespace<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The reference that diagnostics and origins carry.
pub(crate) fn object_ref(key: &ObjectKey) -> ObjectRef {
    ObjectRef {
        kind: key.kind.as_str().to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// Objects that another id owns, counted for the summary `I-ID-SKIPPED`.
#[derive(Debug, Default)]
pub(crate) struct Skipped {
    objects: BTreeMap<ObjectKey, Vec<String>>,
}

impl Skipped {
    /// Takes note of an object's current version.
    pub(crate) fn note(&mut self, key: &ObjectKey, held: Option<&Held>, options: &Options) {
        match held {
            Some(held)
                if is_visible(key, options)
                    && is_scoped(key.kind)
                    && !has_our_id(held.current.ids(), options) =>
            {
                let ids = held.current.ids().to_vec();
                self.objects.insert(key.clone(), ids);
            }
            _ => {
                self.objects.remove(key);
            }
        }
    }

    /// One diagnostic per kind, with the ids seen.
    pub(crate) fn summary(&self, options: &Options) -> Vec<Diagnostic> {
        let mut kinds: BTreeMap<Kind, (usize, BTreeSet<&str>)> = BTreeMap::new();
        for (key, ids) in &self.objects {
            let (count, seen) = kinds.entry(key.kind).or_default();
            *count += 1;
            if ids.is_empty() {
                seen.insert(DEFAULT);
            }
            seen.extend(ids.iter().map(String::as_str));
        }
        kinds
            .into_iter()
            .map(|(kind, (count, ids))| {
                let plural = if count == 1 { "object" } else { "objects" };
                let ids: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
                Diagnostic::global(
                    codes::I_ID_SKIPPED,
                    format!(
                        "skipped {count} {} {plural} of another ambassador_id ({}); ours is `{}`",
                        kind.as_str(),
                        ids.join(", "),
                        options.ambassador_id
                    ),
                )
                .help("add our id to the object's `ambassador_id`, or run with --ambassador-id")
            })
            .collect()
    }
}
