//! Module: settings for the whole gateway.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::status::CommonStatus;

/// Settings for the whole gateway. The one named `ambassador` counts.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "Module",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct ModuleSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The settings; which there are depends on the Module's name.
    #[schemars(extend("x-required" = "strict"))]
    pub config: Map<String, Value>,
}
