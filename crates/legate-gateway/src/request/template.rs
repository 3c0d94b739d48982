//! Evaluation of `%OPERATOR%` templates (spec/services §4.4).
//!
//! A template is compiled once: header names are parsed, and told to a [`CaptureNames`] so that
//! whoever evaluates it later knows what to copy. How a value is written (escaped, quoted, what
//! stands for a missing one) is the caller's: header edits here, lines in `access_log`.

mod push;
mod time;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::Version;
use http::header::{HeaderName, HeaderValue};
use legate_config::template::{Operator, Part as ConfigPart, Template};

use super::captured::{CaptureNames, CapturedName};
use super::client::ClientAddress;
use super::facts::{Facts, Headers};
use crate::reply::Flags;
use crate::tls::PeerCertificate;

pub(crate) use push::{push_ip, push_number};
pub(crate) use time::TimeFormat;

thread_local! {
    /// Room to put values together in.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Most bytes that the room keeps.
const MOST_SCRATCH: usize = 4096;

/// A template ready to be evaluated.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// Text as it is.
    Text(String),
    /// A value, cut after so many bytes.
    Value(Source, Option<usize>),
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// When the request began.
    StartTime(TimeFormat),
    /// The first of these request headers that is there.
    Request(Vec<Field>),
    /// The first of these response headers that is there.
    Response(Vec<Field>),
    /// The first of these trailers that is there.
    Trailer(Vec<Field>),
    /// A fact.
    Fact(Operator),
}

/// A header or pseudo-header.
#[derive(Debug, Clone)]
pub(crate) struct Field(FieldKind);

#[derive(Debug, Clone)]
enum FieldKind {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    Named(CapturedName),
}

/// Everything that a template may ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    /// The facts.
    pub(crate) facts: &'a Facts<'a>,
    /// Request headers.
    pub(crate) request: Headers<'a>,
    /// Response headers.
    pub(crate) response: Headers<'a>,
    /// Response trailers.
    pub(crate) trailers: Headers<'a>,
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// Not known.
    Missing,
    /// Bytes from the client, the upstream or the config.
    Text(&'a [u8]),
    /// A number.
    Number(u64),
    /// An address and port. It is looked at where it lies: a copy of what was just written in parts
    /// waits for them.
    Address(&'a SocketAddr),
    /// The address without the port.
    Ip(&'a SocketAddr),
    /// The trusted address of a client, and its port.
    Client(&'a ClientAddress),
    /// The same without the port.
    ClientIp(&'a ClientAddress),
    /// Flags; none are `-`.
    Flags(Flags),
    /// A time.
    Time(SystemTime, &'a TimeFormat),
}

/// Names of headers that templates over a request, its response and trailers need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Captures {
    /// Of the request.
    pub(crate) request: CaptureNames,
    /// Of the response.
    pub(crate) response: CaptureNames,
    /// Of the trailers.
    pub(crate) trailers: CaptureNames,
}

impl Compiled {
    /// Compiles a template and adds the headers that it needs to `captures`.
    pub(crate) fn build(template: &Template, captures: &mut Captures) -> Self {
        let parts = template
            .parts()
            .iter()
            .map(|part| match part {
                ConfigPart::Text(text) => Part::Text(text.clone()),
                ConfigPart::Operator(operator, max) => {
                    Part::Value(Source::build(operator, captures), *max)
                }
            })
            .collect();
        Self { parts }
    }

    /// The parts in order.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The value as a header value: what is missing is empty. `None` when the whole is empty, or is
    /// no header value.
    pub(crate) fn header_value(&self, values: &Values<'_>) -> Option<HeaderValue> {
        let mut out = SCRATCH.take();
        out.clear();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Value(source, max) => source.value(values).push(&mut out, *max),
            }
        }
        let value = (!out.is_empty()).then(|| HeaderValue::from_bytes(&out).ok());
        if out.capacity() <= MOST_SCRATCH {
            SCRATCH.set(out);
        }
        value.flatten()
    }
}

impl Source {
    fn build(operator: &Operator, captures: &mut Captures) -> Self {
        let fields = |name: &str, alternative: Option<&str>, names: &mut CaptureNames| {
            [Some(name), alternative]
                .into_iter()
                .flatten()
                .filter_map(|name| Field::build(name, names))
                .collect()
        };
        match operator {
            Operator::StartTime(format) => Self::StartTime(TimeFormat::build(format.as_deref())),
            Operator::Request(name, other) => {
                Self::Request(fields(name, other.as_deref(), &mut captures.request))
            }
            Operator::Response(name, other) => {
                Self::Response(fields(name, other.as_deref(), &mut captures.response))
            }
            Operator::Trailer(name, other) => {
                Self::Trailer(fields(name, other.as_deref(), &mut captures.trailers))
            }
            other => Self::Fact(other.clone()),
        }
    }

    /// The value at hand.
    pub(crate) fn value<'a>(&'a self, values: &Values<'a>) -> Value<'a> {
        let first = |fields: &'a [Field], headers: Headers<'a>| {
            for field in fields {
                match field.value(values.facts, headers) {
                    Value::Missing => {}
                    value => return value,
                }
            }
            Value::Missing
        };
        match self {
            Self::StartTime(format) => Value::Time(values.facts.started, format),
            Self::Request(fields) => first(fields, values.request),
            Self::Response(fields) => first(fields, values.response),
            Self::Trailer(fields) => first(fields, values.trailers),
            Self::Fact(operator) => fact(operator, values.facts),
        }
    }
}

impl Field {
    fn build(name: &str, names: &mut CaptureNames) -> Option<Self> {
        Some(Self(match name {
            ":method" => FieldKind::Method,
            ":path" => FieldKind::Path,
            ":authority" | "host" => FieldKind::Authority,
            ":scheme" => FieldKind::Scheme,
            ":status" => FieldKind::Status,
            name => FieldKind::Named(names.slot(HeaderName::try_from(name).ok()?)),
        }))
    }

    fn value<'a>(&'a self, facts: &'a Facts<'a>, headers: Headers<'a>) -> Value<'a> {
        match &self.0 {
            FieldKind::Method => text(facts.method),
            FieldKind::Path => text(facts.path),
            FieldKind::Authority => text(facts.authority),
            FieldKind::Scheme => text(facts.scheme),
            FieldKind::Status => Value::Number(facts.status.into()),
            FieldKind::Named(name) => headers.get(name).map_or(Value::Missing, Value::Text),
        }
    }
}

fn text(text: &str) -> Value<'_> {
    if text.is_empty() {
        Value::Missing
    } else {
        Value::Text(text.as_bytes())
    }
}

fn optional(value: Option<&str>) -> Value<'_> {
    value.map_or(Value::Missing, text)
}

fn millis(duration: Option<Duration>) -> Value<'static> {
    duration.map_or(Value::Missing, |duration| {
        Value::Number(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    })
}

fn address(address: Option<&SocketAddr>) -> Value<'_> {
    address.map_or(Value::Missing, Value::Address)
}

fn ip(address: Option<&SocketAddr>) -> Value<'_> {
    address.map_or(Value::Missing, Value::Ip)
}

fn port(port: Option<u16>) -> Value<'static> {
    port.map_or(Value::Missing, |port| Value::Number(port.into()))
}

fn fact<'a>(operator: &Operator, facts: &'a Facts<'a>) -> Value<'a> {
    let client = |value: fn(&'a ClientAddress) -> Value<'a>| {
        let client = facts.client;
        client.map_or(Value::Missing, value)
    };
    match operator {
        Operator::Protocol => Value::Text(protocol(facts.version).as_bytes()),
        Operator::ResponseCode => Value::Number(facts.status.into()),
        Operator::ResponseCodeDetails => text(facts.details),
        Operator::ResponseFlags => Value::Flags(facts.flags),
        Operator::BytesReceived => Value::Number(facts.bytes_received),
        Operator::BytesSent => Value::Number(facts.bytes_sent),
        Operator::Duration => millis(facts.duration),
        Operator::RequestDuration => millis(facts.request_duration),
        Operator::ResponseDuration => millis(facts.response_duration),
        Operator::ResponseTxDuration => millis(facts.response_tx_duration),
        Operator::UpstreamHost | Operator::UpstreamRemoteAddress => address(facts.upstream),
        Operator::UpstreamRemoteAddressWithoutPort => ip(facts.upstream),
        Operator::UpstreamCluster => optional(facts.cluster),
        Operator::UpstreamLocalAddress => address(facts.upstream_local),
        Operator::UpstreamRequestAttemptCount => Value::Number(facts.attempts.into()),
        Operator::UpstreamTransportFailureReason => optional(facts.transport_failure),
        Operator::DownstreamRemoteAddress => client(Value::Client),
        Operator::DownstreamRemoteAddressWithoutPort => client(Value::ClientIp),
        Operator::DownstreamRemotePort => port(facts.client.map(ClientAddress::remote_port)),
        Operator::DownstreamDirectRemoteAddress => client(|client| Value::Address(&client.peer)),
        Operator::DownstreamDirectRemoteAddressWithoutPort => {
            client(|client| Value::Ip(&client.peer))
        }
        Operator::DownstreamLocalAddress => address(facts.local),
        Operator::DownstreamLocalAddressWithoutPort => ip(facts.local),
        Operator::DownstreamLocalPort => port(facts.local.map(SocketAddr::port)),
        Operator::ConnectionId => Value::Number(facts.connection_id),
        Operator::RouteName => optional(facts.route),
        Operator::Hostname => text(facts.hostname),
        Operator::GrpcStatus => grpc_status(facts.grpc_status),
        Operator::DynamicMetadata(path) => optional(facts.metadata.and_then(|it| it.get(path))),
        other => tls_fact(other, facts),
    }
}

fn tls_fact<'a>(operator: &Operator, facts: &'a Facts<'a>) -> Value<'a> {
    let Some(tls) = facts.tls else {
        return Value::Missing;
    };
    let peer = |pick: fn(&PeerCertificate) -> &String| {
        optional(tls.peer.as_deref().map(|peer| pick(peer).as_str()))
    };
    match operator {
        Operator::RequestedServerName => optional(tls.sni.as_deref()),
        Operator::DownstreamTlsVersion => text(tls.version),
        Operator::DownstreamTlsCipher => text(tls.cipher),
        Operator::DownstreamPeerSubject => peer(|peer| &peer.subject),
        Operator::DownstreamPeerIssuer => peer(|peer| &peer.issuer),
        Operator::DownstreamPeerFingerprint256 => peer(|peer| &peer.fingerprint_256),
        _ => Value::Missing,
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_09 => "HTTP/0.9",
        _ => "HTTP/1.1",
    }
}

fn grpc_status(code: Option<u16>) -> Value<'static> {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    match code {
        None => Value::Missing,
        Some(code) => NAMES
            .get(usize::from(code))
            .map_or(Value::Number(code.into()), |name| {
                Value::Text(name.as_bytes())
            }),
    }
}

#[cfg(test)]
mod tests;
