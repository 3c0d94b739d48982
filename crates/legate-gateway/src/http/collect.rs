//! Bodies that are collected before they are sent (Module `buffer`, spec/services §3.11).

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use http::Response;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http_body::Body;

use super::body::{BadBody, RequestBody, ResponseBody};
use super::exchange::{Exchange, Expired};
use super::gates::Routed;
use super::proxy::note;
use super::respond::{self, About};
use crate::config::Target;
use crate::reply::Reply;

/// Whether a request's body is collected first. What is no request any more after its head is not.
pub(super) fn waits(exchange: &Exchange, routed: &Routed) -> bool {
    let settings = &exchange.serving.config.listener.http;
    settings.max_request_bytes.is_some()
        && routed.forward.upgrade.is_none()
        && !routed.body.is_complete()
}

/// Collects the body, where it is to be collected; `Some` is the answer if that is not possible.
pub(super) async fn collect(
    exchange: &Rc<Exchange>,
    routed: &mut Routed,
) -> Option<Response<ResponseBody>> {
    let most = exchange.serving.config.listener.http.max_request_bytes?;
    if routed.forward.upgrade.is_some() {
        return None;
    }
    let read = match routed.body.is_complete() {
        // It was read ahead already, perhaps.
        true if routed.body.ahead() <= most => return None,
        true => Err(Reply::payload_too_large()),
        false => read(exchange, &mut routed.body, most).await,
    };
    match read {
        Ok(length) => {
            let length = HeaderValue::from(length);
            routed.head.headers.insert(CONTENT_LENGTH, length);
            None
        }
        Err(reply) => Some(refuse(exchange, routed, reply)),
    }
}

/// Reads a body to its end and puts it back as one piece. Returns its length.
async fn read(exchange: &Exchange, body: &mut RequestBody, most: u64) -> Result<u64, Reply> {
    // Nobody needs to send what will not be taken.
    if body.size_hint().lower() > most {
        return Err(Reply::payload_too_large());
    }
    if let Some(Target::Cluster { policy, .. }) = exchange.target() {
        exchange.limit(None, policy.idle_timeout);
    }
    let mut whole = BytesMut::new();
    let mut trailers = None;
    loop {
        let next = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(next) => Poll::Ready(Ok(next)),
            Poll::Pending => exchange.poll_expired(cx).map(Err),
        });
        match next.await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    whole.extend_from_slice(&data);
                    if whole.len() as u64 > most {
                        return Err(Reply::payload_too_large());
                    }
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Ok(Some(Err(BadBody::Client(_)))) => {
                return Err(Reply::bad_request("http1.codec_error"));
            }
            Ok(Some(Err(BadBody::Malformed(_)))) => {
                return Err(Reply::bad_request("grpc_web_invalid_base64"));
            }
            Err(Expired::Deadline) => return Err(Reply::deadline()),
            Err(Expired::Route | Expired::Idle) => return Err(Reply::stream_idle(false)),
        }
    }
    let length = whole.len() as u64;
    body.put_back(whole.freeze(), trailers);
    Ok(length)
}

/// The answer to a request whose body is not taken.
fn refuse(exchange: &Rc<Exchange>, routed: &Routed, reply: Reply) -> Response<ResponseBody> {
    let Routed { head, about, .. } = routed;
    note(exchange, head, about.version);
    let captured;
    let policy = match exchange.target() {
        Some(Target::Cluster { policy, .. }) => {
            captured = policy.capture(&head.headers);
            Some((&**policy, &captured))
        }
        _ => None,
    };
    let about = About { policy, ..*about };
    respond::local(exchange, reply, &about)
}
