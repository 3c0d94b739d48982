//! Types that several kinds share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A reference by bare name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NameReference {
    /// Name of the object.
    pub name: Option<String>,
}

/// A label selector as everywhere in Kubernetes: all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be present with exactly these values.
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Further conditions on labels.
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// One condition on one label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LabelSelectorRequirement {
    /// The label's key.
    #[schemars(extend("x-required" = true))]
    pub key: String,
    /// How the label is compared with `values`: `In`, `NotIn`, `Exists` or `DoesNotExist`.
    #[schemars(extend("x-required" = true))]
    pub operator: Option<SelectorOperator>,
    /// Values for `In` and `NotIn`; empty for the others.
    pub values: Vec<String>,
}

/// Operator of a label condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectorOperator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// A header to add.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AddedHeader {
    /// The header's value; may hold operators such as `%DOWNSTREAM_REMOTE_ADDRESS%`.
    pub value: String,
    /// Whether the value is added to those that are there (the default), or replaces them.
    pub append: Option<bool>,
    /// Written by conversion from v2 only: `string` or `null`.
    #[serde(rename = "v2Representation")]
    pub v2_representation: Option<String>,
}

/// Limits of one priority towards one upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CircuitBreaker {
    /// Which class of routes the limits are for. Default `default`.
    pub priority: Option<Priority>,
    /// Most connections. Default 1024.
    pub max_connections: Option<i64>,
    /// Most requests that wait for a connection. Default 1024.
    pub max_pending_requests: Option<i64>,
    /// Most requests in flight. Default 1024.
    pub max_requests: Option<i64>,
    /// Most retries in flight. Default 3.
    pub max_retries: Option<i64>,
}

/// Priority class of a circuit breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// The class of routes that say nothing.
    #[default]
    Default,
    /// The class of routes with `priority: high`.
    High,
}

/// How TLS origination was written in v2. Residue of conversion; users never write it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct V2ExplicitTls {
    /// The scheme that the service had in v2, before the conversion replaced it.
    #[serde(rename = "serviceScheme")]
    pub service_scheme: Option<String>,
    /// The form of `tls` in v2: empty, `null`, `bool:true`, `bool:false` or `string`.
    pub tls: Option<String>,
}
