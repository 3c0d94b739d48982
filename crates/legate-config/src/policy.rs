//! Policy bundles: effective values, defaults already merged, interned by content.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::auth::Auth;
use crate::key::ClusterKey;
use crate::limit::{Labels, RateLimit};
use crate::template::Template;

/// Effective policies of one target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySet {
    /// Changes to request headers, after the generated ones were decided.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// Changes to response headers, local replies of a matched forwarding route included.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
    /// What becomes of the path.
    #[serde(default, skip_serializing_if = "PathRewrite::is_keep")]
    pub rewrite: PathRewrite,
    /// What becomes of the Host header.
    #[serde(default, skip_serializing_if = "HostRewrite::is_keep")]
    pub host: HostRewrite,
    /// Milliseconds from the end of the request to the end of the response; 0 = no limit.
    pub timeout_ms: u64,
    /// Milliseconds without a byte either way; 0 = no limit.
    pub idle_timeout_ms: u64,
    /// Upgrade tokens let through, lower-case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrades: Vec<String>,
    /// Which other origins' scripts may use the route; `None` = browsers are told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<CorsPolicy>,
    /// Value of `l5d-dst-override`, if it is to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linkerd_dst: Option<String>,
    /// Who is asked before anything goes upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Arc<Auth>>,
    /// Whom a check would ask first, were the route not exempt from it; for counts only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_bypassed: Option<ClusterKey>,
    /// What a check over gRPC is told about the route, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auth_context: Vec<(String, String)>,
    /// What requests are counted by; `None` = nothing that anybody limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Arc<Labels>>,
    /// Who is asked whether a request is over a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<Arc<RateLimit>>,
    /// Which of the cluster's circuit breakers count the requests.
    #[serde(default, skip_serializing_if = "Priority::is_default")]
    pub priority: Priority,
    /// When a request is sent again, besides where that is always safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What of a request decides about its endpoint, where the cluster goes by a hash; `None` = any
    /// endpoint will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<HashSource>,
}

/// What of a request decides about its endpoint (spec/services §3.8). Requests without it go
/// anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HashSource {
    /// A cookie.
    Cookie(HashCookie),
    /// All values of this header, lower-case.
    Header(String),
    /// The client's address.
    SourceIp,
}

/// A cookie that keeps a client at its endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// `Path` of a cookie that we make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Seconds that a cookie that we make is kept, 0 = as long as the client's session; `None` = we
    /// make none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_secs: Option<u64>,
}

/// When a request is sent again (spec/services §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// After what.
    pub on: RetryOn,
    /// How often.
    pub num_retries: u32,
    /// Milliseconds from the end of the request to the response's head, for each attempt; 0 = only the
    /// route's timeout.
    pub per_try_timeout_ms: u64,
}

/// What is followed by a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// Any 5xx, and failures without a response (`5xx`).
    ServerError,
    /// 502, 503, 504, and failures without a response (`gateway-error`).
    GatewayError,
    /// A connection that could not be made (`connect-failure`).
    ConnectFailure,
    /// 409 (`retriable-4xx`).
    Conflict,
    /// A stream that the upstream refused without looking at it (`refused-stream`).
    RefusedStream,
}

/// Class of requests that circuit breakers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Requests of routes that say nothing.
    #[default]
    Default,
    /// Requests of routes with `priority: high`.
    High,
}

impl Priority {
    /// Whether it is the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

/// Cross-origin resource sharing (spec/services §3.9). Lists are header values already.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CorsPolicy {
    /// Allowed origins, compared as they are; `*` allows all. None: nothing is ever said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// `access-control-allow-methods` of preflights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<String>,
    /// `access-control-allow-headers` of preflights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<String>,
    /// `access-control-expose-headers` of actual responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_headers: Option<String>,
    /// Whether `access-control-allow-credentials: true` is sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub credentials: bool,
    /// `access-control-max-age` of preflights, in seconds; negative = not to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<i64>,
}

/// Removals, then additions (spec/routing §4.9). Names are lower-case and may be changed at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderEdits {
    /// Names removed first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Values added after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderAdd>,
}

impl HeaderEdits {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }
}

/// One added header. An empty value adds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderAdd {
    /// Lower-case name.
    pub name: String,
    /// The value.
    pub value: Template,
    /// Whether it stands beside present values, or replaces them.
    pub append: bool,
}

/// What becomes of the path (spec/routing §4.7). The query is always kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PathRewrite {
    /// Unchanged.
    #[default]
    Keep,
    /// The first `matched` bytes replaced.
    Prefix {
        /// Bytes of the matched prefix.
        matched: usize,
        /// What stands there instead.
        with: String,
    },
    /// The whole path replaced.
    Full(String),
    /// Every match replaced.
    Regex(RegexReplace),
}

impl PathRewrite {
    /// Whether the path is left alone.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}

/// Replaces every match of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RegexReplace {
    /// Pattern in Rust syntax, translated and validated.
    pub pattern: String,
    /// The substitution, split: group numbers exist in the pattern.
    pub substitution: Vec<Replacement>,
}

/// A piece of a substitution.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Replacement {
    /// Text as it is.
    Text(String),
    /// A capture group; 0 is the whole match.
    Group(usize),
}

/// What becomes of the Host header (spec/routing §4.10).
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HostRewrite {
    /// The client's.
    #[default]
    Keep,
    /// This text.
    Literal(String),
    /// The upstream's DNS name, where it has one.
    Auto,
}

impl HostRewrite {
    /// Whether the client's Host is kept.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        *self == Self::Keep
    }
}
