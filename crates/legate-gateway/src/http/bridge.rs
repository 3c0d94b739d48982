//! gRPC for clients of HTTP/1.1 (Module `enable_grpc_http11_bridge`, spec/services §3.13): the response
//! is collected, because its trailers become headers.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use http_body::Body;

use super::body::ResponseBody;
use super::exchange::Exchange;
use super::proxy;
use super::respond::{self, About};
use crate::framing::is_grpc_response;
use crate::reply::Reply;
use crate::upstream::{UpstreamBody, classify};

/// Makes the client's response of the upstream's.
pub(super) async fn answer(
    exchange: &Rc<Exchange>,
    response: Response<UpstreamBody>,
    sent_at: Option<Instant>,
    about: &About<'_>,
) -> Response<ResponseBody> {
    if !is_grpc_response(response.headers()) {
        return respond::upstream(exchange, response, sent_at, about);
    }
    let (head, body) = response.into_parts();
    match collect(exchange, body).await {
        Ok(whole) => {
            let response = Response::from_parts(head, whole);
            respond::bridged(exchange, response, sent_at, about)
        }
        Err(reply) => respond::local(exchange, reply, about),
    }
}

/// Reads a body to its end, as far as it may be kept.
async fn collect(exchange: &Exchange, mut body: UpstreamBody) -> Result<(Bytes, HeaderMap), Reply> {
    let limit = exchange.serving.config.listener.http.buffer_limit_bytes;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut whole = BytesMut::new();
    loop {
        let read = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(read) => Poll::Ready(Ok(read)),
            Poll::Pending => exchange.poll_expired(cx).map(Err),
        });
        let read = read.await.map_err(|what| proxy::late(exchange, what))?;
        let Some(read) = read else {
            return Ok((whole.freeze(), HeaderMap::new()));
        };
        let frame = read.map_err(|error| proxy::failure(&classify(&error)))?;
        match frame.into_data() {
            Ok(data) => {
                exchange.touch();
                if let Some(call) = exchange.grpc.call() {
                    call.response_data(&data);
                }
                if data.len() > limit.saturating_sub(whole.len()) {
                    return Err(Reply::response_too_large());
                }
                whole.extend_from_slice(&data);
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return Ok((whole.freeze(), trailers));
            }
        }
    }
}
