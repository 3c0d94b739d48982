//! Rate limits that are counted by us: per domain the rules that match descriptors, and what is
//! counted where (spec/services §2.6, §2.7).
//!
//! Not here: which descriptors a request has, and limits that a service decides about.

use serde::{Deserialize, Serialize};

use crate::key::{ClusterKey, CredentialKey};

/// The limits of one domain. Its name is the key of its entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitDomain {
    /// Whether clients are told what is left, in the `x-ratelimit-*` headers of draft 03.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub headers: bool,
    /// Whether keys that labels write for fixed entries are used, not the fixed names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub honour_label_keys: bool,
    /// Whether gRPC clients are told `RESOURCE_EXHAUSTED`, not `UNAVAILABLE`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grpc_resource_exhausted: bool,
    /// The stores that rules name by their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<LimitStore>,
    /// The rules, older objects first.
    pub rules: Vec<LimitRule>,
}

/// A store that several gateways count in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitStore {
    /// How it is reached; TLS included.
    pub cluster: ClusterKey,
    /// What it is told to let us in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialKey>,
    /// Milliseconds for its answer; never 0.
    pub timeout_ms: u64,
}

/// What a descriptor must look like, and how often it may come.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRule {
    /// Name given by the user, for `replaces`, headers and metrics; empty = none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The entries of the descriptor, in order; never empty.
    pub items: Vec<LimitItem>,
    /// Whether the descriptor may go on after them.
    pub depth: LimitDepth,
    /// How often; `None` = this rule takes the descriptor and does not limit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Whether it only counts and reports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Names of rules that do not count for a request that this one applies to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
    /// Where it is counted.
    #[serde(default, skip_serializing_if = "LimitPlace::is_default")]
    pub place: LimitPlace,
    /// Headers for the upstream, when the rule applies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<(String, String)>,
    /// Headers for the client, when the rule applies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<(String, String)>,
}

/// One entry of a descriptor, as a rule wants it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitItem {
    /// One of these; never empty, and of one only in rules of exact depth.
    pub any_of: Vec<LimitEntry>,
    /// Whether all values that match share one count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

/// Key and value of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitEntry {
    /// The key.
    pub key: String,
    /// What the value must be.
    #[serde(default, skip_serializing_if = "LimitValue::is_any")]
    pub value: LimitValue,
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitValue {
    /// Anything.
    #[default]
    Any,
    /// This.
    Is(String),
    /// Something that begins like this.
    StartsWith(String),
}

/// Whether a descriptor may be longer than a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitDepth {
    /// It must be exactly as long. Level by level, the most specific rule wins.
    Exact,
    /// It may be longer; the longest rule wins.
    Prefix,
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Limit {
    /// As often as one likes, and nothing is counted.
    Unlimited,
    /// So often.
    Rate {
        /// Requests per unit; 0 = never.
        requests: u32,
        /// The unit, in seconds; never 0.
        unit_seconds: u32,
        /// Requests at once after a quiet time; 0 only where `requests` is.
        burst: u32,
    },
}

/// Where a rule is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitPlace {
    /// In each gateway for itself.
    #[default]
    Process,
    /// In each gateway for itself, which gets its share of the limit.
    Divided,
    /// In a store of the domain, by its place.
    Store(usize),
    /// In the store that the gateway was started with; without one, as `Process`, and that is a
    /// fault.
    OwnStore,
    /// In the store that the gateway was started with, if there is one.
    IfStore,
}

impl LimitValue {
    /// Whether everything matches.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::Any
    }
}

impl LimitPlace {
    /// Whether it is the default.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::Process
    }
}

impl LimitRule {
    /// The rule in words, for metrics and messages: its name, or its keys and fixed values.
    #[must_use]
    pub fn label(&self) -> String {
        if !self.name.is_empty() {
            return self.name.clone();
        }
        let item = |item: &LimitItem| {
            let entries = item.any_of.iter().map(|entry| match &entry.value {
                LimitValue::Any => entry.key.clone(),
                LimitValue::Is(value) => format!("{}={value}", entry.key),
                LimitValue::StartsWith(start) => format!("{}={start}*", entry.key),
            });
            entries.collect::<Vec<_>>().join("|")
        };
        let items: Vec<String> = self.items.iter().map(item).collect();
        items.join("/")
    }
}
