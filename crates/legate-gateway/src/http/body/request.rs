//! Bodies of clients' requests.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::framing::{Decoder, Malformed};
use crate::http::exchange::Exchange;

/// A client's request body.
pub(crate) struct RequestBody {
    incoming: Incoming,
    /// What was read ahead and is still to be passed on.
    front: VecDeque<Frame<Bytes>>,
    /// Whether nothing comes after that.
    ended: bool,
    /// What makes bytes of it, where the client sends text.
    decoder: Option<Box<Decoder>>,
    exchange: Rc<Exchange>,
}

/// Why a request's body broke off.
#[derive(Debug)]
pub(crate) enum BadBody {
    /// The client's connection failed, or what it sent is no HTTP.
    Client(hyper::Error),
    /// It is not what its type says.
    Malformed(io::Error),
}

// === impl RequestBody ===

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, exchange: &Rc<Exchange>) -> Self {
        if incoming.is_end_stream() {
            exchange.request_complete();
        }
        Self {
            incoming,
            front: VecDeque::new(),
            ended: false,
            decoder: exchange.grpc.decoder(),
            exchange: Rc::clone(exchange),
        }
    }

    /// Whether all of it has come from the client.
    pub(crate) fn is_complete(&self) -> bool {
        self.ended || self.incoming.is_end_stream()
    }

    /// Bytes that were read ahead.
    pub(crate) fn ahead(&self) -> u64 {
        self.ahead_of(u64::MAX).map(|data| data.len() as u64).sum()
    }

    /// What was read ahead, up to so many bytes, without taking it.
    pub(crate) fn ahead_of(&self, limit: u64) -> impl Iterator<Item = Bytes> {
        let mut left = limit;
        let data = self.front.iter().filter_map(Frame::data_ref);
        let data = data.filter(|data| !data.is_empty());
        data.map_while(move |data| {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            left = left.saturating_sub(length as u64);
            (length > 0).then(|| data.slice(..length))
        })
    }

    /// Gives the whole of it back after it was read.
    pub(crate) fn put_back(&mut self, data: Bytes, trailers: Option<HeaderMap>) {
        debug_assert!(self.front.is_empty() && self.is_complete());
        self.ended = true;
        if !data.is_empty() {
            self.front.push_back(Frame::data(data));
        }
        if let Some(trailers) = trailers {
            self.front.push_back(Frame::trailers(trailers));
        }
    }

    /// Reads one frame ahead; it is passed on later.
    pub(crate) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BadBody>> {
        self.poll_incoming(cx).map(|polled| {
            if let Some(frame) = polled.transpose()? {
                self.front.push_back(frame);
            }
            Ok(())
        })
    }

    fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BadBody>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        let last = polled.is_none() || self.incoming.is_end_stream();
        let polled = match polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.exchange.received(data.len());
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => return Poll::Ready(Some(Err(BadBody::Client(error)))),
            None => {
                self.ended = true;
                None
            }
        };
        let decoded = self.decode(polled, last);
        if last {
            self.exchange.request_complete();
        }
        Poll::Ready(decoded)
    }

    /// Makes bytes of a piece, where it is text.
    fn decode(
        &mut self,
        piece: Option<Result<Frame<Bytes>, BadBody>>,
        last: bool,
    ) -> Option<Result<Frame<Bytes>, BadBody>> {
        let Some(decoder) = &mut self.decoder else {
            return piece;
        };
        let decoded = match piece {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => decoder.push(&data).map(Frame::data).map(Some),
                Err(frame) => Ok(Some(frame)),
            },
            other => return other.or_else(|| self.end_of_text()),
        };
        let ends = decoded.and_then(|frame| {
            if last {
                decoder.end()?;
            }
            Ok(frame)
        });
        match ends {
            Ok(frame) => frame.map(Ok),
            Err(_) => Some(Err(self.malformed())),
        }
    }

    fn end_of_text(&mut self) -> Option<Result<Frame<Bytes>, BadBody>> {
        let ended = self.decoder.as_ref().is_none_or(|it| it.end().is_ok());
        (!ended).then(|| Err(self.malformed()))
    }

    fn malformed(&mut self) -> BadBody {
        self.ended = true;
        self.exchange.grpc.set_malformed();
        BadBody::Malformed(io::Error::new(io::ErrorKind::InvalidData, Malformed))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BadBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BadBody>>> {
        let polled = match self.front.pop_front() {
            Some(frame) => Some(Ok(frame)),
            None => ready!(self.poll_incoming(cx)),
        };
        if let (Some(call), Some(Ok(frame))) = (self.exchange.grpc.call(), &polled)
            && let Some(data) = frame.data_ref()
        {
            call.request_data(data);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty() && self.is_complete()
    }

    fn size_hint(&self) -> SizeHint {
        if self.decoder.is_some() && !self.is_complete() {
            return SizeHint::default();
        }
        if self.front.is_empty() {
            return self.incoming.size_hint();
        }
        let ahead = self.ahead();
        let rest = if self.is_complete() {
            SizeHint::with_exact(0)
        } else {
            self.incoming.size_hint()
        };
        let mut hint = SizeHint::new();
        hint.set_lower(ahead.saturating_add(rest.lower()));
        if let Some(upper) = rest.upper() {
            hint.set_upper(ahead.saturating_add(upper));
        }
        hint
    }
}

// === impl BadBody ===

impl fmt::Display for BadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BadBody {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Client(error) => Some(error),
            Self::Malformed(error) => Some(error),
        }
    }
}
