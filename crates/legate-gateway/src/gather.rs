//! Small messages leave in one plain `send`.
//!
//! A head and a short body come as two slices. For the kernel, `writev` costs more than `send` with
//! the few hundred bytes copied together; large bodies are not copied.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Messages up to this many bytes are copied together.
const SMALL: usize = 4096;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(SMALL));
}

/// Writes slices to a socket as `AsyncWrite::poll_write_vectored` does.
pub(crate) fn poll_write_gathered(
    mut tcp: Pin<&mut TcpStream>,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = slices {
        return tcp.poll_write(cx, only);
    }
    if slices.iter().map(|slice| slice.len()).sum::<usize>() > SMALL {
        return tcp.poll_write_vectored(cx, slices);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        for slice in slices {
            scratch.extend_from_slice(slice);
        }
        tcp.as_mut().poll_write(cx, scratch)
    })
}
