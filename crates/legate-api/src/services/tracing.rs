//! TracingService: where spans go, and which requests have any.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::CommonStatus;

/// A collector of trace spans.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "TracingService",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct TracingServiceSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// Protocol of the collector.
    #[schemars(extend("x-required" = true))]
    pub driver: Option<TraceDriver>,
    /// The collector, `[scheme://]name[.namespace][:port]`.
    #[schemars(extend("x-required" = true))]
    pub service: String,
    /// Which requests are traced, in percent.
    pub sampling: Option<TraceSampling>,
    /// Tags added to each span.
    pub custom_tags: Option<Vec<CustomTag>>,
    /// Request headers that become tags. Old form of `custom_tags`.
    pub tag_headers: Option<Vec<String>>,
    /// Name of the upstream in metrics.
    pub stats_name: Option<String>,
    /// Settings of the driver.
    pub config: Option<TraceConfig>,
}

/// Protocol of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceDriver {
    /// No longer supported: use `opentelemetry`.
    Lightstep,
    /// Zipkin's HTTP protocol.
    Zipkin,
    /// Datadog's agent.
    Datadog,
    /// OTLP by gRPC.
    OpenTelemetry,
}

/// Which requests are traced, in percent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TraceSampling {
    /// Of those whose client asks for it. Default 100.
    pub client: Option<i64>,
    /// Of the others. Default 100.
    pub random: Option<i64>,
    /// Of those so chosen. Default 100.
    pub overall: Option<i64>,
}

/// A tag; exactly one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CustomTag {
    /// Name of the tag.
    #[schemars(extend("x-required" = true))]
    pub tag: String,
    /// A fixed value.
    pub literal: Option<TagLiteral>,
    /// The value of an environment variable.
    pub environment: Option<TagEnvironment>,
    /// The value of a request header.
    pub request_header: Option<TagRequestHeader>,
}

/// A fixed value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TagLiteral {
    /// The value.
    #[schemars(extend("x-required" = true))]
    pub value: String,
}

/// The value of an environment variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TagEnvironment {
    /// Name of the variable.
    #[schemars(extend("x-required" = true))]
    pub name: String,
    /// The value when there is no such variable.
    pub default_value: Option<String>,
}

/// The value of a request header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TagRequestHeader {
    /// Name of the header.
    #[schemars(extend("x-required" = true))]
    pub name: String,
    /// The value when there is no such header.
    pub default_value: Option<String>,
}

/// Settings of a tracing driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TraceConfig {
    /// Path of the collector. `zipkin` only; default `/api/v2/spans`.
    pub collector_endpoint: Option<String>,
    /// Form of the spans. `zipkin` only; default `HTTP_JSON`.
    pub collector_endpoint_version: Option<CollectorEndpointVersion>,
    /// Host header sent to the collector. `zipkin` only.
    pub collector_hostname: Option<String>,
    /// Whether trace ids have 128 bits. `zipkin` only; default true.
    pub trace_id_128bit: Option<bool>,
    /// Whether client and server share a span's id. `zipkin` only; default true.
    pub shared_span_context: Option<bool>,
    /// Name of this service. `datadog` and `opentelemetry`; default `ambassador`.
    pub service_name: Option<String>,
    /// File with an access token. Left over from `lightstep`.
    pub access_token_file: Option<String>,
    /// Name of the collector's cluster. Left over from `lightstep`.
    pub collector_cluster: Option<String>,
    /// Headers by which the trace is passed on: `B3`, `TRACE_CONTEXT`, `ENVOY`, `LIGHTSTEP`.
    pub propagation_modes: Option<Vec<String>>,
}

/// Form of Zipkin spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CollectorEndpointVersion {
    /// The first JSON form; not supported.
    #[serde(rename = "HTTP_JSON_V1")]
    HttpJsonV1,
    /// JSON.
    #[serde(rename = "HTTP_JSON")]
    HttpJson,
    /// Protobuf.
    #[serde(rename = "HTTP_PROTO")]
    HttpProto,
}
