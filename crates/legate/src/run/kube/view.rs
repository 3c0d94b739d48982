//! What the admin server shows of the control loop.

use std::sync::{Arc, OnceLock};

use legate_operator::last_good::LastGoodStore;
use legate_operator::metrics::ControlMetrics;
use legate_operator::status::StatusCounters;
use legate_runtime::metrics::Registry;
use legate_source::kube::KubeSource;
use tokio::sync::watch;

/// A look at the control loop from outside.
#[derive(Debug, Clone)]
pub(in crate::run) struct ControlView {
    source: KubeSource,
    metrics: ControlMetrics,
    status: Option<Arc<StatusCounters>>,
    leading: watch::Receiver<bool>,
    last_good: Arc<OnceLock<LastGoodStore>>,
}

impl ControlView {
    pub(super) fn new(
        source: KubeSource,
        metrics: ControlMetrics,
        status: Option<Arc<StatusCounters>>,
        leading: watch::Receiver<bool>,
        last_good: Arc<OnceLock<LastGoodStore>>,
    ) -> Self {
        Self {
            source,
            metrics,
            status,
            leading,
            last_good,
        }
    }

    /// Registers the metrics of the control loop.
    pub(in crate::run) fn register(&self, registry: &Registry) {
        registry.register(|registry| self.metrics.register(registry));
        let sampled = self.clone();
        registry.before_each(Box::new(move || sampled.sample()));
    }

    /// Copies into the metrics what is counted elsewhere.
    fn sample(&self) {
        self.metrics.source(&self.source.state());
        self.metrics.leads(*self.leading.borrow());
        if let Some(counters) = &self.status {
            self.metrics.status(counters);
        }
        if let Some(store) = self.last_good.get() {
            self.metrics.last_good(&store.report().borrow());
        }
    }

    /// What stands in the way of the first config, if the API server does.
    pub(in crate::run) fn waits_for(&self) -> Option<String> {
        let state = self.source.state();
        if state.synced {
            return None;
        }
        if !state.missing.is_empty() {
            let kinds: Vec<&str> = state.missing.iter().map(|kind| kind.as_str()).collect();
            return Some(format!(
                "the API server has no {}: install the CRDs with `kubectl apply -f crds/`",
                kinds.join(", ")
            ));
        }
        Some(match state.fault {
            Some(fault) => format!("waiting for the API server: {fault}"),
            None => "waiting for the first lists of the API server".to_owned(),
        })
    }
}
