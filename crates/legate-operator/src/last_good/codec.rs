//! Last good versions as text: one line of JSON for each, so that what cannot be read costs one
//! object only.

use std::collections::BTreeMap;
use std::sync::Arc;

use legate_api::{Decoded, Kind, Object, ObjectKey, WrittenAs, decode_written_as};
use legate_compiler::{Diagnostic, ObjectRef};
use legate_config::Code;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// Most bytes that all last good versions may take: a Secret holds 1 MiB.
pub(super) const CAPACITY: usize = 900 * 1024;
/// A last good version that is not kept.
pub(super) const W_LAST_GOOD_FULL: Code = Code::new("W-LAST-GOOD-FULL");
/// A kept version that cannot be used.
pub(super) const W_LAST_GOOD: Code = Code::new("W-LAST-GOOD");

/// One last good version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The object.
    pub(super) object: Arc<Object>,
    /// Since when it is kept, in seconds since the epoch.
    pub(super) since: i64,
}

/// All of them.
pub(super) type Entries = BTreeMap<ObjectKey, Entry>;

/// What is written for one object.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    since: i64,
    written_as: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// The text, and what did not fit into it.
pub(super) fn encode(entries: &Entries, capacity: usize) -> (String, Vec<Diagnostic>) {
    let mut lines: Vec<(&ObjectKey, i64, String)> = entries
        .iter()
        .filter_map(|(key, entry)| Some((key, entry.since, line(key, entry)?)))
        .collect();
    let mut size: usize = lines.iter().map(|(_, _, line)| line.len()).sum();
    let mut diagnostics = Vec::new();
    while size > capacity {
        let oldest = lines
            .iter()
            .enumerate()
            .min_by_key(|(_, (key, since, _))| (*since, *key))
            .map(|(at, _)| at);
        let Some(at) = oldest else { break };
        let (key, _, line) = lines.remove(at);
        size = size.saturating_sub(line.len());
        diagnostics.push(full(key));
    }
    let text = lines.into_iter().map(|(_, _, line)| line).collect();
    (text, diagnostics)
}

/// The objects in a text, and what is wrong with the rest.
pub(super) fn decode(bytes: &[u8]) -> (Entries, Vec<Diagnostic>) {
    let mut entries = Entries::new();
    let mut diagnostics = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match read(line) {
            Ok(entry) => {
                entries.insert(entry.object.key(), entry);
            }
            Err(why) => diagnostics.push(unreadable(number.saturating_add(1), why)),
        }
    }
    (entries, diagnostics)
}

/// Only kinds of our group: never a Secret's data. `None` also for an object that no API server
/// gave.
fn line(key: &ObjectKey, entry: &Entry) -> Option<String> {
    let raw = entry.object.raw.as_deref()?;
    let written_as = version_name(entry.object.written_as)?;
    if !key.kind.is_ambassador() {
        return None;
    }
    // A line break in valid JSON is white space: in a string it is escaped.
    let raw = raw.replace(['\n', '\r'], " ");
    let line = Line {
        since: entry.since,
        written_as,
        object: serde_json::from_str(&raw).ok()?,
    };
    let mut text = serde_json::to_string(&line).ok()?;
    text.push('\n');
    Some(text)
}

fn read(line: &[u8]) -> Result<Entry, &'static str> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|_| "it is not what we write")?;
    let written_as = version(line.written_as).ok_or("its version is unknown")?;
    let value: Value =
        serde_json::from_str(line.object.get()).map_err(|_| "it is not what we write")?;
    let Decoded::Object(mut object) = decode_written_as(value, "default", Some(written_as)) else {
        return Err("it holds no object of ours");
    };
    if !object.kind().is_ambassador() || object.kind() == Kind::DevPortal {
        return Err("it holds no object of ours");
    }
    if object.is_rejected() {
        return Err("this version of Legate rejects its object");
    }
    object.raw = Some(Arc::from(line.object.get()));
    Ok(Entry {
        object: Arc::new(object),
        since: line.since,
    })
}

fn version_name(version: WrittenAs) -> Option<&'static str> {
    match version {
        WrittenAs::V1 => Some("v1"),
        WrittenAs::V2 => Some("v2"),
        WrittenAs::V3Alpha1 => Some("v3alpha1"),
        WrittenAs::Core => None,
    }
}

fn version(name: &str) -> Option<WrittenAs> {
    [WrittenAs::V1, WrittenAs::V2, WrittenAs::V3Alpha1]
        .into_iter()
        .find(|version| version_name(*version) == Some(name))
}

fn full(key: &ObjectKey) -> Diagnostic {
    let object = ObjectRef {
        kind: key.kind.as_str().to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    };
    let message = format!(
        "the last good version serves, but is not kept for a restart: all of them together would \
         take more than {} KiB",
        CAPACITY / 1024
    );
    let mut diagnostic = Diagnostic::new(W_LAST_GOOD_FULL, object, "", message);
    diagnostic.help = Some("repair rejected objects".to_owned());
    diagnostic
}

fn unreadable(number: usize, why: &str) -> Diagnostic {
    Diagnostic {
        code: W_LAST_GOOD,
        object: None,
        path: String::new(),
        message: format!("line {number} of the kept last good versions is left out: {why}"),
        help: None,
        effect: legate_compiler::Effect::None,
        related: Vec::new(),
        location: None,
    }
}
