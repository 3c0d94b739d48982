//! The CustomResourceDefinitions of our kinds.
//!
//! `v3alpha1` is stored and served, `v2` is served with the same wide schema, `v1` is listed without
//! being served: an object that ever mentions a version the CRD does not list can get no status by
//! apply any more. There is no conversion webhook; decoding does its work.

mod yaml;

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::object::Kind;
use crate::schema;

/// All CRDs, in the order of their kinds.
#[must_use]
pub fn crds() -> Vec<Value> {
    Kind::ALL.iter().copied().filter_map(crd).collect()
}

/// All CRDs as one YAML stream.
#[must_use]
pub fn crd_yaml() -> String {
    let documents: Vec<String> = crds().iter().map(yaml::to_string).collect();
    documents.join("---\n")
}

/// One file per CRD: its name and its YAML.
#[must_use]
pub fn crd_files() -> Vec<(String, String)> {
    crds()
        .iter()
        .map(|crd| {
            let name = crd.pointer("/metadata/name").and_then(Value::as_str);
            let plural = name.and_then(|name| name.split('.').next());
            let file = format!("{}.yaml", plural.unwrap_or("unnamed"));
            (file, yaml::to_string(crd))
        })
        .collect()
}

/// What kube's derive says about a kind: names, scope, category and printer columns.
fn derived(kind: Kind) -> Option<Value> {
    let crd = match kind {
        Kind::Host => crate::host::Host::crd(),
        Kind::Listener => crate::listener::Listener::crd(),
        Kind::Mapping => crate::mapping::Mapping::crd(),
        Kind::TcpMapping => crate::tcp_mapping::TCPMapping::crd(),
        Kind::TlsContext => crate::tls_context::TLSContext::crd(),
        Kind::Module => crate::module::Module::crd(),
        Kind::KubernetesEndpointResolver => crate::resolvers::KubernetesEndpointResolver::crd(),
        Kind::KubernetesServiceResolver => crate::resolvers::KubernetesServiceResolver::crd(),
        Kind::ConsulResolver => crate::resolvers::ConsulResolver::crd(),
        Kind::AuthService => crate::services::AuthService::crd(),
        Kind::RateLimitService => crate::services::RateLimitService::crd(),
        Kind::RateLimit => crate::rate_limits::RateLimit::crd(),
        Kind::RateLimitPolicy => crate::rate_limits::RateLimitPolicy::crd(),
        Kind::LogService => crate::services::LogService::crd(),
        Kind::TracingService => crate::services::TracingService::crd(),
        _ => return None,
    };
    serde_json::to_value(crd).ok()
}

fn crd(kind: Kind) -> Option<Value> {
    let derived = derived(kind)?;
    let columns = derived.pointer("/spec/versions/0/additionalPrinterColumns");
    let (group, _) = kind.stored_version().split_once('/')?;
    let versions: Vec<Value> = kind
        .api_versions()
        .iter()
        .filter_map(|version| version.strip_prefix(group)?.strip_prefix('/'))
        .filter_map(|version| version_of(kind, version, columns))
        .collect();
    Some(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": derived.pointer("/metadata/name")?,
        },
        "spec": {
            "group": group,
            "names": names(derived.pointer("/spec/names")?),
            "scope": "Namespaced",
            "conversion": {"strategy": "None"},
            "versions": versions,
        },
    }))
}

/// The names without the empty lists that kube writes.
fn names(names: &Value) -> Value {
    let listed = |name: &str| Some((name.to_owned(), names.get(name)?.clone()));
    ["kind", "listKind", "plural", "singular", "categories"]
        .into_iter()
        .filter_map(|name| match name {
            "listKind" => Some((
                name.to_owned(),
                json!(format!("{}List", names.get("kind")?.as_str()?)),
            )),
            _ => listed(name),
        })
        .collect::<Map<_, _>>()
        .into()
}

fn version_of(kind: Kind, version: &str, columns: Option<&Value>) -> Option<Value> {
    let spec = schema::wide_for_kind(kind)?;
    let described =
        |text: &str, schema_type: &str| json!({"description": text, "type": schema_type});
    let required = spec.get("required").map(|_| "spec");
    let mut schema = json!({
        "description": spec.get("description")?,
        "type": "object",
        "properties": {
            "apiVersion": described(
                "Version of the schema that the object is written in.",
                "string"
            ),
            "kind": described("Kind of the object.", "string"),
            "metadata": {"type": "object"},
            "spec": spec,
            "status": schema::status_for_kind(kind)?,
        },
    });
    // Where nothing in it is required, the spec may be left out: resolvers often do.
    if let (Some(required), Some(fields)) = (required, schema.as_object_mut()) {
        fields.insert("required".to_owned(), json!([required]));
    }
    let mut described = json!({
        "name": version,
        "served": version != "v1",
        "storage": kind.stored_version().ends_with(&format!("/{version}")),
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    });
    if let (Some(columns @ Value::Array(list)), Some(fields)) = (columns, described.as_object_mut())
        && !list.is_empty()
    {
        fields.insert("additionalPrinterColumns".to_owned(), columns.clone());
    }
    Some(described)
}

#[cfg(test)]
mod tests;
