//! HTTP behaviour of a listener (spec/routing §5, spec/services §5).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Serialize;

use crate::template::Template;

/// HTTP behaviour of one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpSettings {
    /// Whether the peer's address is trusted over `x-forwarded-for` (spec/routing §3.10).
    pub use_remote_address: bool,
    /// Number of trusted proxies in front.
    pub trusted_hops: u32,
    /// The `server` response header, always overwritten with this.
    pub server_name: String,
    /// Most bytes that request headers may take together; more is 431.
    pub max_request_header_bytes: u32,
    /// Whether `//a///b` is matched and forwarded as `/a/b`.
    pub merge_slashes: bool,
    /// Whether a path with an encoded slash or backslash is refused with 400.
    pub reject_escaped_slashes: bool,
    /// Whether a port in the Host that equals the listener's is removed before matching.
    pub strip_matching_host_port: bool,
    /// Whether a client's `x-request-id` is kept.
    pub preserve_external_request_id: bool,
    /// Whether no `x-envoy-*` header is added in either direction.
    pub suppress_envoy_headers: bool,
    /// Most streams that a client may open on one HTTP/2 connection.
    pub http2_max_concurrent_streams: u32,
    /// Milliseconds after which a connection without requests is closed; 0 = never.
    pub idle_timeout_ms: u64,
    /// Who may talk to us at all; `None` = everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_policy: Option<IpPolicy>,
    /// The access log.
    pub access_log: AccessLog,
}

/// IP lists, applied to every request before routing; denied is 403 (spec/services §3.17).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IpPolicy {
    /// What a match of any rule means.
    pub mode: IpMode,
    /// The rules. An empty allow list lets nobody in.
    pub rules: Vec<IpRule>,
}

/// What a match of an IP rule means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpMode {
    /// Only matches pass.
    Allow,
    /// Matches do not pass.
    Deny,
}

/// One entry of an IP list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IpRule {
    /// Which address is compared.
    pub source: IpSource,
    /// The range.
    pub range: IpNet,
}

/// Which address of a request an IP rule compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpSource {
    /// The connection's peer.
    Peer,
    /// The trusted client address.
    Remote,
}

/// The access log of a listener (spec/services §4.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessLog {
    /// File to append to; `/dev/fd/1` and `/dev/stdout` are standard output, `/dev/null` switches
    /// the log off and nothing is formatted.
    pub path: String,
    /// Form of a line.
    pub format: AccessLogFormat,
}

/// Form of an access log line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// The template, expanded; a missing value is `-`.
    Text(Template),
    /// One JSON object per line; a missing value is null.
    Json(BTreeMap<String, JsonValue>),
}

/// A value in a JSON access log format. A template that is a single operator keeps its JSON type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum JsonValue {
    /// Text with operators.
    Template(Template),
    /// A nested object.
    Object(BTreeMap<String, JsonValue>),
    /// A list.
    List(Vec<JsonValue>),
    /// A number, boolean or null, as written.
    Literal(serde_json::Value),
}
