//! `envoy.service.ratelimit.v3` (spec/services §6.2).

use super::types::HeaderValue;

/// The method.
pub(crate) const SHOULD_RATE_LIMIT: &str =
    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// The question.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RateLimitRequest {
    /// Whose limits are meant.
    #[prost(string, tag = "1")]
    pub(crate) domain: String,
    /// What counts.
    #[prost(message, repeated, tag = "2")]
    pub(crate) descriptors: Vec<Descriptor>,
    /// How much is taken; 0 = 1.
    #[prost(uint32, tag = "3")]
    pub(crate) hits_addend: u32,
}

/// `envoy.extensions.common.ratelimit.v3.RateLimitDescriptor`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Descriptor {
    /// What it is made of.
    #[prost(message, repeated, tag = "1")]
    pub(crate) entries: Vec<Entry>,
    /// A limit that goes before the service's own.
    #[prost(message, optional, tag = "2")]
    pub(crate) limit: Option<LimitOverride>,
    /// How much is taken from this one.
    #[prost(message, optional, tag = "3")]
    pub(crate) hits_addend: Option<u64>,
}

/// `RateLimitDescriptor.Entry`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Entry {
    /// Key.
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// `RateLimitDescriptor.RateLimitOverride`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LimitOverride {
    /// How many.
    #[prost(uint32, tag = "1")]
    pub(crate) requests_per_unit: u32,
    /// In what time: 1 second, 2 minute, 3 hour, 4 day, 5 month, 6 year, 7 week.
    #[prost(int32, tag = "2")]
    pub(crate) unit: i32,
}

/// The answer.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RateLimitResponse {
    /// 0 unknown, 1 within, 2 over.
    #[prost(int32, tag = "1")]
    pub(crate) overall_code: i32,
    /// One for each descriptor.
    #[prost(message, repeated, tag = "2")]
    pub(crate) statuses: Vec<DescriptorStatus>,
    /// Headers for the client.
    #[prost(message, repeated, tag = "3")]
    pub(crate) response_headers_to_add: Vec<HeaderValue>,
    /// Headers for the upstream.
    #[prost(message, repeated, tag = "4")]
    pub(crate) request_headers_to_add: Vec<HeaderValue>,
    /// Body of the response to a request that is over.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) raw_body: bytes::Bytes,
}

/// What became of a descriptor.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DescriptorStatus {
    /// As of the whole.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    /// The limit, if there is one.
    #[prost(message, optional, tag = "2")]
    pub(crate) current_limit: Option<RateLimit>,
    /// How many are left.
    #[prost(uint32, tag = "3")]
    pub(crate) limit_remaining: u32,
    /// When it starts anew.
    #[prost(message, optional, tag = "4")]
    pub(crate) duration_until_reset: Option<prost_types::Duration>,
}

/// A limit.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RateLimit {
    /// How many.
    #[prost(uint32, tag = "1")]
    pub(crate) requests_per_unit: u32,
    /// In what time, as in [`LimitOverride`].
    #[prost(int32, tag = "2")]
    pub(crate) unit: i32,
    /// What it is called.
    #[prost(string, tag = "3")]
    pub(crate) name: String,
}
