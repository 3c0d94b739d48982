//! gRPC methods of the echo: each sends back what it gets, message by message.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::{Body, Frame, Incoming};

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

/// A method that fails.
const FAIL: &str = "/Fail";
/// Its status: FAILED_PRECONDITION.
const FAILED: u16 = 9;
/// INTERNAL
const BROKEN: u16 = 13;

/// A request's body on its way back, with a status after it.
pub(super) struct Echoed {
    body: Incoming,
    ended: bool,
}

/// Whether a request calls a gRPC method.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// Answers a call.
pub(super) fn answer(request: Request<Incoming>) -> Response<Echoed> {
    let fails = request.uri().path().ends_with(FAIL);
    let mut response = Response::new(Echoed {
        body: request.into_body(),
        ended: fails,
    });
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, kind);
    if fails {
        headers.insert(GRPC_STATUS, HeaderValue::from(FAILED));
        let message = HeaderValue::from_static("it always fails");
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

impl Body for Echoed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let status = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(Some(Err(_))) => BROKEN,
            Poll::Ready(Some(Ok(_)) | None) => 0,
        };
        self.ended = true;
        let mut trailers = HeaderMap::new();
        trailers.insert(GRPC_STATUS, HeaderValue::from(status));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
