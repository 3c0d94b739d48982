//! How long to wait before a request to the API server is made again.

use std::time::Duration;

/// Exponential waits with jitter: each at most twice as long as the one before, up to a bound.
#[derive(Debug, Clone)]
pub struct ApiBackoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Default for ApiBackoff {
    /// From a quarter of a second to half a minute.
    fn default() -> Self {
        Self::new(Duration::from_millis(250), Duration::from_secs(30))
    }
}

impl ApiBackoff {
    /// Waits from `first` to `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// How long to wait now: between half and the whole of the step, so that replicas spread.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.longest);
        step.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// It went well: the next wait is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_start_again() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_millis(350));
        let mut backoff = ApiBackoff::new(first, longest);
        for step in [100, 200, 350, 350] {
            let step = Duration::from_millis(step);
            let delay = backoff.next_delay();
            assert!(delay <= step && delay >= step / 2, "{delay:?} of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= first);
    }
}
