//! What is written about a request when it is over: metrics, and a line of the access log.
//!
//! Copies of headers and target are made only where the listener's log is on.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Instant;

use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Version};

use super::conn::Conn;
use super::exchange::Exchange;
use crate::access_log::{AccessLog, LogHeaders};
use crate::clock;
use crate::config::Target;
use crate::error::ProxyError;
use crate::reply::{Flag, Flags, GRPC_STATUS};
use crate::request::{ClientAddress, DynamicMetadata, Facts};
use crate::upstream::Call;

/// The notes on one request.
#[derive(Default)]
pub(crate) struct Record {
    /// Status sent to the client; `None` when nothing was sent.
    pub(crate) status: Option<StatusCode>,
    /// Why that status; empty = the upstream's.
    pub(crate) details: Cow<'static, str>,
    /// Scheme of the request as its client sees it.
    pub(crate) scheme: &'static str,
    /// Who sent it.
    pub(crate) client: Option<ClientAddress>,
    /// Whether the status is the upstream's.
    pub(crate) from_upstream: bool,
    flags: Flags,
    upstream: Option<SocketAddr>,
    upstream_local: Option<SocketAddr>,
    attempts: u32,
    failure: Option<Box<str>>,
    grpc_status: Option<u16>,
    /// What side services said for the log.
    pub(crate) metadata: Option<Box<DynamicMetadata>>,
    seen: Option<Box<Seen>>,
    /// Whether the codec could not read the request: it has no method.
    unread: bool,
}

/// What the log wants of a request's head.
#[derive(Default)]
struct Seen {
    version: Version,
    method: Method,
    target: String,
    authority: String,
    headers: LogHeaders,
}

/// Room for what the log wants of a worker's requests, used again and again.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "boxes are what is handed out")]
pub(crate) struct Notes(RefCell<Vec<Box<Seen>>>);

/// When things happened.
pub(crate) struct Times {
    pub(crate) started: Instant,
    pub(crate) request_ended: Option<Instant>,
    pub(crate) response_began: Option<Instant>,
    pub(crate) ended: Instant,
}

impl Record {
    /// Adds flags.
    pub(crate) fn flag(&mut self, flags: Flags) {
        for flag in flags.iter() {
            self.flags.insert(flag);
        }
    }

    /// Notes the request as it is now, for the log.
    pub(crate) fn capture_request(&mut self, exchange: &Exchange, head: &Parts, version: Version) {
        let log = &exchange.serving.config.log;
        if !log.is_on() {
            return;
        }
        let notes = &exchange.conn.context.notes;
        let seen = self.seen.get_or_insert_with(|| notes.take());
        seen.version = version;
        seen.method.clone_from(&head.method);
        seen.target.clear();
        if let Some(target) = head.uri.path_and_query() {
            seen.target.push_str(target.as_str());
        }
        seen.authority.clear();
        let host = head.headers.get(HOST).map(HeaderValue::to_str);
        let host = host.unwrap_or_else(|| Ok(head.uri.authority().map_or("", Authority::as_str)));
        seen.authority.push_str(host.unwrap_or_default());
        log.capture_request(&head.headers, &mut seen.headers);
    }

    /// Notes that there was something that the codec could not read, for the log.
    pub(crate) fn malformed(&mut self, log: &AccessLog) {
        if log.is_on() {
            self.seen = Some(Box::default());
            self.unread = true;
        }
    }

    /// Notes the response's headers, for the log.
    pub(crate) fn capture_response(&mut self, log: &AccessLog, headers: &HeaderMap) {
        if let Some(seen) = &mut self.seen {
            log.capture_response(headers, &mut seen.headers);
            self.note_grpc_status(log, headers);
        }
    }

    /// Notes the response's trailers, for the log.
    pub(crate) fn capture_trailers(&mut self, log: &AccessLog, trailers: &HeaderMap) {
        if let Some(seen) = &mut self.seen {
            log.capture_trailers(trailers, &mut seen.headers);
            self.note_grpc_status(log, trailers);
        }
    }

    fn note_grpc_status(&mut self, log: &AccessLog, headers: &HeaderMap) {
        if log.tells_grpc_status()
            && let Some(value) = headers.get(&GRPC_STATUS)
        {
            self.grpc_status = value.to_str().ok().and_then(|text| text.parse().ok());
        }
    }

    /// Notes where the request went.
    pub(crate) fn sent(&mut self, call: &Call, error: Option<&ProxyError>) {
        self.upstream = call.upstream;
        self.upstream_local = call.local;
        self.attempts = call.attempts;
        if call.exhausted {
            self.flag(Flag::RetryLimit.into());
        }
        if call.retry_overflow {
            self.flag(Flag::UpstreamOverflow.into());
        }
        self.failure = error.and_then(|error| error.reason()).map(Into::into);
    }

    /// Writes it all down.
    pub(crate) fn write(&mut self, exchange: &Exchange, times: &Times, bytes: [u64; 2]) {
        let config = &exchange.serving.config;
        let conn = &*exchange.conn;
        let status = self.status.map_or(0, |status| status.as_u16());
        let duration = times.ended.saturating_duration_since(times.started);
        config.metrics.request(status, duration);
        if self.from_upstream {
            conn.context.metrics.upstream_response(status);
        } else {
            conn.context.metrics.local_reply(self.flags);
        }
        let Some(seen) = self.seen.take() else {
            return;
        };
        let since = |at: Instant| at.saturating_duration_since(times.started);
        let facts = Facts {
            started: clock::wall(times.started),
            version: seen.version,
            method: if self.unread {
                ""
            } else {
                seen.method.as_str()
            },
            path: &seen.target,
            authority: &seen.authority,
            scheme: self.scheme,
            status,
            details: if self.from_upstream && self.details.is_empty() {
                "via_upstream"
            } else {
                &self.details
            },
            flags: self.flags,
            bytes_received: bytes[0],
            bytes_sent: bytes[1],
            duration: Some(duration),
            request_duration: times.request_ended.map(since),
            response_duration: times.response_began.map(since),
            response_tx_duration: times
                .response_began
                .map(|at| times.ended.saturating_duration_since(at)),
            upstream: self.upstream.as_ref(),
            upstream_local: self.upstream_local.as_ref(),
            cluster: match exchange.target() {
                Some(Target::Cluster {
                    cluster: Some(cluster),
                    ..
                }) => Some(&cluster.config.stats_name),
                _ => None,
            },
            attempts: self.attempts,
            transport_failure: self.failure.as_deref(),
            route: exchange
                .chosen
                .get()
                .map(|(row, _)| row.route.name.as_str()),
            grpc_status: self.grpc_status,
            metadata: self.metadata.as_deref(),
            client: self.client.as_ref(),
            ..connection_facts(conn)
        };
        config.log.record(&facts, &seen.headers);
        conn.context.notes.give_back(seen);
    }
}

// === impl Notes ===

impl Notes {
    /// Most that are kept, and most bytes that the texts of one may have room for.
    const MOST: usize = 256;
    const LARGEST: usize = 4096;

    fn take(&self) -> Box<Seen> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    fn give_back(&self, mut seen: Box<Seen>) {
        let texts = seen.target.capacity() + seen.authority.capacity();
        let mut kept = self.0.borrow_mut();
        if kept.len() < Self::MOST && texts + seen.headers.capacity() <= Self::LARGEST {
            seen.headers.clear();
            kept.push(seen);
        }
    }
}

/// What a connection contributes to the facts of its requests.
pub(crate) fn connection_facts(conn: &Conn) -> Facts<'_> {
    Facts {
        local: conn.local.as_ref(),
        tls: conn.tls.as_ref().map(|tls| &tls.info),
        connection_id: conn.id,
        hostname: &conn.context.process.hostname,
        ..Facts::default()
    }
}
