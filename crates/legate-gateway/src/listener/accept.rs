//! The accept stage: from a TCP connection to HTTP, under one deadline.
//!
//! TLS, HTTP/2 and HTTP/1.1 are told apart here; the handshake's chain is chosen by server name.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use tokio::net::TcpStream;

use super::bind::unmapped;
use super::opening::{Opening, read_opening};
use crate::config::PortConfig;
use crate::http::conn::{Conn, Opened, Secured};
use crate::http::stream::{Socket, Transport};
use crate::http::{h1, h2};
use crate::metrics::{HandshakeResult, Metrics};
use crate::request::Peer;
use crate::tls::{self, HandshakeError};

/// A connection on which HTTP can begin.
struct Established {
    transport: Transport,
    http2: bool,
    tls: Option<Secured>,
}

/// Why it does not come to that.
#[derive(Debug, thiserror::Error)]
enum AcceptError {
    #[error("the client closed before it sent anything")]
    Closed,
    #[error("the connection broke")]
    Broken(#[from] io::Error),
    #[error("the listener takes no cleartext")]
    NoCleartext,
    #[error("the handshake failed")]
    Handshake(#[from] HandshakeError),
}

/// Serves an accepted connection to its end.
pub(crate) async fn serve(opened: Opened, tcp: TcpStream, peer: SocketAddr) {
    // The socket is good for nothing when this fails, as the next operation will say.
    let _ = tcp.set_nodelay(true);
    let process = Rc::clone(&opened.context).process.clone();
    let peer = unmapped(peer);
    let peer = process.peer.as_ref().map_or(peer, |hook| hook(peer));
    let local = tcp.local_addr().ok().map(unmapped);
    let serving = opened.port.serving();
    let watch = Rc::clone(&opened.watch);
    let due = Instant::now() + process.patience;
    let established = {
        // Boxed, as what a handshake needs is not needed afterwards.
        let mut establishing = Box::pin(establish(
            &serving.config,
            &opened.context.metrics,
            Socket::new(tcp),
        ));
        watch.alarm().set(due);
        poll_fn(|cx| {
            if let Poll::Ready(established) = establishing.as_mut().poll(cx) {
                return Poll::Ready(Some(established));
            }
            let rang = watch.alarm().poll_rang(cx).is_ready();
            if rang || watch.is_shut() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    };
    drop(serving);
    let Established {
        transport,
        http2,
        tls,
    } = match established {
        Some(Ok(established)) => established,
        Some(Err(error)) => {
            tracing::debug!(client.addr = %peer, error = &error as &dyn std::error::Error, "Connection not accepted");
            return;
        }
        None => {
            tracing::debug!(client.addr = %peer, "Client took too long to begin");
            return;
        }
    };
    let conn = Conn::new(opened, Peer::new(peer), local, tls);
    if http2 {
        Box::pin(h2::serve(conn, transport)).await;
    } else {
        h1::serve(conn, transport).await;
    }
}

/// Reads the first bytes and does what they ask for.
async fn establish(
    config: &PortConfig,
    metrics: &Metrics,
    mut socket: Socket,
) -> Result<Established, AcceptError> {
    let opening = read_opening(&mut socket)
        .await?
        .ok_or(AcceptError::Closed)?;
    if opening == Opening::Tls && config.listener.tls {
        let timed = Timed(metrics);
        let result = handshake(config, socket).await;
        timed.end(match &result {
            Ok(_) => HandshakeResult::Ok,
            Err(error) => error.result(),
        });
        return Ok(result?);
    }
    let takes_cleartext = config
        .router
        .listener(config.key.as_str())
        .is_some_and(|routes| routes.plain_chain().is_some());
    if !takes_cleartext {
        return Err(AcceptError::NoCleartext);
    }
    Ok(Established {
        transport: Transport::Plain(socket),
        http2: opening == Opening::Http2,
        tls: None,
    })
}

async fn handshake(config: &PortConfig, socket: Socket) -> Result<Established, HandshakeError> {
    let choose = |sni: Option<&str>| {
        let routes = config.router.listener(config.key.as_str())?;
        let chain = routes.choose_chain(sni)?;
        config.tls.chain(chain.key()).cloned()
    };
    let done = tls::handshake(socket, choose).await?;
    Ok(Established {
        http2: done.info.http2,
        transport: Transport::Tls(Box::new(done.stream)),
        tls: Some(Secured {
            info: done.info,
            termination: done.termination,
            generation: config.generation,
        }),
    })
}

/// Counts a handshake that is given up as one that took too long.
struct Timed<'a>(&'a Metrics);

impl Timed<'_> {
    fn end(self, result: HandshakeResult) {
        self.0.tls_handshake(result);
        std::mem::forget(self);
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.0.tls_handshake(HandshakeResult::Timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    /// This, and not much more, is what an idle connection costs besides its socket.
    #[test]
    fn the_future_of_a_connection_stays_small() {
        let size = size(serve);
        assert!(size <= 1536, "{size}");
    }
}
