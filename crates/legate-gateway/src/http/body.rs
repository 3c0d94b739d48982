//! Bodies on their way through: counted, held to the request's limits, and ending its exchange.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::{Exchange, Expired};
use crate::reply::Flag;
use crate::upstream::{UpstreamBody, classify};

/// A client's request body.
pub(crate) struct RequestBody {
    incoming: Incoming,
    exchange: Rc<Exchange>,
}

/// The body of the response to a client. Dropping it ends the exchange.
pub(crate) struct ResponseBody {
    source: Source,
    exchange: Rc<Exchange>,
    trailers: bool,
}

enum Source {
    /// Nothing follows.
    Done,
    /// One of ours.
    Local(Bytes),
    /// The upstream's.
    Upstream(UpstreamBody),
}

/// Why a response broke off after its headers were sent.
#[derive(Debug)]
pub(crate) enum BrokenOff {
    /// A limit was over.
    Expired(Expired),
    /// The upstream broke it off.
    Upstream(hyper::Error),
}

// === impl RequestBody ===

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, exchange: &Rc<Exchange>) -> Self {
        if incoming.is_end_stream() {
            exchange.request_complete();
        }
        Self {
            incoming,
            exchange: Rc::clone(exchange),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.exchange.received(data.len());
                }
                if self.incoming.is_end_stream() {
                    self.exchange.request_complete();
                }
            }
            Poll::Ready(None) => self.exchange.request_complete(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
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

// === impl ResponseBody ===

impl ResponseBody {
    /// A body of ours.
    pub(crate) fn local(body: Bytes, exchange: Rc<Exchange>) -> Self {
        Self {
            source: Source::Local(body),
            exchange,
            trailers: false,
        }
    }

    /// The upstream's body, with its trailers or without.
    pub(crate) fn upstream(body: UpstreamBody, exchange: Rc<Exchange>, trailers: bool) -> Self {
        Self {
            source: Source::Upstream(body),
            exchange,
            trailers,
        }
    }

    /// No body, of a response that is not the exchange's end: an upgrade goes on.
    pub(crate) fn upgraded(exchange: Rc<Exchange>) -> Self {
        Self {
            source: Source::Done,
            exchange,
            trailers: false,
        }
    }

    fn done(&mut self) {
        self.source = Source::Done;
        self.exchange.end();
    }

    fn broken(&mut self, why: BrokenOff) -> BrokenOff {
        let (flag, details) = match &why {
            BrokenOff::Expired(Expired::Route | Expired::Deadline) => {
                (Flag::UpstreamTimeout, Cow::Borrowed("response_timeout"))
            }
            BrokenOff::Expired(Expired::Idle) => {
                (Flag::StreamIdle, Cow::Borrowed("stream_idle_timeout"))
            }
            BrokenOff::Upstream(error) => {
                let error = classify(error);
                let flag = Flag::parse(error.flag()).unwrap_or(Flag::UpstreamTermination);
                (flag, Cow::Owned(error.details_after_headers()))
            }
        };
        let mut record = self.exchange.record.borrow_mut();
        record.flag(flag.into());
        record.details = details;
        drop(record);
        self.done();
        why
    }

    fn poll_upstream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Source::Upstream(body) = &mut self.source else {
            return Poll::Ready(None);
        };
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let last = body.is_end_stream();
                if let Some(data) = frame.data_ref() {
                    self.exchange.sent(data.len());
                } else if let Some(trailers) = frame.trailers_ref() {
                    let mut record = self.exchange.record.borrow_mut();
                    record.capture_trailers(&self.exchange.serving.config.log, trailers);
                }
                if frame.is_trailers() {
                    // Nothing can follow; asking lets the upstream's connection go back.
                    let _ = Pin::new(&mut *body).poll_frame(cx);
                }
                if last || frame.is_trailers() {
                    self.done();
                }
                if frame.is_trailers() && !self.trailers {
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.done();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(self.broken(BrokenOff::Upstream(error)))))
            }
            Poll::Pending => match self.exchange.poll_expired(cx) {
                Poll::Ready(what) => Poll::Ready(Some(Err(self.broken(BrokenOff::Expired(what))))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.source {
            Source::Done => Poll::Ready(None),
            Source::Local(bytes) => {
                let bytes = std::mem::take(bytes);
                if bytes.is_empty() {
                    self.done();
                    return Poll::Ready(None);
                }
                self.exchange.sent(bytes.len());
                self.done();
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Source::Upstream(_) => self.poll_upstream(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Done => true,
            Source::Local(bytes) => bytes.is_empty(),
            Source::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Done => SizeHint::with_exact(0),
            Source::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        match &self.source {
            Source::Done => {}
            // hyper drops a body that the method or status forbids without reading it.
            Source::Local(_) => self.exchange.end(),
            Source::Upstream(body) if body.is_end_stream() => self.exchange.end(),
            Source::Upstream(_) => self.exchange.abandoned(),
        }
    }
}

// === impl BrokenOff ===

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(Expired::Route) => f.write_str("the route's timeout expired"),
            Self::Expired(Expired::Deadline) => f.write_str("the client's deadline passed"),
            Self::Expired(Expired::Idle) => f.write_str("the stream was idle for too long"),
            Self::Upstream(error) => write!(f, "the upstream broke off: {error}"),
        }
    }
}

impl std::error::Error for BrokenOff {}
