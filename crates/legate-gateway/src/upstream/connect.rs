//! Opening connections: TCP and TLS under one limit, and the stream that results.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use legate_config::cluster::TcpKeepalive;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::client::TlsStream;

use super::breaker::ConnectionPermit;
use super::cluster::ClusterHandle;
use super::tls::ClientTls;
use crate::error::{ErrorKind, ProxyError};
use crate::gather::poll_write_gathered;

/// How long a connection whose permit others wait for may take to end at its other side.
const LINGER: Duration = Duration::from_millis(100);

/// A connection to an endpoint, cleartext or TLS.
#[derive(Debug)]
pub(crate) struct UpstreamStream {
    io: Transport,
    heard: Heard,
    /// Waits for the peer's end of a connection that was closed for somebody else's sake.
    linger: Option<Pin<Box<Sleep>>>,
    /// Last, so that the socket is closed when others learn of it; also after an upgrade.
    permit: ConnectionPermit,
}

/// Whether any byte came from the upstream since the flag was last cleared.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

#[derive(Debug)]
enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream that was just opened.
pub(super) struct Opened {
    pub(super) stream: UpstreamStream,
    pub(super) heard: Heard,
    pub(super) local: Option<SocketAddr>,
}

/// Connects to an endpoint within the cluster's limit.
pub(super) async fn open(
    cluster: &ClusterHandle,
    tls: Option<&ClientTls>,
    address: SocketAddr,
    http2: bool,
    permit: ConnectionPermit,
) -> Result<Opened, ProxyError> {
    let connecting = async {
        let tcp = TcpStream::connect(address)
            .await
            .map_err(|error| ProxyError::connect(&error))?;
        tune(&tcp, cluster.config.keepalive.as_ref());
        let local = tcp.local_addr().ok();
        let io = match tls {
            None => Transport::Tcp(tcp),
            Some(tls) => {
                let name = tls.server_name(address);
                let stream = tls
                    .connector(http2)
                    .connect(name, tcp)
                    .await
                    .map_err(|error| ProxyError::tls(&error))?;
                Transport::Tls(Box::new(stream))
            }
        };
        let heard = Heard::default();
        Ok(Opened {
            stream: UpstreamStream {
                io,
                heard: heard.clone(),
                linger: None,
                permit,
            },
            heard,
            local,
        })
    };
    tokio::time::timeout(cluster.connect_timeout(), connecting)
        .await
        .unwrap_or_else(|_| Err(ProxyError::new(ErrorKind::ConnectTimeout)))
}

/// Socket options. A connection without them still works, so failures are only logged.
fn tune(tcp: &TcpStream, keepalive: Option<&TcpKeepalive>) {
    let mut result = tcp.set_nodelay(true);
    if let Some(settings) = keepalive {
        let mut options = socket2::TcpKeepalive::new();
        if let Some(secs) = settings.idle_secs {
            options = options.with_time(Duration::from_secs(secs.into()));
        }
        if let Some(secs) = settings.interval_secs {
            options = options.with_interval(Duration::from_secs(secs.into()));
        }
        if let Some(probes) = settings.probes {
            options = options.with_retries(probes);
        }
        let socket = SockRef::from(tcp);
        result = result
            .and_then(|()| socket.set_keepalive(true))
            .and_then(|()| socket.set_tcp_keepalive(&options));
    }
    if let Err(error) = result {
        tracing::debug!(%error, "Socket option refused");
    }
}

// === impl Heard ===

impl Heard {
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl UpstreamStream ===

impl AsyncRead for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = match &mut self.io {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            self.heard.0.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Transport::Tcp(stream) => poll_write_gathered(Pin::new(stream), cx, bufs),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Transport::Tcp(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(match &mut self.io {
                Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
                Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            })?;
        }
        if !self.permit.is_awaited() {
            return Poll::Ready(Ok(()));
        }
        // Whoever waits opens another at once: by then the upstream has seen the end of this one.
        let mut unread = [0; 512];
        loop {
            let mut buf = ReadBuf::new(&mut unread);
            match self.as_mut().poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        let linger = self
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        linger.as_mut().poll(cx).map(Ok)
    }
}
