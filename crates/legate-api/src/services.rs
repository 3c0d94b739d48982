//! The services that the gateway calls: authorisation, rate limiting, access logs, tracing.

mod auth;
mod log;
mod rate_limit;
mod tracing;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use auth::{AuthProtocol, AuthService, AuthServiceSpec, IncludeBody, StatusOnError};
pub use log::{AdditionalLogHeader, LogDriver, LogDriverConfig, LogService, LogServiceSpec};
pub use rate_limit::{RateLimitGrpc, RateLimitService, RateLimitServiceSpec};
pub use tracing::{
    CollectorEndpointVersion, CustomTag, TagEnvironment, TagLiteral, TagRequestHeader, TraceConfig,
    TraceDriver, TraceSampling, TracingService, TracingServiceSpec,
};

/// Version of Envoy's protocol that a service speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolVersion {
    /// The old one, not spoken any more.
    V2,
    /// The current one.
    V3,
}

/// A DevPortal is recognised so that it can be reported; only its id is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DevPortalSpec {
    /// Ids of the instances that the object is meant for.
    pub ambassador_id: Vec<String>,
}
