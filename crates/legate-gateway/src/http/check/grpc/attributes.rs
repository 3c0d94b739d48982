//! What a check is told of a request and its connection.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::time::SystemTime;

use http::header::{COOKIE, HOST};
use http::{HeaderMap, Method, Version};
use prost_types::Timestamp;

use super::super::{Held, Question};
use crate::grpc::auth::{AttributeContext, AttributeRequest, HttpRequest, Peer};
use crate::grpc::types::{Address, SocketAddress};
use crate::http::conn::Conn;
use crate::http::route;
use crate::request::{CompiledPolicy, PARTIAL_BODY};

/// What the client's side calls itself.
const SERVICE: &str = "x-envoy-downstream-service-cluster";

/// Everything. `None` = the request has no host or path that could be told.
pub(super) fn of(
    question: &Question<'_>,
    held: &Held,
    policy: &CompiledPolicy,
) -> Option<AttributeContext> {
    let exchange = question.exchange;
    let conn = &*exchange.conn;
    let (host, path) = route::asked_about(exchange, &held.head)?;
    // RFC 8441 carries what HTTP/1.1 sends as a GET.
    let method = match &held.head.method {
        &Method::CONNECT => "GET",
        other => other.as_str(),
    };
    let scheme = exchange.record.borrow().scheme;
    let mut headers = joined(&held.head.headers);
    for (name, value) in [
        (":authority", host.as_str()),
        (":method", method),
        (":path", path.as_str()),
        (":scheme", scheme),
    ] {
        headers.insert(name.to_owned(), value.to_owned());
    }
    let service = headers.get(SERVICE).cloned().unwrap_or_default();
    let (body, size) = match &question.body {
        Some((body, cut)) => {
            headers.insert(PARTIAL_BODY.as_str().to_owned(), cut.to_string());
            let text = String::from_utf8_lossy(body).into_owned();
            (text, body.len() as u64)
        }
        None => (String::new(), held.body.ahead()),
    };
    let http = HttpRequest {
        id: rand::random::<u64>().to_string(),
        method: method.to_owned(),
        headers,
        path,
        host,
        scheme: scheme.to_owned(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        protocol: protocol(held.about.version).to_owned(),
        body,
    };
    let elapsed = exchange.started().elapsed();
    let arrived = SystemTime::now().checked_sub(elapsed);
    let [client, ours] = principals(conn);
    Some(AttributeContext {
        source: Some(Peer {
            address: Some(address(conn.peer.address)),
            service,
            principal: client,
        }),
        destination: Some(Peer {
            address: conn.local.map(address),
            service: String::new(),
            principal: ours,
        }),
        request: Some(AttributeRequest {
            time: arrived.map(Timestamp::from),
            http: Some(http),
        }),
        context_extensions: policy.auth_context.clone(),
    })
}

/// Who the two ends are by their certificates; empty where there is none.
fn principals(conn: &Conn) -> [String; 2] {
    let Some(secured) = &conn.tls else {
        return [String::new(), String::new()];
    };
    let client = secured.info.peer.as_deref();
    [
        client.map_or_else(String::new, |peer| peer.principal.clone()),
        secured.termination.principal.clone(),
    ]
}

fn address(address: SocketAddr) -> Address {
    Address {
        socket_address: Some(SocketAddress {
            address: address.ip().to_canonical().to_string(),
            port_value: Some(address.port().into()),
        }),
    }
}

/// All headers, each name once. The host is told as `:authority`.
fn joined(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in headers {
        if name == HOST {
            continue;
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        match all.entry(name.as_str().to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(text.into_owned());
            }
            Entry::Occupied(mut entry) => {
                let entry: &mut String = entry.get_mut();
                entry.push_str(if name == COOKIE { "; " } else { "," });
                entry.push_str(&text);
            }
        }
    }
    all
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn names_are_told_once() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("a", &b"1"[..]),
            ("a", b"2"),
            ("cookie", b"x"),
            ("cookie", b"y"),
            ("host", b"h"),
            ("b", b"\xff"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        let found = joined(&headers);
        assert_eq!(found["a"], "1,2");
        assert_eq!(found["cookie"], "x; y");
        assert_eq!(found["b"], "\u{fffd}");
        assert_eq!(found.len(), 3);
    }
}
