//! Clusters and their endpoints.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::health::HealthCheck;
use crate::key::{CaKey, CertificateKey, EndpointSetKey};
use crate::listener::TlsVersion;

/// An upstream: where its endpoints come from and how to talk to them. The key carries a hash of
/// these settings, so equal settings share one cluster and a changed one is another.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Name in metrics and access logs (`stats_name`, spec/routing §4.19).
    pub stats_name: String,
    /// Where endpoints come from.
    pub endpoints: EndpointSetKey,
    /// What is spoken to them.
    pub protocol: UpstreamProtocol,
    /// TLS origination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// How an endpoint is chosen.
    pub balancer: Balancer,
    /// Milliseconds for TCP connect and TLS handshake together; never 0.
    pub connect_timeout_ms: u64,
    /// Milliseconds after which an idle pooled connection is closed; 0 = never.
    pub idle_timeout_ms: u64,
    /// Milliseconds of age at which a connection takes no new request; 0 = none.
    pub max_lifetime_ms: u64,
    /// TCP keep-alive of upstream connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<TcpKeepalive>,
    /// Keeps clusters of equal settings apart (`cluster_tag`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// Whether it gets copies only; its connections are kept apart from all others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// DNS name for `HostRewrite::Auto`; `None` where the upstream has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Circuit breakers.
    #[serde(default, skip_serializing_if = "Breakers::is_default")]
    pub breakers: Breakers,
    /// Active health checks: an endpoint is healthy while all of them say so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_checks: Vec<HealthCheck>,
    /// Whether endpoints that fail without a response are used all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub never_eject: bool,
}

/// Circuit breakers: limits that hold for the whole process (spec/services §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Breakers {
    /// Limits of requests of default priority.
    #[serde(default)]
    pub default: Limits,
    /// Limits of requests of high priority.
    #[serde(default)]
    pub high: Limits,
}

impl Breakers {
    /// Whether all limits are those that apply when nobody says anything.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Limits of one priority class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most open connections.
    pub max_connections: u32,
    /// Most requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Most requests in flight.
    pub max_requests: u32,
    /// Most retries in flight.
    pub max_retries: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
        }
    }
}

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge on cleartext, by ALPN on TLS.
    Http2,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balancer {
    /// In turn; one cursor per cluster, shared by the workers.
    RoundRobin,
    /// Of two random ones the one with fewer requests in flight.
    LeastRequest,
    /// By a hash of the request, on a ring of points.
    RingHash,
    /// By a hash of the request, in a Maglev table.
    Maglev,
}

/// TCP keep-alive; absent parts are the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TcpKeepalive {
    /// Probes without an answer before the connection is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// Seconds of silence before the first probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_secs: Option<u32>,
    /// Seconds between probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_secs: Option<u32>,
}

/// Settings of TLS origination (spec/routing §4.13).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// Server name sent; `None` = none is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
    /// Who must have signed the upstream's certificate; `None` = not verified. Names are not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaKey>,
    /// Certificate that we present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<CertificateKey>,
    /// ALPN protocols offered besides what the cluster's protocol demands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// Lowest version.
    pub min_version: TlsVersion,
    /// Highest version.
    pub max_version: TlsVersion,
    /// Cipher suites allowed for TLS 1.2, by OpenSSL name; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Key-exchange groups; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ecdh_curves: Vec<String>,
}

/// Endpoints, or how to find them. Shared by all clusters that name its key, and updated without
/// touching routes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EndpointSet {
    /// These addresses.
    Static {
        /// The ready ones, sorted.
        endpoints: Vec<Endpoint>,
    },
    /// Addresses from DNS.
    Dns(DnsSource),
}

/// One address that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
}

/// Addresses from DNS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSource {
    /// The name to resolve, with the process's search list.
    pub name: String,
    /// The port to dial.
    pub port: u16,
    /// Every address, or only the first.
    pub mode: DnsMode,
    /// Resolve again at the record's TTL instead of every 5 s.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub respect_ttl: bool,
    /// Which addresses to ask for.
    pub families: AddressFamilies,
}

/// How many of a name's addresses are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsMode {
    /// All of them (`strict_dns`).
    All,
    /// The first (`logical_dns`).
    First,
}

/// Address families to resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressFamilies {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// IPv6, and IPv4 where there is none.
    PreferV6,
}
