//! Who the client is, and the headers that say so towards the upstream (spec/routing §3.10,
//! spec/services §§5.1–5.3).
//!
//! Hop-by-hop headers are gone before anything here runs (see [`super::hop`]).

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{EXPECT, HeaderName, HeaderValue};
use legate_config::http::HttpSettings;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_ENVOY_EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// Headers that a client must not send: they would steer, or lie about, what we do.
static FROM_PROXIES_ONLY: [HeaderName; 19] = [
    HeaderName::from_static("x-envoy-retry-on"),
    HeaderName::from_static("x-envoy-retry-grpc-on"),
    HeaderName::from_static("x-envoy-max-retries"),
    HeaderName::from_static("x-envoy-upstream-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-alt-stat-name"),
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-force-trace"),
    HeaderName::from_static("x-envoy-decorator-operation"),
    HeaderName::from_static("x-envoy-ip-tags"),
    HeaderName::from_static("x-envoy-original-path"),
    HeaderName::from_static("x-envoy-original-url"),
    HeaderName::from_static("x-envoy-hedge-on-per-try-timeout"),
    HeaderName::from_static("x-envoy-retriable-status-codes"),
    HeaderName::from_static("x-envoy-retriable-header-names"),
    HeaderName::from_static("x-envoy-downstream-service-cluster"),
    HeaderName::from_static("x-envoy-downstream-service-node"),
    HeaderName::from_static("x-envoy-internal"),
    X_ENVOY_EXTERNAL_ADDRESS,
];

/// The other end of a connection, made once per connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Its address, IPv4-mapped ones unmapped.
    pub(crate) address: SocketAddr,
    /// The IP as a header value, so that requests share one allocation.
    text: HeaderValue,
}

impl Peer {
    /// The peer at this address.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self {
            address,
            text: ip_value(address.ip()),
        }
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress {
    /// The connection's other end.
    pub(crate) peer: SocketAddr,
    /// The address that we believe: the peer's, or one from `x-forwarded-for`.
    pub(crate) trusted: IpAddr,
}

impl ClientAddress {
    /// The trusted address, with the peer's port if it is the peer's, else with 0.
    pub(crate) fn remote(&self) -> SocketAddr {
        if self.trusted == self.peer.ip() {
            self.peer
        } else {
            SocketAddr::new(self.trusted, 0)
        }
    }

    /// The port of [`Self::remote`].
    pub(crate) fn remote_port(&self) -> u16 {
        if self.trusted == self.peer.ip() {
            self.peer.port()
        } else {
            0
        }
    }
}

/// What [`apply_forwarded`] found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// `x-forwarded-proto` is exactly `https` now; the security model may ask for it.
    pub(crate) proto_is_https: bool,
    /// Scheme of the request as its client sees it: the forwarded one if it is a scheme, else the
    /// connection's.
    pub(crate) scheme: &'static str,
}

/// Decides the trusted client address from the headers as received.
pub(crate) fn decide(headers: &HeaderMap, peer: &Peer, settings: &HttpSettings) -> ClientAddress {
    let hops = settings.trusted_hops as usize;
    let from_right = match (settings.use_remote_address, hops) {
        (true, 0) => None,
        (true, hops) => Some(hops),
        (false, hops) => Some(hops.saturating_add(1)),
    };
    let trusted = from_right
        .and_then(|position| nth_from_right(headers, position))
        .unwrap_or_else(|| peer.address.ip());
    ClientAddress {
        peer: peer.address,
        trusted,
    }
}

/// The address at a position from the right (1 = last) over all `x-forwarded-for` lines.
fn nth_from_right(headers: &HeaderMap, position: usize) -> Option<IpAddr> {
    let lines = headers.get_all(X_FORWARDED_FOR);
    let text = lines
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .nth(position.checked_sub(1)?)?;
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// Rewrites the headers that tell the upstream about the client: removes what only proxies may
/// send, then sets `x-forwarded-for`, `x-forwarded-proto`, `x-envoy-external-address` and
/// `x-request-id`.
pub(crate) fn apply_forwarded(
    headers: &mut HeaderMap,
    peer: &Peer,
    client: &ClientAddress,
    tls: bool,
    settings: &HttpSettings,
) -> Forwarded {
    let was_forwarded = remove_proxy_headers(headers);
    if settings.use_remote_address {
        let forwarded_for = if was_forwarded {
            append_peer(headers, peer)
        } else {
            peer.text.clone()
        };
        headers.insert(X_FORWARDED_FOR, forwarded_for);
    }
    let forwarded = forwarded_proto(headers, tls, settings);
    if !settings.suppress_envoy_headers {
        let value = if client.trusted == peer.address.ip() {
            peer.text.clone()
        } else {
            ip_value(client.trusted)
        };
        headers.insert(X_ENVOY_EXTERNAL_ADDRESS, value);
    }
    if !(settings.preserve_external_request_id && headers.contains_key(X_REQUEST_ID)) {
        headers.insert(X_REQUEST_ID, request_id());
    }
    forwarded
}

/// One walk over the names; the removals, which are the rare case, hash. Whether there is an
/// `x-forwarded-for`.
fn remove_proxy_headers(headers: &mut HeaderMap) -> bool {
    let mut forwarded_for = false;
    let mut envoy = false;
    let mut certificate = false;
    let mut expect = false;
    for name in headers.keys() {
        let name = name.as_str();
        forwarded_for |= name == "x-forwarded-for";
        envoy |= name.starts_with("x-envoy-");
        certificate |= name == "x-forwarded-client-cert";
        expect |= name == "expect";
    }
    if envoy {
        for name in &FROM_PROXIES_ONLY {
            headers.remove(name);
        }
    }
    if certificate {
        headers.remove(X_FORWARDED_CLIENT_CERT);
    }
    if expect {
        // hyper answers `100-continue` itself.
        headers.remove(EXPECT);
    }
    forwarded_for
}

fn append_peer(headers: &HeaderMap, peer: &Peer) -> HeaderValue {
    let lines = headers.get_all(X_FORWARDED_FOR);
    let mut joined = Vec::with_capacity(128);
    for line in lines.iter().filter(|line| !line.is_empty()) {
        joined.extend_from_slice(line.as_bytes());
        joined.push(b',');
    }
    joined.extend_from_slice(peer.text.as_bytes());
    HeaderValue::from_maybe_shared(Bytes::from(joined)).unwrap_or_else(|_| peer.text.clone())
}

fn forwarded_proto(headers: &mut HeaderMap, tls: bool, settings: &HttpSettings) -> Forwarded {
    let actual = if tls { "https" } else { "http" };
    let trusted = !settings.use_remote_address || settings.trusted_hops > 0;
    if trusted {
        let mut values = headers.get_all(X_FORWARDED_PROTO).iter();
        if let Some(first) = values.next() {
            // Several lines are a list, which is not exactly a scheme.
            let only = values.next().is_none();
            return Forwarded {
                proto_is_https: only && first == "https",
                scheme: match first.as_bytes() {
                    b"https" if only => "https",
                    b"http" if only => "http",
                    _ => actual,
                },
            };
        }
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(actual));
    Forwarded {
        proto_is_https: tls,
        scheme: actual,
    }
}

fn ip_value(ip: IpAddr) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(ip.to_string()))
        .unwrap_or_else(|_| HeaderValue::from_static("0.0.0.0"))
}

thread_local! {
    static RANDOM: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
    /// Room for the values of many requests: a piece of it costs neither an allocation when it is
    /// made nor one when it is shared.
    static ROOM: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Bytes that are allocated at once for short values.
const BLOCK: usize = 4096;

/// A short header value, as a piece of a block that many share.
fn short_value(text: &[u8]) -> Option<HeaderValue> {
    let piece = ROOM.with_borrow_mut(|room| {
        if room.capacity() < text.len() {
            *room = BytesMut::with_capacity(BLOCK.max(text.len()));
        }
        room.extend_from_slice(text);
        room.split().freeze()
    });
    HeaderValue::from_maybe_shared(piece).ok()
}

/// A number as a header value.
pub(crate) fn value_of_digits(number: u64) -> HeaderValue {
    let mut text = [b'0'; 20];
    let mut start = text.len();
    let mut rest = number;
    for (at, slot) in text.iter_mut().enumerate().rev() {
        *slot = b'0' | u8::try_from(rest % 10).unwrap_or(0);
        start = at;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.get(start..)
        .and_then(short_value)
        .unwrap_or_else(|| HeaderValue::from(number))
}

/// 64 random bits from this thread's generator. Fast, and not for secrets.
pub(crate) fn random_u64() -> u64 {
    RANDOM.with_borrow_mut(RngCore::next_u64)
}

/// A version 4 UUID. Unique, not secret.
fn request_id() -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let high = (random_u64() & !0xf000) | 0x4000;
    let low = (random_u64() & !(0b11 << 62)) | (0b10 << 62);
    let mut text = [b'-'; 36];
    let mut places = text.iter_mut().enumerate();
    for byte in high.to_be_bytes().into_iter().chain(low.to_be_bytes()) {
        for digit in [byte >> 4, byte & 15] {
            let place = places.find(|(at, _)| !matches!(at, 8 | 13 | 18 | 23));
            if let Some((_, place)) = place {
                *place = HEX.get(usize::from(digit)).copied().unwrap_or(b'0');
            }
        }
    }
    short_value(&text).unwrap_or_else(|| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests;
