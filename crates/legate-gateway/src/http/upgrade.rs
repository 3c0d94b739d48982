//! WebSocket and other upgrades: from the upstream's 101 on, bytes go both ways unread.
//!
//! Towards the upstream an upgrade is always HTTP/1.1. A client on HTTP/2 asks by an extended
//! CONNECT (RFC 8441) and is answered 200 instead of 101.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::affinity;
use super::body::ResponseBody;
use super::exchange::{Exchange, Expired};
use super::respond::{self, About};
use crate::reply::Flag;
use crate::request::strip_hop_by_hop;
use crate::upstream::{InFlight, UpstreamBody};

/// Bytes in flight per direction.
const BUFFER: usize = 16 * 1024;

/// An accepted upgrade that waits for the client's side of the connection.
pub(crate) struct Pending {
    exchange: Rc<Exchange>,
    upstream: OnUpgrade,
    /// The stream is in flight at its endpoint as long as it lasts.
    at: Option<Arc<Option<InFlight>>>,
}

/// Turns an extended CONNECT into the request that HTTP/1.1 makes of it.
pub(crate) fn as_http1(head: &mut Parts, token: Option<String>) {
    head.method = Method::GET;
    let headers = &mut head.headers;
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let token = token.unwrap_or_default();
    if token.eq_ignore_ascii_case("websocket") {
        headers.insert(SEC_WEBSOCKET_KEY, key());
    }
    if let Ok(token) = HeaderValue::try_from(token) {
        headers.insert(UPGRADE, token);
    }
}

/// A random `sec-websocket-key`: 16 bytes in base64. Nobody checks what the upstream makes of it;
/// the HTTP/2 client never learns.
fn key() -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits: u128 = rand::random();
    let mut text = [b'='; 24];
    for place in text.iter_mut().take(21) {
        *place = *DIGITS.get((bits & 63) as usize).unwrap_or(&b'A');
        bits >>= 6;
    }
    // The last two bits, and four of padding.
    if let Some(place) = text.get_mut(21) {
        *place = *DIGITS.get(((bits & 3) << 4) as usize).unwrap_or(&b'A');
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The upstream changed protocols: the response that tells the client, and the rest of the stream.
pub(crate) fn accept(
    exchange: &Rc<Exchange>,
    mut response: Response<UpstreamBody>,
    client: Option<OnUpgrade>,
    about: &About<'_>,
) -> Response<ResponseBody> {
    exchange.response_began();
    exchange.upgraded();
    exchange.record.borrow_mut().from_upstream = true;
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    let at = head.extensions.remove();
    head.extensions.clear();
    strip_hop_by_hop(&mut head.headers, true);
    let pending = Pending {
        exchange: Rc::clone(exchange),
        upstream,
        at,
    };
    if about.version == Version::HTTP_2 {
        head.status = StatusCode::OK;
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
            head.headers.remove(name);
        }
        if let Some(client) = client {
            tokio::task::spawn_local(multiplexed(pending, client));
        }
    } else {
        *exchange.conn.upgrade.borrow_mut() = Some(pending);
    }
    affinity::mark(exchange, &mut head.headers);
    respond::edit(exchange, &mut head.headers, head.status, about);
    respond::finish_upgrade(exchange, &mut head.headers, head.status);
    Response::from_parts(head, ResponseBody::upgraded(Rc::clone(exchange)))
}

async fn multiplexed(pending: Pending, client: OnUpgrade) {
    match client.await {
        Ok(client) => run(pending, TokioIo::new(client)).await,
        Err(_) => pending.exchange.abandoned(),
    }
}

/// Copies both ways until both sides closed, one broke, or nothing moved for too long.
pub(crate) async fn run<C>(pending: Pending, client: C)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let Pending {
        exchange,
        upstream,
        at: _at,
    } = pending;
    let Ok(upstream) = upstream.await else {
        exchange.flag(Flag::UpstreamTermination);
        exchange.end();
        return;
    };
    let mut upstream = TokioIo::new(upstream);
    let mut client = Counted {
        stream: client,
        exchange: Rc::clone(&exchange),
    };
    let watch = &exchange.conn.watch;
    let ended = {
        let mut copy = pin!(tokio::io::copy_bidirectional_with_sizes(
            &mut client,
            &mut upstream,
            BUFFER,
            BUFFER,
        ));
        poll_fn(|cx| {
            if let Poll::Ready(result) = copy.as_mut().poll(cx) {
                return Poll::Ready(Some(result));
            }
            let idle = matches!(exchange.poll_expired(cx), Poll::Ready(Expired::Idle));
            // The alarm also wakes us when the connection is told to end.
            let _ = watch.alarm().poll_rang(cx);
            if idle || watch.is_shut() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    };
    match ended {
        None if !watch.is_shut() => exchange.flag(Flag::StreamIdle),
        Some(Ok(_) | Err(_)) | None => {}
    }
    exchange.end();
}

/// The client's side of an upgraded stream; counts and notes activity.
struct Counted<C> {
    stream: C,
    exchange: Rc<Exchange>,
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.exchange.received(buf.filled().len() - before);
        }
        polled
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = &polled {
            self.exchange.sent(*n);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
