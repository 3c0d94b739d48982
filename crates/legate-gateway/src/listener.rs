//! Listening sockets of one worker: accepting connections, and ceasing to without losing one.
//!
//! What becomes of a connection until HTTP begins is [`accept`]'s.

pub(crate) mod accept;
pub(crate) mod bind;
mod opening;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};

use crate::http::conn::Opened;
use crate::http::context::Context;
use crate::http::port::Port;

/// Pause after the process ran out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How often a worker that is full looks for room.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// How long the queue of a socket that takes no new connections must stay empty before it closes:
/// long enough for the last packet of a handshake that was under way.
const DRY: Duration = Duration::from_millis(20);

/// After so many rounds the socket closes anyhow.
const DRY_ROUNDS: u32 = 50;

/// Refuses packets that open a connection, in classic BPF over the TCP header: `SYN` set.
const NO_SYN: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

/// A listening socket of a worker.
pub(crate) struct Acceptor {
    context: Rc<Context>,
    port: Rc<Port>,
    socket: RefCell<Option<TcpListener>>,
    waker: RefCell<Option<Waker>>,
}

impl Acceptor {
    /// Starts to accept.
    pub(crate) fn spawn(
        context: &Rc<Context>,
        port: &Rc<Port>,
        socket: std::net::TcpListener,
    ) -> io::Result<Rc<Self>> {
        let acceptor = Rc::new(Self {
            context: Rc::clone(context),
            port: Rc::clone(port),
            socket: RefCell::new(Some(TcpListener::from_std(socket)?)),
            waker: RefCell::new(None),
        });
        tokio::task::spawn_local(Rc::clone(&acceptor).run());
        Ok(acceptor)
    }

    /// Stops: refuses new connections, takes those that the kernel holds already, then closes.
    pub(crate) async fn stop(&self) {
        if let Some(socket) = &*self.socket.borrow() {
            // Best effort: without it, a connection that completes between the last accept and the
            // close is lost, which is a matter of microseconds.
            let _ = SockRef::from(socket).attach_filter(&NO_SYN);
        }
        let mut cx = TaskContext::from_waker(Waker::noop());
        self.take_queued(&mut cx);
        for _ in 0..DRY_ROUNDS {
            tokio::time::sleep(DRY).await;
            if !self.take_queued(&mut cx) {
                break;
            }
        }
        self.socket.borrow_mut().take();
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Takes every connection that waits; whether there was one.
    fn take_queued(&self, cx: &mut TaskContext<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(Some(Ok((stream, peer)))) = self.poll_accept(cx) {
            any = true;
            self.serve(stream, peer);
        }
        any
    }

    async fn run(self: Rc<Self>) {
        loop {
            while self.context.open.get() >= self.context.max_open {
                self.port.shed();
                tokio::time::sleep(FULL_PAUSE).await;
            }
            let accepted = poll_fn(|cx| {
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                self.poll_accept(cx)
            })
            .await;
            match accepted {
                None => return,
                Some(Ok((stream, peer))) => self.serve(stream, peer),
                Some(Err(error)) if is_exhausted(&error) => {
                    tracing::warn!(%error, "Cannot accept connections for a moment");
                    self.port.shed();
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                // The client gave up before we came to it.
                Some(Err(error)) => {
                    tracing::debug!(%error, "Connection lost before it was accepted")
                }
            }
        }
    }

    fn poll_accept(
        &self,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<io::Result<(TcpStream, SocketAddr)>>> {
        match &*self.socket.borrow() {
            Some(socket) => socket.poll_accept(cx).map(Some),
            None => Poll::Ready(None),
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let opened = Opened::new(&self.context, &self.port);
        tokio::task::spawn_local(accept::serve(opened, stream, peer));
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
