//! Writing and reading objects of any kind.

use std::collections::HashMap;
use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, discovery};
use serde_json::Value;

use super::server::lock;
use super::{ApiServer, eventually};
use crate::client::Error;

/// Field manager of what the tests write.
const MANAGER: &str = "kubectl-test";

/// How long a condition or a new kind may take.
const WAIT: Duration = Duration::from_secs(30);

/// The documents of a YAML stream.
///
/// # Errors
/// It is not YAML.
pub fn documents(yaml: &str) -> Result<Vec<Value>, Error> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    Ok(all.into_iter().filter(|value| !value.is_null()).collect())
}

/// A string at a JSON pointer.
fn text<'a>(object: &'a Value, pointer: &str) -> Result<&'a str, Error> {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("{pointer} is missing in {object}").into())
}

impl ApiServer {
    /// Applies objects with server-side apply, in this order, with strict checks of their fields.
    ///
    /// # Errors
    /// The first object that the API server refuses, with its words.
    pub async fn apply(&self, objects: &[Value]) -> Result<Vec<Value>, Error> {
        let mut answers = Vec::with_capacity(objects.len());
        for object in objects {
            let name = text(object, "/metadata/name")?;
            let api = self.api_of(object).await?;
            let params = PatchParams::apply(MANAGER).force().validation_strict();
            let answer = api
                .patch(name, &params, &Patch::Apply(object))
                .await
                .map_err(|error| format!("{name}: {error}"))?;
            answers.push(serde_json::to_value(answer)?);
        }
        Ok(answers)
    }

    /// Applies the documents of a YAML stream.
    ///
    /// # Errors
    /// It is not YAML, or an object is refused.
    pub async fn apply_yaml(&self, yaml: &str) -> Result<Vec<Value>, Error> {
        self.apply(&documents(yaml)?).await
    }

    /// Applies an object's `status` subresource as this field manager.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn apply_status(&self, manager: &str, object: &Value) -> Result<Value, Error> {
        let name = text(object, "/metadata/name")?;
        let api = self.api_of(object).await?;
        let params = PatchParams::apply(manager).force();
        let answer = api
            .patch_status(name, &params, &Patch::Apply(object))
            .await?;
        Ok(serde_json::to_value(answer)?)
    }

    /// Merges a patch into an object: `namespace` is empty for cluster-scoped kinds.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn merge(
        &self,
        version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, Error> {
        let api = self.api(version, kind, namespace).await?;
        let answer = api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(serde_json::to_value(answer)?)
    }

    /// Reads an object; `None` if there is none.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn get(
        &self,
        version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Error> {
        let api = self.api(version, kind, namespace).await?;
        let object = api.get_opt(name).await?;
        Ok(object.map(serde_json::to_value).transpose()?)
    }

    /// Deletes an object; it need not exist.
    ///
    /// # Errors
    /// The API server's words.
    pub async fn delete(
        &self,
        version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), Error> {
        let api = self.api(version, kind, namespace).await?;
        match api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => Ok(other.map(|_gone| ())?),
        }
    }

    /// Applies CRDs and waits until each is established.
    ///
    /// # Errors
    /// One is refused or not established in time.
    pub async fn apply_crds(&self, crds: &[Value]) -> Result<(), Error> {
        self.apply(crds).await?;
        for crd in crds {
            let name = text(crd, "/metadata/name")?;
            eventually(&format!("CRD {name} is established"), WAIT, async || {
                let version = "apiextensions.k8s.io/v1";
                let kind = "CustomResourceDefinition";
                let found = self.get(version, kind, "", name).await.ok()??;
                (condition(&found, "Established")? == "True").then_some(())
            })
            .await?;
        }
        lock(&self.resources).clear();
        Ok(())
    }

    /// An interface to a kind, e.g. `getambassador.io/v3alpha1` and `Mapping`; `namespace` empty
    /// = all of the cluster.
    ///
    /// # Errors
    /// The API server does not have the kind.
    pub async fn api(
        &self,
        version: &str,
        kind: &str,
        namespace: &str,
    ) -> Result<Api<DynamicObject>, Error> {
        let (resource, namespaced) = self.resource(version, kind).await?;
        let client = self.client.clone();
        Ok(if namespaced && !namespace.is_empty() {
            Api::namespaced_with(client, namespace, &resource)
        } else {
            Api::all_with(client, &resource)
        })
    }

    async fn api_of(&self, object: &Value) -> Result<Api<DynamicObject>, Error> {
        let namespace = text(object, "/metadata/namespace").unwrap_or_default();
        let version = text(object, "/apiVersion")?;
        self.api(version, text(object, "/kind")?, namespace).await
    }

    async fn resource(&self, version: &str, kind: &str) -> Result<(ApiResource, bool), Error> {
        let key = (version.to_owned(), kind.to_owned());
        let known: Option<(ApiResource, bool)> = {
            let cache: &HashMap<_, _> = &lock(&self.resources);
            cache.get(&key).cloned()
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let (resource, capabilities) = discovery::pinned_kind(&self.client, &wanted).await?;
        let namespaced = capabilities.scope == discovery::Scope::Namespaced;
        lock(&self.resources).insert(key, (resource.clone(), namespaced));
        Ok((resource, namespaced))
    }
}

/// The status of a condition at the root of an object's status.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))?
        .get("status")?
        .as_str()
}
