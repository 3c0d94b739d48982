//! Rate limits that a service counts (spec/services §2.4), and the reply to requests over a limit,
//! whoever counts.
//!
//! A request is asked about once, whatever becomes of it afterwards. What the service answers that
//! cannot be honoured is as if it had not answered.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use legate_config::limit::RateLimit;

use super::body::ResponseBody;
use super::exchange::Exchange;
use super::gates::Routed;
use super::proxy::note;
use super::respond::{self, About};
use super::route::MAX_HEADERS;
use crate::config::Target;
use crate::grpc::ratelimit::{
    Descriptor, Entry, RateLimitRequest, RateLimitResponse, SHOULD_RATE_LIMIT,
};
use crate::grpc::{CallError, Patience, Question, types};
use crate::metrics::LimitResult;
use crate::reply::Reply;
use crate::request::{CompiledLabels, LabelFacts, is_framing};
use crate::upstream::ClusterHandle;

/// Most bytes of an answer, and of the headers of one kind in it.
const MAX_ANSWER: usize = 1024 * 1024;
const MAX_ANSWER_HEAD: usize = 60 * 1024;

/// Codes of an answer.
const UNKNOWN: i32 = 0;
const OK: i32 = 1;
const OVER_LIMIT: i32 = 2;

/// What a client over a limit gets, besides the status.
#[derive(Debug, Default)]
pub(crate) struct OverLimit {
    /// Body; its type is `text/plain` unless a header says otherwise.
    pub(crate) body: Bytes,
    /// Headers; none of them frames the message.
    pub(crate) headers: Headers,
    /// Whether gRPC clients get `RESOURCE_EXHAUSTED`, not `UNAVAILABLE`.
    pub(crate) resource_exhausted: bool,
}

/// Headers that stand beside those of the same name.
pub(crate) type Headers = Vec<(HeaderName, HeaderValue)>;

/// What becomes of a request.
enum Verdict {
    /// It goes on with these headers; its response will have the others.
    Within { request: Headers, response: Headers },
    /// It does not.
    Over(OverLimit),
}

/// Whether a request's route has a service that is asked.
pub(super) fn waits(exchange: &Exchange) -> bool {
    matches!(exchange.target(), Some(Target::Cluster { policy, .. }) if policy.rate_limit.is_some())
}

/// Asks the service of a request's route, if there is one and something to ask about. `Some` is the
/// answer to a request that goes no further.
pub(super) async fn ask(
    exchange: &Rc<Exchange>,
    routed: &mut Routed,
) -> Option<Response<ResponseBody>> {
    let Some(Target::Cluster {
        cluster: Some(cluster),
        policy,
        limiter,
        ..
    }) = exchange.target()
    else {
        return None;
    };
    let (limit, labels) = policy.rate_limit.as_ref().zip(policy.labels.as_ref())?;
    let question = question(exchange, routed, (limit, labels), cluster)?;
    exchange.limit(None, policy.idle_timeout);
    let answer = match limiter {
        Some(limiter) => {
            let patience = Patience {
                timeout: Duration::from_millis(limit.timeout_ms),
                max_bytes: MAX_ANSWER,
            };
            let pool = &exchange.conn.context.pool;
            pool.call(limiter, &question, patience).await
        }
        None => Err(CallError::Garbage("there is no such service")),
    };
    exchange.passed();
    let count = |result| exchange.conn.context.pool.count_limit(cluster, result);
    let (verdict, dropped) =
        match answer.and_then(|answer| verdict(exchange, routed, limit, answer)) {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(service = limit.name, %error, "The rate limit service failed");
                count(LimitResult::Error);
                if !limit.deny_on_error {
                    count(LimitResult::FailureModeAllowed);
                    return None;
                }
                return Some(refuse(exchange, routed, |about| {
                    respond::local(exchange, Reply::rate_limit_error(), about)
                }));
            }
        };
    exchange
        .conn
        .context
        .pool
        .count_limit_dropped(cluster, dropped);
    match verdict {
        Verdict::Within { request, response } => {
            count(LimitResult::Ok);
            for (name, value) in request {
                routed.head.headers.append(name, value);
            }
            exchange.from_limits.borrow_mut().extend(response);
            None
        }
        Verdict::Over(over) => {
            count(LimitResult::OverLimit);
            Some(over_limit(exchange, routed, over))
        }
    }
}

/// The response to a request over a limit.
pub(super) fn over_limit(
    exchange: &Rc<Exchange>,
    routed: &Routed,
    over: OverLimit,
) -> Response<ResponseBody> {
    refuse(exchange, routed, |about| {
        respond::over_limit(exchange, over, about)
    })
}

/// A response to a request that goes no further; `make` makes it.
fn refuse(
    exchange: &Rc<Exchange>,
    routed: &Routed,
    make: impl FnOnce(&About<'_>) -> Response<ResponseBody>,
) -> Response<ResponseBody> {
    note(exchange, &routed.head, routed.about.version);
    let captured;
    let policy = match exchange.target() {
        Some(Target::Cluster { policy, .. }) => {
            captured = policy.capture(&routed.head.headers);
            Some((&**policy, &captured))
        }
        Some(Target::Fail(_)) | None => None,
    };
    make(&About {
        policy,
        ..routed.about
    })
}

/// What is asked; `None` when no group of labels has all its values.
fn question(
    exchange: &Exchange,
    routed: &Routed,
    (limit, labels): (&RateLimit, &CompiledLabels),
    cluster: &ClusterHandle,
) -> Option<Question> {
    let domain = labels.domain(&limit.domain)?;
    let facts = facts(exchange, routed.forward.scheme, cluster)?;
    let sources = labels.sources(&routed.head, facts);
    let mut descriptors = Vec::new();
    domain.descriptors(&sources, false, |descriptor| {
        let entries = descriptor.iter().map(|entry| Entry {
            key: entry.key.to_owned(),
            value: entry.value.clone().into_owned(),
        });
        descriptors.push(Descriptor {
            entries: entries.collect(),
            ..Descriptor::default()
        });
    });
    if descriptors.is_empty() {
        return None;
    }
    let request = RateLimitRequest {
        domain: limit.domain.clone(),
        descriptors,
        hits_addend: 0,
    };
    Some(Question::new(SHOULD_RATE_LIMIT, &request))
}

/// What labels want to know of a request besides its head.
pub(super) fn facts<'a>(
    exchange: &'a Exchange,
    scheme: &'static str,
    cluster: &'a ClusterHandle,
) -> Option<LabelFacts<'a>> {
    let config = &*exchange.serving.config;
    Some(LabelFacts {
        client: exchange.record.borrow().client?.trusted,
        cluster: &cluster.config.stats_name,
        scheme,
        settings: &config.listener.http,
        strip_ports: config.strip_ports.as_deref(),
    })
}

/// What an answer means, and how many of its headers cannot be honoured.
fn verdict(
    exchange: &Exchange,
    routed: &Routed,
    limit: &RateLimit,
    answer: RateLimitResponse,
) -> Result<(Verdict, u64), CallError> {
    let within = match answer.overall_code {
        UNKNOWN | OK => true,
        OVER_LIMIT => false,
        _ => return Err(CallError::Garbage("the answer's code has no meaning")),
    };
    let (response, dropped) = headers(&answer.response_headers_to_add);
    if !within {
        let too_large = is_larger(&HeaderMap::new(), &response, MAX_ANSWER_HEAD);
        let over = OverLimit {
            body: answer.raw_body,
            headers: response,
            resource_exhausted: limit.resource_exhausted,
        };
        return match too_large {
            true => Err(too_many_headers()),
            false => Ok((Verdict::Over(over), dropped)),
        };
    }
    let (request, more) = headers(&answer.request_headers_to_add);
    let settings = &exchange.serving.config.listener.http;
    let limit = usize::try_from(settings.max_request_header_bytes).unwrap_or(usize::MAX);
    if is_larger(&HeaderMap::new(), &response, MAX_ANSWER_HEAD)
        || (!request.is_empty() && is_larger(&routed.head.headers, &request, limit))
    {
        return Err(too_many_headers());
    }
    Ok((Verdict::Within { request, response }, dropped + more))
}

fn too_many_headers() -> CallError {
    CallError::Garbage("the answer has too many headers, or too long ones")
}

/// The headers that can be honoured, and how many others there are.
fn headers(all: &[types::HeaderValue]) -> (Headers, u64) {
    let mut dropped = 0;
    let read = all.iter().filter_map(|header| {
        let name = HeaderName::from_bytes(header.key.as_bytes()).ok();
        let value = HeaderValue::from_bytes(header.bytes()).ok();
        let both = name.zip(value).filter(|(name, _)| !is_framing(name));
        dropped += u64::from(both.is_none());
        both
    });
    let read = read.collect();
    (read, dropped)
}

/// Whether headers, with others added, are more than we take, or longer.
fn is_larger(present: &HeaderMap, added: &Headers, bytes: usize) -> bool {
    // As on the wire: `: ` and the end of the line.
    let size = |name: &HeaderName, value: &HeaderValue| name.as_str().len() + value.len() + 4;
    let present_bytes: usize = present.iter().map(|(name, value)| size(name, value)).sum();
    let added_bytes: usize = added.iter().map(|(name, value)| size(name, value)).sum();
    present.len() + added.len() > MAX_HEADERS || present_bytes + added_bytes > bytes
}
