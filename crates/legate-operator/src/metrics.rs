//! Metrics of the control loop (spec/operations §1.5): from a change at the API server to an
//! acknowledgement and a written status.
//!
//! Each is told by whoever knows; nothing is computed at a scrape but ages. What gateways serve is
//! their own to report.

mod labels;
mod own;
mod sampled;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use legate_api::Kind;
use legate_compiler::ObjectState;
use legate_source::kube::{KindState, KubeState};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::last_good::LastGoodReport;
use crate::publish::Batch;
use crate::reconcile::Timing;
use labels::{Ended, OfKind, OfState, Rejection, STATES, Standing, state_of};
use own::{Newest, Since};

/// Upper bounds in seconds: a small config compiles in a millisecond, a change is to be served
/// within 40.
const BUCKETS: [f64; 13] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// All of them. Clones are the same metrics.
#[derive(Debug, Clone)]
pub struct ControlMetrics {
    objects: Family<OfState, Gauge>,
    rejected: Family<Rejection, Counter>,
    compile: Histogram,
    queue_age: Histogram,
    publish_ack: Histogram,
    audits: Counter,
    audit_mismatches: Counter,
    published: Newest,
    published_generation: Gauge,
    last_good: Gauge,
    last_good_age: Since,
    watch_restarts: Family<OfKind, Counter>,
    watch_synced: Family<OfKind, Gauge>,
    watch_lag: Since,
    leader: Gauge,
    gateways: Family<Standing, Gauge>,
    gateways_lost: Counter,
    status_writes: Family<Ended, Counter>,
    status_conflicts: Counter,
    events: Family<Ended, Counter>,
}

impl Default for ControlMetrics {
    fn default() -> Self {
        let histogram = || Histogram::new(BUCKETS);
        Self {
            objects: Family::default(),
            rejected: Family::default(),
            compile: histogram(),
            queue_age: histogram(),
            publish_ack: histogram(),
            audits: Counter::default(),
            audit_mismatches: Counter::default(),
            published: Newest::default(),
            published_generation: Gauge::default(),
            last_good: Gauge::default(),
            last_good_age: Since::default(),
            watch_restarts: Family::default(),
            watch_synced: Family::default(),
            watch_lag: Since::default(),
            leader: Gauge::default(),
            gateways: Family::default(),
            gateways_lost: Counter::default(),
            status_writes: Family::default(),
            status_conflicts: Counter::default(),
            events: Family::default(),
        }
    }
}

impl ControlMetrics {
    /// Metrics that nothing was told to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds everything to a registry.
    #[rustfmt::skip]
    pub fn register(&self, registry: &mut Registry) {
        registry.register("legate_objects", "Objects of this instance by what became of them", self.objects.clone());
        registry.register("legate_config_rejected", "Versions of objects that were rejected, by the code that decided it", self.rejected.clone());
        registry.register("legate_compile_seconds", "Time a compile took", self.compile.clone());
        registry.register("legate_queue_age_seconds", "Time the oldest change of a batch had waited for its compile", self.queue_age.clone());
        registry.register("legate_publish_ack_seconds", "From publishing a snapshot to its first acknowledgement", self.publish_ack.clone());
        registry.register("legate_config_audits", "Full compiles that were compared with the incremental one", self.audits.clone());
        registry.register("legate_config_audit_mismatch", "Audits that found a difference; each is a bug, and was healed", self.audit_mismatches.clone());
        registry.register("legate_published", "Hash of the newest snapshot that was compiled", self.published.clone());
        registry.register("legate_published_generation", "Number of the newest snapshot that was compiled", self.published_generation.clone());
        registry.register("legate_last_good_objects", "Rejected objects whose last good version is kept", self.last_good.clone());
        registry.register("legate_last_good_age_seconds", "Age of the oldest last good version, 0 without any", self.last_good_age.clone());
        registry.register("legate_watch_restarts", "Watches that were started again after a fault", self.watch_restarts.clone());
        registry.register("legate_watch_synced", "Whether a kind is listed and watched; kinds that the API server does not have are left out", self.watch_synced.clone());
        registry.register("legate_watch_lag_seconds", "Time since the API server was last heard from, by a change, a bookmark or an answer", self.watch_lag.clone());
        registry.register("legate_leader", "Whether this replica holds the Lease", self.leader.clone());
        registry.register("legate_gateways", "Counted gateways by whether they serve the newest snapshot", self.gateways.clone());
        registry.register("legate_gateways_lost", "Gateways whose stream broke and did not come back", self.gateways_lost.clone());
        registry.register("legate_status_writes", "Requests that write status, by how they ended", self.status_writes.clone());
        registry.register("legate_status_conflicts", "Objects whose status another instance with the same id keeps overwriting", self.status_conflicts.clone());
        registry.register("legate_events", "Requests that create or repeat a Kubernetes Event, by how they ended", self.events.clone());
    }

    /// A compile ended.
    pub fn compiled(&self, batch: &Batch, timing: Timing) {
        self.compile.observe(timing.compile.as_secs_f64());
        self.queue_age.observe(timing.queued.as_secs_f64());
        self.published.set(batch.snapshot.root);
        self.published_generation.set(signed(batch.snapshot.id));
        let mut counts: BTreeMap<Kind, [u64; STATES.len()]> = BTreeMap::new();
        for (key, status) in &batch.status {
            if let Some(count) = counts
                .entry(key.kind)
                .or_default()
                .get_mut(state_of(status))
            {
                *count = count.saturating_add(1);
            }
        }
        for kind in Kind::ALL {
            let counts = counts.get(kind).copied().unwrap_or_default();
            for (state, count) in STATES.into_iter().zip(counts) {
                let labels = OfState::new(*kind, state);
                // A member that was never needed stays out; one that was goes back to 0.
                if count > 0 || self.objects.get(&labels).is_some() {
                    self.objects.get_or_create(&labels).set(signed(count));
                }
            }
        }
        for version in &batch.versions {
            let status = batch.status.get(&version.key);
            if let Some(status) = status.filter(|status| status.state == ObjectState::Rejected) {
                let labels = Rejection::new(version.key.kind, status.reason.as_ref());
                self.rejected.get_or_create(&labels).inc();
            }
        }
    }

    /// A snapshot was acknowledged for the first time, this long after it was published.
    pub fn acknowledged(&self, after: Duration) {
        self.publish_ack.observe(after.as_secs_f64());
    }

    /// A full compile was compared with the incremental one.
    pub fn audited(&self, equal: bool) {
        self.audits.inc();
        if !equal {
            self.audit_mismatches.inc();
        }
    }

    /// How the source stands.
    pub fn source(&self, state: &KubeState) {
        self.watch_lag.set(state.last_contact);
        for (kind, state) in &state.kinds {
            let labels = OfKind::new(*kind);
            match state {
                KindState::Absent => {
                    self.watch_synced.remove(&labels);
                }
                KindState::Live => {
                    self.watch_synced.get_or_create(&labels).set(1);
                }
                KindState::Listing | KindState::Frozen | KindState::Failing => {
                    self.watch_synced.get_or_create(&labels).set(0);
                }
            }
        }
        for (kind, restarts) in &state.restarts {
            let counter = self.watch_restarts.get_or_create(&OfKind::new(*kind));
            counter.inner().fetch_max(*restarts, Ordering::Relaxed);
        }
    }

    /// How the kept last good versions stand.
    pub fn last_good(&self, report: &LastGoodReport) {
        let objects = i64::try_from(report.objects).unwrap_or(i64::MAX);
        self.last_good.set(objects);
        self.last_good_age.set(report.oldest);
    }

    /// Whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
