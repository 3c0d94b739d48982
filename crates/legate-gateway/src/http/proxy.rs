//! The one request pipeline, HTTP/1.1 and HTTP/2 alike.
//!
//! Stages in their fixed order: everything up to the target is [`route`]'s; then request headers
//! and path, upgrade check, sending, and the response ([`respond`]).

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::{RequestBody, ResponseBody};
use super::exchange::{Exchange, Expired, Unanswered};
use super::respond::{self, About};
use super::route::{self, Forward};
use super::upgrade;
use crate::config::{Plan, Target};
use crate::error::ProxyError;
use crate::reply::{Flag, Flags, Reply, is_grpc};
use crate::request::{CompiledHost, CompiledPolicy, Facts};
use crate::upstream::{Call, ClusterHandle, UpstreamBody};

/// Answers one request. Dropped before its end, it notes that the client went away.
pub(crate) async fn handle(
    exchange: Rc<Exchange>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let unanswered = Unanswered::new(Rc::clone(&exchange));
    let (mut head, body) = request.into_parts();
    let about = About {
        version: head.version,
        grpc: is_grpc(&head.headers),
        policy: None,
    };
    let on_upgrade = head.extensions.remove::<OnUpgrade>();
    let body = RequestBody::new(body, &exchange);
    let response = match route::decide(&exchange, &mut head) {
        Ok(forward) => proxy(&exchange, forward, head, body, on_upgrade, about).await,
        Err(reply) => {
            note(&exchange, &head, about.version);
            respond::local(&exchange, reply, &about)
        }
    };
    unanswered.defuse();
    response
}

/// Copies what the access log wants of the request as it is now.
fn note(exchange: &Exchange, head: &Parts, version: Version) {
    let log = &exchange.serving.config.log;
    exchange
        .record
        .borrow_mut()
        .capture_request(log, head, version);
}

/// Sends a request to its target and makes the response.
async fn proxy(
    exchange: &Rc<Exchange>,
    forward: Forward,
    mut head: Parts,
    body: RequestBody,
    on_upgrade: Option<OnUpgrade>,
    about: About<'_>,
) -> Response<ResponseBody> {
    let row = Arc::clone(&forward.row);
    let Some(Target::Cluster { cluster, policy }) = target(&row.payload, forward.target) else {
        note(exchange, &head, about.version);
        return respond::local(exchange, Reply::cluster_not_found(), &about);
    };
    exchange.limit(policy.timeout, policy.idle_timeout);
    let asked = forward.upgrade.is_some();
    let prepared = match (&forward.upgrade, cluster) {
        (Some(token), _) if !policy.allows_upgrade(token) => Err(Reply::upgrade_refused()),
        (_, None) => Err(Reply::cluster_not_found()),
        (_, Some(cluster)) => {
            prepare(exchange, forward, &mut head, (cluster, policy), &about).map(|()| cluster)
        }
    };
    let captured = policy.capture(&head.headers);
    let about = About {
        policy: Some((policy, &captured)),
        ..about
    };
    note(exchange, &head, about.version);
    let cluster = match prepared {
        Ok(cluster) => cluster,
        Err(reply) => return respond::local(exchange, reply, &about),
    };
    let mut call = Call {
        upgrade: asked,
        bodyless: body.is_end_stream(),
        ..Call::default()
    };
    let request = Request::from_parts(head, body);
    match send(exchange, cluster, request, &mut call).await {
        Ok(response) if asked && response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            upgrade::accept(exchange, response, on_upgrade, &about)
        }
        Ok(response) => respond::upstream(exchange, response, call.sent_at, &about),
        Err(reply) => respond::local(exchange, reply, &about),
    }
}

fn target(plan: &Plan, index: usize) -> Option<&Target> {
    match plan {
        Plan::Forward(targets) => targets.get(index),
        Plan::Redirect(_) | Plan::Probe(_) | Plan::Fail(_) => None,
    }
}

/// Sends within the route's limits.
async fn send(
    exchange: &Rc<Exchange>,
    cluster: &Arc<ClusterHandle>,
    request: Request<RequestBody>,
    call: &mut Call,
) -> Result<Response<UpstreamBody>, Reply> {
    let outcome = {
        let mut sending = pin!(exchange.conn.context.pool.send(cluster, request, call));
        poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            // What is dropped then is the upstream's share of the request, and its connection.
            Poll::Pending => exchange.poll_expired(cx).map(Err),
        })
        .await
    };
    let mut record = exchange.record.borrow_mut();
    match outcome {
        Ok(Ok(response)) => {
            record.sent(call, None);
            Ok(response)
        }
        Ok(Err(error)) => {
            record.sent(call, Some(&error));
            Err(failure(&error))
        }
        Err(expired) => {
            record.sent(call, None);
            Err(match expired {
                Expired::Route => Reply::route_timeout(),
                Expired::Idle => Reply::stream_idle(exchange.is_request_complete()),
            })
        }
    }
}

/// The reply to a failure on the way upstream.
fn failure(error: &ProxyError) -> Reply {
    let flags = Flag::parse(error.flag()).map_or(Flags::NONE, Flags::from);
    Reply::new(error.status(), error.body(), flags, error.details())
}

/// Gives a request the form in which it is sent.
fn prepare(
    exchange: &Exchange,
    forward: Forward,
    head: &mut Parts,
    (cluster, policy): (&ClusterHandle, &CompiledPolicy),
    about: &About<'_>,
) -> Result<(), Reply> {
    let conn = &*exchange.conn;
    if let Some(host) = forward.host
        && let Ok(host) = HeaderValue::try_from(host)
    {
        head.headers.insert(HOST, host);
    }
    let authority = head.headers.get(HOST).cloned();
    let facts = Facts {
        started: std::time::SystemTime::now(),
        version: about.version,
        method: head.method.as_str(),
        path: head.uri.path_and_query().map_or("", PathAndQuery::as_str),
        authority: text(authority.as_ref()),
        scheme: forward.scheme,
        client: exchange.record.borrow().client,
        cluster: Some(&cluster.config.stats_name),
        route: Some(&forward.row.route.name),
        ..super::record::connection_facts(conn)
    };
    policy.apply_request(&mut head.headers, &facts);
    match &policy.host {
        CompiledHost::Keep => {}
        CompiledHost::Literal(host) => {
            head.headers.insert(HOST, host.clone());
        }
        CompiledHost::Auto => {
            if let Some(host) = &cluster.host_name {
                head.headers.insert(HOST, host.clone());
            }
        }
    }
    let settings = &exchange.serving.config.listener.http;
    policy.apply_generated(&mut head.headers, forward.original.as_deref(), settings);
    if forward.upgrade.is_some() && about.version == Version::HTTP_2 {
        upgrade::as_http1(head, forward.upgrade);
    }
    head.version = Version::HTTP_11;
    set_path(&mut head.uri, forward.path)
}

fn text(value: Option<&HeaderValue>) -> &str {
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Makes the URI origin-form, with a new path and query if there is one.
fn set_path(uri: &mut Uri, path: Option<String>) -> Result<(), Reply> {
    let path = match path {
        Some(path) => Some(
            PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|_| Reply::bad_path())?,
        ),
        None if uri.authority().is_some() || uri.scheme().is_some() => Some(
            uri.path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        ),
        None => None,
    };
    if let Some(path) = path {
        *uri = Uri::from(path);
    }
    Ok(())
}
