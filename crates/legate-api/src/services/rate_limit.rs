//! RateLimitService: external rate limiting.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ProtocolVersion;
use crate::common::V2ExplicitTls;
use crate::status::CommonStatus;

/// A service that is asked whether a request with certain labels is over a limit.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "RateLimitService",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct RateLimitServiceSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The service, `[scheme://]name[.namespace][:port]`; it speaks gRPC.
    #[schemars(extend("x-required" = true))]
    pub service: String,
    /// The domain whose labels are sent. Default: that of the Module, else `ambassador`.
    pub domain: Option<String>,
    /// Limit on the call, in milliseconds. Default 20.
    pub timeout_ms: Option<i64>,
    /// Whether requests are refused when the call itself fails. Default false.
    pub failure_mode_deny: Option<bool>,
    /// Version of the protocol. Default `v3`.
    pub protocol_version: Option<ProtocolVersion>,
    /// Name of the TLSContext to originate TLS with.
    #[schemars(extend("x-wide" = true))]
    pub tls: Option<String>,
    /// Name of the upstream in metrics.
    pub stats_name: Option<String>,
    /// How gRPC requests over the limit are answered.
    pub grpc: Option<RateLimitGrpc>,
    /// How TLS origination was written in v2. Residue of conversion.
    #[serde(rename = "v2ExplicitTLS")]
    pub v2_explicit_tls: Option<V2ExplicitTls>,
}

/// How gRPC requests over the limit are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RateLimitGrpc {
    /// Whether with `RESOURCE_EXHAUSTED`, not `UNAVAILABLE`. Default false.
    pub use_resource_exhausted_code: Option<bool>,
    /// Another name of `use_resource_exhausted_code`.
    pub rate_limited_as_resource_exhausted: Option<bool>,
}
