//! HTTP behaviour of a listener (spec/routing §5, spec/services §5).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::template::{Template, TemplateError};

/// HTTP behaviour of one listener. Values equal to [`HttpSettings::default`] are left out when
/// serialised.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Whether the peer's address is trusted over `x-forwarded-for` (spec/routing §3.10).
    #[serde(skip_serializing_if = "Clone::clone")]
    pub use_remote_address: bool,
    /// Number of trusted proxies in front.
    #[serde(skip_serializing_if = "default::trusted_hops")]
    pub trusted_hops: u32,
    /// The `server` response header, always overwritten with this.
    #[serde(skip_serializing_if = "default::server_name")]
    pub server_name: String,
    /// Most bytes that request headers may take together; more is 431.
    #[serde(skip_serializing_if = "default::max_request_header_bytes")]
    pub max_request_header_bytes: u32,
    /// Whether `//a///b` is matched and forwarded as `/a/b`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub merge_slashes: bool,
    /// Whether a path with an encoded slash or backslash is refused with 400.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reject_escaped_slashes: bool,
    /// Whether a port in the Host that equals the listener's is removed before matching.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strip_matching_host_port: bool,
    /// Whether a client's `x-request-id` is kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub preserve_external_request_id: bool,
    /// Whether no `x-envoy-*` header is added in either direction.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suppress_envoy_headers: bool,
    /// Most streams that a client may open on one HTTP/2 connection.
    #[serde(skip_serializing_if = "default::http2_max_concurrent_streams")]
    pub http2_max_concurrent_streams: u32,
    /// Milliseconds after which a connection without requests is closed; 0 = never.
    #[serde(skip_serializing_if = "default::idle_timeout_ms")]
    pub idle_timeout_ms: u64,
    /// Who may talk to us at all; `None` = everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_policy: Option<IpPolicy>,
    /// Which responses are compressed; `None` = none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Other ways to speak gRPC, and its statistics.
    #[serde(skip_serializing_if = "GrpcSettings::is_default")]
    pub grpc: GrpcSettings,
    /// Whether HTTP/1.0 is spoken; otherwise it is 426.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub http10: bool,
    /// What becomes of request headers with `_` in their names.
    #[serde(skip_serializing_if = "Underscores::is_allow")]
    pub underscores: Underscores,
    /// Most bytes of a request's body, which is then collected before it is sent; `None` = bodies are
    /// streamed, however long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_request_bytes: Option<u64>,
    /// Most bytes that are kept of one body: for another attempt, for a check, or because its length
    /// must be known.
    #[serde(skip_serializing_if = "default::buffer_limit_bytes")]
    pub buffer_limit_bytes: u32,
    /// The access log.
    #[serde(skip_serializing_if = "default::access_log")]
    pub access_log: AccessLog,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            use_remote_address: true,
            trusted_hops: 0,
            server_name: "envoy".to_owned(),
            max_request_header_bytes: 60 * 1024,
            merge_slashes: false,
            reject_escaped_slashes: false,
            strip_matching_host_port: false,
            preserve_external_request_id: false,
            suppress_envoy_headers: false,
            http2_max_concurrent_streams: 100,
            idle_timeout_ms: 3_600_000,
            ip_policy: None,
            compression: None,
            grpc: GrpcSettings::default(),
            http10: false,
            underscores: Underscores::Allow,
            max_request_bytes: None,
            buffer_limit_bytes: 1024 * 1024,
            access_log: AccessLog::default(),
        }
    }
}

impl HttpSettings {
    /// Whether nothing differs from the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a field has its default, so that dumps show what somebody chose.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes by reference"
)]
mod default {
    use super::{AccessLog, HttpSettings};

    pub(super) fn trusted_hops(value: &u32) -> bool {
        *value == HttpSettings::default().trusted_hops
    }

    pub(super) fn server_name(value: &str) -> bool {
        value == HttpSettings::default().server_name
    }

    pub(super) fn max_request_header_bytes(value: &u32) -> bool {
        *value == HttpSettings::default().max_request_header_bytes
    }

    pub(super) fn http2_max_concurrent_streams(value: &u32) -> bool {
        *value == HttpSettings::default().http2_max_concurrent_streams
    }

    pub(super) fn idle_timeout_ms(value: &u64) -> bool {
        *value == HttpSettings::default().idle_timeout_ms
    }

    pub(super) fn buffer_limit_bytes(value: &u32) -> bool {
        *value == HttpSettings::default().buffer_limit_bytes
    }

    pub(super) fn access_log(value: &AccessLog) -> bool {
        *value == AccessLog::default()
    }
}

/// What becomes of request headers with `_` in their names (spec/services §5.6): there are servers that
/// take them for the same with `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Underscores {
    /// They go upstream.
    #[default]
    Allow,
    /// The request is refused.
    Reject,
    /// They are removed.
    Drop,
}

impl Underscores {
    /// Whether it is the default.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        *self == Self::Allow
    }
}

/// Compression of responses (spec/services §3.10).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    /// Media types that are compressed, without parameters; compared without regard to case.
    pub content_types: Vec<String>,
    /// Bytes below which it is not worth it; a response of unknown length is.
    pub min_length: u64,
    /// Level of gzip, 1 to 9.
    pub gzip_level: u8,
    /// Base-2 logarithm of gzip's window, 9 to 15.
    pub gzip_window_bits: u8,
    /// Whether responses with an `etag` are left as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_with_etag: bool,
    /// Whether the upstream does not see the client's `accept-encoding`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hide_accept_encoding: bool,
}

/// gRPC for clients that do not speak it natively, and its statistics (spec/services §3.13).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcSettings {
    /// Whether gRPC-Web is translated.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub web: bool,
    /// Whether gRPC over HTTP/1.1 gets its trailers as headers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub http1_bridge: bool,
    /// What is counted; `None` = nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<GrpcStats>,
}

impl GrpcSettings {
    /// Whether nothing differs from the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which gRPC methods are counted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcStats {
    /// Which.
    pub methods: GrpcMethods,
    /// Whether the time that upstreams take is measured too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub upstream_time: bool,
}

/// A choice of gRPC methods.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GrpcMethods {
    /// All, up to a number of them.
    All,
    /// These, sorted.
    Listed(Vec<GrpcMethod>),
}

/// A gRPC method.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcMethod {
    /// The service with its package.
    pub service: String,
    /// The method.
    pub name: String,
}

/// IP lists, applied to every request before routing; denied is 403 (spec/services §3.17).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IpPolicy {
    /// What a match of any rule means.
    pub mode: IpMode,
    /// The rules. An empty allow list lets nobody in.
    pub rules: Vec<IpRule>,
}

/// What a match of an IP rule means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpMode {
    /// Only matches pass.
    Allow,
    /// Matches do not pass.
    Deny,
}

/// One entry of an IP list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IpRule {
    /// Which address is compared.
    pub source: IpSource,
    /// The range.
    pub range: IpNet,
}

/// Which address of a request an IP rule compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IpSource {
    /// The connection's peer.
    Peer,
    /// The trusted client address.
    Remote,
}

/// The access log of a listener (spec/services §4.4).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// File to append to; `/dev/fd/1` and `/dev/stdout` are standard output, `/dev/null` switches
    /// the log off and nothing is formatted.
    pub path: String,
    /// Form of a line.
    pub format: AccessLogFormat,
}

/// The default line, as Emissary writes it.
pub const DEFAULT_TEXT: &str = concat!(
    "ACCESS [%START_TIME%] ",
    "\"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"",
);

impl Default for AccessLog {
    fn default() -> Self {
        // The constant is a template: a test says so.
        let line = Template::parse(DEFAULT_TEXT).unwrap_or_else(|_| Template::literal(""));
        Self {
            path: "/dev/fd/1".to_owned(),
            format: AccessLogFormat::Text(line),
        }
    }
}

/// Form of an access log line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
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

/// As it was written: texts are templates, and never anything else.
impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(serde_json::Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonValue {
    fn read(value: serde_json::Value) -> Result<Self, TemplateError> {
        use serde_json::Value;
        Ok(match value {
            Value::String(text) => Self::Template(Template::parse(&text)?),
            Value::Object(members) => Self::Object(
                members
                    .into_iter()
                    .map(|(name, value)| Ok((name, Self::read(value)?)))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Array(items) => Self::List(
                items
                    .into_iter()
                    .map(Self::read)
                    .collect::<Result<_, _>>()?,
            ),
            literal => Self::Literal(literal),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_line_is_a_template() {
        assert!(Template::parse(DEFAULT_TEXT).is_ok());
    }

    #[test]
    fn defaults_are_left_out() {
        assert_eq!(
            serde_json::to_string(&HttpSettings::default()).unwrap(),
            "{}"
        );
    }
}
