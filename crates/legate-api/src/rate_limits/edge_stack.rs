//! RateLimit, as Ambassador Edge Stack has it.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LimitUnit;
use crate::status::CommonStatus;

/// Limits on requests by the labels of their Mappings, as Ambassador Edge Stack has them.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "RateLimit",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct RateLimitSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The domain whose labels count.
    pub domain: Option<String>,
    /// The limits.
    pub limits: Vec<RateLimitLimit>,
}

/// One limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RateLimitLimit {
    /// Name of the limit. Default: `<name>.<namespace>-<index>`.
    pub name: Option<String>,
    /// How the label group begins: for each entry its key and value, or several that may be there.
    /// An empty value and `*` mean any.
    pub pattern: Vec<BTreeMap<String, String>>,
    /// Requests per unit.
    #[schemars(range(min = 0))]
    pub rate: Option<i64>,
    /// The unit of time.
    #[schemars(extend("x-required" = true, "x-wide" = true))]
    pub unit: Option<LimitUnit>,
    /// Requests at once, as a multiple of `rate`. Default 1.
    #[serde(rename = "burstFactor")]
    #[schemars(range(min = 0))]
    pub burst_factor: Option<i64>,
    /// Whether the limit refuses, or only counts. Default `Enforce`.
    #[schemars(extend("x-wide" = true))]
    pub action: Option<RateLimitAction>,
    /// Headers for the upstream, where the limit applies.
    #[serde(rename = "injectRequestHeaders")]
    pub inject_request_headers: Vec<InjectedHeader>,
    /// Headers for the client, where the limit applies.
    #[serde(rename = "injectResponseHeaders")]
    pub inject_response_headers: Vec<InjectedHeader>,
    /// The answer to requests over the limit.
    #[serde(rename = "errorResponse")]
    pub error_response: Option<RateLimitErrorResponse>,
}

/// Whether a limit refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RateLimitAction {
    /// It does.
    Enforce,
    /// It only counts.
    LogOnly,
}

/// A header to add.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InjectedHeader {
    /// Its name.
    #[schemars(extend("x-required" = true))]
    pub name: String,
    /// Its value.
    #[schemars(extend("x-required" = true))]
    pub value: String,
}

/// The answer to requests over a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RateLimitErrorResponse {
    /// Its headers.
    pub headers: Vec<InjectedHeader>,
    /// A Go template of its body.
    #[serde(rename = "bodyTemplate")]
    pub body_template: Option<String>,
}
