//! The head of every response to a client: ours and the upstream's.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, SERVER,
    TRAILER,
};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, Version};

use http_body::Body;

use super::affinity;
use super::body::ResponseBody;
use super::encode::Encoder;
use super::exchange::Exchange;
use super::grpc;
use super::rate_limit::OverLimit;
use crate::framing::is_grpc_response;
use crate::reply::{GRPC_STATUS, Reply};
use crate::request::captured::Captured;
use crate::request::facts::Facts;
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
    told(exchange, &reply);
    let close = reply.close;
    let overloaded = reply.overloaded;
    let mut response = grpc_form(exchange, reply.into_response(about.grpc), about);
    if overloaded && !exchange.serving.config.listener.http.suppress_envoy_headers {
        let headers = response.headers_mut();
        headers.insert(OVERLOADED, HeaderValue::from_static("true"));
    }
    complete(exchange, response, about, close)
}

/// A response of ours with what all have.
fn complete(
    exchange: &Rc<Exchange>,
    mut response: Response<Bytes>,
    about: &About<'_>,
    close: bool,
) -> Response<ResponseBody> {
    let status = response.status();
    let headers = response.headers_mut();
    edit(exchange, headers, status, about);
    finish(exchange, headers, status, about.version, close);
    response.map(|body| ResponseBody::local(body, Rc::clone(exchange)))
}

/// What the record says of a reply of ours.
fn told(exchange: &Exchange, reply: &Reply) {
    let mut record = exchange.record.borrow_mut();
    record.flag(reply.flags);
    record.details = reply.details.clone();
}

/// A reply to a gRPC request in its client's form.
fn grpc_form(exchange: &Exchange, reply: Response<Bytes>, about: &About<'_>) -> Response<Bytes> {
    if about.grpc {
        if let Some(call) = exchange.grpc.call() {
            call.answered(exchange, reply.headers());
        }
        grpc::local(exchange, reply)
    } else {
        reply
    }
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
    told(exchange, &reply);
    let mut response = grpc_form(exchange, reply.into_response(about.grpc), about);
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
    response.headers_mut().extend(headers);
    complete(exchange, response, about, false)
}

/// The reply to a request over a limit.
pub(crate) fn over_limit(
    exchange: &Rc<Exchange>,
    over: OverLimit,
    about: &About<'_>,
) -> Response<ResponseBody> {
    let reply = Reply::over_limit(&over.body, over.resource_exhausted);
    told(exchange, &reply);
    let mut response = grpc_form(exchange, reply.into_response(about.grpc), about);
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
    complete(exchange, response, about, false)
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
    let (mut head, body) = response.into_parts();
    let trailers = upstream_head(exchange, &mut head, sent_at, about);
    let web = exchange.grpc.web();
    let body = if let Some(form) = web.filter(|_| is_grpc_response(&head.headers)) {
        let early = form.answer(&mut head.headers);
        exchange.trailers(&early);
        ResponseBody::web(body, form.writer(early), Rc::clone(exchange))
    } else {
        let empty = body.is_end_stream();
        let encoder = compress(exchange, &mut head.headers, head.status, empty);
        ResponseBody::upstream(body, encoder, Rc::clone(exchange), trailers)
    };
    finish(
        exchange,
        &mut head.headers,
        head.status,
        about.version,
        false,
    );
    Response::from_parts(head, body)
}

/// The upstream's response to a request that came by the bridge: its trailers are headers, and say
/// what the status is.
pub(crate) fn bridged(
    exchange: &Rc<Exchange>,
    response: Response<(Bytes, HeaderMap)>,
    sent_at: Option<Instant>,
    about: &About<'_>,
) -> Response<ResponseBody> {
    let (mut head, (body, trailers)) = response.into_parts();
    upstream_head(exchange, &mut head, sent_at, about);
    exchange.trailers(&trailers);
    for (name, value) in &trailers {
        head.headers.insert(name, value.clone());
    }
    // A trailer is no place for these.
    HopHeaders::scan(&head.headers).strip(&mut head.headers, false);
    head.status = grpc::bridge(head.headers.get(&GRPC_STATUS));
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    finish(
        exchange,
        &mut head.headers,
        head.status,
        about.version,
        false,
    );
    Response::from_parts(head, ResponseBody::local(body, Rc::clone(exchange)))
}

/// What becomes of the head of every response of an upstream. Whether trailers may follow.
fn upstream_head(
    exchange: &Exchange,
    head: &mut Parts,
    sent_at: Option<Instant>,
    about: &About<'_>,
) -> bool {
    let now = exchange.response_began();
    exchange.record.borrow_mut().from_upstream = true;
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
    affinity::mark(exchange, &mut head.headers);
    if let Some(call) = exchange.grpc.call() {
        call.answered(exchange, &head.headers);
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
    trailers
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

/// The route's edits, those of rate limits and of external authorisation, and CORS after them: the
/// reverse of the order in which they see the request.
pub(crate) fn edit(
    exchange: &Exchange,
    headers: &mut HeaderMap,
    status: StatusCode,
    about: &About<'_>,
) {
    if let Some((policy, captured)) = about.policy.filter(|(policy, _)| policy.edits_responses()) {
        let client = exchange.record.borrow().client;
        let facts = || Facts {
            status: status.as_u16(),
            client: client.as_ref(),
            version: about.version,
            ..super::record::connection_facts(&exchange.conn)
        };
        let values = policy.response_values(headers, captured, facts);
        policy.apply_response(headers, values);
    }
    for (name, value) in &*exchange.from_limits.borrow() {
        headers.append(name.clone(), value.clone());
    }
    for wanted in &*exchange.from_auth.borrow() {
        wanted.apply_to_response(headers);
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

/// Closes the connection after a response to HTTP/1.0 whose end is nothing but that, or that says so
/// already; hyper keeps it otherwise, where the client wants that.
pub(crate) fn as_http10(response: &mut Response<ResponseBody>) {
    let sized = response.headers().contains_key(CONTENT_LENGTH)
        || response.body().size_hint().exact().is_some();
    let close = HeaderValue::from_static("close");
    if !sized || response.headers().get(CONNECTION) == Some(&close) {
        *response.version_mut() = Version::HTTP_10;
        response.headers_mut().insert(CONNECTION, close);
    }
}

/// The same for a response after which HTTP is over: `connection` is the upgrade's.
pub(crate) fn finish_upgrade(exchange: &Exchange, headers: &mut HeaderMap, status: StatusCode) {
    headers.insert(SERVER, exchange.serving.config.server.clone());
    exchange.answered(status, headers);
}
