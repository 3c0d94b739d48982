//! External authorisation: asks a service whether a request may pass (spec/services §1).
//!
//! The question is a request of its own over the worker's pool; what comes of it is decided here
//! and nowhere else. Headers on either way are [`crate::request::auth`]'s.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::upgrade::OnUpgrade;
use legate_config::auth::AuthBody;
use legate_router::Row;

use super::body::{RequestBody, ResponseBody};
use super::exchange::{Exchange, Expired};
use super::proxy::note;
use super::respond::{self, About};
use super::route::{self, Arrived, MAX_HEADERS};
use crate::config::{Plan, Target};
use crate::error::ErrorKind;
use crate::metrics::AuthResult;
use crate::reply::Reply;
use crate::request::{CompiledAuth, CompiledCheck, CompiledPolicy, PARTIAL_BODY};
use crate::upstream::{Call, ClusterHandle, outgoing};

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
    let outcome = tokio::time::timeout(
        check.timeout,
        question(exchange, &held.head, (check, asked), body),
    )
    .await
    .unwrap_or(Err(Failure::Late));
    decide(exchange, check, &mut held.head.headers, outcome)
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
    let Plan::Forward(targets, _) = &row.payload else {
        return None;
    };
    match targets.get(target)? {
        Target::Cluster { policy, asked, .. } => Some((policy, asked)),
        Target::Fail(_) => None,
    }
}

/// What an answer, or its absence, means.
fn decide(
    exchange: &Exchange,
    check: &CompiledCheck,
    request: &mut HeaderMap,
    outcome: Result<Answer, Failure>,
) -> Result<(), Refusal> {
    let metrics = &exchange.conn.context.metrics;
    let answer = match outcome {
        Ok(answer) if !answer.status.is_server_error() => answer,
        failed => {
            let result = match failed {
                _ if check.allow_on_error => AuthResult::FailureModeAllowed,
                Err(Failure::Late) => AuthResult::Timeout,
                _ => AuthResult::Error,
            };
            metrics.auth(result);
            if check.allow_on_error {
                return Ok(());
            }
            return Err(Refusal::Reply(Reply::auth_error(check.status_on_error)));
        }
    };
    let invalid = || {
        metrics.auth(AuthResult::Invalid);
        Err(Refusal::Reply(Reply::auth_invalid()))
    };
    if is_larger(&answer.headers, MAX_ANSWER_HEAD) {
        return invalid();
    }
    if answer.status != StatusCode::OK {
        metrics.auth(AuthResult::Denied);
        return Err(Refusal::Denied(Box::new(Answer {
            headers: denied(check, &answer),
            ..answer
        })));
    }
    check.apply(&answer.headers, request);
    let limit = exchange
        .serving
        .config
        .listener
        .http
        .max_request_header_bytes;
    if is_larger(request, usize::try_from(limit).unwrap_or(usize::MAX)) {
        return invalid();
    }
    metrics.auth(AuthResult::Ok);
    Ok(())
}

/// The headers that a denied client gets. An answer to HEAD tells the length of what is not there.
fn denied(check: &CompiledCheck, answer: &Answer) -> HeaderMap {
    let mut headers = check.denied(&answer.headers);
    if answer.body.is_empty()
        && let Some(length) = answer.headers.get(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, length.clone());
    }
    headers
}

fn is_larger(headers: &HeaderMap, bytes: usize) -> bool {
    let size = |(name, value): (&http::HeaderName, &HeaderValue)| {
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

/// Asks one target after the other until one could be reached.
async fn question(
    exchange: &Exchange,
    head: &Parts,
    (check, asked): (&CompiledCheck, &[Option<Arc<ClusterHandle>>]),
    body: Option<(Bytes, bool)>,
) -> Result<Answer, Failure> {
    let (host, path) = route::asked_about(exchange, head).ok_or(Failure::Failed)?;
    let host = HeaderValue::try_from(host).map_err(|_| Failure::Failed)?;
    let uri = http::Uri::try_from(format!("{}{path}", check.path_prefix));
    let uri = uri.map_err(|_| Failure::Failed)?;
    // RFC 8441 carries what HTTP/1.1 sends as a GET.
    let method = match head.method {
        Method::CONNECT => Method::GET,
        _ => head.method.clone(),
    };
    for place in check.turn() {
        let Some(Some(cluster)) = asked.get(place) else {
            continue;
        };
        let length = body.as_ref().map(|(body, cut)| (body.len(), *cut));
        let content = body.as_ref().map(|(body, _)| body.clone());
        let mut request = Request::new(Full::new(content.unwrap_or_default()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = check.headers(place, &head.headers, host.clone(), length);
        let mut call = Call::default();
        let mut slot = outgoing(cluster, request, &call).map_err(|_| Failure::Failed)?;
        let pool = &exchange.conn.context.pool;
        match pool.send_slot(cluster, &mut slot, &mut call).await {
            Ok(response) => return collect(response).await,
            Err(error) if is_unreached(error.kind()) => {}
            Err(_) => return Err(Failure::Failed),
        }
    }
    Err(Failure::Failed)
}

/// Whether a target never got the question.
fn is_unreached(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NoHealthyUpstream
            | ErrorKind::ConnectFailed
            | ErrorKind::ConnectTimeout
            | ErrorKind::TlsFailed
    )
}

/// Reads an answer to its end, so that its connection can be used again.
async fn collect(response: Response<crate::upstream::UpstreamBody>) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BODY).collect().await;
    let body = body.map_err(|_| Failure::Failed)?.to_bytes();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
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
