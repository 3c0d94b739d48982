//! From the status that an object has and what ours ought to say to the status to apply.
//!
//! Pure. Entries of other instances are carried over as they are; what lies at the root is the
//! worst of all entries, a function of nothing but them, so that two instances that share an object
//! come to the same and do not answer each other.

mod news;
mod root;
#[cfg(test)]
mod tests;

use legate_api::Kind;
use serde_json::{Map, Value, json};

use super::conditions::{Truth, Verdict};
use super::observed::{Seen, is_of, text};
use super::tracker::Desired;
use crate::identity::Identity;

pub(super) use news::{News, Tone};

/// What to do to an object's status.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// It says what it ought to.
    None,
    /// It ought to be this.
    Set(Value),
    /// It ought to be gone: nobody has an entry any more.
    Clear,
}

/// A merge's outcome.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Merged {
    /// What to do.
    pub(super) change: Change,
    /// The namespace of another controller that claims our id for itself, if there is one.
    pub(super) rival: Option<String>,
    /// What humans ought to be told about it.
    pub(super) news: Option<News>,
}

/// Merges what our entry ought to say into the status as it is. `now` is RFC 3339.
pub(super) fn set(
    kind: Kind,
    seen: &Seen,
    desired: &Desired,
    ours: &Identity,
    now: &str,
) -> Merged {
    let id = ours.ambassador_id.as_str();
    let old = seen.entry(id);
    let rival = old
        .filter(|entry| !is_of(entry, &ours.namespace))
        .and_then(|entry| text(entry, "controllerNamespace"))
        .map(str::to_owned);
    let entry = json!({
        "ambassadorId": id,
        "controllerNamespace": ours.namespace,
        "conditions": conditions(old, desired, now),
    });
    let mut instances = others(seen, id);
    instances.push(entry);
    instances.sort_by(|a, b| text(a, "ambassadorId").cmp(&text(b, "ambassadorId")));
    let mut status = root::build(kind, seen, instances);
    if kind == Kind::Host
        && let Some(fields) = status.as_object_mut()
    {
        let source = if desired.tls { "Other" } else { "None" };
        fields.insert("tlsCertificateSource".to_owned(), json!(source));
    }
    Merged {
        change: compare(seen, status),
        rival,
        news: news::of(old, desired),
    }
}

/// Takes our entry out of the status as it is, if there is one that we wrote.
pub(super) fn remove(kind: Kind, seen: &Seen, ours: &Identity) -> Change {
    let id = ours.ambassador_id.as_str();
    let written = seen
        .entry(id)
        .is_some_and(|entry| text(entry, "controllerNamespace") == Some(ours.namespace.as_str()));
    if !written {
        return Change::None;
    }
    let instances = others(seen, id);
    if instances.is_empty() {
        return Change::Clear;
    }
    let mut status = root::build(kind, seen, instances);
    if let Some(source) = seen
        .status
        .as_deref()
        .and_then(|old| old.get("tlsCertificateSource"))
        && let Some(fields) = status.as_object_mut()
    {
        fields.insert("tlsCertificateSource".to_owned(), source.clone());
    }
    compare(seen, status)
}

/// What an old CRD, which knows no conditions, can say; `None` when it says that already, or when
/// the kind has no such fields.
pub(super) fn legacy(kind: Kind, seen: &Seen, desired: &Desired, now: &str) -> Option<Value> {
    let found: Vec<Value> = desired
        .verdicts
        .iter()
        .map(|verdict| condition(verdict, desired.generation, None, now))
        .collect();
    let mut fields = Map::new();
    match kind {
        Kind::Mapping => fields.extend(root::words(kind, &found)),
        Kind::Host => {
            fields.extend(root::words(kind, &found));
            fields.remove("reason");
            let source = if desired.tls { "Other" } else { "None" };
            fields.insert("tlsCertificateSource".to_owned(), json!(source));
        }
        _ => return None,
    }
    let old = seen.status.as_deref();
    let same = fields
        .iter()
        .all(|(name, value)| same_text(old.and_then(|old| old.get(name)), value));
    (!same).then_some(Value::Object(fields))
}

/// A merge patch leaves what it does not name: what is not in the new status is taken out by name.
pub(super) fn as_merge_patch(seen: &Seen, new: Value) -> Value {
    let Value::Object(mut fields) = new else {
        return new;
    };
    for name in ["instances", "conditions", "state", "reason", "errorReason"] {
        let had = seen
            .status
            .as_deref()
            .is_some_and(|old| old.get(name).is_some());
        if had && !fields.contains_key(name) {
            fields.insert(name.to_owned(), Value::Null);
        }
    }
    Value::Object(fields)
}

/// The entries of all other instances, as they are.
fn others(seen: &Seen, id: &str) -> Vec<Value> {
    seen.status
        .as_deref()
        .and_then(|status| status.get("instances"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|entry| text(entry, "ambassadorId") != Some(id))
        .cloned()
        .collect()
}

fn conditions(old: Option<&Value>, desired: &Desired, now: &str) -> Vec<Value> {
    desired
        .verdicts
        .iter()
        .map(|verdict| {
            let before = old.and_then(|entry| find(entry.get("conditions"), verdict.type_));
            condition(verdict, desired.generation, before, now)
        })
        .collect()
}

fn condition(verdict: &Verdict, generation: i64, old: Option<&Value>, now: &str) -> Value {
    let status = verdict.truth.as_str();
    let same = old.filter(|old| text(old, "status") == Some(status));
    let since = same
        .and_then(|old| text(old, "lastTransitionTime"))
        .unwrap_or(now);
    // A message that only counts gateways is no reason to write: they come and go.
    let counted = same.filter(|old| {
        verdict.truth == Truth::Unknown
            && text(old, "reason") == Some(verdict.reason)
            && old.get("observedGeneration").and_then(Value::as_i64) == Some(generation)
    });
    let message = counted
        .and_then(|old| text(old, "message"))
        .unwrap_or(&verdict.message);
    json!({
        "type": verdict.type_,
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": since,
        "reason": verdict.reason,
        "message": message,
    })
}

/// The condition of a type in a list.
fn find<'a>(list: Option<&'a Value>, type_: &str) -> Option<&'a Value> {
    list?
        .as_array()?
        .iter()
        .find(|condition| text(condition, "type") == Some(type_))
}

/// Whether the status says the same already, whatever order its lists have and whatever else is in
/// it that we do not write.
fn compare(seen: &Seen, new: Value) -> Change {
    let same = match (&new, seen.status.as_deref()) {
        (Value::Object(fields), Some(old)) => fields
            .iter()
            .all(|(name, value)| same_field(name, old.get(name), value)),
        _ => false,
    };
    if same { Change::None } else { Change::Set(new) }
}

fn same_field(name: &str, old: Option<&Value>, new: &Value) -> bool {
    match name {
        "conditions" => same_list(old, new, "type", |old, new| old == new),
        "instances" => same_list(old, new, "ambassadorId", |old, new| {
            text(old, "controllerNamespace") == text(new, "controllerNamespace")
                && same_list(
                    old.get("conditions"),
                    new.get("conditions").unwrap_or(&Value::Null),
                    "type",
                    |old, new| old == new,
                )
        }),
        _ => same_text(old, new),
    }
}

/// An empty text is as good as none.
fn same_text(old: Option<&Value>, new: &Value) -> bool {
    old.and_then(Value::as_str).unwrap_or_default() == new.as_str().unwrap_or_default()
}

fn same_list(
    old: Option<&Value>,
    new: &Value,
    key: &str,
    same: impl Fn(&Value, &Value) -> bool,
) -> bool {
    let empty = Vec::new();
    let old = old.and_then(Value::as_array).unwrap_or(&empty);
    let new = new.as_array().unwrap_or(&empty);
    old.len() == new.len()
        && new.iter().all(|item| {
            old.iter()
                .find(|other| text(other, key) == text(item, key))
                .is_some_and(|other| same(other, item))
        })
}
