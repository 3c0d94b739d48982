//! Shutdown that waits for what is going on.
//!
//! A [`Trigger`] starts it, every holder of a [`Watcher`] is waited for: dropping the watcher says
//! "done". First gracefully, up to a deadline; then everything left is told to stop at once.

use std::time::Duration;

use tokio::sync::watch;

/// How long tasks have to end after they were told to stop at once.
const FORCED_GRACE: Duration = Duration::from_secs(2);

/// How far a shutdown has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing is shutting down.
    Running,
    /// Finish what is going on, begin nothing new.
    Graceful,
    /// Stop now.
    Forced,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All watchers were dropped before the deadline.
    Drained,
    /// The deadline passed; all watchers were dropped after being told to stop.
    Forced,
    /// This many watchers are still held.
    Abandoned(usize),
}

/// Starts the shutdown and waits for its end.
#[derive(Debug)]
pub struct Trigger {
    phase: watch::Sender<Phase>,
}

/// Held by everything that has to be waited for.
#[derive(Debug, Clone)]
pub struct Watcher {
    phase: watch::Receiver<Phase>,
}

/// A trigger with its first watcher.
#[must_use]
pub fn channel() -> (Trigger, Watcher) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Trigger { phase: sender }, Watcher { phase: receiver })
}

// === impl Trigger ===

impl Trigger {
    /// One more watcher.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        Watcher {
            phase: self.phase.subscribe(),
        }
    }

    /// Tells the watchers, without waiting. A phase is never taken back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            if later {
                *current = phase;
            }
            later
        });
    }

    /// Drains gracefully up to `deadline`, then by force; ends when every watcher is dropped.
    ///
    /// Dropping the future leaves the phase as it is and waits for nobody.
    pub async fn drain(&self, deadline: Duration) -> Outcome {
        self.enter(Phase::Graceful);
        if tokio::time::timeout(deadline, self.phase.closed())
            .await
            .is_ok()
        {
            return Outcome::Drained;
        }
        self.enter(Phase::Forced);
        match tokio::time::timeout(FORCED_GRACE, self.phase.closed()).await {
            Ok(()) => Outcome::Forced,
            Err(_) => Outcome::Abandoned(self.phase.receiver_count()),
        }
    }
}

// === impl Watcher ===

impl Watcher {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the shutdown has come at least this far. A dropped trigger counts as
    /// [`Phase::Forced`]: nobody waits any more.
    ///
    /// Cancel-safe.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the trigger is gone.
        let _ = self.phase.wait_for(|current| *current >= phase).await;
    }

    /// Waits for the start of the shutdown.
    pub async fn draining(&mut self) {
        self.reached(Phase::Graceful).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_every_watcher() {
        let (trigger, mut first) = channel();
        let mut second = trigger.watcher();
        assert_eq!(second.phase(), Phase::Running);
        let tasks = async {
            first.draining().await;
            drop(first);
            second.draining().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(second);
        };
        let (outcome, ()) = tokio::join!(trigger.drain(Duration::from_secs(5)), tasks);
        assert_eq!(outcome, Outcome::Drained);
    }

    #[tokio::test(start_paused = true)]
    async fn forces_after_the_deadline() {
        let (trigger, mut watcher) = channel();
        let task = async move {
            watcher.reached(Phase::Forced).await;
            assert_eq!(watcher.phase(), Phase::Forced);
        };
        let (outcome, ()) = tokio::join!(trigger.drain(Duration::from_secs(5)), task);
        assert_eq!(outcome, Outcome::Forced);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_in_the_end() {
        let (trigger, watcher) = channel();
        trigger.enter(Phase::Forced);
        trigger.enter(Phase::Graceful);
        assert_eq!(watcher.phase(), Phase::Forced);
        assert_eq!(trigger.drain(Duration::ZERO).await, Outcome::Abandoned(1));
        let mut watcher = watcher;
        drop(trigger);
        watcher.draining().await;
    }
}
