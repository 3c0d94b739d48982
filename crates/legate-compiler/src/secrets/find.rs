//! Which Secret a name means (spec/routing §3.12, §3.14).

use std::collections::BTreeSet;
use std::sync::Arc;

use legate_api::{Kind, ObjectKey};
use legate_config::Entry;

use super::{Material, SecretCache, SecretError};
use crate::options::Options;
use crate::resources::{Held, Resources};
use crate::select::is_visible;

/// What looking up Secrets needs, and the keys that were asked for.
pub(crate) struct SecretReader<'a> {
    pub(crate) resources: &'a Resources,
    pub(crate) options: &'a Options,
    pub(crate) cache: &'a SecretCache,
    /// Every Secret asked for, absent ones included.
    pub(crate) reads: BTreeSet<ObjectKey>,
}

/// A part of a Secret, or why there is none.
#[derive(Debug, Clone)]
pub(crate) enum Found<T> {
    /// The current version's.
    Good(Entry<T>),
    /// The last good version's, because of this.
    LastGood(Entry<T>, SecretError),
    /// Nothing usable.
    Bad(SecretError),
    /// There is no such Secret.
    Missing,
}

impl<'a> SecretReader<'a> {
    pub(crate) fn new(
        resources: &'a Resources,
        options: &'a Options,
        cache: &'a SecretCache,
    ) -> Self {
        Self {
            resources,
            options,
            cache,
            reads: BTreeSet::new(),
        }
    }

    /// The Secret that `tlsSecret` of a Host means: the literal name; `name.ns` only when no
    /// namespace was given and no Secret has the literal name.
    pub(crate) fn of_host(
        &mut self,
        name: &str,
        namespace: Option<&str>,
        host_namespace: &str,
    ) -> ObjectKey {
        let literal = key(name, namespace.unwrap_or(host_namespace));
        if namespace.is_some() || self.exists(&literal) {
            return literal;
        }
        match split(name) {
            Some(other) if self.exists(&other) => other,
            _ => literal,
        }
    }

    /// The Secret that a field of a TLSContext or of inline settings means: the literal name in
    /// `namespace` if it exists, else, with `namespacing`, split at the last dot.
    pub(crate) fn of_context(
        &mut self,
        name: &str,
        namespace: &str,
        namespacing: bool,
    ) -> ObjectKey {
        let literal = key(name, namespace);
        if !namespacing || self.exists(&literal) {
            return literal;
        }
        split(name).unwrap_or(literal)
    }

    /// A part of a Secret.
    pub(crate) fn read<T>(
        &mut self,
        key: &ObjectKey,
        part: impl Fn(&Material) -> &Result<Entry<T>, SecretError>,
    ) -> Found<T> {
        let Some((current, last_good)) = self.material(key) else {
            return Found::Missing;
        };
        match part(&current) {
            Ok(entry) => Found::Good(entry.clone()),
            Err(error) => match last_good.as_deref().map(part) {
                Some(Ok(entry)) => Found::LastGood(entry.clone(), error.clone()),
                _ => Found::Bad(error.clone()),
            },
        }
    }

    /// The parsed versions of a Secret: current and last good.
    pub(crate) fn material(
        &mut self,
        key: &ObjectKey,
    ) -> Option<(Arc<Material>, Option<Arc<Material>>)> {
        let held = self.held(key)?;
        Some(self.cache.material(key, held, &self.options.hash_key))
    }

    fn exists(&mut self, key: &ObjectKey) -> bool {
        self.held(key).is_some()
    }

    fn held(&mut self, key: &ObjectKey) -> Option<&'a Held> {
        if !self.reads.contains(key) {
            self.reads.insert(key.clone());
        }
        self.resources
            .get(key)
            .filter(|_| is_visible(key, self.options))
    }
}

fn key(name: &str, namespace: &str) -> ObjectKey {
    ObjectKey {
        kind: Kind::Secret,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// `name.ns`, split at the last dot.
fn split(name: &str) -> Option<ObjectKey> {
    let (name, namespace) = name.rsplit_once('.')?;
    (!name.is_empty() && !namespace.is_empty()).then(|| key(name, namespace))
}
