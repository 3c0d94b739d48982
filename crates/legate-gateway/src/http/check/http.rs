//! A check by an HTTP request (spec/services §§1.2–1.5).

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};

use super::{
    Answer, Failure, MAX_ANSWER_BODY, MAX_ANSWER_HEAD, Question, Refusal, failed, invalid,
    is_larger, outgrew,
};
use crate::error::ErrorKind;
use crate::http::route;
use crate::metrics::AuthResult;
use crate::reply::Reply;
use crate::request::CompiledCheck;
use crate::upstream::{Call, UpstreamBody, outgoing};

/// Asks one target after the other until one could be reached.
pub(super) async fn ask(question: &Question<'_>, head: &Parts) -> Result<Answer, Failure> {
    let Question {
        exchange,
        check,
        body,
        ..
    } = question;
    let (host, path) = route::asked_about(exchange, head).ok_or(Failure::Failed)?;
    let host = HeaderValue::try_from(host).map_err(|_| Failure::Failed)?;
    let uri = http::Uri::try_from(format!("{}{path}", check.path_prefix));
    let uri = uri.map_err(|_| Failure::Failed)?;
    // RFC 8441 carries what HTTP/1.1 sends as a GET.
    let method = match head.method {
        Method::CONNECT => Method::GET,
        _ => head.method.clone(),
    };
    for (place, cluster) in question.turn() {
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
            Ok(response) => {
                let outcome = collect(response).await;
                match &outcome {
                    Ok(answer) if !answer.status.is_server_error() => cluster.answers().answered(),
                    Ok(answer) => {
                        let status = answer.status.as_u16();
                        cluster
                            .answers()
                            .failed(format_args!("it answers {status}"));
                    }
                    Err(_) => cluster.answers().failed("its answer broke off"),
                }
                return outcome;
            }
            Err(error) => {
                cluster.answers().lost(&error);
                if !is_unreached(error.kind()) {
                    return Err(Failure::Failed);
                }
            }
        }
    }
    Err(Failure::Failed)
}

/// What an answer, or its absence, means.
pub(super) fn decide(
    question: &Question<'_>,
    request: &mut HeaderMap,
    outcome: Result<Answer, Failure>,
) -> Result<(), Refusal> {
    let check = question.check;
    let Some(counters) = question.counters() else {
        return Err(Refusal::Reply(Reply::cluster_not_found()));
    };
    let answer = match outcome {
        Ok(answer) if answer.status.is_server_error() => {
            return failed(check, counters, Failure::Failed);
        }
        Ok(answer) => answer,
        Err(failure) => return failed(check, counters, failure),
    };
    if is_larger(&answer.headers, MAX_ANSWER_HEAD) {
        return invalid(counters);
    }
    if answer.status != StatusCode::OK {
        counters.ended(AuthResult::Denied);
        return Err(Refusal::Denied(Box::new(Answer {
            headers: denied(check, &answer),
            ..answer
        })));
    }
    check.apply(&answer.headers, request);
    if outgrew(question.exchange, request) {
        return invalid(counters);
    }
    counters.ended(AuthResult::Ok);
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
async fn collect(response: Response<UpstreamBody>) -> Result<Answer, Failure> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BODY).collect().await;
    let body = body.map_err(|_| Failure::Failed)?.to_bytes();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}
