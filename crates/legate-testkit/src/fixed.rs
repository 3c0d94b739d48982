//! An origin that answers every request with the same bytes and parses nothing but the end of the
//! request head: for benchmarks of small GETs, where a real server would saturate its core first.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves `body_bytes` bytes per request on this address until the task is dropped.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(listen: SocketAddr, body_bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    serve_on(listener, body_bytes).await
}

/// The same on a socket that is bound already.
///
/// # Errors
/// Accepting failed.
pub async fn serve_on(listener: TcpListener, body_bytes: usize) -> io::Result<()> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {body_bytes}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + body_bytes, b'x');
    let answer: &'static [u8] = Box::leak(answer.into_boxed_slice());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, answer));
    }
}

async fn connection(mut stream: TcpStream, answer: &'static [u8]) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut buffer = vec![0; 16 * 1024];
    // Bytes of `\r\n\r\n` seen so far; heads may be split over reads.
    let mut matched = 0_usize;
    loop {
        let Ok(read) = stream.read(&mut buffer).await else {
            return;
        };
        if read == 0 {
            return;
        }
        for byte in buffer.iter().take(read) {
            matched = match (matched, byte) {
                (0 | 2, b'\r') | (1 | 3, b'\n') => matched + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if matched == 4 {
                matched = 0;
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    }
}
