//! Checks in the background that the incremental compile is right (ir.md §6).
//!
//! A full compile on a thread of its own, after bursts of changes and every few minutes; its root
//! must be the incremental one's.

use std::time::{Duration, Instant};

use legate_compiler::{AuditMismatch, Compiler};
use tokio::sync::oneshot;

/// At the latest this long after the last audit, if anything changed since.
const INTERVAL: Duration = Duration::from_secs(300);
/// After this many changes an audit is worth its cost earlier.
const BURST: u64 = 500;
/// At the earliest this long after the last one.
const PAUSE: Duration = Duration::from_secs(15);

/// Decides when to audit, and runs it.
#[derive(Debug)]
pub(super) struct Auditor {
    last: Instant,
    changes: u64,
    running: Option<oneshot::Receiver<Result<(), AuditMismatch>>>,
}

impl Default for Auditor {
    fn default() -> Self {
        Self {
            last: Instant::now(),
            changes: 0,
            running: None,
        }
    }
}

impl Auditor {
    /// Takes note of a changed object.
    pub(super) fn changed(&mut self) {
        self.changes += 1;
    }

    /// When the next audit is to start; `None` while one runs or nothing changed.
    pub(super) fn due(&self) -> Option<Instant> {
        match (&self.running, self.changes) {
            (Some(_), _) | (None, 0) => None,
            (None, changes) if changes >= BURST => Some(self.last + PAUSE),
            (None, _) => Some(self.last + INTERVAL),
        }
    }

    /// Starts an audit of the last compile.
    pub(super) fn start(&mut self, compiler: &Compiler) {
        self.changes = 0;
        self.last = Instant::now();
        let audit = compiler.audit_later();
        let (done, running) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                // Nobody listens only when the process ends.
                let _ = done.send(audit.run());
            });
        match thread {
            Ok(_) => self.running = Some(running),
            Err(error) => tracing::warn!(%error, "No thread for an audit"),
        }
    }

    /// The result of the audit that runs; pending while none does.
    ///
    /// Cancel-safe.
    pub(super) async fn finished(&mut self) -> Result<(), AuditMismatch> {
        loop {
            let Some(running) = &mut self.running else {
                return std::future::pending().await;
            };
            let result = running.await;
            self.running = None;
            self.last = Instant::now();
            // A sender that is gone means that the thread panicked, and said so.
            if let Ok(result) = result {
                return result;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use legate_compiler::Options;

    use super::*;

    #[tokio::test]
    async fn an_audit_follows_changes_and_not_silence() {
        let mut auditor = Auditor::default();
        assert_eq!(auditor.due(), None);
        auditor.changed();
        let late = auditor.due().unwrap();
        for _ in 0..BURST {
            auditor.changed();
        }
        assert!(auditor.due().unwrap() < late);
        let mut compiler = Compiler::new(Options::default());
        compiler.compile();
        auditor.start(&compiler);
        assert_eq!(auditor.due(), None);
        assert_eq!(auditor.finished().await, Ok(()));
        assert_eq!(auditor.due(), None);
    }
}
