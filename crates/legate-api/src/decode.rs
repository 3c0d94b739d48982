//! Decoding: one document, in any supported version, to one typed object.
//!
//! The steps: recognise the kind, read the metadata, bring the spec into the shape of v3alpha1
//! (`convert`), check and prune it against the schema (`check`), then deserialise. A bad field is
//! reported and taken out, so that the rest stays readable. Nothing here fails or panics.
//!
//! Not here: reading text, and flattening `List`s (the source).

mod base64;
mod check;
mod core;
mod meta;
mod nearest;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::convert;
use crate::object::{Body, Decoded, Issue, Kind, Object, WrittenAs};
use crate::schema;

pub(crate) use nearest::nearest;

/// An object that does not fit its schema.
pub(crate) const E_SCHEMA: &str = "E-SCHEMA";
/// A field that the schema does not know.
pub(crate) const W_UNKNOWN_FIELD: &str = "W-UNKNOWN-FIELD";
/// A field that has no effect as written.
pub(crate) const W_IGNORED: &str = "W-IGNORED";
/// An old shape was converted, and something was lost.
pub(crate) const I_CONVERTED: &str = "I-CONVERTED";

/// Decodes one document. `default_namespace` is for objects that name none.
#[must_use]
pub fn decode(value: Value, default_namespace: &str) -> Decoded {
    decode_written_as(value, default_namespace, None)
}

/// As [`decode`], for an object whose `apiVersion` does not say what it was written as: an API
/// server returns every object in the version that it was asked for.
#[must_use]
pub fn decode_written_as(
    value: Value,
    default_namespace: &str,
    written_as: Option<WrittenAs>,
) -> Decoded {
    let Value::Object(mut document) = value else {
        return Decoded::NotAnObject {
            message: format!("the document is {}, not an object", check::a_type(&value)),
        };
    };
    let (api_version, kind_name) = match (text(&document, "apiVersion"), text(&document, "kind")) {
        (Some(api_version), Some(kind)) => (api_version, kind),
        (None, _) => return not_an_object("the document has no `apiVersion`"),
        (_, None) => return not_an_object("the document has no `kind`"),
    };
    let Some((kind, version)) = recognise(&api_version, &kind_name) else {
        return Decoded::UnknownKind {
            api_version,
            kind: kind_name,
        };
    };
    let mut issues = Vec::new();
    if let Version::Unsupported = version {
        issues.push(unsupported_version(kind, &api_version));
    }
    let metadata = document.remove("metadata");
    let Some(meta) = meta::read(kind, metadata, default_namespace, &mut issues) else {
        return not_an_object(&format!("the {kind} has no `metadata.name`"));
    };
    if !kind.is_ambassador() {
        let body = core::body(kind, &meta, document, &mut issues);
        return Decoded::Object(Object {
            meta,
            written_as: WrittenAs::Core,
            body,
            issues,
            raw: None,
        });
    }
    let written_as = written_as.unwrap_or(version.written_as());
    let (body, written_as) = spec(kind, document, written_as, &mut issues);
    Decoded::Object(Object {
        meta,
        written_as,
        body,
        issues,
        raw: None,
    })
}

fn not_an_object(message: &str) -> Decoded {
    Decoded::NotAnObject {
        message: message.to_owned(),
    }
}

fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_owned)
}

/// The version in a document's `apiVersion`.
#[derive(Clone, Copy)]
enum Version {
    Core,
    V1,
    V2,
    V3Alpha1,
    /// One that the kind does not have; the object is read like its newest old version.
    Unsupported,
}

impl Version {
    fn written_as(self) -> WrittenAs {
        match self {
            Version::Core => WrittenAs::Core,
            Version::V1 => WrittenAs::V1,
            Version::V2 => WrittenAs::V2,
            Version::V3Alpha1 | Version::Unsupported => WrittenAs::V3Alpha1,
        }
    }
}

fn recognise(api_version: &str, kind_name: &str) -> Option<(Kind, Version)> {
    if let Some(kind) = Kind::parse(api_version, kind_name) {
        let version = match api_version.rsplit_once('/').map(|(_, version)| version) {
            _ if !kind.is_ambassador() => Version::Core,
            Some("v1") => Version::V1,
            Some("v2") => Version::V2,
            _ => Version::V3Alpha1,
        };
        return Some((kind, version));
    }
    let (group, _) = api_version.split_once('/')?;
    if !matches!(group, "getambassador.io" | "ambassador" | "legate.dev") {
        return None;
    }
    let kind = Kind::ALL
        .iter()
        .copied()
        .find(|kind| kind.is_ambassador() && kind.as_str() == kind_name)?;
    Some((kind, Version::Unsupported))
}

fn unsupported_version(kind: Kind, api_version: &str) -> Issue {
    Issue {
        code: E_SCHEMA,
        path: "apiVersion".to_owned(),
        message: format!("`{api_version}` is not a version of {kind}"),
        help: Some(format!("write `{}`", kind.stored_version())),
    }
}

/// Converts, checks and deserialises the spec of a kind of the group.
fn spec(
    kind: Kind,
    mut document: Map<String, Value>,
    written_as: WrittenAs,
    issues: &mut Vec<Issue>,
) -> (Body, WrittenAs) {
    let mut spec = document.remove("spec").unwrap_or(Value::Null);
    if spec.is_null() {
        spec = Value::Object(Map::new());
    }
    let conversion = convert::convert(kind, &mut spec, written_as);
    issues.extend(conversion.issues);
    let before = issues.len();
    if let Some(shape) = schema::shape_of(kind) {
        check::check(shape, &mut spec, issues);
    }
    // What was wrong is named as the user wrote it.
    for issue in issues.iter_mut().skip(before) {
        convert::restore_path(&conversion.renamed, &mut issue.path);
    }
    unknown_top_level(&document, issues);
    (body(kind, spec, issues), conversion.written_as)
}

/// Stray fields beside the known ones are looked at up to here.
const MAX_STRAY_FIELDS: usize = 100;

fn unknown_top_level(document: &Map<String, Value>, issues: &mut Vec<Issue>) {
    const KNOWN: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];
    for name in document.keys().take(MAX_STRAY_FIELDS) {
        if !KNOWN.contains(&name.as_str()) {
            issues.push(check::unknown_field(name, name, KNOWN.iter().copied()));
        }
    }
}

fn body(kind: Kind, spec: Value, issues: &mut Vec<Issue>) -> Body {
    match kind {
        Kind::Host => Body::Host(read(spec, issues)),
        Kind::Listener => Body::Listener(read(spec, issues)),
        Kind::Mapping => Body::Mapping(read(spec, issues)),
        Kind::TcpMapping => Body::TcpMapping(read(spec, issues)),
        Kind::TlsContext => Body::TlsContext(read(spec, issues)),
        Kind::Module => Body::Module(*read(spec, issues)),
        Kind::KubernetesEndpointResolver => Body::KubernetesEndpointResolver(*read(spec, issues)),
        Kind::KubernetesServiceResolver => Body::KubernetesServiceResolver(*read(spec, issues)),
        Kind::ConsulResolver => Body::ConsulResolver(*read(spec, issues)),
        Kind::AuthService => Body::AuthService(read(spec, issues)),
        Kind::RateLimitService => Body::RateLimitService(read(spec, issues)),
        Kind::RateLimit => Body::RateLimit(read(spec, issues)),
        Kind::RateLimitPolicy => Body::RateLimitPolicy(read(spec, issues)),
        Kind::LogService => Body::LogService(read(spec, issues)),
        Kind::TracingService => Body::TracingService(read(spec, issues)),
        // The core kinds have no spec of ours and never come here.
        _ => Body::DevPortal(crate::services::DevPortalSpec {
            ambassador_id: convert::ids_of(&spec),
        }),
    }
}

/// Deserialises what passed the check. That it can fail would be a fault of ours: the schema comes
/// from the same type.
fn read<T: DeserializeOwned + Default>(spec: Value, issues: &mut Vec<Issue>) -> Box<T> {
    match T::deserialize(spec) {
        Ok(spec) => Box::new(spec),
        Err(error) => {
            issues.push(Issue {
                code: E_SCHEMA,
                path: "spec".to_owned(),
                message: format!("cannot be read: {error}"),
                help: None,
            });
            Box::default()
        }
    }
}

#[cfg(test)]
mod tests;
