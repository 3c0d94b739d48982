//! The handshake of one connection.
//!
//! The ClientHello is read here and handed to rustls' acceptor, so that the chain is chosen before
//! any configuration answers. Nothing here has a timeout: the accept stage has one deadline.

use std::io;
use std::sync::Arc;

use rustls::server::{Accepted, Acceptor};
use rustls::{ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::TlsInfo;
use super::peer::PeerCertificate;
use super::table::{Termination, TlsChain};
use crate::crypto::cipher_name;

/// Fatal alert `unrecognized_name`, as a whole record.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// Fatal alert `protocol_version`, as a whole record.
const PROTOCOL_VERSION: [u8; 7] = [21, 3, 3, 0, 2, 2, 70];
/// Where a ClientHello's version stands: after the record header (5) and message header (4).
const VERSION_AT: usize = 9;

/// A finished handshake.
#[derive(Debug)]
pub(crate) struct Handshaken<IO> {
    /// The stream.
    pub(crate) stream: TlsStream<IO>,
    /// How it was terminated.
    pub(crate) termination: Arc<Termination>,
    /// For routing and logs.
    pub(crate) info: TlsInfo,
}

/// Why there is no connection. Whatever had to be said to the client was said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The client went away.
    #[error("the connection closed during the handshake")]
    Closed(#[source] io::Error),
    /// No chain takes the server name.
    #[error("no TLS settings for server name `{0}`")]
    UnknownName(String),
    /// The chain refuses handshakes.
    #[error("TLS is refused: {0}")]
    Refused(Arc<str>),
    /// A protocol version that is too old for us.
    #[error("the client's TLS version is too old")]
    TooOld,
    /// rustls said no: bad message, nothing in common, bad client certificate.
    #[error("TLS handshake failed")]
    Failed(#[source] io::Error),
}

impl HandshakeError {
    /// Label for metrics.
    pub(crate) fn result(&self) -> crate::metrics::HandshakeResult {
        use crate::metrics::HandshakeResult;
        match self {
            Self::Closed(_) => HandshakeResult::Closed,
            Self::UnknownName(_) => HandshakeResult::UnknownName,
            Self::Refused(_) => HandshakeResult::Refused,
            Self::TooOld | Self::Failed(_) => HandshakeResult::Failed,
        }
    }
}

/// Performs a handshake. `choose` gets the client's server name, lower-case, and says which chain
/// takes it; `None` is answered with `unrecognized_name`.
pub(crate) async fn handshake<IO>(
    mut stream: IO,
    choose: impl FnOnce(Option<&str>) -> Option<TlsChain>,
) -> Result<Handshaken<IO>, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let accepted = read_hello(&mut stream).await?;
    let sni = accepted
        .client_hello()
        .server_name()
        .map(str::to_ascii_lowercase);
    let termination = match choose(sni.as_deref()) {
        Some(TlsChain::Terminate(termination)) => termination,
        Some(TlsChain::Refuse(reason)) => {
            say(&mut stream, &UNRECOGNIZED_NAME).await;
            return Err(HandshakeError::Refused(reason));
        }
        None => {
            say(&mut stream, &UNRECOGNIZED_NAME).await;
            return Err(HandshakeError::UnknownName(sni.unwrap_or_default()));
        }
    };
    let start = StartHandshake::from_parts(accepted, stream);
    let stream = start
        .into_stream(Arc::clone(&termination.config))
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => HandshakeError::Failed(error),
            _ => HandshakeError::Closed(error),
        })?;
    let info = info(stream.get_ref().1, sni);
    Ok(Handshaken {
        stream,
        termination,
        info,
    })
}

/// Whether bytes start a ClientHello of a version that no chain of ours takes. A client of TLS 1.3
/// writes 1.2 there, so what is below is older.
fn is_too_old(head: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    let version = match head.get(VERSION_AT..) {
        Some([high, low]) => u16::from_be_bytes([*high, *low]),
        _ => return false,
    };
    head.first() == Some(&HANDSHAKE)
        && head.get(5) == Some(&CLIENT_HELLO)
        && version < u16::from(ProtocolVersion::TLSv1_2)
}

/// Reads until the ClientHello is complete.
async fn read_hello<IO>(stream: &mut IO) -> Result<Accepted, HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut head = Vec::with_capacity(VERSION_AT + 2);
    // On the heap: the future lives as long as the connection, and most hellos are large.
    let mut buffer = vec![0; 2048];
    loop {
        let read = stream
            .read(&mut buffer)
            .await
            .map_err(HandshakeError::Closed)?;
        if read == 0 {
            return Err(HandshakeError::Closed(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut bytes = buffer.get(..read).unwrap_or_default();
        let wanted = (VERSION_AT + 2).saturating_sub(head.len());
        head.extend_from_slice(bytes.get(..wanted).unwrap_or(bytes));
        while !bytes.is_empty() {
            acceptor
                .read_tls(&mut bytes)
                .map_err(HandshakeError::Failed)?;
        }
        match acceptor.accept() {
            Ok(None) => {}
            // A client too old for any chain is told that, whatever else its hello lacks and
            // whatever name it sends.
            Ok(Some(_)) | Err(_) if is_too_old(&head) => {
                say(stream, &PROTOCOL_VERSION).await;
                return Err(HandshakeError::TooOld);
            }
            Ok(Some(accepted)) => return Ok(accepted),
            Err((error, mut alert)) => {
                let mut record = Vec::new();
                // Writing to a vector cannot fail.
                let _ = alert.write_all(&mut record);
                say(stream, &record).await;
                let error = io::Error::new(io::ErrorKind::InvalidData, error);
                return Err(HandshakeError::Failed(error));
            }
        }
    }
}

/// Sends an alert and closes. The client may be gone; that is its own affair.
async fn say<IO: AsyncWrite + Unpin>(stream: &mut IO, record: &[u8]) {
    if stream.write_all(record).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

fn info(connection: &ServerConnection, sni: Option<String>) -> TlsInfo {
    TlsInfo {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "",
        },
        cipher: connection.negotiated_cipher_suite().map_or("", cipher_name),
        sni,
        http2: connection.alpn_protocol() == Some(b"h2"),
        peer: connection
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(|der| Box::new(PeerCertificate::read(der))),
    }
}
