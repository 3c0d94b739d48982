//! Helpers of this crate's tests: objects from JSON, and questions to a compilation.

use legate_api::{Decoded, Object, decode};
use serde_json::{Value, json};

use crate::{Compilation, Options, Resources, compile};

/// An object from its document.
pub(crate) fn object(value: Value) -> Object {
    match decode(value, "default") {
        Decoded::Object(object) => object,
        other => panic!("no object: {other:?}"),
    }
}

/// An object of the group's current version.
pub(crate) fn crd(kind: &str, name: &str, spec: Value) -> Object {
    let (name, namespace) = name.split_once('.').unwrap_or((name, "default"));
    object(json!({
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }))
}

/// A Mapping for every host, unless `extra` says otherwise.
pub(crate) fn mapping(name: &str, prefix: &str, extra: Value) -> Object {
    let service = name.split('.').next().unwrap_or(name);
    let mut spec = json!({"hostname": "*", "prefix": prefix, "service": service});
    if let (Value::Object(spec), Value::Object(extra)) = (&mut spec, extra) {
        for (key, value) in extra {
            if value.is_null() {
                spec.remove(&key);
            } else {
                spec.insert(key, value);
            }
        }
    }
    crd("Mapping", name, spec)
}

/// A Listener on 8080, and a Host `*` that routes cleartext.
pub(crate) fn base() -> Vec<Object> {
    vec![
        listener(),
        crd(
            "Host",
            "star",
            json!({"hostname": "*", "requestPolicy": {"insecure": {"action": "Route"}}}),
        ),
    ]
}

/// A Listener on 8080 for the Hosts of all namespaces.
pub(crate) fn listener() -> Object {
    crd(
        "Listener",
        "http",
        json!({
            "port": 8080, "protocol": "HTTP", "securityModel": "XFP",
            "hostBinding": {"namespace": {"from": "ALL"}},
        }),
    )
}

/// Compiles the base and some objects.
pub(crate) fn with_base(objects: impl IntoIterator<Item = Object>) -> Compilation {
    all(base().into_iter().chain(objects))
}

/// Compiles objects with default options.
pub(crate) fn all(objects: impl IntoIterator<Item = Object>) -> Compilation {
    let resources: Resources = objects.into_iter().collect();
    compile(&resources, &Options::default())
}

/// `code path` of the diagnostics about an object.
pub(crate) fn about(compilation: &Compilation, name: &str) -> Vec<String> {
    compilation
        .diagnostics
        .iter()
        .filter(|d| d.object.as_ref().is_some_and(|object| object.name == name))
        .map(|d| format!("{} {}", d.code, d.path).trim_end().to_owned())
        .collect()
}

/// The errors and warnings, as `code object path`.
pub(crate) fn problems(compilation: &Compilation) -> Vec<String> {
    compilation
        .diagnostics
        .iter()
        .filter(|d| !d.code.as_str().starts_with("I-"))
        .map(|d| {
            let name = d.object.as_ref().map_or("", |object| object.name.as_str());
            format!("{} {name} {}", d.code, d.path)
                .trim_end()
                .to_owned()
        })
        .collect()
}
