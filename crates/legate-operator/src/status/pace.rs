//! How often one object is written, and how long is waited after faults. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// From the third write within this on, there is one write per this.
const GAP: Duration = Duration::from_secs(10);
/// Most that is added to [`GAP`], so that objects that flap together are not written together.
const JITTER: Duration = Duration::from_secs(2);
/// First wait after a fault; doubled each time.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait after a fault.
const LONGEST: Duration = Duration::from_secs(30);

/// The writes of one object.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    before: Option<Instant>,
    flapping: bool,
}

impl Pace {
    /// When the object may be written, asked for now.
    pub(super) fn earliest(&mut self, now: Instant, seed: impl Hash) -> Instant {
        let Some(last) = self.last else {
            return now;
        };
        self.flapping &= now < last + GAP + JITTER;
        self.flapping |= self.before.is_some_and(|before| now < before + GAP);
        if self.flapping {
            last + GAP + jitter(JITTER, (seed, last))
        } else {
            now
        }
    }

    /// It was written.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.before = self.last.replace(now);
    }
}

/// The wait after so many faults in a row, the first being 1.
pub(super) fn back_off(faults: u32, seed: impl Hash) -> Duration {
    let doubled = FIRST.saturating_mul(
        1_u32
            .checked_shl(faults.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    let wait = doubled.min(LONGEST);
    wait / 2 + jitter(wait / 2, (seed, faults))
}

/// A wait below `most`, the same for the same seed.
fn jitter(most: Duration, seed: impl Hash) -> Duration {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    let part = u32::try_from(hasher.finish() % 1000).unwrap_or_default();
    most * part / 1000
}

/// A way to the API server that was found shut: after a wait one request tries it, and only when
/// that comes through do others follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Valve {
    opens: Instant,
    faults: u32,
    trying: bool,
}

impl Valve {
    /// Shut after a fault.
    pub(super) fn shut(now: Instant, wait: Option<Duration>, seed: impl Hash) -> Self {
        let mut valve = Self {
            opens: now,
            faults: 0,
            trying: true,
        };
        valve.fault(now, wait, seed);
        valve
    }

    /// Another fault. Answers to requests that were under way when it was shut say nothing new.
    pub(super) fn fault(&mut self, now: Instant, wait: Option<Duration>, seed: impl Hash) {
        if !self.trying && now < self.opens {
            return;
        }
        self.faults = self.faults.saturating_add(1);
        self.trying = false;
        let own = back_off(self.faults, seed);
        self.opens = now + wait.map_or(own, |wait| wait.max(own));
    }

    /// Faults of requests that tried.
    pub(super) fn faults(&self) -> u32 {
        self.faults
    }

    /// When a request may be tried; `None` = now, and the caller does try it.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Instant> {
        if now < self.opens {
            return Some(self.opens);
        }
        if self.trying {
            return Some(now + FIRST);
        }
        self.trying = true;
        None
    }

    /// The request that tried was given up.
    pub(super) fn give_up(&mut self) {
        self.trying = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    #[test]
    fn two_writes_are_free_and_the_third_waits() {
        let start = Instant::now();
        let mut pace = Pace::default();
        for at in [0.0, 1.0] {
            let now = start + seconds(at);
            assert_eq!(pace.earliest(now, "x"), now);
            pace.wrote(now);
        }
        let third = pace.earliest(start + seconds(2.0), "x");
        assert!(third >= start + seconds(11.0) && third <= start + seconds(13.0));
        pace.wrote(third);
        // It goes on flapping: one write per gap.
        let fourth = pace.earliest(third + seconds(0.1), "x");
        assert!(fourth >= third + GAP && fourth <= third + GAP + JITTER);
        // It was quiet: free again.
        let later = third + seconds(12.1);
        assert_eq!(pace.earliest(later, "x"), later);
    }

    #[test]
    fn only_writes_within_ten_seconds_count() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.wrote(start);
        pace.wrote(start + seconds(9.0));
        let third = start + seconds(11.0);
        assert_eq!(pace.earliest(third, "x"), third);
        let early = start + seconds(9.5);
        assert!(pace.earliest(early, "x") > early);
    }

    #[test]
    fn jitter_differs_between_objects() {
        let waits: std::collections::BTreeSet<_> =
            (0..50).map(|object| jitter(JITTER, object)).collect();
        assert!(waits.len() > 40);
        assert!(waits.iter().all(|wait| *wait < JITTER));
    }

    #[test]
    fn back_off_grows_and_is_bounded() {
        assert!(back_off(1, 0) <= FIRST);
        assert!(back_off(4, 0) >= FIRST);
        for faults in [10, 40, u32::MAX] {
            let wait = back_off(faults, 0);
            assert!(wait >= LONGEST / 2 && wait <= LONGEST, "{wait:?}");
        }
    }

    #[test]
    fn a_valve_lets_one_request_try() {
        let start = Instant::now();
        let mut valve = Valve::shut(start, Some(seconds(3.0)), "x");
        assert_eq!(valve.ask(start), Some(start + seconds(3.0)));
        let then = start + seconds(3.0);
        assert_eq!(valve.ask(then), None);
        assert!(valve.ask(then).is_some());
        valve.give_up();
        assert_eq!(valve.ask(then), None);
        assert_eq!(valve.faults(), 1);
        valve.fault(then, None, "x");
        assert!(valve.ask(then).is_some());
        // Stragglers do not count.
        valve.fault(then, None, "x");
        assert_eq!(valve.faults(), 2);
    }
}
