//! RateLimitPolicy: limits that the gateways count themselves.

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::LimitUnit;
use crate::status::CommonStatus;

/// How deep descriptors may be nested.
const MAX_LEVELS: usize = 8;

/// Limits on requests by the labels of their Mappings, counted by the gateways themselves.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "legate.dev",
    version = "v1alpha1",
    kind = "RateLimitPolicy",
    plural = "ratelimitpolicies",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct RateLimitPolicySpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The domain whose labels count. Default: that of the Module, else `ambassador`.
    pub domain: Option<String>,
    /// Whether each gateway counts for itself, or all together in a store. Default `local`.
    pub enforcement: Option<Enforcement>,
    /// Whether each gateway gets its share of the limits; for `local` only. Default false.
    pub divide: Option<bool>,
    /// Whether clients are told what is left: `off` or `draft03`. Default `off`.
    #[schemars(extend("x-wide" = true))]
    pub headers: Option<RateLimitHeaders>,
    /// Whether the keys that labels write for `source_cluster`, `destination_cluster` and
    /// `remote_address` count. Default false: they go by these names.
    pub honour_label_keys: Option<bool>,
    /// Whether gRPC clients over a limit are told `RESOURCE_EXHAUSTED`, not `UNAVAILABLE`. Default
    /// false.
    pub grpc_resource_exhausted: Option<bool>,
    /// The store of shared limits. Default: the one that the gateways were started with.
    pub store: Option<RateLimitStore>,
    /// The limits, as `envoyproxy/ratelimit` takes them.
    #[schemars(schema_with = "descriptors")]
    pub descriptors: Vec<LimitDescriptor>,
}

/// Where limits are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// In each gateway for itself.
    Local,
    /// In a store that all gateways share.
    Shared,
}

/// What clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RateLimitHeaders {
    /// Nothing.
    Off,
    /// `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`.
    Draft03,
}

/// A Redis or Valkey.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RateLimitStore {
    /// The service, `name[.namespace][:port]`. The default port is 6379.
    #[schemars(extend("x-required" = true))]
    pub service: String,
    /// Name of the TLSContext to originate TLS with.
    pub tls: Option<String>,
    /// Name of a Secret with `password`, and `username` where there is one.
    #[serde(rename = "secretName")]
    pub secret_name: Option<String>,
    /// Limit on a question, in milliseconds. Default 20.
    #[schemars(range(min = 1))]
    pub timeout_ms: Option<i64>,
}

/// One level of the tree of limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitDescriptor {
    /// Key of the descriptor's entry.
    #[schemars(extend("x-required" = true))]
    pub key: String,
    /// Value of the entry; with `*` at its end, how it begins. Default: any value, each counted by
    /// itself.
    pub value: Option<String>,
    /// The limit on descriptors that end here.
    pub rate_limit: Option<LimitRate>,
    /// Whether the limit is only counted and reported. Default false.
    pub shadow_mode: Option<bool>,
    /// Whether metrics have the concrete values.
    pub detailed_metric: Option<bool>,
    /// Whether metrics have this entry's value.
    pub value_to_metric: Option<bool>,
    /// Whether all values that `*` stands for share one count. Default false.
    pub share_threshold: Option<bool>,
    /// The next level.
    #[schemars(skip)]
    pub descriptors: Vec<LimitDescriptor>,
}

/// How often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitRate {
    /// The unit of time.
    pub unit: Option<LimitUnit>,
    /// Requests per unit; 0 refuses all.
    #[schemars(range(min = 0))]
    pub requests_per_unit: Option<i64>,
    /// Whether there is no limit, and nothing is counted. Default false.
    pub unlimited: Option<bool>,
    /// Name of the limit.
    pub name: Option<String>,
    /// Limits that do not count where this one applies.
    pub replaces: Vec<LimitReplaces>,
}

/// A limit that another one replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitReplaces {
    /// Its name.
    #[schemars(extend("x-required" = true))]
    pub name: String,
}

/// The schema of the tree: CRDs know no recursion, so it is written out.
fn descriptors(generator: &mut SchemaGenerator) -> Schema {
    let level = LimitDescriptor::json_schema(generator);
    let mut schema = json!({
        "description": "The limits, as `envoyproxy/ratelimit` takes them.",
        "type": "array",
        "items": level.clone(),
    });
    for _ in 1..MAX_LEVELS {
        let mut outer = Value::from(level.clone());
        if let Some(Value::Object(properties)) = outer.get_mut("properties") {
            schema["description"] = "The next level.".into();
            properties.insert("descriptors".to_owned(), schema);
        }
        schema = json!({
            "description": "The limits, as `envoyproxy/ratelimit` takes them.",
            "type": "array",
            "items": outer,
        });
    }
    Schema::try_from(schema).unwrap_or_default()
}
