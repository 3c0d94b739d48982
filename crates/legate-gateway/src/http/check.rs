//! External authorisation: asks a service whether a request may pass (spec/services §1).
//!
//! The question is a request of its own over the worker's pool: [`http`] and [`grpc`] ask and judge
//! what is said, here is what they have in common. Headers on either way are
//! [`crate::request::auth`]'s and [`crate::request::edits`]'.

mod grpc;
mod http;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, Response, StatusCode};
use bytes::{Bytes, BytesMut};
use hyper::upgrade::OnUpgrade;
use legate_config::auth::{AuthBody, AuthProtocol};
use legate_router::Row;

use super::body::{RequestBody, ResponseBody};
use super::exchange::{Exchange, Expired};
use super::proxy::note;
use super::respond::{self, About};
use super::route::{Arrived, MAX_HEADERS};
use crate::config::{Guard, Plan, Target};
use crate::metrics::{AuthCounters, AuthResult};
use crate::reply::Reply;
use crate::request::{CompiledAuth, CompiledCheck, CompiledPolicy, PARTIAL_BODY};
use crate::upstream::ClusterHandle;

/// Most bytes of an answer's headers, and of its body.
const MAX_ANSWER_HEAD: usize = 60 * 1024;
const MAX_ANSWER_BODY: usize = 1024 * 1024;

/// A request that waits for its check.
pub(super) struct Held {
    pub(super) head: Parts,
    pub(super) body: RequestBody,
    pub(super) arrived: Arrived,
    pub(super) about: About<'static>,
    pub(super) on_upgrade: Option<OnUpgrade>,
    /// The row that wins as the request is now, and its target.
    pub(super) row: Arc<Row<Plan>>,
    pub(super) target: usize,
}

/// Why a request does not pass.
pub(super) enum Refusal {
    /// A reply of ours.
    Reply(Reply),
    /// The answer that denies: its client gets it.
    Denied(Box<Answer>),
}

/// What was answered.
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// What is needed to ask, whatever is spoken.
struct Question<'a> {
    exchange: &'a Exchange,
    check: &'a CompiledCheck,
    asked: &'a [Option<Arc<ClusterHandle>>],
    /// What of the body is sent along, and whether there is more.
    body: Option<(Bytes, bool)>,
    /// Which of them was asked last.
    last: Cell<Option<usize>>,
}

impl Question<'_> {
    /// Those that can be asked, in turn, each with its place.
    fn turn(&self) -> impl Iterator<Item = (usize, &Arc<ClusterHandle>)> {
        self.check.turn().filter_map(|place| {
            let cluster = self.asked.get(place)?.as_ref()?;
            self.last.set(Some(place));
            Some((place, cluster))
        })
    }

    /// Who was asked last, or would be first.
    fn asked_last(&self) -> Option<&ClusterHandle> {
        let first = || self.asked.iter().position(Option::is_some);
        let place = self.last.get().or_else(first)?;
        self.asked.get(place)?.as_deref()
    }

    /// Where the check is counted.
    fn counters(&self) -> Option<&AuthCounters> {
        Some(self.asked_last()?.auth())
    }

    /// What the asking comes to within the time for it.
    async fn within<T>(
        &self,
        asking: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let outcome = tokio::time::timeout(self.check.timeout, asking).await;
        outcome.unwrap_or_else(|_| {
            if let Some(cluster) = self.asked_last() {
                cluster.answers().failed("no answer in time");
            }
            Err(Failure::Late)
        })
    }
}

/// Why there is no answer.
enum Failure {
    /// Nobody could be asked, or what came is no answer.
    Failed,
    /// It took too long.
    Late,
}

/// Asks. The request's headers are those that go upstream afterwards.
pub(super) async fn ask(exchange: &Rc<Exchange>, held: &mut Held) -> Result<(), Refusal> {
    let row = Arc::clone(&held.row);
    let Some((policy, asked)) = target(&row, held.target) else {
        return Err(Refusal::Reply(Reply::cluster_not_found()));
    };
    exchange.limit(None, policy.idle_timeout);
    let check = match policy.auth.as_deref() {
        None => return Ok(()),
        Some(CompiledAuth::Check(check)) => check,
        Some(CompiledAuth::Refuse(message)) => {
            let id = held.head.headers.get("x-request-id");
            let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
            return Err(Refusal::Reply(Reply::auth_misconfigured(message, id)));
        }
    };
    held.head.headers.remove(PARTIAL_BODY);
    let body = match check.body {
        Some(limits) if !held.arrived.is_upgrade() && !held.body.is_complete() => {
            Some(read_ahead(exchange, &mut held.body, limits).await?)
        }
        _ => None,
    };
    let question = Question {
        exchange,
        check,
        asked,
        body,
        last: Cell::new(None),
    };
    match check.protocol {
        AuthProtocol::Http => {
            let asking = http::ask(&question, &held.head);
            let outcome = question.within(asking).await;
            http::decide(&question, &mut held.head.headers, outcome)
        }
        AuthProtocol::Grpc => {
            let asking = grpc::ask(&question, held, policy);
            let outcome = question.within(asking).await;
            grpc::decide(&question, &mut held.head, outcome)
        }
    }
}

/// The policy of a row's target.
pub(super) fn policy(row: &Row<Plan>, index: usize) -> Option<&CompiledPolicy> {
    target(row, index).map(|(policy, _)| policy)
}

/// The policy of a row's target, and the clusters that its check asks.
fn target(
    row: &Row<Plan>,
    target: usize,
) -> Option<(&CompiledPolicy, &[Option<Arc<ClusterHandle>>])> {
    match &row.payload {
        Plan::Forward(targets, _) => match targets.get(target)? {
            Target::Cluster { policy, asked, .. } => Some((policy, asked)),
            Target::Fail(_) => None,
        },
        Plan::Probe(_, Some(Guard { policy, asked })) => Some((policy, asked)),
        Plan::Probe(_, None) | Plan::Redirect(_) | Plan::Fail(_) => None,
    }
}

/// What it means that there is no answer.
fn failed(check: &CompiledCheck, counters: &AuthCounters, failure: Failure) -> Result<(), Refusal> {
    counters.ended(match failure {
        _ if check.allow_on_error => AuthResult::FailureModeAllowed,
        Failure::Late => AuthResult::Timeout,
        Failure::Failed => AuthResult::Error,
    });
    if check.allow_on_error {
        return Ok(());
    }
    Err(Refusal::Reply(Reply::auth_error(check.status_on_error)))
}

/// The answer asks for too much.
fn invalid(counters: &AuthCounters) -> Result<(), Refusal> {
    counters.ended(AuthResult::Invalid);
    Err(Refusal::Reply(Reply::auth_invalid()))
}

/// Whether a request's headers are more than its listener takes, now that an answer changed them.
fn outgrew(exchange: &Exchange, request: &HeaderMap) -> bool {
    let settings = &exchange.serving.config.listener.http;
    let limit = usize::try_from(settings.max_request_header_bytes);
    is_larger(request, limit.unwrap_or(usize::MAX))
}

fn is_larger(headers: &HeaderMap, bytes: usize) -> bool {
    let size = |(name, value): (&HeaderName, &HeaderValue)| {
        // As on the wire: `: ` and the end of the line.
        name.as_str().len() + value.len() + 4
    };
    headers.len() > MAX_HEADERS || headers.iter().map(size).sum::<usize>() > bytes
}

/// Reads the body as far as the check wants it. Returns that part, and whether there is more.
async fn read_ahead(
    exchange: &Rc<Exchange>,
    body: &mut RequestBody,
    limits: AuthBody,
) -> Result<(Bytes, bool), Refusal> {
    let max = limits.max_bytes;
    let too_large = || Refusal::Reply(Reply::payload_too_large());
    // Nobody needs to send what will not be taken.
    if !limits.allow_partial && http_body::Body::size_hint(body).lower() > max {
        return Err(too_large());
    }
    let enough = |body: &RequestBody| {
        let ahead = body.ahead();
        body.is_complete() || ahead > max || (limits.allow_partial && ahead >= max)
    };
    while !enough(body) {
        let read = poll_fn(|cx| match body.poll_ahead(cx) {
            Poll::Ready(read) => Poll::Ready(Ok(read)),
            Poll::Pending => exchange.poll_expired(cx).map(Err),
        });
        match read.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => {
                let reply = Reply::bad_request("http1.codec_error");
                return Err(Refusal::Reply(reply));
            }
            Err(Expired::Deadline) => return Err(Refusal::Reply(Reply::deadline())),
            Err(Expired::Route | Expired::Idle) => {
                return Err(Refusal::Reply(Reply::stream_idle(false)));
            }
        }
    }
    let cut = body.ahead() > max || !body.is_complete();
    if cut && !limits.allow_partial {
        return Err(too_large());
    }
    let mut parts = body.ahead_of(max);
    let first = parts.next().unwrap_or_default();
    let Some(second) = parts.next() else {
        return Ok((first, cut));
    };
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(&second);
    for part in parts {
        whole.extend_from_slice(&part);
    }
    Ok((whole.freeze(), cut))
}

/// The response to a request that does not pass.
pub(super) fn refuse(
    exchange: &Rc<Exchange>,
    held: &Held,
    refusal: Refusal,
) -> Response<ResponseBody> {
    let version = held.about.version;
    let _ = exchange.chosen.set((Arc::clone(&held.row), held.target));
    note(exchange, &held.head, version);
    let captured;
    let policy = match target(&held.row, held.target) {
        Some((policy, _)) => {
            captured = policy.capture(&held.head.headers);
            Some((policy, &captured))
        }
        None => None,
    };
    let about = About {
        version,
        grpc: held.about.grpc,
        policy,
    };
    match refusal {
        Refusal::Reply(reply) => respond::local(exchange, reply, &about),
        Refusal::Denied(answer) => {
            let Answer {
                status,
                mut headers,
                body,
            } = *answer;
            if about.grpc {
                headers.remove(CONTENT_LENGTH);
                headers.remove(CONTENT_TYPE);
                headers.remove(LOCATION);
            }
            respond::denied(exchange, status, headers, body, &about)
        }
    }
}
