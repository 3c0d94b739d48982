//! One request and its response, from the request's headers to the response's last byte: deadlines,
//! byte counts, and the record that ends in the access log and the metrics.
//!
//! An exchange ends exactly once, however it ends: answered, broken off by us, or abandoned by the
//! client (the futures and bodies that hold it are dropped then).

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode};
use legate_router::Row;

use super::conn::Conn;
use super::grpc::GrpcState;
use super::port::Serving;
use super::rate_limit::Headers;
use super::record::Record;
use crate::clock;
use crate::config::{Mirror, Plan, Target};
use crate::reply::{Flag, Flags};
use crate::request::{Coding, HeaderEdit};
use crate::timers::Alarm;

/// A request that is being handled.
pub(crate) struct Exchange {
    /// The connection it came on.
    pub(crate) conn: Rc<Conn>,
    /// The config it started with.
    pub(crate) serving: Rc<Serving>,
    /// What is written about it at the end.
    pub(crate) record: RefCell<Record>,
    /// The row that won, and which of its targets.
    pub(crate) chosen: OnceCell<(Arc<Row<Plan>>, usize)>,
    /// The client's origin, where the target's CORS settings allow it.
    pub(crate) origin: RefCell<Option<HeaderValue>>,
    /// What external authorisation wants the response to have.
    pub(crate) from_auth: RefCell<Vec<HeaderEdit>>,
    /// The cookie that is to bring the client back to its endpoint, where it has none yet.
    pub(crate) affinity: RefCell<Option<HeaderValue>>,
    /// Headers that rate limits want the response to have.
    pub(crate) from_limits: RefCell<Headers>,
    /// The content coding that the client prefers, where responses may be compressed.
    pub(crate) coding: Cell<Option<Coding>>,
    /// What there is to know where it is gRPC.
    pub(crate) grpc: GrpcState,
    alarm: Alarm,
    started: Instant,
    /// When external authorisation let the request pass: its time is not the route's.
    passed: Cell<Option<Instant>>,
    route_limit: Cell<Option<Duration>>,
    idle_limit: Cell<Option<Duration>>,
    deadline: Cell<Option<Instant>>,
    last_byte: Cell<Instant>,
    request_ended: Cell<Option<Instant>>,
    response_began: Cell<Option<Instant>>,
    received: Cell<u64>,
    sent: Cell<u64>,
    answered: Cell<bool>,
    ended: Cell<bool>,
}

/// Which limit a request ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The route's timeout.
    Route,
    /// The one that the client itself set.
    Deadline,
    /// No byte either way for too long.
    Idle,
}

/// Ends its exchange as abandoned unless it is taken apart before it is dropped.
pub(crate) struct Unanswered(Option<Rc<Exchange>>);

impl Exchange {
    /// A request whose headers are complete.
    pub(crate) fn begin(conn: &Rc<Conn>, serving: Rc<Serving>) -> Rc<Self> {
        let started = conn.watch.request_began();
        Rc::new(Self {
            conn: Rc::clone(conn),
            serving,
            record: RefCell::default(),
            chosen: OnceCell::new(),
            origin: RefCell::default(),
            from_auth: RefCell::default(),
            affinity: RefCell::default(),
            from_limits: RefCell::default(),
            coding: Cell::new(None),
            grpc: GrpcState::default(),
            alarm: Alarm::new(&conn.context.timers),
            started,
            passed: Cell::new(None),
            route_limit: Cell::new(None),
            idle_limit: Cell::new(None),
            deadline: Cell::new(None),
            last_byte: Cell::new(started),
            request_ended: Cell::new(None),
            response_began: Cell::new(None),
            received: Cell::new(0),
            sent: Cell::new(0),
            answered: Cell::new(false),
            ended: Cell::new(false),
        })
    }

    /// The target that was chosen; `None` when the request does not go upstream.
    pub(crate) fn target(&self) -> Option<&Target> {
        let (row, target) = self.chosen.get()?;
        match &row.payload {
            Plan::Forward(targets, _) => targets.get(*target),
            Plan::Redirect(_) | Plan::Probe(..) | Plan::Fail(_) => None,
        }
    }

    /// Where a copy of the request goes, perhaps.
    pub(crate) fn mirror(&self) -> Option<&Mirror> {
        match &self.chosen.get()?.0.payload {
            Plan::Forward(_, mirror) => mirror.as_ref(),
            Plan::Redirect(_) | Plan::Probe(..) | Plan::Fail(_) => None,
        }
    }

    /// When the request's headers were complete.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Sets the limits of the chosen route; `None` = no limit.
    pub(crate) fn limit(&self, timeout: Option<Duration>, idle: Option<Duration>) {
        self.route_limit.set(timeout);
        self.idle_limit.set(idle);
    }

    /// External authorisation let the request pass.
    pub(crate) fn passed(&self) {
        self.passed.set(Some(clock::std_now()));
        self.touch();
    }

    /// The client wants an answer within this time from its request's start (`grpc-timeout`).
    pub(crate) fn set_deadline(&self, limit: Duration) {
        self.deadline.set(self.started.checked_add(limit));
    }

    /// The stream was upgraded: from now on only the idle limit holds.
    pub(crate) fn upgraded(&self) {
        self.route_limit.set(None);
        self.deadline.set(None);
        self.touch();
    }

    /// A byte went either way.
    pub(crate) fn touch(&self) {
        self.last_byte.set(clock::std_now());
    }

    /// Body bytes came from the client.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
        self.touch();
    }

    /// Body bytes were handed to the client's connection.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
        self.touch();
    }

    /// The client's request is complete: the route's timeout starts.
    pub(crate) fn request_complete(&self) {
        if self.request_ended.get().is_none() {
            let now = clock::std_now();
            self.request_ended.set(Some(now));
            if let Some(limit) = self.route_limit.get() {
                self.alarm.set_by(now + limit);
            }
        }
    }

    /// Whether the client's request is complete.
    pub(crate) fn is_request_complete(&self) -> bool {
        self.request_ended.get().is_some()
    }

    /// The upstream's response headers are here. Returns now.
    pub(crate) fn response_began(&self) -> Instant {
        let now = clock::std_now();
        self.response_began.set(Some(now));
        self.last_byte.set(now);
        now
    }

    /// Ready when a limit is over. Otherwise the task is woken when that may be so.
    pub(crate) fn poll_expired(&self, cx: &mut TaskContext<'_>) -> Poll<Expired> {
        loop {
            let due = self.due();
            if let Some((due, _)) = due {
                self.alarm.set_by(due);
            }
            if self.alarm.poll_rang(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some((due, what)) = due
                && due <= Instant::now()
            {
                return Poll::Ready(what);
            }
        }
    }

    fn due(&self) -> Option<(Instant, Expired)> {
        let ended = self.request_ended.get();
        let began = ended.map(|ended| self.passed.get().map_or(ended, |at| at.max(ended)));
        let route = began.zip(self.route_limit.get());
        let route = route.map(|(start, limit)| (start + limit, Expired::Route));
        let idle = self.idle_limit.get();
        let idle = idle.map(|limit| (self.last_byte.get() + limit, Expired::Idle));
        let deadline = self.deadline.get().map(|at| (at, Expired::Deadline));
        let due = [route, deadline, idle].into_iter().flatten();
        // Of those at one time the first counts.
        due.min_by_key(|(at, _)| *at)
    }

    /// Notes the response that the client gets.
    pub(crate) fn answered(&self, status: StatusCode, headers: &HeaderMap) {
        self.answered.set(true);
        let mut record = self.record.borrow_mut();
        record.status = Some(status);
        record.capture_response(&self.serving.config.log, headers);
    }

    /// Notes the trailers of the response.
    pub(crate) fn trailers(&self, trailers: &HeaderMap) {
        let mut record = self.record.borrow_mut();
        record.capture_trailers(&self.serving.config.log, trailers);
        drop(record);
        if let Some(call) = self.grpc.call() {
            call.trailers(trailers);
        }
    }

    /// Adds a flag.
    pub(crate) fn flag(&self, flags: impl Into<Flags>) {
        self.record.borrow_mut().flag(flags.into());
    }

    /// Ready when the response is under way and a limit is over although nobody asks the body for
    /// more: the client does not read. The exchange has ended then.
    pub(crate) fn poll_stuck(&self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if !self.answered.get() || self.ended.get() {
            return Poll::Pending;
        }
        self.poll_expired(cx).map(|what| {
            self.flag(match what {
                Expired::Route | Expired::Deadline => Flag::UpstreamTimeout,
                Expired::Idle => Flag::StreamIdle,
            });
            self.end();
        })
    }

    /// The response is complete, or nothing more will come of it.
    pub(crate) fn end(&self) {
        if self.ended.replace(true) {
            return;
        }
        let now = clock::std_now();
        self.conn.watch.request_ended(now);
        let times = super::record::Times {
            started: self.started,
            request_ended: self.request_ended.get(),
            response_began: self.response_began.get(),
            ended: now,
        };
        if let (Some(call), Some(_), Some(ended)) =
            (self.grpc.call(), times.response_began, times.request_ended)
        {
            call.took(now.saturating_duration_since(ended));
        }
        let mut record = self.record.borrow_mut();
        record.write(self, &times, [self.received.get(), self.sent.get()]);
    }

    /// The client went away.
    pub(crate) fn abandoned(&self) {
        if !self.ended.get() {
            let mut record = self.record.borrow_mut();
            record.flag(Flag::DownstreamTermination.into());
            record.details = "downstream_remote_disconnect".into();
            drop(record);
            self.conn.note_abandoned();
            self.end();
        }
    }
}

// === impl Unanswered ===

impl Unanswered {
    pub(crate) fn new(exchange: Rc<Exchange>) -> Self {
        Self(Some(exchange))
    }

    /// Somebody else sees to the end from now on.
    pub(crate) fn defuse(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(exchange) = &self.0 {
            exchange.abandoned();
        }
    }
}
