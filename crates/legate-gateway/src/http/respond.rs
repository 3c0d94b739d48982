//! The head of every response to a client: ours and the upstream's.

use std::rc::Rc;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SERVER, TRAILER};
use http::{HeaderMap, Response, StatusCode, Version};

use super::body::ResponseBody;
use super::exchange::Exchange;
use crate::reply::Reply;
use crate::request::facts::{Captured, Facts};
use crate::request::{CompiledPolicy, HopHeaders};
use crate::upstream::UpstreamBody;

const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// What is known of the request while its response is made.
pub(crate) struct About<'a> {
    /// Version of the client's connection.
    pub(crate) version: Version,
    /// Whether failures are told in gRPC's way.
    pub(crate) grpc: bool,
    /// The policies whose response edits apply, with the request headers that they need.
    pub(crate) policy: Option<(&'a CompiledPolicy, &'a Captured)>,
}

/// A response of ours.
pub(crate) fn local(
    exchange: &Rc<Exchange>,
    reply: Reply,
    about: &About<'_>,
) -> Response<ResponseBody> {
    {
        let mut record = exchange.record.borrow_mut();
        record.flag(reply.flags);
        record.details = reply.details.clone();
    }
    let close = reply.close;
    let overloaded = reply.overloaded;
    let mut response = reply.into_response(about.grpc);
    let status = response.status();
    let headers = response.headers_mut();
    if overloaded && !exchange.serving.config.listener.http.suppress_envoy_headers {
        headers.insert(OVERLOADED, HeaderValue::from_static("true"));
    }
    edit(exchange, headers, status, about);
    finish(exchange, headers, status, about.version, close);
    response.map(|body| ResponseBody::local(body, Rc::clone(exchange)))
}

/// The upstream's response.
pub(crate) fn upstream(
    exchange: &Rc<Exchange>,
    response: Response<UpstreamBody>,
    sent_at: Option<Instant>,
    about: &About<'_>,
) -> Response<ResponseBody> {
    let now = exchange.response_began();
    exchange.record.borrow_mut().from_upstream = true;
    let (mut head, body) = response.into_parts();
    head.version = Version::HTTP_11;
    let hop = HopHeaders::scan(&head.headers);
    hop.strip(&mut head.headers, false);
    if head.status == StatusCode::NOT_MODIFIED {
        // It would describe a body that hyper cannot see.
        head.headers.remove(CONTENT_LENGTH);
    }
    let trailers = about.version == Version::HTTP_2;
    if !trailers && hop.trailer {
        head.headers.remove(TRAILER);
    }
    edit(exchange, &mut head.headers, head.status, about);
    let settings = &exchange.serving.config.listener.http;
    if !settings.suppress_envoy_headers
        && let Some(sent_at) = sent_at
    {
        let elapsed = now.saturating_duration_since(sent_at).as_millis();
        let millis = u64::try_from(elapsed).unwrap_or(u64::MAX);
        head.headers
            .insert(SERVICE_TIME, crate::request::value_of_digits(millis));
    }
    finish(
        exchange,
        &mut head.headers,
        head.status,
        about.version,
        false,
    );
    let body = ResponseBody::upstream(body, Rc::clone(exchange), trailers);
    Response::from_parts(head, body)
}

/// The route's edits.
pub(crate) fn edit(
    exchange: &Exchange,
    headers: &mut HeaderMap,
    status: StatusCode,
    about: &About<'_>,
) {
    if let Some((policy, captured)) = about.policy {
        let client = exchange.record.borrow().client;
        let facts = Facts {
            status: status.as_u16(),
            client,
            version: about.version,
            ..super::record::connection_facts(&exchange.conn)
        };
        policy.apply_response(headers, captured, &facts);
    }
}

/// What all responses have.
pub(crate) fn finish(
    exchange: &Exchange,
    headers: &mut HeaderMap,
    status: StatusCode,
    version: Version,
    close: bool,
) {
    headers.insert(SERVER, exchange.serving.config.server.clone());
    if version != Version::HTTP_2 && (close || exchange.conn.is_ending()) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.answered(status, headers);
}

/// The same for a response after which HTTP is over: `connection` is the upgrade's.
pub(crate) fn finish_upgrade(exchange: &Exchange, headers: &mut HeaderMap, status: StatusCode) {
    headers.insert(SERVER, exchange.serving.config.server.clone());
    exchange.answered(status, headers);
}
