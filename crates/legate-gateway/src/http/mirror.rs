//! Shadowing (spec/services §3.7): a copy of a request goes to another cluster, and what becomes of it
//! is nobody's concern.
//!
//! The copy's body is fed by the request's own while that is sent. It never waits: when the shadow
//! takes too little, the copy is dropped.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Request};
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use super::body::{BadBody, RequestBody};
use super::context::Context;
use crate::config::Mirror;
use crate::upstream::{Call, ClusterHandle, outgoing};

/// Most bytes of a body that wait for a shadow.
const MAX_WAITING: usize = 1024 * 1024;

/// Most copies that a worker has under way.
const MAX_COPIES: usize = 1024;

/// How long a copy may take where the route sets no limit, and beside the time of a body.
const PATIENCE: Duration = Duration::from_secs(300);

/// A request body of which a copy is kept.
pub(super) struct Tee {
    body: RequestBody,
    pipe: Rc<Pipe>,
}

/// The copy.
struct Copied(Rc<Pipe>);

/// Why a copy ends early.
#[derive(Debug)]
struct Dropped;

/// From the request's body to the copy's.
#[derive(Default)]
struct Pipe(RefCell<State>);

#[derive(Default)]
struct State {
    frames: VecDeque<Frame<Bytes>>,
    bytes: usize,
    end: Option<Result<(), Dropped>>,
    reader: Option<Waker>,
}

/// Counts a copy as long as it is under way.
struct Counted(Rc<Context>);

/// Sends a copy, if this request is one of those to be copied, and there is room. `head` is as it
/// goes to the main upstream. What is returned is to be sent there in the body's place.
pub(super) fn copy(
    context: &Rc<Context>,
    mirror: &Mirror,
    head: &Parts,
    body: RequestBody,
    (timeout, key): (Option<Duration>, Option<u64>),
) -> Result<Tee, RequestBody> {
    if context.draw() >= mirror.percent || context.copies.get() >= MAX_COPIES {
        return Err(body);
    }
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers.clone();
    if let Some(host) = head.headers.get(HOST).and_then(shadowed) {
        request.headers_mut().insert(HOST, host);
    }
    let counted = Counted::new(context);
    let cluster = Arc::clone(&mirror.cluster);
    let bodyless = body.is_end_stream();
    let timeout = timeout.unwrap_or(PATIENCE);
    let limit = if bodyless {
        timeout
    } else {
        timeout + PATIENCE
    };
    let pipe = Rc::new(Pipe::default());
    let request = request.map(|()| Copied(Rc::clone(&pipe)));
    tokio::task::spawn_local(async move {
        // Nobody hears of its failure.
        let call = Call {
            bodyless,
            key,
            ..Call::default()
        };
        let sent = send(&counted.0, &cluster, request, call);
        let _ = tokio::time::timeout(limit, sent).await;
    });
    if bodyless {
        Err(body)
    } else {
        Ok(Tee { body, pipe })
    }
}

/// Sends the copy, and reads the answer to its end for nobody.
async fn send(
    context: &Context,
    cluster: &Arc<ClusterHandle>,
    request: Request<Copied>,
    mut call: Call,
) {
    let Ok(mut slot) = outgoing(cluster, request, &call) else {
        return;
    };
    let sent = context.pool.send_slot(cluster, &mut slot, &mut call).await;
    if let Ok(response) = sent {
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }
}

/// A host with `-shadow` after its name, before the port.
fn shadowed(host: &HeaderValue) -> Option<HeaderValue> {
    let host = host.as_bytes();
    let port = host.iter().rposition(|byte| *byte == b':').filter(|at| {
        // A colon within brackets is an address's.
        !host.get(*at..).is_some_and(|rest| rest.contains(&b']'))
    });
    let (name, port) = host.split_at_checked(port.unwrap_or(host.len()))?;
    HeaderValue::from_bytes(&[name, b"-shadow", port].concat()).ok()
}

// === impl Counted ===

impl Counted {
    fn new(context: &Rc<Context>) -> Self {
        context.copies.set(context.copies.get() + 1);
        Self(Rc::clone(context))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.copies.set(self.0.copies.get().saturating_sub(1));
    }
}

// === impl Pipe ===

impl Pipe {
    fn push(&self, frame: Frame<Bytes>) {
        let mut state = self.0.borrow_mut();
        if state.end.is_some() {
            return;
        }
        state.bytes += frame.data_ref().map_or(0, Bytes::len);
        if state.bytes > MAX_WAITING {
            state.frames.clear();
            state.end = Some(Err(Dropped));
        } else {
            state.frames.push_back(frame);
        }
        state.wake();
    }

    /// Nothing follows, or nothing that would make sense.
    fn end(&self, how: Result<(), Dropped>) {
        let mut state = self.0.borrow_mut();
        state.end.get_or_insert(how);
        state.wake();
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

// === impl Tee ===

impl Body for Tee {
    type Data = Bytes;
    type Error = BadBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BadBody>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.pipe.push(Frame::data(data.clone()));
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.pipe.push(Frame::trailers(trailers.clone()));
                }
                if self.body.is_end_stream() {
                    self.pipe.end(Ok(()));
                }
            }
            Poll::Ready(Some(Err(_))) => self.pipe.end(Err(Dropped)),
            Poll::Ready(None) => self.pipe.end(Ok(())),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        // If it was read to its end, this says nothing new.
        self.pipe.end(Err(Dropped));
    }
}

// === impl Copied ===

impl Body for Copied {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        let mut state = self.0.0.borrow_mut();
        if let Some(frame) = state.frames.pop_front() {
            state.bytes -= frame.data_ref().map_or(0, Bytes::len);
            return Poll::Ready(Some(Ok(frame)));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(Dropped)) => Poll::Ready(Some(Err(Dropped))),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.0.borrow();
        state.frames.is_empty() && matches!(state.end, Some(Ok(())))
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // Nothing is kept for it any more.
        let mut state = self.0.0.borrow_mut();
        state.frames.clear();
        state.bytes = 0;
        state.end.get_or_insert(Err(Dropped));
    }
}

// === impl Dropped ===

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the copy was dropped")
    }
}

impl std::error::Error for Dropped {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_copies() {
        for (host, expected) in [
            ("api.example.com", "api.example.com-shadow"),
            ("api.example.com:8080", "api.example.com-shadow:8080"),
            ("[::1]", "[::1]-shadow"),
            ("[::1]:80", "[::1]-shadow:80"),
            ("", "-shadow"),
        ] {
            let found = shadowed(&HeaderValue::from_static(host)).unwrap();
            assert_eq!(found, expected);
        }
    }
}
