//! The head of every response to a client: ours and the upstream's.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, SERVER,
    TRAILER,
};
use http::{HeaderMap, Response, StatusCode, Version};

use http_body::Body;

use super::body::ResponseBody;
use super::encode::Encoder;
use super::exchange::Exchange;
use super::rate_limit::OverLimit;
use crate::reply::Reply;
use crate::request::facts::{Captured, Facts};
use crate::request::{CompiledCors, CompiledPolicy, HopHeaders, will_compress};
use crate::upstream::UpstreamBody;

const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

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

/// The answer of external authorisation to a request that does not pass.
pub(crate) fn denied(
    exchange: &Rc<Exchange>,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    about: &About<'_>,
) -> Response<ResponseBody> {
    let message = String::from_utf8_lossy(&body).into_owned();
    let reply = Reply::auth_denied(status, if about.grpc { message } else { String::new() });
    {
        let mut record = exchange.record.borrow_mut();
        record.flag(reply.flags);
        record.details = reply.details.clone();
    }
    let mut response = reply.into_response(about.grpc);
    if !about.grpc {
        if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            headers.remove(CONTENT_LENGTH);
            response.headers_mut().remove(CONTENT_LENGTH);
        } else if !body.is_empty() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            let text = HeaderValue::from_static("text/plain");
            headers.entry(CONTENT_TYPE).or_insert(text);
        }
        *response.body_mut() = body;
    }
    let status = response.status();
    response.headers_mut().extend(headers);
    let headers = response.headers_mut();
    edit(exchange, headers, status, about);
    finish(exchange, headers, status, about.version, false);
    response.map(|body| ResponseBody::local(body, Rc::clone(exchange)))
}

/// The reply to a request over a limit.
pub(crate) fn over_limit(
    exchange: &Rc<Exchange>,
    over: OverLimit,
    about: &About<'_>,
) -> Response<ResponseBody> {
    let reply = Reply::over_limit(&over.body, over.resource_exhausted);
    {
        let mut record = exchange.record.borrow_mut();
        record.flag(reply.flags);
        record.details = reply.details.clone();
    }
    let mut response = reply.into_response(about.grpc);
    let status = response.status();
    let headers = response.headers_mut();
    for (name, value) in over.headers {
        if name != CONTENT_TYPE {
            headers.append(name, value);
        } else if !about.grpc {
            headers.insert(name, value);
        }
    }
    headers.insert(RATE_LIMITED, HeaderValue::from_static("true"));
    if !about.grpc {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(over.body.len()));
        *response.body_mut() = over.body;
    }
    let headers = response.headers_mut();
    edit(exchange, headers, status, about);
    finish(exchange, headers, status, about.version, false);
    response.map(|body| ResponseBody::local(body, Rc::clone(exchange)))
}

/// The answer to a preflight of CORS. The route's header edits are for what its upstream answers,
/// and do not apply.
pub(crate) fn preflight(
    exchange: &Rc<Exchange>,
    cors: &CompiledCors,
    origin: &HeaderValue,
    about: &About<'_>,
) -> Response<ResponseBody> {
    let reply = Reply::preflight();
    exchange.record.borrow_mut().details = reply.details.clone();
    let mut response = reply.into_response(false);
    let status = response.status();
    cors.answer_preflight(response.headers_mut(), origin);
    finish(
        exchange,
        response.headers_mut(),
        status,
        about.version,
        false,
    );
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
    let encoder = compress(
        exchange,
        &mut head.headers,
        head.status,
        body.is_end_stream(),
    );
    finish(
        exchange,
        &mut head.headers,
        head.status,
        about.version,
        false,
    );
    let body = ResponseBody::upstream(body, encoder, Rc::clone(exchange), trailers);
    Response::from_parts(head, body)
}

/// What compresses the body, where that is asked for and worth it; the headers say so then.
fn compress(
    exchange: &Exchange,
    headers: &mut HeaderMap,
    status: StatusCode,
    empty: bool,
) -> Option<Box<Encoder>> {
    let settings = exchange.serving.config.listener.http.compression.as_ref()?;
    let coding = will_compress(settings, exchange.coding.get(), status, headers, empty)?;
    let events = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    match Encoder::new(coding, settings, events) {
        Ok(encoder) => Some(Box::new(encoder)),
        Err(_) => {
            // As it came, then.
            headers.remove(CONTENT_ENCODING);
            None
        }
    }
}

/// The route's edits, what rate limits want, and CORS after them.
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
    for (name, value) in &*exchange.from_limits.borrow() {
        headers.append(name.clone(), value.clone());
    }
    if let Some((policy, _)) = about.policy
        && let (Some(cors), Some(origin)) = (&policy.cors, &*exchange.origin.borrow())
    {
        cors.mark_response(headers, origin);
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
