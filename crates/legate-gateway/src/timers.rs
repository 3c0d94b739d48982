//! Deadlines of one worker, without a kernel timer each.
//!
//! Requests and connections arm an [`Alarm`]; arming one that is further away than the next tick
//! costs two stores. One task per worker scans the table when the earliest is due, never more often
//! than every [`GRAIN`]; so an alarm rings up to that much late, and never early.
//!
//! Not for anything finer than that, and not shared between threads.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

/// Shortest time between two scans.
const GRAIN: Duration = Duration::from_millis(10);

/// Longest time between two scans. There is always a timer at most this far away in the runtime,
/// so that arming a later one never has to wake the driver.
const TICK: Duration = Duration::from_millis(500);

/// The alarms of a worker.
pub(crate) struct Timers {
    entries: RefCell<Slab<Entry>>,
    next: Cell<Instant>,
    driver: RefCell<Option<Waker>>,
}

/// One deadline; rings at most once per arming. Dropping it disarms it.
pub(crate) struct Alarm {
    timers: Rc<Timers>,
    key: usize,
}

struct Entry {
    due: Option<Instant>,
    rang: bool,
    waker: Option<Waker>,
}

// === impl Timers ===

impl Timers {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            entries: RefCell::new(Slab::new()),
            next: Cell::new(Instant::now()),
            driver: RefCell::new(None),
        })
    }

    /// Scans for ever; a worker runs this as a task of its own.
    pub(crate) async fn run(self: Rc<Self>) {
        let mut sleep = pin!(tokio::time::sleep(TICK));
        loop {
            let now = Instant::now();
            let earliest = self.ring(now);
            let next = earliest.map_or(now + TICK, |due| due.clamp(now + GRAIN, now + TICK));
            self.next.set(next);
            sleep.as_mut().reset(next.into());
            poll_fn(|cx| {
                // Woken by `hurry`, or by the sleep itself.
                let wanted = self.next.get();
                if sleep.deadline() != wanted.into() {
                    sleep.as_mut().reset(wanted.into());
                }
                let mut driver = self.driver.borrow_mut();
                if !driver.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                    *driver = Some(cx.waker().clone());
                }
                drop(driver);
                sleep.as_mut().poll(cx)
            })
            .await;
        }
    }

    /// Rings what is due and returns the earliest that is not.
    fn ring(&self, now: Instant) -> Option<Instant> {
        let mut earliest: Option<Instant> = None;
        let mut wakers = Vec::new();
        for (_, entry) in self.entries.borrow_mut().iter_mut() {
            let Some(due) = entry.due else { continue };
            if due <= now {
                entry.due = None;
                entry.rang = true;
                wakers.extend(entry.waker.take());
            } else {
                earliest = Some(earliest.map_or(due, |other| other.min(due)));
            }
        }
        for waker in wakers {
            waker.wake();
        }
        earliest
    }

    fn hurry(&self, due: Instant) {
        if due < self.next.get() {
            self.next.set(due);
            if let Some(driver) = &*self.driver.borrow() {
                driver.wake_by_ref();
            }
        }
    }
}

// === impl Alarm ===

impl Alarm {
    /// An alarm that is not armed.
    pub(crate) fn new(timers: &Rc<Timers>) -> Self {
        let key = timers.entries.borrow_mut().insert(Entry {
            due: None,
            rang: false,
            waker: None,
        });
        Self {
            timers: Rc::clone(timers),
            key,
        }
    }

    /// Arms it, in place of an earlier arming.
    pub(crate) fn set(&self, due: Instant) {
        if let Some(entry) = self.timers.entries.borrow_mut().get_mut(self.key) {
            entry.due = Some(due);
            entry.rang = false;
        }
        self.timers.hurry(due);
    }

    /// Arms it unless it is armed for that time or an earlier one already.
    pub(crate) fn set_by(&self, due: Instant) {
        let armed = self
            .timers
            .entries
            .borrow()
            .get(self.key)
            .is_some_and(|entry| entry.rang || entry.due.is_some_and(|old| old <= due));
        if !armed {
            self.set(due);
        }
    }

    /// Whether it rang since it was armed; takes the ring. Otherwise the task is woken when it
    /// rings, and by [`Self::poke`].
    pub(crate) fn poll_rang(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut entries = self.timers.entries.borrow_mut();
        let Some(entry) = entries.get_mut(self.key) else {
            return Poll::Pending;
        };
        if std::mem::take(&mut entry.rang) {
            return Poll::Ready(());
        }
        if !entry
            .waker
            .as_ref()
            .is_some_and(|old| old.will_wake(cx.waker()))
        {
            entry.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Wakes the task that waits for it, without ringing.
    pub(crate) fn poke(&self) {
        let waker = self
            .timers
            .entries
            .borrow_mut()
            .get_mut(self.key)
            .and_then(|entry| entry.waker.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Runs a future until the given time; `None` when that came first. What the future held is
    /// dropped then.
    pub(crate) async fn limit<F: Future>(&self, due: Instant, future: F) -> Option<F::Output> {
        self.set(due);
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_rang(cx).map(|()| None)
        })
        .await
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timers.entries.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_worker<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn rings_once_and_not_early() {
        on_worker(async {
            let timers = Timers::new();
            tokio::task::spawn_local(Rc::clone(&timers).run());
            let alarm = Alarm::new(&timers);
            let start = Instant::now();
            let out = alarm
                .limit(
                    start + Duration::from_millis(60),
                    std::future::pending::<()>(),
                )
                .await;
            assert!(out.is_none());
            assert!(start.elapsed() >= Duration::from_millis(60));
            assert!(start.elapsed() < Duration::from_millis(400));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(alarm.poll_rang(&mut cx).is_pending());
        });
    }

    #[test]
    fn a_later_arming_does_not_replace_an_earlier_one() {
        on_worker(async {
            let timers = Timers::new();
            tokio::task::spawn_local(Rc::clone(&timers).run());
            let alarm = Alarm::new(&timers);
            let start = Instant::now();
            alarm.set(start + Duration::from_millis(30));
            alarm.set_by(start + Duration::from_secs(9));
            poll_fn(|cx| alarm.poll_rang(cx)).await;
            assert!(start.elapsed() < Duration::from_secs(2));
        });
    }
}
