//! TCPMapping: a port, or a server name on it, to an upstream.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{CircuitBreaker, V2ExplicitTls};
use crate::status::CommonStatus;

/// A route for TCP connections: a port, or a server name on a port, to an upstream.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "TCPMapping",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct TcpMappingSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The port to listen on. A Listener on it is optional.
    #[schemars(range(min = 1, max = 65535), extend("x-required" = true))]
    pub port: u16,
    /// The server name to match. Present: TLS is terminated. Absent: every connection, no TLS.
    pub host: Option<String>,
    /// Address to bind. Default: all.
    pub address: Option<String>,
    /// The upstream, `host[:port]`, with scheme `https://` to originate TLS.
    #[schemars(extend("x-required" = true))]
    pub service: String,
    /// Share of the connections among TCPMappings of the same match.
    pub weight: Option<i64>,
    /// Name of the TLSContext to originate TLS with.
    #[schemars(extend("x-wide" = true))]
    pub tls: Option<String>,
    /// Name of the resolver. Default: that of the Module, else `kubernetes-service`.
    pub resolver: Option<String>,
    /// Whether IPv4 addresses of the upstream are used. Default: that of the Module, else true.
    pub enable_ipv4: Option<bool>,
    /// Whether IPv6 addresses of the upstream are used. Default: that of the Module, else false.
    pub enable_ipv6: Option<bool>,
    /// Limits towards the upstream. Default: those of the Module.
    pub circuit_breakers: Option<Vec<CircuitBreaker>>,
    /// Passive health checking in an old form. Ignored.
    pub outlier_detection: Option<String>,
    /// Keeps the upstream's pool and metrics apart.
    pub cluster_tag: Option<String>,
    /// How long a connection may be silent, in milliseconds; a number or its text.
    #[schemars(extend("x-int-or-string" = true))]
    pub idle_timeout_ms: Option<i64>,
    /// Name of the upstream in metrics.
    pub stats_name: Option<String>,
    /// How TLS origination was written in v2. Residue of conversion.
    #[serde(rename = "v2ExplicitTLS")]
    pub v2_explicit_tls: Option<V2ExplicitTls>,
}
