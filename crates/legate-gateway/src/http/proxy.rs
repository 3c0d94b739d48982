//! The one request pipeline, HTTP/1.1 and HTTP/2 alike.
//!
//! Stages in their fixed order: everything up to the target is [`route`]'s; then whoever may stop
//! the request ([`gates`]); then the form in which it is sent ([`prepare`](super::prepare)), the
//! sending, and the response ([`respond`]).

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use futures_util::future::Either;
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::{RequestBody, ResponseBody};
use super::bridge;
use super::check::{self, Held};
use super::exchange::{Exchange, Expired, Unanswered};
use super::gates::{self, Entered, Routed, Waiting};
use super::prepare::{Sending, Step};
use super::respond::{self, About};
use super::route::{self, Decision};
use super::upgrade;
use crate::config::Target;
use crate::error::{ErrorKind, ProxyError};
use crate::reply::{Flag, Flags, Reply, is_grpc};
use crate::upstream::{Call, UpstreamBody};

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
        // Only requests that somebody is asked about pay for the room that this takes.
        Begun::Waiting(waiting) => Either::Left(Either::Right(Box::pin(gated(
            exchange, unanswered, waiting,
        )))),
    }
}

/// Asks whoever is asked about a request, and goes on with it, or with the refusal.
async fn gated(
    exchange: Rc<Exchange>,
    unanswered: Unanswered,
    waiting: Waiting,
) -> Result<Response<ResponseBody>, Infallible> {
    match gates::pass(&exchange, waiting).await {
        Step::Send(sending) => answer(exchange, unanswered, sending).await,
        Step::Answered(response) => {
            unanswered.defuse();
            Ok(response)
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
                match outcome {
                    Ok(Ok(response)) if exchange.grpc.is_bridged() => {
                        let call = &sending.call;
                        exchange.record.borrow_mut().sent(call, None);
                        Box::pin(bridge::answer(&exchange, response, call.sent_at, &about)).await
                    }
                    outcome => finish(&exchange, outcome, &sending.call, on_upgrade, &about),
                }
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
    Waiting(Waiting),
}

/// The stages before sending.
fn begin(exchange: &Rc<Exchange>, request: Request<Incoming>) -> Begun {
    let (mut head, body) = request.into_parts();
    let settings = &exchange.serving.config.listener.http.grpc;
    exchange.grpc.arrive(settings, &mut head);
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
            let routed = Routed {
                head,
                body,
                forward,
                about,
                on_upgrade,
            };
            match gates::enter(exchange, routed) {
                Entered::Decided(step) => Begun::Decided(step),
                Entered::Waiting(routed) => Begun::Waiting(Waiting::Routed(routed)),
            }
        }
        Ok((arrived, Decision::Check(row, target))) => {
            // Preflights carry no credentials: who asks about them would refuse every script.
            let preflight = check::policy(&row, target)
                .and_then(|policy| gates::cross_origin(exchange, &head, policy, &about));
            if let Some(answer) = preflight {
                return Begun::Decided(Step::Answered(answer));
            }
            Begun::Waiting(Waiting::Check(Box::new(Held {
                head,
                body,
                arrived,
                about,
                on_upgrade,
                row,
                target,
            })))
        }
        Err(reply) => {
            note(exchange, &head, about.version);
            Begun::Decided(Step::Answered(respond::local(exchange, reply, &about)))
        }
    }
}

/// Copies what the access log wants of the request as it is now.
pub(super) fn note(exchange: &Exchange, head: &Parts, version: Version) {
    let mut record = exchange.record.borrow_mut();
    record.capture_request(exchange, head, version);
}

/// Makes the response, whatever became of the sending.
pub(super) fn finish(
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
        Ok(Err(_)) if exchange.grpc.is_malformed() => Reply::bad_request("grpc_web_invalid_base64"),
        Ok(Err(error)) => {
            if error.kind() == ErrorKind::Downstream {
                // Nobody is there to read the reply.
                exchange.abandoned();
            }
            failure(&error)
        }
        Err(what) => late(exchange, what),
    };
    respond::local(exchange, reply, about)
}

/// The reply where a limit is over before there is a response.
pub(super) fn late(exchange: &Exchange, what: Expired) -> Reply {
    match what {
        Expired::Route => Reply::route_timeout(),
        Expired::Deadline => Reply::deadline(),
        Expired::Idle => Reply::stream_idle(exchange.is_request_complete()),
    }
}

/// The reply to a failure on the way upstream.
pub(super) fn failure(error: &ProxyError) -> Reply {
    let flags = Flag::parse(error.flag()).map_or(Flags::NONE, Flags::from);
    let mut reply = Reply::new(error.status(), error.body(), flags, error.details());
    reply.overloaded = error.kind() == ErrorKind::Overflow;
    reply
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
