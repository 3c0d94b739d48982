//! Bodies towards and from upstreams.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::pool::Lease;
use super::replay::Replayed;

/// Any error of a request body.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a pooled connection sends: one type for all callers, so that they can share connections.
pub(super) enum RequestBody {
    Empty,
    Streaming(Box<dyn Body<Data = Bytes, Error = RequestBodyError> + Unpin>),
    Replayed(Replayed),
}

/// The client's side of a request broke while it was being sent.
#[derive(Debug)]
pub(super) struct RequestBodyError(BoxError);

/// A response body. When it has been read to its end its connection goes back to the pool; when it
/// is dropped before, the connection is closed (HTTP/2: the stream is reset).
pub(crate) struct UpstreamBody {
    incoming: Incoming,
    lease: Option<Lease>,
}

// === impl RequestBody ===

impl RequestBody {
    pub(super) fn streaming<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        Self::Streaming(Box::new(
            body.map_err(|error| RequestBodyError(error.into())),
        ))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(body) => Pin::new(body).poll_frame(cx),
            Self::Replayed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(body) => body.is_end_stream(),
            Self::Replayed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(body) => body.size_hint(),
            Self::Replayed(body) => body.size_hint(),
        }
    }
}

// === impl RequestBodyError ===

impl RequestBodyError {
    /// Another attempt has the body now.
    pub(super) fn void() -> Self {
        Self("another attempt has it".into())
    }
}

impl fmt::Display for RequestBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request body: {}", self.0)
    }
}

impl std::error::Error for RequestBodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

// === impl UpstreamBody ===

impl UpstreamBody {
    /// Takes charge of a response body; one that is empty gives its connection back at once.
    pub(super) fn new(incoming: Incoming, lease: Option<Lease>) -> Self {
        let mut body = Self { incoming, lease };
        body.release_at_end();
        body
    }

    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBody")
            .field("end", &self.incoming.is_end_stream())
            .finish_non_exhaustive()
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            // The last frame of a body of known length: nobody may ask for another.
            Poll::Ready(Some(Ok(_))) => self.release_at_end(),
            Poll::Ready(Some(Err(_))) => drop(self.lease.take()),
            Poll::Ready(None) => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
