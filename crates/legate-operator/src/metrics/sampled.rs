//! What is counted elsewhere and copied before a scrape.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;

use super::labels::{Ended, Standing};
use super::{ControlMetrics, signed};
use crate::status::StatusCounters;

impl ControlMetrics {
    /// How the status writer stands.
    pub fn status(&self, counters: &StatusCounters) {
        for (family, result, count) in [
            (&self.status_writes, "written", &counters.writes),
            (&self.status_writes, "failed", &counters.write_errors),
            (&self.events, "sent", &counters.events),
            (&self.events, "failed", &counters.event_errors),
        ] {
            copy(count, &family.get_or_create(&Ended { result }));
        }
        copy(&counters.conflicts, &self.status_conflicts);
        copy(&counters.gateways_lost, &self.gateways_lost);
        for (state, count) in [
            ("current", &counters.gateways_current),
            ("behind", &counters.gateways_behind),
            ("rejecting", &counters.gateways_rejecting),
            ("broken", &counters.gateways_broken),
        ] {
            let gauge = self.gateways.get_or_create(&Standing { state });
            gauge.set(signed(count.load(Ordering::Relaxed)));
        }
    }
}

fn copy(from: &AtomicU64, to: &Counter) {
    to.inner()
        .store(from.load(Ordering::Relaxed), Ordering::Relaxed);
}
