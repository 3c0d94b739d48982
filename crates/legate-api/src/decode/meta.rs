//! Metadata of an object: what we read of it, and what is left alone.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::E_SCHEMA;
use super::check::{a_type, unknown_field};
use crate::object::{Issue, Kind, Meta};

/// Fields of Kubernetes metadata.
const KNOWN: &[&str] = &[
    "annotations",
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Reads the metadata; `None` without a name.
pub(super) fn read(
    kind: Kind,
    metadata: Option<Value>,
    default_namespace: &str,
    issues: &mut Vec<Issue>,
) -> Option<Meta> {
    let Some(Value::Object(mut metadata)) = metadata else {
        return None;
    };
    let name = string(&mut metadata, "name").filter(|name| !name.is_empty())?;
    let namespace = namespace(kind, &mut metadata, default_namespace, issues);
    let meta = Meta {
        namespace,
        name,
        labels: texts(&mut metadata, "labels", issues),
        annotations: texts(&mut metadata, "annotations", issues),
        uid: string(&mut metadata, "uid"),
        resource_version: string(&mut metadata, "resourceVersion"),
        generation: metadata
            .get("generation")
            .and_then(Value::as_i64)
            .unwrap_or(0),
        creation_timestamp: string(&mut metadata, "creationTimestamp"),
    };
    for name in metadata.keys().take(super::MAX_STRAY_FIELDS) {
        if !KNOWN.contains(&name.as_str()) {
            let path = format!("metadata.{name}");
            issues.push(unknown_field(&path, name, KNOWN.iter().copied()));
        }
    }
    Some(meta)
}

fn namespace(
    kind: Kind,
    metadata: &mut Map<String, Value>,
    default_namespace: &str,
    issues: &mut Vec<Issue>,
) -> String {
    if kind.is_cluster_scoped() {
        return String::new();
    }
    if let Some(wrong) = metadata.get("namespace")
        && !wrong.is_string()
        && !wrong.is_null()
    {
        issues.push(wrong_type("metadata.namespace", "a string", wrong));
    }
    string(metadata, "namespace")
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or_else(|| default_namespace.to_owned())
}

fn string(metadata: &mut Map<String, Value>, name: &str) -> Option<String> {
    match metadata.get_mut(name)?.take() {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn texts(
    metadata: &mut Map<String, Value>,
    name: &str,
    issues: &mut Vec<Issue>,
) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    match metadata.get_mut(name).map(Value::take) {
        None | Some(Value::Null) => {}
        Some(Value::Object(entries)) => {
            for (key, value) in entries {
                match value {
                    Value::String(text) => {
                        texts.insert(key, text);
                    }
                    Value::Null => {}
                    wrong => {
                        let path = format!("metadata.{name}.{key}");
                        issues.push(wrong_type(&path, "a string", &wrong));
                    }
                }
            }
        }
        Some(wrong) => {
            let path = format!("metadata.{name}");
            issues.push(wrong_type(&path, "an object", &wrong));
        }
    }
    texts
}

fn wrong_type(path: &str, expected: &str, found: &Value) -> Issue {
    let scalar = matches!(found, Value::Number(_) | Value::Bool(_));
    Issue {
        code: E_SCHEMA,
        path: path.to_owned(),
        message: format!("expected {expected}, found {}", a_type(found)),
        help: (scalar && expected == "a string").then(|| "put the value in quotes".to_owned()),
    }
}
