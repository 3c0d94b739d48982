//! From an object as it comes to one that is handed on: what it was written as is read, what is not
//! used is dropped, and a hash says whether anything that matters differs from last time.

use std::io;
use std::sync::Arc;

use legate_api::{Body, Decoded, Issue, Kind, Object, ObjectKey, WrittenAs};
use serde::Serialize;
use serde_json::{Map, Value};

use super::kinds;
use super::written_as::written_as;
use crate::update::Observed;

/// Stands for everything about an object that can change what is compiled.
pub(super) type Content = [u8; 32];

/// An object that came in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) key: ObjectKey,
    pub(super) uid: String,
    pub(super) content: Content,
    /// For kinds of the group.
    pub(super) observed: Option<Observed>,
    source: Source,
}

/// What the object is made of, once it is known to be needed.
enum Source {
    /// Of the group: expensive to decode, and most events are our own status writes.
    Custom {
        fields: Map<String, Value>,
        written_as: WrittenAs,
        doubtful: bool,
    },
    Decoded(Box<Object>),
}

/// As JSON, what is kept of a last good version.
#[derive(Serialize)]
struct Raw<'a> {
    #[serde(rename = "apiVersion")]
    api_version: &'a str,
    kind: &'a str,
    metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a Value>,
}

/// Feeds JSON into a hash.
struct Hashing(blake3::Hasher);

impl Incoming {
    /// Reads an object of the kind; `None` for what has no name.
    pub(super) fn read(kind: Kind, mut fields: Map<String, Value>) -> Option<Self> {
        // Items of lists do not say; those that come as metadata say something else.
        fields.insert("apiVersion".into(), kinds::api_version(kind).into());
        fields.insert("kind".into(), kind.as_str().into());
        let metadata = fields.get_mut("metadata")?.as_object_mut()?;
        let managed_fields = metadata.remove("managedFields").unwrap_or_default();
        retain_annotations(metadata);
        if kind.is_ambassador() {
            Self::custom(kind, fields, &managed_fields)
        } else {
            Self::core(fields)
        }
    }

    fn custom(kind: Kind, mut fields: Map<String, Value>, managed: &Value) -> Option<Self> {
        let status = fields.remove("status").filter(|status| !status.is_null());
        let metadata = fields.get("metadata")?.as_object()?;
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        let key = ObjectKey {
            kind,
            namespace: text("namespace").unwrap_or_default().to_owned(),
            name: text("name").filter(|name| !name.is_empty())?.to_owned(),
        };
        let uid = text("uid").unwrap_or_default().to_owned();
        let generation = metadata.get("generation").and_then(Value::as_i64);
        let observed = Observed {
            key: key.clone(),
            uid: uid.clone(),
            resource_version: text("resourceVersion").unwrap_or_default().to_owned(),
            generation: generation.unwrap_or(0),
            status: status.map(Arc::new),
        };
        let spec = fields.get("spec").unwrap_or(&Value::Null);
        let verdict = written_as(kind, spec, managed);
        let relevant = (
            spec,
            metadata.get("labels"),
            metadata.get("annotations"),
            generation,
            verdict.version as u8,
            verdict.doubtful,
        );
        Some(Self {
            content: hash(&relevant),
            key,
            uid,
            observed: Some(observed),
            source: Source::Custom {
                fields,
                written_as: verdict.version,
                doubtful: verdict.doubtful,
            },
        })
    }

    fn core(fields: Map<String, Value>) -> Option<Self> {
        let Decoded::Object(mut object) = legate_api::decode(Value::Object(fields), "") else {
            return None;
        };
        match &object.body {
            // Its one label is in the body. A Secret's annotations may hold a copy of its data.
            Body::EndpointSlice(_) | Body::Secret(_) => {
                object.meta.labels.clear();
                object.meta.annotations.clear();
            }
            Body::Namespace => object.meta.annotations.clear(),
            _ => {}
        }
        Some(Self {
            key: object.key(),
            uid: object.meta.uid.clone().unwrap_or_default(),
            content: core_content(&object),
            observed: None,
            source: Source::Decoded(Box::new(object)),
        })
    }

    /// The object to hand on.
    pub(super) fn object(self) -> Option<Object> {
        match self.source {
            Source::Decoded(object) => Some(*object),
            Source::Custom {
                fields,
                written_as,
                doubtful,
            } => custom_object(self.key.kind, fields, written_as, doubtful),
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Source")
    }
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn custom_object(
    kind: Kind,
    fields: Map<String, Value>,
    written_as: WrittenAs,
    doubtful: bool,
) -> Option<Object> {
    let raw = raw(kind, &fields, written_as);
    let decoded = legate_api::decode_written_as(Value::Object(fields), "", Some(written_as));
    let Decoded::Object(mut object) = decoded else {
        return None;
    };
    object.raw = raw;
    if doubtful {
        object.issues.push(Issue {
            code: "W-WRITTEN-AS",
            path: String::new(),
            message: "parts of the spec were written as v2 and others as v3alpha1; it is read as \
                      v3alpha1"
                .to_owned(),
            help: Some("apply the whole object again in one version".to_owned()),
        });
    }
    Some(object)
}

/// The object under the version that it was written as, so that decoding it again gives the same.
fn raw(kind: Kind, fields: &Map<String, Value>, written_as: WrittenAs) -> Option<Arc<str>> {
    const KEPT: &[&str] = &[
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "labels",
        "annotations",
        "creationTimestamp",
    ];
    let metadata = fields.get("metadata")?.as_object()?;
    let kept = KEPT.iter().filter_map(|name| {
        let value = metadata.get(*name)?;
        Some(((*name).to_owned(), value.clone()))
    });
    let raw = Raw {
        api_version: match written_as {
            WrittenAs::V1 | WrittenAs::V2 => "getambassador.io/v2",
            _ => kinds::api_version(kind),
        },
        kind: kind.as_str(),
        metadata: kept.collect(),
        spec: fields.get("spec"),
    };
    serde_json::to_string(&raw).ok().map(Arc::from)
}

/// Annotations that nobody reads would make an object look changed, and the copies that kubectl
/// leaves are large.
fn retain_annotations(metadata: &mut Map<String, Value>) {
    if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
        annotations.retain(|name, _| {
            name.starts_with("getambassador.io/") || name == "kubernetes.io/ingress.class"
        });
    }
}

/// Of a core object: the reduced body and what is left of its metadata.
fn core_content(object: &Object) -> Content {
    use std::io::Write as _;

    let mut hashing = Hashing(blake3::Hasher::new());
    let meta = &object.meta;
    // Writing to a hash does not fail.
    let _ = match &object.body {
        // Its Debug output leaves the contents out.
        Body::Secret(secret) => serde_json::to_writer(&mut hashing, &(&secret.type_, &secret.data))
            .map_err(io::Error::from),
        body => write!(hashing, "{body:?}"),
    };
    let _ = write!(hashing, "{:?}{:?}", meta.labels, meta.annotations);
    let _ = write!(hashing, "{:?}", object.issues);
    *hashing.0.finalize().as_bytes()
}

fn hash(value: &impl Serialize) -> Content {
    let mut hashing = Hashing(blake3::Hasher::new());
    // Neither values of JSON nor writing to a hash fail.
    let _ = serde_json::to_writer(&mut hashing, value);
    *hashing.0.finalize().as_bytes()
}

#[cfg(test)]
mod tests;
