//! Objects as they come from the API server, with as little of them kept as their use allows.

use std::borrow::Cow;
use std::fmt;

use ::kube::Resource;
use ::kube::core::{ApiResource, DynamicResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A whole object, or its metadata only.
#[derive(Clone)]
pub(super) struct RawObject<const METADATA_ONLY: bool> {
    /// Only the resourceVersion, for the watcher.
    meta: ObjectMeta,
    /// Everything.
    pub(super) fields: Map<String, Value>,
}

/// Of a Secret: that it is there and in which version. All else, annotations with a copy of its
/// data included, is dropped while parsing.
#[derive(Clone)]
pub(super) struct SecretHead {
    meta: ObjectMeta,
}

#[derive(Deserialize)]
struct HeadObject {
    metadata: HeadMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta {
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    resource_version: Option<String>,
}

impl SecretHead {
    /// Namespace and name.
    pub(super) fn name(&self) -> (String, String) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        (text(&self.meta.namespace), text(&self.meta.name))
    }

    pub(super) fn resource_version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }
}

impl<'de, const METADATA_ONLY: bool> Deserialize<'de> for RawObject<METADATA_ONLY> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        let metadata = fields.get("metadata");
        let version = metadata.and_then(|metadata| metadata.get("resourceVersion")?.as_str());
        let meta = ObjectMeta {
            resource_version: version.map(str::to_owned),
            ..ObjectMeta::default()
        };
        Ok(Self { meta, fields })
    }
}

impl<'de> Deserialize<'de> for SecretHead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let HeadObject { metadata } = HeadObject::deserialize(deserializer)?;
        let meta = ObjectMeta {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            ..ObjectMeta::default()
        };
        Ok(Self { meta })
    }
}

// Contents may be secret.
impl<const METADATA_ONLY: bool> fmt::Debug for RawObject<METADATA_ONLY> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawObject").finish_non_exhaustive()
    }
}

impl fmt::Debug for SecretHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretHead").finish_non_exhaustive()
    }
}

macro_rules! resource {
    ($metadata_only:expr) => {
        type DynamicType = ApiResource;
        type Scope = DynamicResourceScope;

        fn kind(resource: &ApiResource) -> Cow<'_, str> {
            resource.kind.as_str().into()
        }

        fn group(resource: &ApiResource) -> Cow<'_, str> {
            resource.group.as_str().into()
        }

        fn version(resource: &ApiResource) -> Cow<'_, str> {
            resource.version.as_str().into()
        }

        fn plural(resource: &ApiResource) -> Cow<'_, str> {
            resource.plural.as_str().into()
        }

        fn metadata_api() -> bool {
            $metadata_only
        }

        fn meta(&self) -> &ObjectMeta {
            &self.meta
        }

        fn meta_mut(&mut self) -> &mut ObjectMeta {
            &mut self.meta
        }
    };
}

impl<const METADATA_ONLY: bool> Resource for RawObject<METADATA_ONLY> {
    resource!(METADATA_ONLY);
}

impl Resource for SecretHead {
    resource!(true);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_secret_only_its_version_is_kept() {
        let head: SecretHead = serde_json::from_value(json!({
            "kind": "PartialObjectMetadata",
            "metadata": {
                "namespace": "a", "name": "tls", "uid": "1", "resourceVersion": "7",
                "labels": {"planted": "label"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "planted"},
            },
            "data": {"tls.key": "planted"},
        }))
        .unwrap();
        assert_eq!(head.name(), ("a".to_owned(), "tls".to_owned()));
        assert_eq!(head.resource_version(), "7");
        let kept = serde_json::to_string(&head.meta).unwrap();
        assert!(!kept.contains("planted"), "{kept}");
    }

    #[test]
    fn nothing_shows_in_debug_output() {
        let object: RawObject<false> =
            serde_json::from_value(json!({"data": {"a": "planted"}})).unwrap();
        assert!(!format!("{object:?}").contains("planted"));
    }
}
