//! A client's byte stream: the socket, what was already read from it, and TLS over that.
//!
//! The stream notes when bytes come in and when output is stuck; the deadlines that follow from it
//! are [`super::watch`]'s.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::frames::Frames;
use super::watch::Watch;
use crate::gather::poll_write_gathered;

/// A TCP connection with bytes that were read from it and given back.
pub(crate) struct Socket {
    tcp: TcpStream,
    unread: Bytes,
}

/// What HTTP is spoken over.
pub(crate) enum Transport {
    /// Cleartext.
    Plain(Socket),
    /// TLS; boxed, as it is large.
    Tls(Box<TlsStream<Socket>>),
}

/// A transport that reports its activity to the connection's deadlines.
pub(crate) struct Watched {
    transport: Transport,
    unread: Bytes,
    frames: Option<Frames>,
    watch: Rc<Watch>,
}

// === impl Socket ===

impl Socket {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            unread: Bytes::new(),
        }
    }

    /// Gives bytes back; they are read before anything else.
    pub(crate) fn give_back(&mut self, bytes: Bytes) {
        debug_assert!(self.unread.is_empty());
        self.unread = bytes;
    }

    /// Completes when there is something to read, the end of the stream included.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        if self.unread.is_empty() {
            self.tcp.readable().await
        } else {
            Ok(())
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.tcp).poll_read(cx, buf);
        }
        let n = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread.split_to(n));
        if self.unread.is_empty() {
            self.unread = Bytes::new();
            if buf.remaining() > 0 {
                // What follows in the socket belongs to the same message, most likely. An error
                // comes again with the next read.
                let _ = Pin::new(&mut self.tcp).poll_read(cx, buf);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write_gathered(Pin::new(&mut self.tcp), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

// === impl Transport ===

macro_rules! on_stream {
    ($self:expr, $method:ident($($argument:expr),*)) => {
        match $self {
            Transport::Plain(socket) => Pin::new(socket).$method($($argument),*),
            Transport::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl Transport {
    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

// === impl Watched ===

impl Watched {
    pub(crate) fn new(transport: Transport, watch: Rc<Watch>) -> Self {
        Self {
            transport,
            unread: Bytes::new(),
            frames: watch.is_multiplexed().then(Frames::new),
            watch,
        }
    }

    /// Gives bytes back that were read too early; they are read before anything else.
    pub(crate) fn give_back(&mut self, bytes: Bytes) {
        debug_assert!(self.unread.is_empty());
        self.unread = bytes;
    }

    /// Completes when there is something to read, below the TLS layer at least.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        if self.unread.is_empty() {
            self.transport.socket().readable().await
        } else {
            Ok(())
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            let n = this.unread.len().min(buf.remaining());
            buf.put_slice(&this.unread.split_to(n));
            this.watch.bytes_came();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(on_stream!(&mut this.transport, poll_read(cx, buf)))?;
        if let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            this.watch.bytes_came();
            if let Some(frames) = &mut this.frames {
                this.watch.headers_open(frames.take(bytes));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Watched {
    fn wrote(&self, wanted: usize, result: &Poll<io::Result<usize>>) {
        let done = matches!(result, Poll::Ready(Ok(n)) if *n == wanted);
        self.watch.set_stuck(!done);
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = on_stream!(&mut this.transport, poll_write(cx, buf));
        this.wrote(buf.len(), &result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = on_stream!(&mut this.transport, poll_write_vectored(cx, bufs));
        this.wrote(bufs.iter().map(|buf| buf.len()).sum(), &result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(socket) => socket.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Called only after everything was written; TLS may hold some of it back.
        let result = on_stream!(&mut this.transport, poll_flush(cx));
        this.watch.set_stuck(result.is_pending());
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(&mut self.get_mut().transport, poll_shutdown(cx))
    }
}
