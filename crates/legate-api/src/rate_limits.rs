//! Limits without a service: our own RateLimitPolicy, and Edge Stack's RateLimit.

mod edge_stack;
mod policy;

pub use edge_stack::{
    InjectedHeader, RateLimit, RateLimitAction, RateLimitErrorResponse, RateLimitLimit,
    RateLimitSpec,
};
pub use policy::{
    Enforcement, LimitDescriptor, LimitRate, LimitReplaces, RateLimitHeaders, RateLimitPolicy,
    RateLimitPolicySpec, RateLimitStore,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Unit of time of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LimitUnit {
    /// One second.
    Second,
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
    /// 365 days.
    Year,
}
