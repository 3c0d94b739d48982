//! Serving HTTP/2 on a connection: hyper's state machine under our limits, a task per stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::conn::Conn;
use super::exchange::Exchange;
use super::proxy;
use super::stream::{Transport, Watched};

/// Bytes in flight per stream and per connection (spec/services §5.6).
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Streams that a client may reset before we came to them.
const MAX_EARLY_RESETS: usize = 50;

/// Streams that we may have to reset because the client broke the protocol.
const MAX_BAD_STREAMS: usize = 200;

/// Bytes that wait to be written, per stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves a connection to its end.
pub(crate) async fn serve(conn: Rc<Conn>, transport: Transport) {
    conn.watch.set_multiplexed();
    let serving = conn.port.serving();
    let settings = &serving.config.listener.http;
    let mut builder = Builder::new(Streams(Rc::clone(&conn)));
    builder
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(settings.http2_max_concurrent_streams)
        .max_header_list_size(settings.max_request_header_bytes)
        .max_pending_accept_reset_streams(MAX_EARLY_RESETS)
        .max_local_error_reset_streams(MAX_BAD_STREAMS)
        .max_send_buf_size(SEND_BUFFER.min(settings.buffer_limit_bytes as usize))
        .enable_connect_protocol();
    drop(serving);
    let stream = Watched::new(transport, Rc::clone(&conn.watch));
    let service = service_fn(|request: Request<Incoming>| {
        let exchange = Exchange::begin(&conn, conn.port.serving());
        // The executor is called next, on this thread, with the stream that this belongs to.
        *conn.current.borrow_mut() = Some(Rc::clone(&exchange));
        proxy::handle(exchange, request)
    });
    let mut http = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut told = false;
    let result = poll_fn(|cx| {
        loop {
            if conn.watch.is_shut() {
                return Poll::Ready(Ok(()));
            }
            if !told && conn.is_ending() {
                told = true;
                http.as_mut().graceful_shutdown();
            }
            if let Poll::Ready(result) = http.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            let patience = conn.port.patience(conn.context.process.patience);
            match conn.watch.poll_expired(patience, cx) {
                Poll::Pending => return Poll::Pending,
                // Unfinished headers, or still idle after the polite way.
                Poll::Ready(()) if told || conn.watch.idle_since().is_none() => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(()) => conn.end_soon(),
            }
        }
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(%error, "HTTP/2 connection failed");
    }
}

/// Runs the streams of a connection.
#[derive(Clone)]
struct Streams(Rc<Conn>);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        let exchange = self.0.current.borrow_mut().take();
        tokio::task::spawn_local(Stream {
            future: Box::pin(future),
            exchange,
        });
    }
}

/// A stream; dropped, and thereby reset, when its client stops reading for too long.
struct Stream<F> {
    future: Pin<Box<F>>,
    exchange: Option<Rc<Exchange>>,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match &this.exchange {
            Some(exchange) => exchange.poll_stuck(cx),
            None => Poll::Pending,
        }
    }
}
