//! A number of permits, shared by all threads.

use std::sync::atomic::{AtomicU32, Ordering};

/// One limit, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Permits {
    used: AtomicU32,
    limit: AtomicU32,
}

// === impl Permits ===

impl Permits {
    pub(super) fn take(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |used: u32| (used < limit).then(|| used.saturating_add(1));
        self.used
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, more)
            .is_ok()
    }

    pub(super) fn give(&self) {
        self.used.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn used(&self) -> u32 {
        self.used.load(Ordering::SeqCst)
    }

    pub(super) fn is_full(&self) -> bool {
        self.used() >= self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}
