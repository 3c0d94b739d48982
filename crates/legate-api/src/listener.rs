//! Listener: a port, its protocol stack, and which Hosts bind to it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::LabelSelector;
use crate::status::CommonStatus;

/// A port that the gateway opens: the protocols spoken on it, how it tells secure requests from
/// insecure ones, and which Hosts bind to it.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "Listener",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus",
    printcolumn = r#"{"name": "PORT", "type": "string", "jsonPath": ".spec.port"}"#,
    printcolumn = r#"{"name": "PROTOCOL", "type": "string", "jsonPath": ".spec.protocol"}"#,
    printcolumn = r#"{"name": "STACK", "type": "string", "jsonPath": ".spec.protocolStack"}"#,
    printcolumn = r#"{"name": "STATSPREFIX", "type": "string", "jsonPath": ".spec.statsPrefix"}"#,
    printcolumn = r#"{"name": "SECURITY", "type": "string", "jsonPath": ".spec.securityModel"}"#,
    printcolumn = r#"{"name": "L7DEPTH", "type": "string", "jsonPath": ".spec.l7Depth"}"#
)]
#[serde(default, rename_all = "camelCase")]
pub struct ListenerSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[serde(rename = "ambassador_id")]
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The port to open.
    #[schemars(range(min = 1, max = 65535), extend("x-required" = true))]
    pub port: u16,
    /// Shorthand for a protocol stack.
    pub protocol: Option<ListenerProtocol>,
    /// The protocol stack, outermost first, ending in the transport. Wins over `protocol`.
    pub protocol_stack: Option<Vec<StackLayer>>,
    /// How secure requests are told from insecure ones.
    #[schemars(extend("x-required" = true))]
    pub security_model: Option<SecurityModel>,
    /// Which Hosts bind to the Listener.
    #[schemars(extend("x-required" = true))]
    pub host_binding: Option<HostBinding>,
    /// Name under which the metrics of the Listener appear.
    pub stats_prefix: Option<String>,
    /// Number of trusted proxies in front that speak HTTP. Default 0.
    #[schemars(range(min = 0))]
    pub l7_depth: Option<i64>,
    /// Streams that an HTTP/2 client may open at once. Default 100.
    #[serde(rename = "http2MaxConcurrentStreams")]
    #[schemars(range(min = 1))]
    pub http2_max_concurrent_streams: Option<i64>,
}

/// Shorthand for a protocol stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ListenerProtocol {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS, or over TCP where the client speaks cleartext.
    Https,
    /// HTTP behind the PROXY protocol.
    HttpProxy,
    /// HTTPS behind the PROXY protocol.
    HttpsProxy,
    /// Raw TCP.
    Tcp,
    /// Raw TLS.
    Tls,
    /// Accepted by the schema only.
    Udp,
}

/// One layer of a protocol stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StackLayer {
    /// HTTP.
    Http,
    /// The PROXY protocol.
    Proxy,
    /// TLS.
    Tls,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// How secure requests are told from insecure ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum SecurityModel {
    /// By `x-forwarded-proto`.
    Xfp,
    /// All are secure.
    Secure,
    /// All are insecure.
    Insecure,
}

/// Which Hosts bind to a Listener; at least one of the two is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostBinding {
    /// By the Host's namespace.
    pub namespace: Option<NamespaceBinding>,
    /// By the Host's labels.
    pub selector: Option<LabelSelector>,
}

/// From which namespaces Hosts bind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NamespaceBinding {
    /// Which namespaces.
    pub from: Option<NamespaceFrom>,
    /// Labels of the namespaces. Not implemented.
    pub selector: Option<LabelSelector>,
}

/// Which namespaces Hosts bind from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum NamespaceFrom {
    /// The Listener's own.
    #[serde(rename = "SELF")]
    Own,
    /// All.
    All,
    /// Those with certain labels. Not implemented: acts as `SELF`.
    Selector,
}
