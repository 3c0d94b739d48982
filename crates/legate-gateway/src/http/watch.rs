//! The deadlines of one client connection: how long its next request's headers may take, and how
//! long it may be without a request.
//!
//! The header deadline starts at a request's first byte, so that an idle connection is only held
//! to the idle timeout.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::clock;
use crate::timers::{Alarm, Timers};

/// What the stream, the requests and the driver of a connection tell each other.
pub(crate) struct Watch {
    state: Cell<State>,
    since: Cell<Instant>,
    active: Cell<u32>,
    stuck: Cell<bool>,
    shut: Cell<bool>,
    multiplexed: Cell<bool>,
    headers_since: Cell<Option<Instant>>,
    alarm: Alarm,
}

/// How long a connection may be in its states.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// From a request's first byte to the end of its headers.
    pub(crate) header: Duration,
    /// Without a request; `None` = for ever.
    pub(crate) idle: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No request.
    Idle,
    /// The first bytes of a request came just now.
    Came,
    /// They came a while ago.
    Reading,
    /// At least one request is being handled.
    Busy,
}

impl Watch {
    pub(crate) fn new(timers: &Rc<Timers>) -> Rc<Self> {
        Rc::new(Self {
            state: Cell::new(State::Idle),
            since: Cell::new(Instant::now()),
            active: Cell::new(0),
            stuck: Cell::new(false),
            shut: Cell::new(false),
            multiplexed: Cell::new(false),
            headers_since: Cell::new(None),
            alarm: Alarm::new(timers),
        })
    }

    /// The alarm of the connection's task.
    pub(crate) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// From now on several requests share the connection, and bytes may come that belong to none.
    pub(crate) fn set_multiplexed(&self) {
        self.multiplexed.set(true);
        self.state.set(State::Idle);
        self.since.set(Instant::now());
    }

    /// On a shared connection: whether the bytes that came leave a header block unfinished.
    pub(crate) fn headers_open(&self, open: bool) {
        if !open {
            self.headers_since.set(None);
        } else if self.headers_since.get().is_none() {
            self.headers_since.set(Some(Instant::now()));
        }
    }

    /// Whether several requests share the connection.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed.get()
    }

    /// The stream delivered bytes.
    pub(crate) fn bytes_came(&self) {
        if self.state.get() == State::Idle && !self.multiplexed.get() {
            // When, is only asked for if they are not a whole request already.
            self.state.set(State::Came);
        }
    }

    /// Notes whether bytes wait to be written.
    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.stuck.set(stuck);
    }

    /// Whether bytes wait to be written.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.get()
    }

    /// A request's headers are complete. Returns when its first byte came.
    pub(crate) fn request_began(&self) -> Instant {
        let start = if self.state.get() == State::Reading {
            self.since.get()
        } else {
            clock::std_now()
        };
        self.active.set(self.active.get().saturating_add(1));
        self.state.set(State::Busy);
        start
    }

    /// A request was answered, or given up.
    pub(crate) fn request_ended(&self, now: Instant) {
        let left = self.active.get().saturating_sub(1);
        self.active.set(left);
        if left == 0 {
            self.state.set(State::Idle);
            self.since.set(now);
        }
    }

    /// Whether no request is being handled or coming in, since when at least, and everything was
    /// written.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.state.get() == State::Idle && !self.stuck.get()).then(|| self.since.get())
    }

    /// Tells the connection's task to end, now.
    pub(crate) fn shut(&self) {
        self.shut.set(true);
        self.alarm.poke();
    }

    /// Tells it to end unless a request is being handled.
    pub(crate) fn shut_if_idle(&self) {
        if self.state.get() != State::Busy {
            self.shut();
        }
    }

    /// Whether the task was told to end.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut.get()
    }

    /// Ready when the connection overstayed its state. Arms the alarm for what is next.
    pub(crate) fn poll_expired(&self, patience: Patience, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.get() == State::Came {
            self.state.set(State::Reading);
            self.since.set(Instant::now());
        }
        loop {
            let due = match self.state.get() {
                State::Busy | State::Came => None,
                State::Reading => Some(self.since.get() + patience.header),
                State::Idle => patience.idle.map(|idle| self.since.get() + idle),
            };
            let headers = self.headers_since.get();
            let due = match (due, headers.map(|since| since + patience.header)) {
                (Some(due), Some(headers)) => Some(due.min(headers)),
                (due, headers) => due.or(headers),
            };
            if let Some(due) = due {
                self.alarm.set_by(due);
            }
            if self.alarm.poll_rang(cx).is_pending() {
                return Poll::Pending;
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                return Poll::Ready(());
            }
        }
    }
}
