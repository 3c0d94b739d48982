//! The bodies of events.k8s.io/v1.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use serde_json::{Value, json};

use super::About;
use crate::identity::Identity;
use crate::status::conditions::bounded;
use crate::status::merge::{News, Tone};

/// Who reports.
const CONTROLLER: &str = "getambassador.io/legate";
/// What was done.
const ACTION: &str = "Reconcile";
/// Longest text of most fields.
const MAX_WORD: usize = 128;
/// Longest name that leaves room for a serial.
const MAX_NAME: usize = 200;

/// A new event.
pub(super) fn event(
    about: &About,
    news: &News,
    ours: &Identity,
    time: Timestamp,
    serial: u64,
) -> Event {
    let regarding = match about {
        About::Object(key, uid) => ObjectReference {
            api_version: Some(key.kind.stored_version().to_owned()),
            kind: Some(key.kind.as_str().to_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        },
        About::Ourselves => ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(ours.namespace.clone()),
            name: Some(ours.pod_name.clone()),
            ..ObjectReference::default()
        },
    };
    // Unique among replicas and restarts: the time to the nanosecond and a serial.
    let stem = cut(regarding.name.as_deref().unwrap_or_default(), MAX_NAME);
    let stem = stem.trim_end_matches(['.', '-']);
    let name = format!("{stem}.{:x}{serial:x}", time.as_nanosecond());
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(time)),
        action: Some(ACTION.to_owned()),
        reason: Some(cut(&news.reason, MAX_WORD).to_owned()),
        note: Some(bounded(news.note.clone())),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(cut(&ours.pod_name, MAX_WORD).to_owned()),
        type_: Some(
            match news.tone {
                Tone::Normal => "Normal",
                Tone::Warning => "Warning",
            }
            .to_owned(),
        ),
        ..Event::default()
    }
}

/// The same event for the `count`th time.
pub(super) fn repeat(count: i32, time: Timestamp) -> Value {
    json!({ "series": { "count": count, "lastObservedTime": MicroTime(time) } })
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
