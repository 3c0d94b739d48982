//! Serving HTTP/1.1 on a connection: hyper's state machine under our deadlines.
//!
//! A connection that idles for a while is taken out of hyper, so that it costs its socket and
//! little else; it goes back in when bytes come.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::TryFutureExt;
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;

use super::conn::Conn;
use super::exchange::Exchange;
use super::stream::{Transport, Watched};
use super::watch::Patience;
use super::{proxy, respond, upgrade};
use crate::clock;
use crate::reply::Flag;

/// Without a request for so long, a connection leaves hyper.
const REST_AFTER: Duration = Duration::from_secs(2);

/// How long the rest of a request that nobody wants is read and thrown away after its response:
/// closing with unread bytes would reset the connection and with it the response.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of a connection's buffer, unless heads are allowed to be longer.
const MIN_BUFFER: usize = 64 * 1024;

/// The smallest one that hyper takes.
const LEAST_BUFFER: usize = 8 * 1024;

/// How long a client may leave the rest of a response unread.
const STUCK: Duration = Duration::from_secs(300);

/// How a spell in hyper ended.
enum End {
    /// hyper is done.
    Done(hyper::Result<()>),
    /// The connection was told to end, or overstayed.
    Cut,
    /// It is idle.
    Rest,
}

/// Serves a connection to its end.
pub(crate) async fn serve(conn: Rc<Conn>, transport: Transport) {
    let serving = conn.port.serving();
    let settings = &serving.config.listener.http;
    let limit = settings.max_request_header_bytes as usize;
    // Heads must fit, whatever else is kept.
    let buffer = MIN_BUFFER.min(settings.buffer_limit_bytes as usize);
    drop(serving);
    let mut builder = Builder::new();
    builder
        .max_header_size(limit)
        .max_buf_size(limit.max(buffer).max(LEAST_BUFFER))
        .half_close(false)
        .header_read_timeout(None);
    let mut stream = Watched::new(transport, Rc::clone(&conn.watch));
    loop {
        let service = service_fn(|request: Request<Incoming>| {
            let exchange = Exchange::begin(&conn, conn.port.serving());
            *conn.current.borrow_mut() = Some(Rc::clone(&exchange));
            let old = request.version() == Version::HTTP_10;
            proxy::handle(exchange, request).map_ok(move |mut response| {
                if old {
                    respond::as_http10(&mut response);
                }
                response
            })
        });
        let mut http = Box::new(builder.serve_connection(TokioIo::new(stream), service));
        let end = poll_fn(|cx| {
            if conn.watch.is_shut() {
                return Poll::Ready(End::Cut);
            }
            let polled = clock::turn(|| Pin::new(&mut *http).poll(cx));
            if let Poll::Ready(result) = polled {
                return Poll::Ready(End::Done(result));
            }
            poll_deadlines(&conn, cx)
        })
        .await;
        let last = conn.current.borrow_mut().take();
        let parts = http.into_parts();
        stream = parts.io.into_inner();
        stream.give_back(parts.read_buf);
        match end {
            End::Cut => return,
            End::Done(result) => {
                finish(&conn, result, last, stream).await;
                return;
            }
            End::Rest => {
                drop(last);
                if !rest(&conn, &stream).await {
                    return;
                }
            }
        }
    }
}

/// Looks at the deadlines once hyper has nothing to do.
fn poll_deadlines(conn: &Conn, cx: &mut Context<'_>) -> Poll<End> {
    if let Some(exchange) = &*conn.current.borrow()
        && exchange.poll_stuck(cx).is_ready()
    {
        return Poll::Ready(End::Cut);
    }
    let patience = conn.port.patience(conn.context.process.patience);
    let in_hyper = if conn.watch.is_stuck() {
        STUCK
    } else {
        REST_AFTER
    };
    let shortened = Patience {
        idle: Some(patience.idle.map_or(in_hyper, |idle| idle.min(in_hyper))),
        ..patience
    };
    conn.watch.poll_expired(shortened, cx).map(|()| {
        let over = |since: Instant| patience.idle.is_some_and(|idle| since.elapsed() >= idle);
        match conn.watch.idle_since() {
            Some(since) if !over(since) => End::Rest,
            Some(_) | None => End::Cut,
        }
    })
}

/// Waits outside hyper. Whether there is something to read.
async fn rest(conn: &Conn, stream: &Watched) -> bool {
    let mut readable = pin!(stream.readable());
    poll_fn(|cx| {
        if conn.watch.is_shut() {
            return Poll::Ready(false);
        }
        if readable.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        let patience = conn.port.patience(conn.context.process.patience);
        conn.watch.poll_expired(patience, cx).map(|()| false)
    })
    .await
}

/// What follows when HTTP is over on a connection.
async fn finish(
    conn: &Rc<Conn>,
    result: hyper::Result<()>,
    last: Option<Rc<Exchange>>,
    stream: Watched,
) {
    let pending = conn.upgrade.borrow_mut().take();
    match (result, pending) {
        (Ok(()), Some(pending)) => Box::pin(upgrade::run(pending, stream)).await,
        (Ok(()), None) => {
            if last.is_some_and(|exchange| !exchange.is_request_complete()) {
                Box::pin(linger(conn, stream)).await;
            }
        }
        (Err(error), _) if error.is_parse() => {
            note_malformed(conn, &error);
            Box::pin(linger(conn, stream)).await;
        }
        // The client went away; an unfinished request has said so already.
        (Err(error), _) => tracing::debug!(%error, "Client connection failed"),
    }
}

/// Logs what hyper answered by itself.
fn note_malformed(conn: &Rc<Conn>, error: &hyper::Error) {
    let (status, details) = if !error.is_parse_too_large() {
        (StatusCode::BAD_REQUEST, "http1.codec_error")
    } else if error.to_string().contains("URI") {
        (StatusCode::URI_TOO_LONG, "http1.uri_too_long")
    } else {
        (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "http1.headers_too_large",
        )
    };
    let exchange = Exchange::begin(conn, conn.port.serving());
    {
        let mut record = exchange.record.borrow_mut();
        record.malformed(&exchange.serving.config.log);
        record.status = Some(status);
        record.details = details.into();
        record.flag(Flag::ProtocolError.into());
    }
    exchange.end();
}

/// Reads what the client still sends until it notices that we are done.
async fn linger(conn: &Conn, mut stream: Watched) {
    let mut buffer = [0; 2048];
    let drain = async { while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {} };
    let _ = conn
        .watch
        .alarm()
        .limit(Instant::now() + LINGER, drain)
        .await;
}
