//! What lies at the root of a status: the worst of all entries.

use std::collections::BTreeMap;

use legate_api::Kind;
use serde_json::{Map, Value, json};

use super::find;
use crate::status::conditions::{REACHABLE, Truth, bounded};
use crate::status::observed::{Seen, text};

/// A status of these entries.
pub(super) fn build(kind: Kind, seen: &Seen, instances: Vec<Value>) -> Value {
    let conditions = worst(seen, &instances);
    let mut fields = words(kind, &conditions);
    fields.insert("instances".to_owned(), Value::Array(instances));
    fields.insert("conditions".to_owned(), Value::Array(conditions));
    Value::Object(fields)
}

/// The worst condition of each type. The time of the one at the root is kept while its status is.
fn worst(seen: &Seen, instances: &[Value]) -> Vec<Value> {
    let mut by_type: BTreeMap<(usize, &str), &Value> = BTreeMap::new();
    let conditions = instances
        .iter()
        .filter_map(|entry| entry.get("conditions").and_then(Value::as_array))
        .flatten();
    for condition in conditions {
        let Some(type_) = text(condition, "type") else {
            continue;
        };
        let worst = by_type.entry((place(type_), type_)).or_insert(condition);
        // Entries come in the order of their ids: the first of equals stays.
        if badness(condition) < badness(worst) {
            *worst = condition;
        }
    }
    let old = seen
        .status
        .as_deref()
        .and_then(|status| status.get("conditions"));
    by_type
        .into_iter()
        .map(|((_, type_), found)| {
            let mut condition = found.clone();
            let before =
                find(old, type_).filter(|old| text(old, "status") == text(found, "status"));
            if let Some(time) = before.and_then(|old| old.get("lastTransitionTime"))
                && let Some(fields) = condition.as_object_mut()
            {
                fields.insert("lastTransitionTime".to_owned(), time.clone());
            }
            condition
        })
        .collect()
}

/// Conditions are written in this order, others after them by name.
fn place(type_: &str) -> usize {
    const ORDER: [&str; 6] = [
        "Accepted",
        "ResolvedRefs",
        "TLSReady",
        "Bound",
        "Programmed",
        REACHABLE,
    ];
    ORDER
        .iter()
        .position(|known| *known == type_)
        .unwrap_or(ORDER.len())
}

/// Less is worse: what does not hold, then what nobody knows, then what speaks of an older version.
fn badness(condition: &Value) -> (Truth, i64) {
    (
        truth(condition),
        condition
            .get("observedGeneration")
            .and_then(Value::as_i64)
            .unwrap_or(0),
    )
}

fn truth(condition: &Value) -> Truth {
    Truth::parse(text(condition, "status").unwrap_or_default())
}

/// The fields that were there before conditions were: one word for humans and scripts. Those that
/// say nothing are empty and not left out, because somebody else may have written them before.
pub(super) fn words(kind: Kind, conditions: &[Value]) -> Map<String, Value> {
    let first = |wanted: Truth| conditions.iter().find(|found| truth(found) == wanted);
    let bad = first(Truth::False);
    let waiting = first(Truth::Unknown);
    let told = bad.or(waiting);
    let mut fields = Map::new();
    if kind == Kind::Host {
        let state = match (bad, waiting) {
            (Some(_), _) => "Error",
            (None, Some(_)) => "Pending",
            (None, None) => "Ready",
        };
        fields.insert("state".to_owned(), json!(state));
        fields.insert(
            "errorReason".to_owned(),
            json!(bad.map(sentence).unwrap_or_default()),
        );
        let reason = told.and_then(|found| text(found, "reason"));
        fields.insert("reason".to_owned(), json!(reason.unwrap_or_default()));
    } else {
        // What asks somebody who does not answer is in force all the same.
        let told_off = told.filter(|found| text(found, "type") != Some(REACHABLE));
        let state = if told_off.is_none() {
            "Running"
        } else {
            "Inactive"
        };
        fields.insert("state".to_owned(), json!(state));
        fields.insert(
            "reason".to_owned(),
            json!(told.map(sentence).unwrap_or_default()),
        );
    }
    fields
}

/// `Reason: message`
fn sentence(condition: &Value) -> String {
    let reason = text(condition, "reason").unwrap_or_default();
    match text(condition, "message").filter(|message| !message.is_empty()) {
        Some(message) => bounded(format!("{reason}: {message}")),
        None => reason.to_owned(),
    }
}
