//! AuthService: external authorisation.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ProtocolVersion;
use crate::common::{CircuitBreaker, V2ExplicitTls};
use crate::status::CommonStatus;

/// A service that is asked about each request before it is routed.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "AuthService",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct AuthServiceSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The service, `[scheme://]name[.namespace][:port]`.
    #[schemars(extend("x-required" = true))]
    pub auth_service: String,
    /// Protocol of the check. Default `http`.
    pub proto: Option<AuthProtocol>,
    /// Version of the gRPC protocol. Default `v3`.
    pub protocol_version: Option<ProtocolVersion>,
    /// Put before the path of the check. `http` only.
    pub path_prefix: Option<String>,
    /// Name of the TLSContext to originate TLS with.
    #[schemars(extend("x-wide" = true))]
    pub tls: Option<String>,
    /// Limit on the check, connecting included, in milliseconds. Default 5000.
    pub timeout_ms: Option<i64>,
    /// Further request headers sent to the check. `http` only.
    pub allowed_request_headers: Option<Vec<String>>,
    /// Further headers of the check's answer that are copied. `http` only.
    pub allowed_authorization_headers: Option<Vec<String>>,
    /// Fixed headers added to the check. `http` only.
    #[schemars(extend("x-wide" = "values"))]
    pub add_auth_headers: Option<BTreeMap<String, String>>,
    /// Whether `l5d-dst-override` is added for Linkerd. Default: as the Module says, else false.
    pub add_linkerd_headers: Option<bool>,
    /// Old form of `include_body {max_bytes: 4096, allow_partial: true}`.
    pub allow_request_body: Option<bool>,
    /// How much of the request's body the check gets. Default none.
    pub include_body: Option<IncludeBody>,
    /// Whether requests pass when the check itself fails. Default false.
    pub failure_mode_allow: Option<bool>,
    /// The answer to clients when the check itself fails.
    pub status_on_error: Option<StatusOnError>,
    /// Name of the upstream in metrics.
    pub stats_name: Option<String>,
    /// Limits towards the service. Default: those of the Module.
    pub circuit_breakers: Option<Vec<CircuitBreaker>>,
    /// How TLS origination was written in v2. Residue of conversion.
    #[serde(rename = "v2ExplicitTLS")]
    pub v2_explicit_tls: Option<V2ExplicitTls>,
}

/// Protocol of an authorisation check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuthProtocol {
    /// An HTTP request.
    #[default]
    Http,
    /// Envoy's gRPC protocol.
    Grpc,
}

/// How much of a request's body a check gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IncludeBody {
    /// The most bytes.
    #[schemars(extend("x-required" = true))]
    pub max_bytes: i64,
    /// Whether larger bodies are cut, not refused with 413.
    #[schemars(extend("x-required" = true))]
    pub allow_partial: bool,
}

/// The answer when a check fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatusOnError {
    /// Its status. Default 403.
    pub code: Option<i64>,
}
