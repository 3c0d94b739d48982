//! Active health checks of a cluster's endpoints (spec/services §3.3).

use serde::{Deserialize, Serialize};

/// One active health check. Equal ones of one endpoint are one probe, however many clusters ask.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Milliseconds that one probe may take; never 0.
    pub timeout_ms: u64,
    /// Milliseconds between the end of one probe and the next; never 0.
    pub interval_ms: u64,
    /// Probes in a row without an answer until a healthy endpoint is unhealthy; never 0.
    pub unhealthy_threshold: u32,
    /// Good answers in a row until an unhealthy endpoint is healthy; never 0.
    pub healthy_threshold: u32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Probe {
    /// A GET, in the protocol of the cluster.
    Http(HttpProbe),
    /// `grpc.health.v1.Health/Check`.
    Grpc(GrpcProbe),
}

/// A health check by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// Host of the request.
    pub host: String,
    /// Path and query of the request.
    pub path: String,
    /// Headers added, after the removals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_headers: Vec<ProbeHeader>,
    /// Names of headers removed, lower-case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_headers: Vec<String>,
    /// Statuses that mean healthy.
    pub expected: Vec<StatusRange>,
}

/// A header of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeHeader {
    /// Its name, lower-case.
    pub name: String,
    /// Its value, as it is sent.
    pub value: String,
    /// Whether it goes beside one that is there.
    pub append: bool,
}

/// A range of statuses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StatusRange {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

/// A health check by gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcProbe {
    /// The service that is asked about.
    pub service: String,
    /// Authority of the request.
    pub authority: String,
}

impl StatusRange {
    /// Whether a status lies in the range.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        (self.min..=self.max).contains(&status)
    }
}
