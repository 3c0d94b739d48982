//! A check over gRPC: `envoy.service.auth.v3` (spec/services §1.7).

mod attributes;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, StatusCode, Uri};

use super::{
    Answer, Failure, Held, MAX_ANSWER_BODY, MAX_ANSWER_HEAD, Question, Refusal, failed, invalid,
    outgrew,
};
use crate::grpc::auth::{
    CHECK, CheckRequest, CheckResponse, DeniedHttpResponse, HttpResponse, OkHttpResponse,
};
use crate::grpc::types::HeaderValueOption;
use crate::grpc::{self, CallError, Patience};
use crate::http::route::MAX_HEADERS;
use crate::metrics::{AuthCounters, AuthResult};
use crate::reply::Reply;
use crate::request::{CompiledPolicy, DynamicMetadata, HeaderEdit, is_framing, query_with};

/// Under what name the answer's metadata is found by access logs.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// Asks one target after the other until one could be reached.
pub(super) async fn ask(
    question: &Question<'_>,
    held: &Held,
    policy: &CompiledPolicy,
) -> Result<CheckResponse, Failure> {
    let attributes = attributes::of(question, held, policy).ok_or(Failure::Failed)?;
    let message = CheckRequest {
        attributes: Some(attributes),
    };
    let call = grpc::Question::new(CHECK, &message);
    let patience = Patience {
        timeout: question.check.timeout,
        max_bytes: MAX_ANSWER_BODY + MAX_ANSWER_HEAD,
    };
    let pool = &question.exchange.conn.context.pool;
    for (_, cluster) in question.turn() {
        match pool.call(cluster, &call, patience).await {
            Ok(answer) => return Ok(answer),
            Err(CallError::Unreached(_)) => {}
            Err(CallError::Late) => return Err(Failure::Late),
            Err(error) => {
                tracing::debug!(cluster = %cluster.key, %error, "Check failed");
                return Err(Failure::Failed);
            }
        }
    }
    Err(Failure::Failed)
}

/// What an answer, or its absence, means. The status decides, whatever else is said.
pub(super) fn decide(
    question: &Question<'_>,
    head: &mut Parts,
    outcome: Result<CheckResponse, Failure>,
) -> Result<(), Refusal> {
    let Some(counters) = question.counters() else {
        return Err(Refusal::Reply(Reply::cluster_not_found()));
    };
    let answer = match outcome {
        Ok(answer) => answer,
        Err(failure) => return failed(question.check, counters, failure),
    };
    let CheckResponse {
        status,
        http_response,
        dynamic_metadata,
    } = answer;
    let allows = status.is_none_or(|status| status.code == 0);
    let (ok, denied) = match http_response {
        Some(HttpResponse::Ok(ok)) if allows => (ok, None),
        Some(HttpResponse::Denied(denied)) if !allows => (OkHttpResponse::default(), Some(denied)),
        _ => (OkHttpResponse::default(), None),
    };
    let metadata = dynamic_metadata.or(ok.dynamic_metadata.clone());
    if let Some(metadata) = metadata
        && question.exchange.serving.config.log.is_on()
    {
        match DynamicMetadata::new(NAMESPACE, metadata) {
            Some(metadata) => question.exchange.record.borrow_mut().metadata = Some(metadata),
            None => counters.dropped(1),
        }
    }
    if !allows {
        return deny(counters, denied.unwrap_or_default());
    }
    if is_too_large(&ok) {
        return invalid(counters);
    }
    if apply(question, counters, ok, head).is_none() || outgrew(question.exchange, &head.headers) {
        question.exchange.from_auth.borrow_mut().clear();
        return invalid(counters);
    }
    counters.ended(AuthResult::Ok);
    Ok(())
}

/// The client gets what is said for it, or a plain 403.
fn deny(counters: &AuthCounters, denied: DeniedHttpResponse) -> Result<(), Refusal> {
    if count(&denied.headers) > MAX_HEADERS || size(&denied.headers) > MAX_ANSWER_HEAD {
        return invalid(counters);
    }
    let code = denied.status.map_or(0, |status| status.code);
    let status = u16::try_from(code)
        .ok()
        .filter(|code| (200..600).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok());
    let mut headers = HeaderMap::with_capacity(denied.headers.len());
    for option in &denied.headers {
        match HeaderEdit::read(option) {
            Some(edit) => {
                headers.append(edit.name, edit.value);
            }
            None => counters.dropped(1),
        }
    }
    counters.ended(AuthResult::Denied);
    Err(Refusal::Denied(Box::new(Answer {
        status: status.unwrap_or(StatusCode::FORBIDDEN),
        headers,
        body: denied.body.into(),
    })))
}

/// Changes the request, and notes what its response is to have. `None` = the request cannot be made.
fn apply(
    question: &Question<'_>,
    counters: &AuthCounters,
    ok: OkHttpResponse,
    head: &mut Parts,
) -> Option<()> {
    let read = |options: &[HeaderValueOption]| -> Vec<HeaderEdit> {
        let edits: Vec<_> = options.iter().filter_map(HeaderEdit::read).collect();
        counters.dropped(options.len().saturating_sub(edits.len()) as u64);
        edits
    };
    for edit in read(&ok.headers) {
        edit.apply_to_request(&mut head.headers);
    }
    for name in &ok.headers_to_remove {
        match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) if !is_framing(&name) => {
                head.headers.remove(name);
            }
            _ => counters.dropped(1),
        }
    }
    *question.exchange.from_auth.borrow_mut() = read(&ok.response_headers_to_add);
    let set = &ok.query_parameters_to_set;
    let remove = &ok.query_parameters_to_remove;
    if set.is_empty() && remove.is_empty() {
        return Some(());
    }
    let query = query_with(head.uri.query(), set, remove);
    let path = match query {
        Some(query) => format!("{}?{query}", head.uri.path()),
        None => head.uri.path().to_owned(),
    };
    let mut parts = std::mem::take(&mut head.uri).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    head.uri = Uri::from_parts(parts).ok()?;
    Some(())
}

/// Whether an answer that allows wants more than anybody should.
fn is_too_large(ok: &OkHttpResponse) -> bool {
    let names = ok.headers_to_remove.iter();
    let names = names.chain(&ok.query_parameters_to_remove);
    let pairs = ok.query_parameters_to_set.iter();
    let counts = [
        count(&ok.headers),
        count(&ok.response_headers_to_add),
        ok.headers_to_remove.len(),
        ok.query_parameters_to_set.len(),
        ok.query_parameters_to_remove.len(),
    ];
    let bytes = size(&ok.headers)
        + size(&ok.response_headers_to_add)
        + names.map(String::len).sum::<usize>()
        + pairs.map(|it| it.key.len() + it.value.len()).sum::<usize>();
    counts.iter().any(|count| *count > MAX_HEADERS) || bytes > MAX_ANSWER_HEAD
}

fn count(options: &[HeaderValueOption]) -> usize {
    options.len()
}

fn size(options: &[HeaderValueOption]) -> usize {
    let one = |option: &HeaderValueOption| {
        let header = option.header.as_ref();
        // As on the wire: `: ` and the end of the line.
        header.map_or(0, |header| header.key.len() + header.bytes().len() + 4)
    };
    options.iter().map(one).sum()
}
