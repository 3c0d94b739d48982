//! Passive ejection (spec/services §3.2): an endpoint whose requests fail without a response is left
//! out for a second, then tried with one request at a time.
//!
//! What an endpoint remembers is three atomics. They are read for each request and written only when
//! something fails or comes back, so that workers do not fight for them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::ErrorKind;

/// Failures in a row after which an endpoint is left out.
const FAILURES: u32 = 5;
/// How long it is left out before each trial.
const OUT: Duration = Duration::from_secs(1);

/// What failures of an endpoint led to.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    /// Failures in a row.
    failures: AtomicU32,
    /// Until when it is out, in microseconds since the process's start; 0 = it is not.
    until: AtomicU64,
    /// Whether a request is under way that decides whether it comes back.
    trial: AtomicBool,
}

/// What a request's outcome means to the endpoint that it went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The endpoint was in when the request was sent to it.
    In,
    /// This request decides whether it comes back.
    Trial,
    /// It was out, and there was no other.
    Out,
}

/// What a failure led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing yet.
    Noted,
    /// It was one too many: the endpoint should be left out.
    TooMany,
}

// === impl Ejection ===

impl Ejection {
    /// Whether a request may go there: it is in, or due for a trial that nobody makes.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until == 0 || (micros(now) >= until && !self.trial.load(Ordering::Relaxed))
    }

    /// Whether it is out.
    pub(super) fn is_out(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0
    }

    /// A request is about to go there. `None` if it may not after all: another one makes the trial.
    pub(super) fn begin(&self, now: Instant) -> Option<Standing> {
        let until = self.until.load(Ordering::Acquire);
        if until == 0 {
            return Some(Standing::In);
        }
        let won = micros(now) >= until
            && self
                .trial
                .compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        won.then_some(Standing::Trial)
    }

    /// The endpoint responded. Says whether it comes back by that.
    pub(super) fn responded(&self, standing: Standing) -> bool {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        // What was sent before the endpoint was left out says nothing about it as it is now.
        if standing == Standing::In {
            return false;
        }
        let back = self.until.swap(0, Ordering::AcqRel) != 0;
        if standing == Standing::Trial {
            self.trial.store(false, Ordering::Release);
        }
        back
    }

    /// The request failed without a response.
    pub(super) fn failed(&self, standing: Standing, now: Instant) -> Failure {
        match standing {
            Standing::Trial => {
                self.until.store(micros(now + OUT), Ordering::Relaxed);
                self.trial.store(false, Ordering::Release);
                Failure::Noted
            }
            Standing::In if !self.is_out() => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed);
                if failures.saturating_add(1) >= FAILURES {
                    Failure::TooMany
                } else {
                    Failure::Noted
                }
            }
            Standing::In | Standing::Out => Failure::Noted,
        }
    }

    /// Leaves it out from now on; says whether it was in.
    pub(super) fn eject(&self, now: Instant) -> bool {
        let until = micros(now + OUT);
        self.failures.store(0, Ordering::Relaxed);
        self.until
            .compare_exchange(0, until, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The request ended without saying anything about the endpoint.
    pub(super) fn abandoned(&self, standing: Standing) {
        if standing == Standing::Trial {
            self.trial.store(false, Ordering::Release);
        }
    }
}

/// Whether a failure is one of the endpoint's, without a response. Timeouts of requests are not: a
/// slow path of one team must not cost all the endpoint.
pub(super) fn is_failure(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::ConnectFailed
        | ErrorKind::ConnectTimeout
        | ErrorKind::TlsFailed
        | ErrorKind::ConnectionTerminated
        | ErrorKind::RemoteReset
        | ErrorKind::Protocol => true,
        // The peer is alive and says so.
        ErrorKind::RefusedStream
        | ErrorKind::PerTryTimeout
        | ErrorKind::NoHealthyUpstream
        | ErrorKind::Overflow
        | ErrorKind::Downstream
        | ErrorKind::MalformedBody
        | ErrorKind::Unsendable => false,
    }
}

/// Time as an atomic holds it; never 0.
fn micros(at: Instant) -> u64 {
    static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    let since = at.into_std().saturating_duration_since(*START);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(now: Instant) -> Ejection {
        let ejection = Ejection::default();
        for index in 1..=FAILURES {
            let failure = ejection.failed(Standing::In, now);
            assert_eq!(failure == Failure::TooMany, index == FAILURES);
        }
        assert!(ejection.eject(now));
        assert!(!ejection.eject(now), "only once");
        ejection
    }

    #[test]
    fn only_failures_in_a_row_count() {
        let (ejection, now) = (Ejection::default(), Instant::now());
        for _ in 0..3 {
            for _ in 1..FAILURES {
                assert_eq!(ejection.failed(Standing::In, now), Failure::Noted);
            }
            assert!(!ejection.responded(Standing::In));
        }
    }

    #[test]
    fn one_trial_at_a_time_decides() {
        let start = Instant::now();
        let ejection = out(start);
        assert!(!ejection.is_usable(start) && ejection.begin(start).is_none());
        let due = start + OUT;
        assert!(ejection.is_usable(due));
        assert_eq!(ejection.begin(due), Some(Standing::Trial));
        assert!(!ejection.is_usable(due) && ejection.begin(due).is_none());
        // It says nothing, so that the next one is the trial.
        ejection.abandoned(Standing::Trial);
        assert_eq!(ejection.begin(due), Some(Standing::Trial));
        // It fails: out a second more.
        assert_eq!(ejection.failed(Standing::Trial, due), Failure::Noted);
        assert!(!ejection.is_usable(due));
        let due = due + OUT;
        assert_eq!(ejection.begin(due), Some(Standing::Trial));
        assert!(ejection.responded(Standing::Trial));
        assert!(!ejection.is_out());
        assert_eq!(ejection.begin(due), Some(Standing::In));
    }

    #[test]
    fn what_was_sent_before_does_not_bring_it_back() {
        let now = Instant::now();
        let ejection = out(now);
        assert!(!ejection.responded(Standing::In));
        assert_eq!(ejection.failed(Standing::In, now), Failure::Noted);
        assert!(ejection.is_out());
        // What was sent for want of another does.
        assert!(ejection.responded(Standing::Out));
        assert!(!ejection.is_out());
    }
}
