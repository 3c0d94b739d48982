//! A request body that can be sent more than once: what went out is remembered, up to a limit.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::body::{RequestBody, RequestBodyError};

/// Bytes that are remembered when nobody says otherwise (spec/services §3.11).
const DEFAULT_LIMIT: usize = 1024 * 1024;

/// What was read of a client's body, and the rest of it.
#[derive(Clone)]
pub(super) struct Replay(Rc<RefCell<Recording>>);

struct Recording {
    source: RequestBody,
    frames: Vec<Bytes>,
    size: usize,
    limit: usize,
    trailers: Option<HeaderMap>,
    whole: SizeHint,
    done: bool,
    /// It was too long to be remembered, or broke off.
    lost: bool,
    /// Who may read: an attempt that was given up may still be polled once more.
    reader: u32,
    waiting: Option<Waker>,
}

/// One attempt's view of the body.
pub(super) struct Replayed {
    recording: Rc<RefCell<Recording>>,
    reader: u32,
    next: usize,
    sent: u64,
    trailers_sent: bool,
}

// === impl Replay ===

impl Replay {
    pub(super) fn new(source: RequestBody, limit: Option<usize>) -> Self {
        Self(Rc::new(RefCell::new(Recording {
            whole: source.size_hint(),
            done: source.is_end_stream(),
            source,
            frames: Vec::new(),
            size: 0,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
            trailers: None,
            lost: false,
            reader: 0,
            waiting: None,
        })))
    }

    /// The body from its start; former views of it are void.
    pub(super) fn body(&self) -> RequestBody {
        let mut recording = self.0.borrow_mut();
        recording.reader = recording.reader.wrapping_add(1);
        if recording.done && recording.frames.is_empty() && recording.trailers.is_none() {
            return RequestBody::Empty;
        }
        RequestBody::Replayed(Replayed {
            reader: recording.reader,
            recording: Rc::clone(&self.0),
            next: 0,
            sent: 0,
            trailers_sent: false,
        })
    }

    /// Whether it can be sent once more.
    pub(super) fn is_whole(&self) -> bool {
        !self.0.borrow().lost
    }

    /// Waits until all of it came from the client.
    pub(super) async fn complete(&self) {
        poll_fn(|cx| {
            let mut recording = self.0.borrow_mut();
            if recording.done {
                return Poll::Ready(());
            }
            recording.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

// === impl Recording ===

impl Recording {
    fn end(&mut self) {
        self.done = true;
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    fn record(&mut self, data: &Bytes) {
        self.size = self.size.saturating_add(data.len());
        if self.size > self.limit {
            self.lost = true;
            self.frames = Vec::new();
        }
        if !self.lost {
            self.frames.push(data.clone());
        }
    }
}

// === impl Replayed ===

impl Body for Replayed {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        let mut recording = this.recording.borrow_mut();
        if recording.reader != this.reader {
            return Poll::Ready(Some(Err(RequestBodyError::void())));
        }
        if let Some(data) = recording.frames.get(this.next).cloned() {
            this.next = this.next.saturating_add(1);
            this.sent = this.sent.saturating_add(data.len() as u64);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if recording.done {
            let trailers = recording.trailers.as_ref().filter(|_| !this.trailers_sent);
            this.trailers_sent = true;
            return Poll::Ready(trailers.cloned().map(|it| Ok(Frame::trailers(it))));
        }
        let polled = Pin::new(&mut recording.source).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    recording.record(data);
                    this.next = recording.frames.len();
                    this.sent = this.sent.saturating_add(data.len() as u64);
                } else if let Some(trailers) = frame.trailers_ref() {
                    recording.trailers = Some(trailers.clone());
                    this.trailers_sent = true;
                }
                if recording.source.is_end_stream() {
                    recording.end();
                }
            }
            Poll::Ready(Some(Err(_))) => recording.lost = true,
            Poll::Ready(None) => recording.end(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let recording = self.recording.borrow();
        recording.done
            && self.next >= recording.frames.len()
            && (self.trailers_sent || recording.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let whole = &self.recording.borrow().whole;
        match whole.exact() {
            Some(exact) => SizeHint::with_exact(exact.saturating_sub(self.sent)),
            None => SizeHint::default(),
        }
    }
}
