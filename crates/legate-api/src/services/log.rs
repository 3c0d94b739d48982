//! LogService: access logs by gRPC.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ProtocolVersion;
use crate::status::CommonStatus;

/// A service that gets the access log of every HTTP listener.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "LogService",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct LogServiceSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The service, `[scheme://]name[.namespace][:port]`.
    #[schemars(extend("x-required" = true))]
    pub service: String,
    /// Form of the entries.
    #[schemars(extend("x-required" = true))]
    pub driver: Option<LogDriver>,
    /// Settings of the driver; may be empty.
    #[schemars(extend("x-required" = true))]
    pub driver_config: LogDriverConfig,
    /// Seconds between flushes. Default 1.
    pub flush_interval_time: Option<i64>,
    /// Bytes that are flushed before that; 0 = each entry. Default 16384.
    pub flush_interval_byte_size: Option<i64>,
    /// Whether the service speaks HTTP/2; it always does.
    pub grpc: Option<bool>,
    /// Version of the protocol. Default `v3`.
    pub protocol_version: Option<ProtocolVersion>,
    /// Name of the upstream in metrics.
    pub stats_name: Option<String>,
}

/// Form of the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogDriver {
    /// HTTP entries.
    Http,
    /// TCP entries.
    Tcp,
}

/// Settings of a log driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogDriverConfig {
    /// Further headers that are logged. `http` only.
    pub additional_log_headers: Option<Vec<AdditionalLogHeader>>,
}

/// A header that is logged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AdditionalLogHeader {
    /// Name of the header.
    pub header_name: Option<String>,
    /// Whether that of the request is logged. Default true.
    pub during_request: Option<bool>,
    /// Whether that of the response is logged. Default true.
    pub during_response: Option<bool>,
    /// Whether that of the trailers is logged. Default true.
    pub during_trailer: Option<bool>,
}
