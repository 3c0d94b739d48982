//! What is known about a request: the values behind `%OPERATOR%`s in header edits and access logs.
//!
//! Plain data, borrowed from whoever holds it; nothing here is computed before a template asks.
//! Headers are given live, or as [`Captured`] copies of the few that a template names, because a
//! request's headers have gone upstream by the time its log line is written.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::header::HeaderValue;
use http::{HeaderMap, Version};

use super::captured::{Captured, CapturedName};
use super::client::ClientAddress;
use super::metadata::DynamicMetadata;
use crate::reply::Flags;
use crate::tls::TlsInfo;

/// Everything known about a request at some moment; what is not known yet is `None`, empty or 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// When its first byte came.
    pub(crate) started: SystemTime,
    /// HTTP version of the client's connection.
    pub(crate) version: Version,
    /// `:method`
    pub(crate) method: &'a str,
    /// `:path`: path and query as they are now, that is, rewritten once they were rewritten.
    pub(crate) path: &'a str,
    /// `:authority`: the host as it is now.
    pub(crate) authority: &'a str,
    /// `:scheme`
    pub(crate) scheme: &'a str,
    /// Who sent it.
    pub(crate) client: Option<&'a ClientAddress>,
    /// Our address on the client's connection.
    pub(crate) local: Option<&'a SocketAddr>,
    /// TLS of the client's connection.
    pub(crate) tls: Option<&'a TlsInfo>,
    /// Number of the client's connection.
    pub(crate) connection_id: u64,
    /// Status sent to the client; 0 when nothing could be sent.
    pub(crate) status: u16,
    /// Why that status; `via_upstream` when it is the upstream's.
    pub(crate) details: &'a str,
    /// Flags.
    pub(crate) flags: Flags,
    /// Body bytes from the client.
    pub(crate) bytes_received: u64,
    /// Body bytes to the client.
    pub(crate) bytes_sent: u64,
    /// From the first byte received to the last sent.
    pub(crate) duration: Option<Duration>,
    /// From the first byte received to the last received.
    pub(crate) request_duration: Option<Duration>,
    /// From the first byte received to the upstream response's first.
    pub(crate) response_duration: Option<Duration>,
    /// From the upstream response's first byte to the last sent.
    pub(crate) response_tx_duration: Option<Duration>,
    /// Address of the upstream.
    pub(crate) upstream: Option<&'a SocketAddr>,
    /// Our address towards the upstream.
    pub(crate) upstream_local: Option<&'a SocketAddr>,
    /// Name of the cluster (`stats_name`).
    pub(crate) cluster: Option<&'a str>,
    /// How often the upstream was tried.
    pub(crate) attempts: u32,
    /// Why the upstream connection failed.
    pub(crate) transport_failure: Option<&'a str>,
    /// Name of the route.
    pub(crate) route: Option<&'a str>,
    /// Name of this machine.
    pub(crate) hostname: &'a str,
    /// gRPC status of the response, from its headers or trailers.
    pub(crate) grpc_status: Option<u16>,
    /// What side services said for access logs.
    pub(crate) metadata: Option<&'a DynamicMetadata>,
}

impl Default for Facts<'_> {
    fn default() -> Self {
        Self {
            started: SystemTime::UNIX_EPOCH,
            version: Version::HTTP_11,
            method: "",
            path: "",
            authority: "",
            scheme: "",
            client: None,
            local: None,
            tls: None,
            connection_id: 0,
            status: 0,
            details: "",
            flags: Flags::NONE,
            bytes_received: 0,
            bytes_sent: 0,
            duration: None,
            request_duration: None,
            response_duration: None,
            response_tx_duration: None,
            upstream: None,
            upstream_local: None,
            cluster: None,
            attempts: 0,
            transport_failure: None,
            route: None,
            hostname: "",
            grpc_status: None,
            metadata: None,
        }
    }
}

/// Where a template finds header values.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Headers<'a> {
    /// There are none.
    None,
    /// In the message itself.
    Live(&'a HeaderMap),
    /// In copies, made by the [`CaptureNames`](super::captured::CaptureNames) of the template.
    Captured(&'a Captured),
}

impl<'a> Headers<'a> {
    /// The first value of a name.
    pub(super) fn get(self, wanted: &CapturedName) -> Option<&'a [u8]> {
        match self {
            Self::None => None,
            Self::Live(map) => map.get(&wanted.name).map(HeaderValue::as_bytes),
            Self::Captured(captured) => captured.get(wanted),
        }
    }
}
