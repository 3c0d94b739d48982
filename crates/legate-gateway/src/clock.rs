//! The time, read once per turn of a client connection's task, and the wall clock beside it.
//!
//! A request asks for the time when it begins, when it is sent, when its response begins, with each
//! piece of body, and at its end. Most of these fall into the same poll, microseconds apart; nothing
//! that is decided or measured by them is that fine.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

thread_local! {
    static HELD: Cell<Held> = const { Cell::new(Held::Outside) };
    /// What both clocks said at one moment.
    static WALL: Cell<Option<(std::time::Instant, SystemTime)>> = const { Cell::new(None) };
}

/// How long the clocks are taken to run alike. When the wall clock is set, logs see it after this.
const ALIKE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
enum Held {
    /// No turn: each question reads the clock.
    Outside,
    /// Nobody asked in this turn yet.
    Open,
    /// What the first who asked was told.
    At(Instant),
}

/// Ends the turn, also when it panics: time must not stand still.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        HELD.set(Held::Outside);
    }
}

/// Runs one turn: all that is done in it happens at the same time.
pub(crate) fn turn<T>(run: impl FnOnce() -> T) -> T {
    let _end = End;
    HELD.set(Held::Open);
    run()
}

/// The time; within a turn, that of the first question.
pub(crate) fn now() -> Instant {
    match HELD.get() {
        Held::At(now) => now,
        Held::Outside => Instant::now(),
        Held::Open => {
            let now = Instant::now();
            HELD.set(Held::At(now));
            now
        }
    }
}

/// The same as the standard library has it.
pub(crate) fn std_now() -> std::time::Instant {
    now().into_std()
}

/// What the wall clock said at a moment of the last hours.
pub(crate) fn wall(at: std::time::Instant) -> SystemTime {
    let now = std_now();
    let (then, wall) = WALL
        .get()
        .filter(|(then, _)| now.saturating_duration_since(*then) < ALIKE)
        .unwrap_or_else(|| {
            let fresh = (std::time::Instant::now(), SystemTime::now());
            WALL.set(Some(fresh));
            fresh
        });
    match at.checked_duration_since(then) {
        Some(since) => wall.checked_add(since),
        None => wall.checked_sub(then.saturating_duration_since(at)),
    }
    .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_the_time_that_the_wall_clock_said() {
        let slack = Duration::from_millis(50);
        for ago in [Duration::ZERO, Duration::from_secs(3600)] {
            for _ in 0..2 {
                let now = std::time::Instant::now();
                let expected = SystemTime::now() - ago;
                let told = wall(now - ago);
                assert!(told + slack > expected && told < expected + slack);
            }
        }
    }

    #[test]
    fn time_stands_still_within_a_turn_only() {
        let wait = || std::thread::sleep(std::time::Duration::from_millis(2));
        let (first, second) = turn(|| {
            let first = now();
            wait();
            (first, now())
        });
        assert_eq!(first, second);
        assert!(now() > second);
        let next = turn(now);
        wait();
        assert!(turn(now) > next);
    }
}
