//! The resolvers: where the addresses of an upstream come from.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::CommonStatus;

/// Upstreams are the DNS names of Services.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "KubernetesServiceResolver",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct KubernetesServiceResolverSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
}

/// Upstreams are the ready endpoints of Services, balanced by the gateway.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "KubernetesEndpointResolver",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct KubernetesEndpointResolverSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
}

/// Upstreams are the healthy instances of services in Consul.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "ConsulResolver",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct ConsulResolverSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// Host and port of a Consul agent; `${VAR}` is expanded. Default `127.0.0.1:8500`.
    pub address: Option<String>,
    /// The datacenter to ask for.
    pub datacenter: Option<String>,
}
