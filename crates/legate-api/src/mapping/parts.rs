//! The objects inside a Mapping.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::AddedHeader;

/// A regular expression and what replaces its match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RegexSubstitution {
    /// The regular expression.
    pub pattern: Option<String>,
    /// The replacement; `\1` is the first group.
    pub substitution: Option<String>,
}

/// How requests are spread over the endpoints of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadBalancer {
    /// The policy.
    #[schemars(extend("x-required" = true))]
    pub policy: Option<LoadBalancerPolicy>,
    /// Hash by a cookie.
    pub cookie: Option<LoadBalancerCookie>,
    /// Hash by a header of this name.
    pub header: Option<String>,
    /// Hash by the client's address.
    pub source_ip: Option<bool>,
}

/// Policy of a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancerPolicy {
    /// One after the other.
    RoundRobin,
    /// The less busy of two.
    LeastRequest,
    /// By a hash, on a ring.
    RingHash,
    /// By a hash, on a Maglev table.
    Maglev,
}

/// A cookie for session affinity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadBalancerCookie {
    /// Name of the cookie.
    #[schemars(extend("x-required" = true))]
    pub name: String,
    /// Path of a cookie that we set.
    pub path: Option<String>,
    /// Life of a cookie that we set, e.g. `60s`. Without it we set none.
    pub ttl: Option<String>,
}

/// TCP keepalive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct KeepAlive {
    /// Probes without an answer before the connection is dropped.
    pub probes: Option<i64>,
    /// Seconds of silence before the first probe.
    pub idle_time: Option<i64>,
    /// Seconds between probes.
    pub interval: Option<i64>,
}

/// Cross-origin resource sharing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cors {
    /// Allowed origins: `scheme://host[:port]` or `*`.
    #[schemars(extend("x-wide" = true))]
    pub origins: Option<Vec<String>>,
    /// Allowed methods.
    #[schemars(extend("x-wide" = true))]
    pub methods: Option<Vec<String>>,
    /// Allowed request headers.
    #[schemars(extend("x-wide" = true))]
    pub headers: Option<Vec<String>>,
    /// Whether credentials are allowed. Default false.
    pub credentials: Option<bool>,
    /// Response headers that scripts may read.
    #[schemars(extend("x-wide" = true))]
    pub exposed_headers: Option<Vec<String>>,
    /// How long browsers may keep the answer, in seconds, as text.
    pub max_age: Option<String>,
    /// Whether `origins` was one string in v2. Residue of conversion.
    #[serde(rename = "v2CommaSeparatedOrigins")]
    pub v2_comma_separated_origins: Option<bool>,
}

/// When requests are retried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RetryPolicy {
    /// One of `5xx`, `gateway-error`, `connect-failure`, `retriable-4xx`, `refused-stream` and
    /// `retriable-status-codes`.
    pub retry_on: Option<String>,
    /// How often. Default 1.
    pub num_retries: Option<i64>,
    /// Limit on each try, e.g. `0.25s`. Default: the timeout of the route.
    pub per_try_timeout: Option<String>,
}

/// One active health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HealthCheck {
    /// What is asked: exactly one of `http` and `grpc`.
    #[schemars(extend("x-required" = true))]
    pub health_check: HealthCheckProbe,
    /// Limit on one probe. Default `3s`.
    pub timeout: Option<String>,
    /// Time between probes. Default `5s`.
    pub interval: Option<String>,
    /// Failures in a row until an endpoint is unhealthy. Default 2.
    pub unhealthy_threshold: Option<i64>,
    /// Successes in a row until it is healthy again. Default 1.
    pub healthy_threshold: Option<i64>,
}

/// What a health check asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HealthCheckProbe {
    /// An HTTP request.
    pub http: Option<HttpHealthCheck>,
    /// A call of `grpc.health.v1.Health/Check`.
    pub grpc: Option<GrpcHealthCheck>,
}

/// A health check by HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpHealthCheck {
    /// Path of the request.
    #[schemars(extend("x-required" = true))]
    pub path: String,
    /// Host header of the request.
    pub hostname: Option<String>,
    /// Headers added to the request.
    #[schemars(extend("x-wide" = "values"))]
    pub add_request_headers: Option<BTreeMap<String, AddedHeader>>,
    /// Headers removed from the request.
    #[schemars(extend("x-wide" = true))]
    pub remove_request_headers: Option<Vec<String>>,
    /// Statuses that mean healthy. Default only 200.
    pub expected_statuses: Option<Vec<StatusRange>>,
}

/// A range of statuses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StatusRange {
    /// The lowest, inclusive.
    #[schemars(extend("x-required" = true))]
    pub min: i64,
    /// The highest, inclusive.
    #[schemars(extend("x-required" = true))]
    pub max: i64,
}

/// A health check by gRPC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GrpcHealthCheck {
    /// Name of the service that is asked for.
    #[schemars(extend("x-required" = true))]
    pub upstream_name: String,
    /// Authority of the request.
    pub authority: Option<String>,
}

/// A body that replaces that of an error response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorResponseOverride {
    /// The status of the response.
    #[schemars(range(min = 400, max = 599), extend("x-required" = true))]
    pub on_status_code: i64,
    /// The new body.
    #[schemars(extend("x-required" = true))]
    pub body: ErrorBody,
}

/// The body of an error response: one of the three forms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorBody {
    /// Text; may hold operators such as `%RESPONSE_CODE%`.
    pub text_format: Option<String>,
    /// JSON; values may hold operators.
    pub json_format: Option<BTreeMap<String, String>>,
    /// Text from a file.
    pub text_format_source: Option<TextFormatSource>,
    /// Content type of the body.
    pub content_type: Option<String>,
}

/// A file with a body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TextFormatSource {
    /// The file's path.
    pub filename: Option<String>,
}

/// What a developer portal shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DocsInfo {
    /// Path of the API's document.
    pub path: Option<String>,
    /// URL of the API's document.
    pub url: Option<String>,
    /// Whether the service is left out.
    pub ignored: Option<bool>,
    /// Name to show.
    pub display_name: Option<String>,
    /// Limit on fetching the document, in milliseconds.
    pub timeout_ms: Option<i64>,
}
