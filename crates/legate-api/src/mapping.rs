//! Mapping: which HTTP requests go where, and what changes on the way.

mod labels;
mod parts;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use labels::{LabelSpecifier, Labels};
pub use parts::{
    Cors, DocsInfo, ErrorBody, ErrorResponseOverride, GrpcHealthCheck, HealthCheck,
    HealthCheckProbe, HttpHealthCheck, KeepAlive, LoadBalancer, LoadBalancerCookie,
    LoadBalancerPolicy, RegexSubstitution, RetryPolicy, StatusRange, TextFormatSource,
};

use crate::common::{AddedHeader, CircuitBreaker, V2ExplicitTls};
use crate::status::CommonStatus;

/// A route for HTTP requests: which requests it takes, the upstream that they go to, and what
/// changes on the way.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "Mapping",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus",
    printcolumn = r#"{"name": "SOURCE HOST", "type": "string", "jsonPath": ".spec.hostname"}"#,
    printcolumn = r#"{"name": "SOURCE PREFIX", "type": "string", "jsonPath": ".spec.prefix"}"#,
    printcolumn = r#"{"name": "DEST SERVICE", "type": "string", "jsonPath": ".spec.service"}"#,
    printcolumn = r#"{"name": "STATE", "type": "string", "jsonPath": ".status.state"}"#,
    printcolumn = r#"{"name": "REASON", "type": "string", "jsonPath": ".status.reason"}"#
)]
#[serde(default)]
pub struct MappingSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The path to match: a prefix unless `prefix_exact` or `prefix_regex` say otherwise.
    #[schemars(extend("x-required" = true))]
    pub prefix: String,
    /// Whether `prefix` is the entire path. Default false.
    pub prefix_exact: Option<bool>,
    /// Whether `prefix` is a regular expression for the entire path. Default false.
    pub prefix_regex: Option<bool>,
    /// Whether the case of the path counts. Default true.
    pub case_sensitive: Option<bool>,
    /// The hosts it attaches to and matches: a name or a glob; `*` means any.
    pub hostname: Option<String>,
    /// Old form of `hostname`, exact unless `host_regex` is set.
    pub host: Option<String>,
    /// Whether `host` is a regular expression. Default false.
    pub host_regex: Option<bool>,
    /// The request method. Default any.
    pub method: Option<String>,
    /// Whether `method` is a regular expression. Default false.
    pub method_regex: Option<bool>,
    /// Headers that must be present with exactly these values.
    #[schemars(extend("x-wide" = "values"))]
    pub headers: BTreeMap<String, String>,
    /// Headers that must be present and whose whole values match these regular expressions.
    pub regex_headers: BTreeMap<String, String>,
    /// Query parameters that must be present with exactly these values.
    #[schemars(extend("x-wide" = "values"))]
    pub query_parameters: BTreeMap<String, String>,
    /// Query parameters that must be present and whose whole values match these regular
    /// expressions.
    pub regex_query_parameters: BTreeMap<String, String>,
    /// First sort key among Mappings, higher first; may be negative. Default 0.
    pub precedence: Option<i64>,

    /// The upstream, `[scheme://]name[.namespace][:port]`.
    #[schemars(extend("x-required" = true))]
    pub service: String,
    /// Share of the requests in percent, among Mappings that match the same.
    pub weight: Option<i64>,
    /// Whether requests are only mirrored to the service. Default false.
    pub shadow: Option<bool>,
    /// Name of the resolver. Default: that of the Module, else `kubernetes-service`.
    pub resolver: Option<String>,
    /// Name of the TLSContext to originate TLS with.
    #[schemars(extend("x-wide" = true))]
    pub tls: Option<String>,
    /// How requests are spread over the endpoints. Default: as the Module says, else round robin.
    pub load_balancer: Option<LoadBalancer>,
    /// Limits towards the upstream. Default: those of the Module.
    pub circuit_breakers: Option<Vec<CircuitBreaker>>,
    /// Keeps the upstream's pool and metrics apart.
    pub cluster_tag: Option<String>,
    /// How the upstream's DNS name is resolved: `strict_dns` (the default) or `logical_dns`.
    pub dns_type: Option<String>,
    /// Whether a name is resolved again when its record expires, not every 5 s. Default false.
    pub respect_dns_ttl: Option<bool>,
    /// Whether IPv4 addresses of the upstream are used. Default: that of the Module, else true.
    pub enable_ipv4: Option<bool>,
    /// Whether IPv6 addresses of the upstream are used. Default: that of the Module, else false.
    pub enable_ipv6: Option<bool>,
    /// Whether the upstream speaks HTTP/2 only. Default false.
    pub grpc: Option<bool>,
    /// TCP keepalive towards the upstream. Default: that of the Module.
    pub keepalive: Option<KeepAlive>,
    /// Active health checks of the upstream.
    #[schemars(length(min = 1))]
    pub health_checks: Option<Vec<HealthCheck>>,
    /// Name of the upstream in metrics.
    pub stats_name: Option<String>,

    /// What replaces the matched prefix. Default `/`; empty leaves the path alone.
    pub rewrite: Option<String>,
    /// Rewrites the path by a regular expression.
    pub regex_rewrite: Option<RegexSubstitution>,
    /// Host header sent upstream.
    pub host_rewrite: Option<String>,
    /// Whether the host header sent upstream is the upstream's DNS name. Default false.
    pub auto_host_rewrite: Option<bool>,
    /// Headers added to requests. Default: those of the Module.
    #[schemars(extend("x-wide" = "values"))]
    pub add_request_headers: Option<BTreeMap<String, AddedHeader>>,
    /// Headers added to responses. Default: those of the Module.
    #[schemars(extend("x-wide" = "values"))]
    pub add_response_headers: Option<BTreeMap<String, AddedHeader>>,
    /// Headers removed from requests. Default: those of the Module.
    #[schemars(extend("x-wide" = true))]
    pub remove_request_headers: Option<Vec<String>>,
    /// Headers removed from responses. Default: those of the Module.
    #[schemars(extend("x-wide" = true))]
    pub remove_response_headers: Option<Vec<String>>,
    /// Whether `l5d-dst-override` is added for Linkerd. Default: as the Module says, else false.
    pub add_linkerd_headers: Option<bool>,
    /// Cross-origin resource sharing. Default: that of the Module.
    pub cors: Option<Cors>,
    /// When requests are retried. Default: as the Module says.
    pub retry_policy: Option<RetryPolicy>,
    /// Upgrades let through, e.g. `websocket`; case-insensitive.
    pub allow_upgrade: Option<Vec<String>>,
    /// Old form of `allow_upgrade: [websocket]`.
    pub use_websocket: Option<bool>,
    /// Limit on the whole upstream response, in milliseconds; 0 = none. Default: as the Module
    /// says, else 3000.
    pub timeout_ms: Option<i64>,
    /// How long a stream may be silent, in milliseconds; 0 = for ever. Default 300000.
    pub idle_timeout_ms: Option<i64>,
    /// Limit on connecting, in milliseconds, more than 0. Default 3000.
    pub connect_timeout_ms: Option<i64>,
    /// How long an idle upstream connection is kept, in milliseconds. Default: as the Module says,
    /// else an hour.
    pub cluster_idle_timeout_ms: Option<i64>,
    /// Age at which an upstream connection is drained, in milliseconds. Default: as the Module
    /// says, else never.
    pub cluster_max_connection_lifetime_ms: Option<i64>,
    /// Which circuit breakers count the requests: `default` or `high`.
    pub priority: Option<String>,

    /// Whether requests are answered with a redirect to the host in `service`. Default false.
    pub host_redirect: Option<bool>,
    /// The path of the redirect, instead of the request's.
    pub path_redirect: Option<String>,
    /// What replaces the matched prefix in the redirect.
    pub prefix_redirect: Option<String>,
    /// Rewrites the path of the redirect by a regular expression.
    pub regex_redirect: Option<RegexSubstitution>,
    /// Status of the redirect. Default 301.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub redirect_response_code: Option<i64>,

    /// Rate-limit labels, by domain.
    pub labels: Option<Labels>,
    /// Whether external authorisation is skipped. Default false.
    pub bypass_auth: Option<bool>,
    /// Extensions sent to a gRPC auth service.
    pub auth_context_extensions: Option<BTreeMap<String, String>>,
    /// Bodies that replace those of error responses.
    #[schemars(length(min = 1))]
    pub error_response_overrides: Option<Vec<ErrorResponseOverride>>,
    /// Whether the Module's error response overrides are skipped. Default false.
    pub bypass_error_response_overrides: Option<bool>,
    /// Passive health checking in an old form. Ignored.
    pub outlier_detection: Option<String>,
    /// For a developer portal; no effect on routing.
    pub docs: Option<DocsInfo>,
    /// No effect.
    pub modules: Option<Vec<Map<String, Value>>>,
    /// Raw Envoy configuration. No effect.
    pub envoy_override: Option<Map<String, Value>>,
    /// How TLS origination was written in v2. Residue of conversion.
    #[serde(rename = "v2ExplicitTLS")]
    pub v2_explicit_tls: Option<V2ExplicitTls>,
    /// Headers that were `true` in v2. Residue of conversion.
    #[serde(rename = "v2BoolHeaders")]
    pub v2_bool_headers: Option<Vec<String>>,
    /// Query parameters that were `true` in v2. Residue of conversion.
    #[serde(rename = "v2BoolQueryParameters")]
    pub v2_bool_query_parameters: Option<Vec<String>>,
}
