//! A client that tells how its requests fare and that gives up on silence.
//!
//! The watcher hides what we have to know: that a watch that was cut is up again, when the API
//! server last said anything (a bookmark too), and that a connection is dead although nobody closed
//! it.

use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
/// Nor more often than this if each breaks at once; the wait doubles up to it.
const MOST_APART: Duration = Duration::from_secs(8);
/// A watch that lasted that long did not break at once.
const LASTING: Duration = Duration::from_secs(10);

/// When the API server last said something, in seconds since the epoch; 0 = never.
#[derive(Debug, Default)]
pub(super) struct Contact(AtomicI64);

/// Silence where an answer was due.
#[derive(Debug, thiserror::Error)]
#[error("the API server has been silent for {} s", .0.as_secs())]
struct Silent(Duration);

/// What a watch tells about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tidings {
    /// It is open.
    Open,
    /// Its connection broke; it will be opened again where it was.
    Broken,
}

type Tell = Arc<dyn Fn(Tidings) + Send + Sync>;

/// When the next watch may be opened.
#[derive(Debug)]
struct Gate {
    next: Instant,
    apart: Duration,
}

/// What an open watch needs for the case that it breaks.
struct Open {
    since: Instant,
    gate: Arc<Mutex<Gate>>,
    tell: Tell,
}

/// A body that does not stay silent for long. A watch then ends, as it does now and then anyway, and
/// is opened again where it was: there may just be nothing to say. Any other answer fails. A watch
/// that breaks ends as well, and says so: what was cut within an event comes again.
struct Attended {
    inner: Body,
    watch: Option<Open>,
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

/// A client on top of `inner`. `tell` is called with what happens to watches. Needs a runtime.
pub(super) fn client(
    inner: Client,
    timing: &Timing,
    contact: Arc<Contact>,
    tell: impl Fn(Tidings) + Send + Sync + 'static,
) -> Client {
    let namespace = inner.default_namespace().to_owned();
    let (answer, silence) = (timing.answer, timing.silence);
    let tell: Tell = Arc::new(tell);
    let gate = Arc::new(Mutex::new(Gate {
        next: Instant::now(),
        apart: WATCHES_APART,
    }));
    let service = service_fn(move |request: Request<Body>| {
        let (inner, contact) = (inner.clone(), contact.clone());
        let (gate, tell) = (Arc::clone(&gate), Arc::clone(&tell));
        let is_watch = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|pair| pair.starts_with("watch=")));
        let not_before = is_watch.then(|| lock(&gate).reserve());
        async move {
            if let Some(at) = not_before {
                sleep_until(at).await;
            }
            let sent = timeout(answer, inner.send(request));
            let response = sent.await.map_err(|_| Silent(answer))??;
            if response.status().is_success() {
                contact.now();
                if is_watch {
                    tell(Tidings::Open);
                }
            }
            Ok::<Response<Attended>, BoxError>(response.map(|body| Attended {
                inner: body,
                watch: is_watch.then(|| Open {
                    since: Instant::now(),
                    gate,
                    tell,
                }),
                silence,
                quiet: Box::pin(sleep(silence)),
                contact,
            }))
        }
    });
    Client::new(service, namespace)
}

impl Gate {
    /// A turn to open a watch.
    fn reserve(&mut self) -> Instant {
        let at = self.next.max(Instant::now());
        self.next = at + self.apart;
        at
    }

    /// A watch broke after it was open for this long.
    fn broken(&mut self, after: Duration) {
        self.apart = if after < LASTING {
            self.apart.saturating_mul(2).min(MOST_APART)
        } else {
            WATCHES_APART
        };
        self.next = self.next.max(Instant::now() + self.apart);
    }
}

impl Open {
    fn broken(&self) {
        lock(&self.gate).broken(self.since.elapsed());
        (self.tell)(Tidings::Broken);
    }
}

fn lock(gate: &Mutex<Gate>) -> MutexGuard<'_, Gate> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
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
            if let (Some(Err(_)), Some(watch)) = (&frame, &this.watch) {
                watch.broken();
                return Poll::Ready(None);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)));
        }
        match this.quiet.as_mut().poll(context) {
            Poll::Ready(()) if this.watch.is_some() => Poll::Ready(None),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_that_break_at_once_come_ever_later() {
        let mut gate = Gate {
            next: Instant::now(),
            apart: WATCHES_APART,
        };
        for apart in [500, 1000, 2000, 4000, 8000, 8000] {
            gate.broken(Duration::ZERO);
            assert_eq!(gate.apart, Duration::from_millis(apart));
        }
        let now = Instant::now();
        assert!(gate.reserve() > now + Duration::from_secs(7));
        gate.broken(LASTING);
        assert_eq!(gate.apart, WATCHES_APART);
    }
}
