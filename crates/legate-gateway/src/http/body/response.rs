//! Bodies of responses to clients.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::framing::Writer;
use crate::http::encode::Encoder;
use crate::http::exchange::{Exchange, Expired};
use crate::reply::Flag;
use crate::upstream::{UpstreamBody, classify};

/// The body of the response to a client. Dropping it ends the exchange.
pub(crate) struct ResponseBody {
    source: Source,
    encoder: Option<Box<Encoder>>,
    web: Option<Box<Writer>>,
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
    /// It could not be compressed.
    Encoding(io::Error),
}

// === impl ResponseBody ===

impl ResponseBody {
    /// A body of ours.
    pub(crate) fn local(body: Bytes, exchange: Rc<Exchange>) -> Self {
        Self {
            source: Source::Local(body),
            encoder: None,
            web: None,
            exchange,
            trailers: false,
        }
    }

    /// The upstream's body, with its trailers or without, as it is or compressed.
    pub(crate) fn upstream(
        body: UpstreamBody,
        encoder: Option<Box<Encoder>>,
        exchange: Rc<Exchange>,
        trailers: bool,
    ) -> Self {
        Self {
            source: Source::Upstream(body),
            encoder,
            web: None,
            exchange,
            trailers,
        }
    }

    /// The upstream's body, in the form of gRPC-Web.
    pub(crate) fn web(body: UpstreamBody, writer: Writer, exchange: Rc<Exchange>) -> Self {
        Self {
            source: Source::Upstream(body),
            encoder: None,
            web: Some(Box::new(writer)),
            exchange,
            trailers: false,
        }
    }

    /// No body, of a response that is not the exchange's end: an upgrade goes on.
    pub(crate) fn upgraded(exchange: Rc<Exchange>) -> Self {
        Self {
            source: Source::Done,
            encoder: None,
            web: None,
            exchange,
            trailers: false,
        }
    }

    /// Whether what the client gets is longer or shorter than what the upstream sends.
    fn is_rewritten(&self) -> bool {
        self.encoder.is_some() || self.web.is_some()
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
            BrokenOff::Encoding(_) => (
                Flag::LocalReset,
                Cow::Borrowed("response_compression_failed"),
            ),
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
                    if let Some(call) = self.exchange.grpc.call() {
                        call.response_data(data);
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.exchange.trailers(trailers);
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

// Compressed.
impl ResponseBody {
    fn poll_encoded(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            let (Source::Upstream(body), Some(encoder)) =
                (&mut self.source, self.encoder.as_deref_mut())
            else {
                return Poll::Ready(None);
            };
            let worked = if encoder.has_input() {
                encoder.step().map_err(BrokenOff::Encoding)
            } else if encoder.has_ended() {
                let trailers = encoder.trailers.take().filter(|_| self.trailers);
                self.done();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            } else {
                match feed(body, encoder, &self.exchange, cx) {
                    Poll::Ready(worked) => worked,
                    Poll::Pending if encoder.holds_back() => {
                        // The client need not wait for what is not there yet.
                        encoder.flush().map_err(BrokenOff::Encoding)
                    }
                    Poll::Pending => return Poll::Pending,
                }
            };
            if let Err(why) = worked {
                return Poll::Ready(Some(Err(self.broken(why))));
            }
            let output = encoder.take();
            if !output.is_empty() {
                self.exchange.sent(output.len());
                return Poll::Ready(Some(Ok(Frame::data(output))));
            }
        }
    }
}

// In the form of gRPC-Web.
impl ResponseBody {
    fn poll_web(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        loop {
            let (Source::Upstream(body), Some(writer)) =
                (&mut self.source, self.web.as_deref_mut())
            else {
                return Poll::Ready(None);
            };
            let (output, last) = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.exchange.touch();
                        if let Some(call) = self.exchange.grpc.call() {
                            call.response_data(&data);
                        }
                        (writer.push(data), false)
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.exchange.trailers(&trailers);
                        // Nothing can follow; asking lets the upstream's connection go back.
                        let _ = Pin::new(&mut *body).poll_frame(cx);
                        (writer.finish(Some(&trailers)), true)
                    }
                },
                Poll::Ready(None) => (writer.finish(None), true),
                Poll::Ready(Some(Err(error))) => {
                    let why = self.broken(BrokenOff::Upstream(error));
                    return Poll::Ready(Some(Err(why)));
                }
                Poll::Pending => {
                    let what = ready!(self.exchange.poll_expired(cx));
                    let why = self.broken(BrokenOff::Expired(what));
                    return Poll::Ready(Some(Err(why)));
                }
            };
            if !output.is_empty() {
                self.exchange.sent(output.len());
            }
            if last {
                self.done();
            }
            if !output.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(output))));
            }
        }
    }
}

/// Gives an encoder what the upstream sends next, its end included.
fn feed(
    body: &mut UpstreamBody,
    encoder: &mut Encoder,
    exchange: &Exchange,
    cx: &mut Context<'_>,
) -> Poll<Result<(), BrokenOff>> {
    match Pin::new(&mut *body).poll_frame(cx) {
        Poll::Ready(Some(Ok(frame))) => Poll::Ready(match frame.into_data() {
            Ok(data) => {
                exchange.touch();
                encoder.push(data);
                Ok(())
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    exchange.trailers(&trailers);
                    encoder.trailers = Some(trailers);
                }
                // Nothing can follow; asking lets the upstream's connection go back.
                let _ = Pin::new(&mut *body).poll_frame(cx);
                encoder.finish().map_err(BrokenOff::Encoding)
            }
        }),
        Poll::Ready(None) => Poll::Ready(encoder.finish().map_err(BrokenOff::Encoding)),
        Poll::Ready(Some(Err(error))) => Poll::Ready(Err(BrokenOff::Upstream(error))),
        Poll::Pending => exchange
            .poll_expired(cx)
            .map(|what| Err(BrokenOff::Expired(what))),
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.encoder.is_some() {
            return self.poll_encoded(cx);
        }
        if self.web.is_some() {
            return self.poll_web(cx);
        }
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
            Source::Upstream(body) => !self.is_rewritten() && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Done => SizeHint::with_exact(0),
            Source::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream(_) if self.is_rewritten() => SizeHint::default(),
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
            Source::Upstream(body) if !self.is_rewritten() && body.is_end_stream() => {
                self.exchange.end();
            }
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
            Self::Encoding(error) => write!(f, "compressing failed: {error}"),
        }
    }
}

impl std::error::Error for BrokenOff {}
