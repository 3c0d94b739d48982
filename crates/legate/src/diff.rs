//! `legate diff`: what would change for traffic between two sets of manifests.

use std::collections::{BTreeMap, BTreeSet};

use legate_compiler::{MissingRefs, Snapshot};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::{DiffArgs, ExplainFormat};
use crate::input;
use crate::output::{Exit, print, say};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of thing: `listener`, `chain`, `virtual host`, `route`, `limits` (of a domain).
    pub what: &'static str,
    /// Its key.
    pub key: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// The objects it comes from, on the side where it is.
    pub origins: Vec<String>,
    /// For `changed`: each field that differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// Where, as `action.forward.targets[0].weight`.
    pub path: String,
    /// The value before; null if absent.
    pub before: Value,
    /// The value after; null if absent.
    pub after: Value,
}

/// Runs the command.
#[must_use]
pub fn run(args: &DiffArgs) -> Exit {
    let side = |path: &std::path::PathBuf| {
        input::compile(std::slice::from_ref(path), &args.compile, MissingRefs::Info)
    };
    let (before, after) = match (side(&args.before), side(&args.after)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(message), _) | (_, Err(message)) => {
            say(&format!("error: --label-selector: {message}"));
            return Exit::Usage;
        }
    };
    let changes = changes(&before.compilation.snapshot, &after.compilation.snapshot);
    match args.output {
        ExplainFormat::Json => {
            let mut text = serde_json::to_string_pretty(&changes).unwrap_or_default();
            text.push('\n');
            print(&text);
        }
        ExplainFormat::Text => {
            let text: String = changes.iter().map(text).collect();
            print(&text);
            if changes.is_empty() {
                say("no difference for traffic");
            }
        }
    }
    if changes.is_empty() {
        Exit::Fine
    } else {
        Exit::Findings
    }
}

/// Everything that differs for traffic, in key order.
#[must_use]
pub fn changes(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut all = Vec::new();
    for (what, view) in [
        ("listener", listeners as fn(&Snapshot) -> Things),
        ("chain", chains),
        ("virtual host", virtual_hosts),
        ("route", routes),
        ("limits", limits),
    ] {
        compare(what, &view(before), &view(after), &mut all);
    }
    all
}

/// Key to content and origins.
type Things = BTreeMap<String, (Value, Vec<String>)>;

macro_rules! things {
    ($table:expr, $snapshot:expr) => {
        $table
            .iter()
            .map(|(key, entry)| {
                let origins = entry.origins.iter().map(ToString::to_string).collect();
                (
                    key.to_string(),
                    (resolved($snapshot, json!(&*entry.value)), origins),
                )
            })
            .collect()
    };
}

fn listeners(snapshot: &Snapshot) -> Things {
    things!(snapshot.listeners, snapshot)
}

fn chains(snapshot: &Snapshot) -> Things {
    things!(snapshot.chains, snapshot)
}

fn virtual_hosts(snapshot: &Snapshot) -> Things {
    things!(snapshot.virtual_hosts, snapshot)
}

fn routes(snapshot: &Snapshot) -> Things {
    things!(snapshot.routes, snapshot)
}

fn limits(snapshot: &Snapshot) -> Things {
    things!(snapshot.limits, snapshot)
}

/// Puts what a key stands for in the key's place, so that a difference behind it shows where it acts.
fn resolved(snapshot: &Snapshot, value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(name, value)| {
                    let behind = value.as_str().and_then(|key| match name.as_str() {
                        "policies" => snapshot.policies.get(key).map(|policy| json!(&**policy)),
                        "cluster" => snapshot.clusters.get(key).map(|cluster| json!(&**cluster)),
                        "endpoints" => snapshot
                            .endpoint_sets
                            .get(key)
                            .map(|set| json!({key: &**set})),
                        "certificate" | "client_certificate" => snapshot
                            .certificates
                            .get(key)
                            .map(|pair| json!({key: &**pair})),
                        "ca" => snapshot.ca_bundles.get(key).map(|ca| json!({key: &**ca})),
                        _ => None,
                    });
                    let value = resolved(snapshot, behind.unwrap_or(value));
                    (name, value)
                })
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| resolved(snapshot, item))
                .collect(),
        ),
        other => other,
    }
}

fn compare(what: &'static str, before: &Things, after: &Things, all: &mut Vec<Change>) {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for key in keys {
        let (change, origins, fields) = match (before.get(key), after.get(key)) {
            (None, Some((_, origins))) => ("added", origins, Vec::new()),
            (Some((_, origins)), None) => ("removed", origins, Vec::new()),
            (Some((old, _)), Some((new, origins))) if old != new => {
                let mut fields = Vec::new();
                differ(String::new(), old, new, &mut fields);
                ("changed", origins, fields)
            }
            _ => continue,
        };
        all.push(Change {
            what,
            key: key.clone(),
            change,
            origins: origins.clone(),
            fields,
        });
    }
}

fn differ(path: String, old: &Value, new: &Value, fields: &mut Vec<FieldChange>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let null = Value::Null;
                differ(
                    inner,
                    a.get(name).unwrap_or(&null),
                    b.get(name).unwrap_or(&null),
                    fields,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (old, new)) in a.iter().zip(b).enumerate() {
                differ(format!("{path}[{index}]"), old, new, fields);
            }
        }
        _ if old != new => {
            fields.push(FieldChange {
                path,
                before: old.clone(),
                after: new.clone(),
            });
        }
        _ => {}
    }
}

fn text(change: &Change) -> String {
    let sign = match change.change {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    };
    let mut text = format!("{sign} {} {}", change.what, change.key);
    if !change.origins.is_empty() {
        text.push_str(&format!("  ({})", change.origins.join(", ")));
    }
    text.push('\n');
    for field in &change.fields {
        text.push_str(&format!(
            "    {}: {} -> {}\n",
            field.path, field.before, field.after
        ));
    }
    text
}
