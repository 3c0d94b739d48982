//! What the status writer counts; `metrics` registers it.

use std::sync::atomic::AtomicU64;

/// Counters and gauges of the status writer.
#[derive(Debug, Default)]
pub struct StatusCounters {
    /// Status writes that came through.
    pub writes: AtomicU64,
    /// Status writes that failed, apart from objects that had changed or gone meanwhile.
    pub write_errors: AtomicU64,
    /// Objects that were looked at and said already what they ought to.
    pub skipped: AtomicU64,
    /// Objects whose status was left to another controller with our id.
    pub conflicts: AtomicU64,
    /// Events that were sent.
    pub events: AtomicU64,
    /// Events that could not be sent.
    pub event_errors: AtomicU64,
    /// Gauge: counted gateways that serve the newest snapshot.
    pub gateways_current: AtomicU64,
    /// Gauge: counted gateways that serve an older one.
    pub gateways_behind: AtomicU64,
    /// Gauge: counted gateways that serve the newest snapshot but for entries that they reject.
    pub gateways_rejecting: AtomicU64,
    /// Gauge: counted gateways whose stream broke a moment ago.
    pub gateways_broken: AtomicU64,
    /// Gateways whose stream broke and did not come back.
    pub gateways_lost: AtomicU64,
}
