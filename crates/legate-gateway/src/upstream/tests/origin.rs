//! An HTTP/1.1 origin made of raw bytes, so that it can misbehave at an exact moment.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What an origin does with a connection's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// Answers each.
    Answer,
    /// Answers one and closes, without saying so beforehand.
    CloseAfterOne,
    /// Answers the first; closes when it has read the second.
    CloseOnSecond,
    /// Answers the first; sends half a status line for the second and closes.
    BreakOnSecond,
    /// Reads a request and closes.
    CloseUnanswered,
    /// Answers with these bytes.
    Bytes(&'static str),
    /// Accepts an upgrade and echoes bytes.
    Upgrade,
}

/// A running origin.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    connections: Rc<Cell<usize>>,
    open: Rc<Cell<usize>>,
    requests: Rc<Cell<usize>>,
}

impl Origin {
    pub(super) async fn start(name: &'static str, does: Does) -> Self {
        Self::start_tls(name, does, None).await
    }

    pub(super) async fn start_tls(
        name: &'static str,
        does: Does,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Self {
            address,
            connections: Rc::default(),
            open: Rc::default(),
            requests: Rc::default(),
        };
        let connections = Rc::clone(&origin.connections);
        let open = Rc::clone(&origin.open);
        let requests = Rc::clone(&origin.requests);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.set(connections.get() + 1);
                open.set(open.get() + 1);
                let open = Rc::clone(&open);
                let requests = Rc::clone(&requests);
                let tls = tls.clone().map(TlsAcceptor::from);
                tokio::task::spawn_local(async move {
                    match tls {
                        None => serve(stream, name, does, &requests).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, name, does, &requests).await;
                            }
                        }
                    }
                    open.set(open.get() - 1);
                });
            }
        });
        origin
    }

    /// Connections accepted so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }

    /// Requests read so far.
    pub(super) fn requests(&self) -> usize {
        self.requests.get()
    }
}

async fn serve<S>(mut stream: S, name: &str, does: Does, requests: &Cell<usize>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}",
        name.len()
    );
    let mut buffer = Vec::new();
    for index in 0.. {
        if read_request(&mut stream, &mut buffer).await.is_none() {
            return;
        }
        requests.set(requests.get() + 1);
        let first = index == 0;
        let reply = match does {
            Does::CloseUnanswered => return,
            Does::CloseOnSecond if !first => return,
            Does::BreakOnSecond if !first => "HTTP/1.1 2",
            Does::Bytes(bytes) => bytes,
            Does::Upgrade => {
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
            }
            _ => &answer,
        };
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
        match does {
            Does::CloseAfterOne => return,
            Does::BreakOnSecond if !first => return,
            Does::Upgrade => {
                let mut byte = [0];
                while stream.read_exact(&mut byte).await.is_ok() {
                    let _ = stream.write_all(&byte).await;
                }
                return;
            }
            _ => {}
        }
    }
}

/// Reads one request with its body; `None` at the end of the connection.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Option<()> {
    loop {
        if let Some(end) = buffer.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |value| value.trim().parse().unwrap());
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                buffer.drain(..whole);
                return Some(());
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
