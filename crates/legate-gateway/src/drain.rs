//! Where the process is in its life: before its first config, serving, or draining.
//!
//! Only the state and its texts; who acts on it is `gateway` (order of steps) and `worker` (sockets
//! and connections).

use std::sync::atomic::{AtomicBool, Ordering};

/// The states that probes report. Shared by all threads.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    configured: AtomicBool,
    draining: AtomicBool,
}

impl Lifecycle {
    /// The first config is applied, and each of its binds was tried.
    pub(crate) fn set_configured(&self) {
        self.configured.store(true, Ordering::Release);
    }

    /// The process is about to end.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the process is about to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether traffic is welcome.
    pub(crate) fn is_ready(&self) -> bool {
        self.configured.load(Ordering::Acquire) && !self.is_draining()
    }

    /// The body of a liveness probe's answer.
    pub(crate) fn alive_text() -> &'static str {
        "Ambassador is alive and well\n"
    }

    /// The body of a readiness probe's answer.
    pub(crate) fn ready_text(&self) -> &'static str {
        if self.is_draining() {
            "Ambassador is not ready: draining\n"
        } else if self.is_ready() {
            "Ambassador is ready and waiting\n"
        } else {
            "Ambassador is not ready: no configuration yet\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_between_the_first_config_and_draining() {
        let lifecycle = Lifecycle::default();
        assert!(!lifecycle.is_ready());
        lifecycle.set_configured();
        assert!(lifecycle.is_ready());
        lifecycle.set_draining();
        assert!(!lifecycle.is_ready());
        assert!(lifecycle.ready_text().contains("draining"));
    }
}
