//! How an object stands at the API server: what a watch reported, or what our own write returned,
//! whichever is newer. Pure.

use std::sync::Arc;

use legate_source::Observed;
use serde_json::Value;

use super::conditions::Truth;
use crate::identity::Identity;

/// An object as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// `metadata.uid`
    pub(super) uid: String,
    /// `metadata.resourceVersion`
    pub(super) resource_version: String,
    /// `metadata.generation`
    pub(super) generation: i64,
    /// `status`
    pub(super) status: Option<Arc<Value>>,
}

/// A condition of our entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// Whether it holds.
    pub(super) truth: Truth,
    /// The generation that it speaks of.
    pub(super) generation: Option<i64>,
}

impl From<Observed> for Seen {
    fn from(observed: Observed) -> Self {
        Self {
            uid: observed.uid,
            resource_version: observed.resource_version,
            generation: observed.generation,
            status: observed.status,
        }
    }
}

impl Seen {
    /// Whether this is at least as new as another look at the object. What cannot be compared
    /// counts as newer: the watch goes on and will be right in the end.
    pub(super) fn is_not_older(&self, other: &Seen) -> bool {
        let number = |seen: &Seen| seen.resource_version.parse::<u128>().ok();
        match (number(self), number(other)) {
            (Some(this), Some(other)) => this >= other,
            _ => true,
        }
    }

    /// The entry of our instance, whichever namespace it speaks of.
    pub(super) fn entry(&self, id: &str) -> Option<&Value> {
        self.status
            .as_deref()?
            .get("instances")?
            .as_array()?
            .iter()
            .find(|entry| text(entry, "ambassadorId") == Some(id))
    }

    /// A condition that we wrote.
    pub(super) fn condition(&self, ours: &Identity, type_: &str) -> Option<Written> {
        let entry = self.entry(&ours.ambassador_id)?;
        if !is_of(entry, &ours.namespace) {
            return None;
        }
        let found = entry
            .get("conditions")?
            .as_array()?
            .iter()
            .find(|condition| text(condition, "type") == Some(type_))?;
        Some(Written {
            truth: Truth::parse(text(found, "status").unwrap_or_default()),
            generation: found.get("observedGeneration").and_then(Value::as_i64),
        })
    }
}

/// Whether an entry of our id was written by a controller in this namespace. One that does not say
/// was.
pub(super) fn is_of(entry: &Value, namespace: &str) -> bool {
    text(entry, "controllerNamespace").is_none_or(|found| found == namespace)
}

/// A field that is text.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}
