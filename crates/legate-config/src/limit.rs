//! Rate limiting: which descriptors a request gives, and who is asked about them
//! (spec/services §§2.1–2.4). Slots of the policy bundle.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::key::ClusterKey;

/// What requests are counted by: for each domain that somebody limits, the groups that become one
/// descriptor each. No domain and no group is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Labels {
    /// Groups by domain.
    pub domains: BTreeMap<String, Vec<LabelGroup>>,
}

/// Labels that become one descriptor, in their order; all of them, or none.
pub type LabelGroup = Vec<Label>;

/// One entry of a descriptor.
///
/// `written_key` counts only for a limiter that honours it; the others know the entry by the
/// label's own name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Label {
    /// Name of the gateway itself.
    SourceCluster {
        /// The key that was written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        written_key: Option<String>,
        /// The name.
        value: String,
    },
    /// Name of the cluster that the request goes to.
    DestinationCluster {
        /// The key that was written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        written_key: Option<String>,
    },
    /// Address of the client, as far as it is trusted.
    RemoteAddress {
        /// The key that was written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        written_key: Option<String>,
    },
    /// First value of a header. Without one there is no descriptor.
    RequestHeader {
        /// Key of the entry.
        key: String,
        /// Lower-case name, or one of `:authority`, `:method`, `:path` and `:scheme`.
        header: String,
    },
    /// A fixed text.
    Generic {
        /// Key of the entry.
        key: String,
        /// The text.
        value: String,
    },
}

/// A service that is asked whether a request is over a limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// The object that asks for it, `namespace/name`; for people.
    pub name: String,
    /// Who is asked.
    pub cluster: ClusterKey,
    /// The domain whose descriptors are sent.
    pub domain: String,
    /// Milliseconds for the whole call; never 0.
    pub timeout_ms: u64,
    /// Whether requests are refused when the call itself fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deny_on_error: bool,
    /// Whether gRPC clients over the limit get `RESOURCE_EXHAUSTED`, not `UNAVAILABLE`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resource_exhausted: bool,
}
