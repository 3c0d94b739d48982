//! Telling TLS, HTTP/2 and HTTP/1.1 apart by the first bytes.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use crate::http::stream::Socket;

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// With a TLS handshake record.
    Tls,
    /// With the HTTP/2 preface.
    Http2,
    /// With anything else, which HTTP/1.1 has to judge.
    Other,
}

/// The content type of a TLS handshake record.
const HANDSHAKE: u8 = 0x16;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads as little as it takes to tell, and gives it back. `None` when the client closed before it
/// sent anything.
pub(crate) async fn read_opening(socket: &mut Socket) -> io::Result<Option<Opening>> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    let opening = loop {
        let room = PREFACE.len() - first.len();
        let n = (&mut *socket)
            .take(room as u64)
            .read_buf(&mut first)
            .await?;
        if first.first() == Some(&HANDSHAKE) {
            break Opening::Tls;
        }
        if *first == *PREFACE {
            break Opening::Http2;
        }
        if n == 0 || !PREFACE.starts_with(&first) {
            break Opening::Other;
        }
    };
    if first.is_empty() {
        return Ok(None);
    }
    socket.give_back(first.freeze());
    Ok(Some(opening))
}
