//! A client that tells how its requests fare and that gives up on silence.
//!
//! The watcher hides what we have to know: that a watch that was cut is up again, when the API
//! server last said anything (a bookmark too), and that a connection is dead although nobody closed
//! it.

use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::kube::Client;
use ::kube::client::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use jiff::Timestamp;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tower::service_fn;

use super::Timing;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A watch is not opened more often, also if the API server ends each at once.
const WATCHES_APART: Duration = Duration::from_millis(250);

/// When the API server last said something, in seconds since the epoch; 0 = never.
#[derive(Debug, Default)]
pub(super) struct Contact(AtomicI64);

/// Silence where an answer was due.
#[derive(Debug, thiserror::Error)]
#[error("the API server has been silent for {} s", .0.as_secs())]
struct Silent(Duration);

/// A body that does not stay silent for long. A watch then ends, as it does now and then anyway, and
/// is opened again where it was: there may just be nothing to say. Any other answer fails.
struct Attended {
    inner: Body,
    is_watch: bool,
    silence: Duration,
    quiet: Pin<Box<Sleep>>,
    contact: Arc<Contact>,
}

impl Contact {
    pub(super) fn last(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    fn now(&self) {
        self.0
            .store(Timestamp::now().as_second(), Ordering::Relaxed);
    }
}

/// A client on top of `inner`. `worked` is called when a watch is open. Needs a runtime.
pub(super) fn client(
    inner: Client,
    timing: &Timing,
    contact: Arc<Contact>,
    worked: impl Fn() + Send + Sync + 'static,
) -> Client {
    let namespace = inner.default_namespace().to_owned();
    let (answer, silence) = (timing.answer, timing.silence);
    let worked = Arc::new(worked);
    let next_watch = Arc::new(Mutex::new(Instant::now()));
    let service = service_fn(move |request: Request<Body>| {
        let (inner, contact, worked) = (inner.clone(), contact.clone(), worked.clone());
        let is_watch = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair.starts_with("watch=")));
        let not_before = is_watch.then(|| reserve(&next_watch));
        async move {
            if let Some(at) = not_before {
                sleep_until(at).await;
            }
            let sent = timeout(answer, inner.send(request));
            let response = sent.await.map_err(|_| Silent(answer))??;
            if response.status().is_success() {
                contact.now();
                if is_watch {
                    worked();
                }
            }
            Ok::<Response<Attended>, BoxError>(response.map(|body| Attended {
                inner: body,
                is_watch,
                silence,
                quiet: Box::pin(sleep(silence)),
                contact,
            }))
        }
    });
    Client::new(service, namespace)
}

/// When the next watch may be opened.
fn reserve(next: &Mutex<Instant>) -> Instant {
    let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
    let at = (*next).max(Instant::now());
    *next = at + WATCHES_APART;
    at
}

impl HttpBody for Attended {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            this.quiet.as_mut().reset(Instant::now() + this.silence);
            if matches!(frame, Some(Ok(_))) {
                this.contact.now();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        match this.quiet.as_mut().poll(context) {
            Poll::Ready(()) if this.is_watch => Poll::Ready(None),
            Poll::Ready(()) => Poll::Ready(Some(Err(Silent(this.silence).into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
