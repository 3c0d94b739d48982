//! What is counted elsewhere and copied before a scrape.

use std::sync::atomic::Ordering;

use super::labels::Ended;
use super::{ControlMetrics, GatewayCounts, StatusResult};
use crate::status::StatusCounters;

impl ControlMetrics {
    /// How the status writer stands.
    pub fn status(&self, counters: &StatusCounters) {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        for (result, count) in [
            (StatusResult::Written, read(&counters.writes)),
            (StatusResult::Failed, read(&counters.write_errors)),
        ] {
            let result = result.as_str();
            let counter = self.status_writes.get_or_create(&Ended { result });
            counter.inner().store(count, Ordering::Relaxed);
        }
        let conflicts = read(&counters.conflicts);
        self.status_conflicts
            .inner()
            .store(conflicts, Ordering::Relaxed);
        self.events
            .inner()
            .store(read(&counters.events), Ordering::Relaxed);
        self.gateways(GatewayCounts {
            current: read(&counters.gateways_current),
            behind: read(&counters.gateways_behind),
            rejecting: read(&counters.gateways_rejecting),
            broken: read(&counters.gateways_broken),
        });
    }
}
