//! The one request pipeline, HTTP/1.1 and HTTP/2 alike.
//!
//! Stages in their fixed order: everything up to the target is [`route`]'s; then external
//! authorisation ([`check`]), after which the target is looked for again; then the upgrade check,
//! request headers and path, sending, and the response ([`respond`]).

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{ACCEPT_ENCODING, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::affinity;
use super::body::{RequestBody, ResponseBody};
use super::check::{self, Held};
use super::exchange::{Exchange, Expired, Unanswered};
use super::mirror;
use super::respond::{self, About};
use super::route::{self, Decision, Forward};
use super::upgrade;
use crate::config::Target;
use crate::error::{ErrorKind, ProxyError};
use crate::reply::{Flag, Flags, Reply, grpc_timeout, is_grpc};
use crate::request::facts::Captured;
use crate::request::{CompiledHost, CompiledPolicy, Facts, accepted, wants_preflight};
use crate::upstream::{Call, ClusterHandle, Slot, UpstreamBody, outgoing};

/// Answers one request. Everything up to the sending happens at once; the future that is returned
/// is small, because each connection has room for one. Dropped before its end, it notes that the
/// client went away.
pub(crate) fn handle(
    exchange: Rc<Exchange>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    let unanswered = Unanswered::new(Rc::clone(&exchange));
    match begin(&exchange, request) {
        Begun::Decided(Step::Answered(response)) => Either::Left(Either::Left(async move {
            unanswered.defuse();
            Ok(response)
        })),
        Begun::Decided(Step::Send(sending)) => Either::Right(answer(exchange, unanswered, sending)),
        // Only requests that are checked pay for the room that this takes.
        Begun::Held(held) => {
            Either::Left(Either::Right(Box::pin(checked(exchange, unanswered, held))))
        }
    }
}

/// Asks whether a request may pass, and goes on with it, or with the refusal.
async fn checked(
    exchange: Rc<Exchange>,
    unanswered: Unanswered,
    mut held: Box<Held>,
) -> Result<Response<ResponseBody>, Infallible> {
    let response = match check::ask(&exchange, &mut held).await {
        Ok(()) => match resume(&exchange, *held) {
            Step::Answered(response) => response,
            Step::Send(sending) => return answer(exchange, unanswered, sending).await,
        },
        Err(refusal) => check::refuse(&exchange, &held, refusal),
    };
    unanswered.defuse();
    Ok(response)
}

/// Goes on with a request that may pass; its route is looked for again.
fn resume(exchange: &Rc<Exchange>, held: Held) -> Step {
    let Held {
        head,
        body,
        mut arrived,
        about,
        on_upgrade,
        ..
    } = held;
    exchange.passed();
    match route::decide(exchange, &head, &mut arrived, true) {
        Ok(Decision::Forward(forward)) => proceed(exchange, head, body, forward, about, on_upgrade),
        // It is not asked for twice; were it, nothing would be the safe answer.
        Ok(Decision::Check(..)) => {
            Step::Answered(respond::local(exchange, Reply::cluster_not_found(), &about))
        }
        Err(reply) => {
            note(exchange, &head, about.version);
            Step::Answered(respond::local(exchange, reply, &about))
        }
    }
}

/// Sends the request and makes a response of what comes of it.
///
/// What the future holds is used where it lies: each binding of its own would be a second place in
/// a future that is moved, and kept per connection.
#[expect(
    clippy::manual_async_fn,
    reason = "an async function holds its arguments twice"
)]
fn answer(
    exchange: Rc<Exchange>,
    unanswered: Unanswered,
    mut sending: Sending,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    async move {
        let response = match exchange.target() {
            Some(Target::Cluster {
                cluster: Some(cluster),
                policy,
                ..
            }) => {
                let outcome = {
                    let pool = &exchange.conn.context.pool;
                    let slot = &mut sending.slot;
                    let call = &mut sending.call;
                    // Rare, and larger: what every connection has room for stays small.
                    let mut sent = pin!(match &policy.retry {
                        None => Either::Left(pool.send_slot(cluster, slot, call)),
                        Some(retry) => {
                            Either::Right(Box::pin(pool.send_retrying(cluster, slot, call, retry)))
                        }
                    });
                    poll_fn(|cx| match sent.as_mut().poll(cx) {
                        Poll::Ready(result) => Poll::Ready(Ok(result)),
                        // What is dropped then is the upstream's share of the request, and its
                        // connection.
                        Poll::Pending => exchange.poll_expired(cx).map(Err),
                    })
                    .await
                };
                sending.slot.clear();
                let about = About {
                    policy: Some((policy, &sending.captured)),
                    ..sending.about
                };
                let on_upgrade = sending.on_upgrade.take();
                finish(&exchange, outcome, &sending.call, on_upgrade, &about)
            }
            _ => respond::local(&exchange, Reply::cluster_not_found(), &sending.about),
        };
        unanswered.defuse();
        Ok(response)
    }
}

/// A request whose route is known, for now.
#[expect(
    clippy::large_enum_variant,
    reason = "most are the large one, which is taken apart at once"
)]
enum Begun {
    /// What follows.
    Decided(Step),
    /// Somebody is asked first.
    Held(Box<Held>),
}

/// What follows from a request's headers.
enum Step {
    /// A reply of ours.
    Answered(Response<ResponseBody>),
    /// The request as it is to be sent.
    Send(Sending),
}

/// What is sent, and what is needed once the upstream has answered.
struct Sending {
    slot: Slot,
    captured: Captured,
    on_upgrade: Option<OnUpgrade>,
    call: Call,
    about: About<'static>,
}

/// The stages before sending.
fn begin(exchange: &Rc<Exchange>, request: Request<Incoming>) -> Begun {
    let (mut head, body) = request.into_parts();
    let about = About {
        version: head.version,
        grpc: is_grpc(&head.headers),
        policy: None,
    };
    let on_upgrade = head.extensions.remove::<OnUpgrade>();
    let body = RequestBody::new(body, exchange);
    let decided = route::arrive(exchange, &mut head).and_then(|mut arrived| {
        let decision = route::decide(exchange, &head, &mut arrived, false)?;
        Ok((arrived, decision))
    });
    match decided {
        Ok((_, Decision::Forward(forward))) => {
            Begun::Decided(proceed(exchange, head, body, forward, about, on_upgrade))
        }
        Ok((arrived, Decision::Check(row, target))) => {
            // Preflights carry no credentials: who asks about them would refuse every script.
            let preflight = check::policy(&row, target)
                .and_then(|policy| cross_origin(exchange, &head, policy, &about));
            if let Some(answer) = preflight {
                return Begun::Decided(Step::Answered(answer));
            }
            Begun::Held(Box::new(Held {
                head,
                body,
                arrived,
                about,
                on_upgrade,
                row,
                target,
            }))
        }
        Err(reply) => {
            note(exchange, &head, about.version);
            Begun::Decided(Step::Answered(respond::local(exchange, reply, &about)))
        }
    }
}

/// CORS of the target that wins: remembers the client's origin for the response, where it is allowed,
/// and answers a preflight.
fn cross_origin(
    exchange: &Rc<Exchange>,
    head: &Parts,
    policy: &CompiledPolicy,
    about: &About<'static>,
) -> Option<Response<ResponseBody>> {
    let allowed = policy
        .cors
        .as_ref()
        .and_then(|cors| Some((cors, cors.allowed(&head.headers)?)));
    // Of another target than before, perhaps, where authorisation changed headers.
    *exchange.origin.borrow_mut() = allowed.map(|(_, origin)| origin.clone());
    let (cors, origin) = allowed?;
    wants_preflight(&head.method, &head.headers).then(|| {
        note(exchange, head, about.version);
        respond::preflight(exchange, cors, origin, about)
    })
}

/// The stages between a request's final route and its sending.
fn proceed(
    exchange: &Rc<Exchange>,
    mut head: Parts,
    body: RequestBody,
    forward: Forward,
    about: About<'static>,
    on_upgrade: Option<OnUpgrade>,
) -> Step {
    let Some(Target::Cluster {
        cluster, policy, ..
    }) = exchange.target()
    else {
        note(exchange, &head, about.version);
        return Step::Answered(respond::local(exchange, Reply::cluster_not_found(), &about));
    };
    if let Some(answer) = cross_origin(exchange, &head, policy, &about) {
        return Step::Answered(answer);
    }
    if let Some(compression) = &exchange.serving.config.listener.http.compression {
        exchange.coding.set(accepted(&head.headers));
        if compression.hide_accept_encoding {
            head.headers.remove(ACCEPT_ENCODING);
        }
    }
    exchange.limit(policy.timeout, policy.idle_timeout);
    if about.grpc
        && let Some(limit) = grpc_timeout(&head.headers)
    {
        exchange.set_deadline(limit);
    }
    let key = affinity::key(exchange, policy, &head.headers);
    let upgrade = forward.upgrade.is_some();
    let prepared = match (&forward.upgrade, cluster) {
        (Some(token), _) if !policy.allows_upgrade(token) => Err(Reply::upgrade_refused()),
        (_, None) => Err(Reply::cluster_not_found()),
        (_, Some(cluster)) => prepare(exchange, forward, &mut head, (cluster, policy), &about),
    };
    let captured = policy.capture(&head.headers);
    note(exchange, &head, about.version);
    if let Err(reply) = prepared {
        let about = About {
            policy: Some((policy, &captured)),
            ..about
        };
        return Step::Answered(respond::local(exchange, reply, &about));
    }
    let call = Call {
        upgrade,
        bodyless: body.is_end_stream(),
        priority: policy.priority,
        key,
        ..Call::default()
    };
    let slot = match cluster {
        Some(cluster) => send_copy(exchange, cluster, policy.timeout, (head, body), &call),
        None => Ok(Slot::empty()),
    };
    match slot {
        Ok(slot) => Step::Send(Sending {
            slot,
            captured,
            on_upgrade,
            call,
            about,
        }),
        Err(error) => {
            let about = About {
                policy: Some((policy, &captured)),
                ..about
            };
            Step::Answered(finish(exchange, Ok(Err(error)), &call, on_upgrade, &about))
        }
    }
}

/// The request in the form in which it is sent, after a copy went to the shadow, if there is one.
fn send_copy(
    exchange: &Exchange,
    cluster: &ClusterHandle,
    timeout: Option<Duration>,
    (head, body): (Parts, RequestBody),
    call: &Call,
) -> Result<Slot, ProxyError> {
    let body = match exchange.mirror().filter(|_| !call.upgrade) {
        Some(mirror) => {
            let context = &exchange.conn.context;
            match mirror::copy(context, mirror, &head, body, (timeout, call.key)) {
                Ok(tee) => return outgoing(cluster, Request::from_parts(head, tee), call),
                Err(body) => body,
            }
        }
        None => body,
    };
    outgoing(cluster, Request::from_parts(head, body), call)
}

/// Copies what the access log wants of the request as it is now.
pub(super) fn note(exchange: &Exchange, head: &Parts, version: Version) {
    let log = &exchange.serving.config.log;
    exchange
        .record
        .borrow_mut()
        .capture_request(log, head, version);
}

/// Makes the response, whatever became of the sending.
fn finish(
    exchange: &Rc<Exchange>,
    outcome: Result<Result<Response<UpstreamBody>, ProxyError>, Expired>,
    call: &Call,
    on_upgrade: Option<OnUpgrade>,
    about: &About<'_>,
) -> Response<ResponseBody> {
    let failed = match &outcome {
        Ok(Err(error)) => Some(error),
        _ => None,
    };
    exchange.record.borrow_mut().sent(call, failed);
    let reply = match outcome {
        Ok(Ok(response))
            if call.upgrade && response.status() == StatusCode::SWITCHING_PROTOCOLS =>
        {
            return upgrade::accept(exchange, response, on_upgrade, about);
        }
        Ok(Ok(response)) => return respond::upstream(exchange, response, call.sent_at, about),
        Ok(Err(error)) => {
            if error.kind() == ErrorKind::Downstream {
                // Nobody is there to read the reply.
                exchange.abandoned();
            }
            failure(&error)
        }
        Err(Expired::Route) => Reply::route_timeout(),
        Err(Expired::Deadline) => Reply::deadline(),
        Err(Expired::Idle) => Reply::stream_idle(exchange.is_request_complete()),
    };
    respond::local(exchange, reply, about)
}

/// The reply to a failure on the way upstream.
fn failure(error: &ProxyError) -> Reply {
    let flags = Flag::parse(error.flag()).map_or(Flags::NONE, Flags::from);
    let mut reply = Reply::new(error.status(), error.body(), flags, error.details());
    reply.overloaded = error.kind() == ErrorKind::Overflow;
    reply
}

/// Gives a request the form in which it is sent.
fn prepare(
    exchange: &Exchange,
    forward: Forward,
    head: &mut Parts,
    (cluster, policy): (&ClusterHandle, &CompiledPolicy),
    about: &About<'_>,
) -> Result<(), Reply> {
    if let Some(host) = forward.host
        && let Ok(host) = HeaderValue::try_from(host)
    {
        head.headers.insert(HOST, host);
    }
    if policy.edits_requests() {
        edit(exchange, head, forward.scheme, (cluster, policy), about);
    }
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

/// The route's edits of the request's headers.
fn edit(
    exchange: &Exchange,
    head: &mut Parts,
    scheme: &str,
    (cluster, policy): (&ClusterHandle, &CompiledPolicy),
    about: &About<'_>,
) {
    let authority = head.headers.get(HOST).cloned();
    let facts = Facts {
        started: std::time::SystemTime::now(),
        version: about.version,
        method: head.method.as_str(),
        path: head.uri.path_and_query().map_or("", PathAndQuery::as_str),
        authority: text(authority.as_ref()),
        scheme,
        client: exchange.record.borrow().client,
        cluster: Some(&cluster.config.stats_name),
        route: exchange
            .chosen
            .get()
            .map(|(row, _)| row.route.name.as_str()),
        ..super::record::connection_facts(&exchange.conn)
    };
    policy.apply_request(&mut head.headers, &facts);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, F>(_: fn(A, B) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    /// Each HTTP/1.1 connection holds one of these while it is in hyper, each HTTP/2 stream another.
    #[test]
    fn the_future_of_a_request_stays_small() {
        let size = size(handle);
        assert!(size <= 2 * 1024 + 512, "{size}");
    }
}
