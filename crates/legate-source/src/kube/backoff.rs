//! Waiting longer after each failure, with jitter, so that replicas do not come back in step.

use std::time::Duration;

/// Delays that double up to a limit.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next delay: between half of the current step and all of it.
    pub(super) fn delay(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.most);
        step.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// A delay that only keeps replicas and watches from acting all at once.
    pub(super) fn short(&self) -> Duration {
        self.first.mul_f64(rand::random_range(0.0..=0.5))
    }

    /// Something worked: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
        for step in [500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            let delay = backoff.delay().as_millis();
            assert!(delay >= step / 2 && delay <= step, "{delay} of {step}");
        }
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_millis(500));
    }
}
