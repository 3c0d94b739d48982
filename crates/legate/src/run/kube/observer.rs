//! What the reconciler finds, told to status, to what is kept, and to the metrics.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use legate_api::ObjectKey;
use legate_compiler::{AuditMismatch, Compiler};
use legate_operator::last_good::{LastGoodMap, LastGoodStore};
use legate_operator::metrics::ControlMetrics;
use legate_operator::publish::{Batch, GatewayEvent};
use legate_operator::reconcile::{Observer, Timing};
use legate_operator::status::StatusSender;
use legate_source::Observed;

/// Tells everybody.
pub(super) struct KubeObserver {
    status: Option<StatusSender>,
    last_good: Arc<OnceLock<LastGoodStore>>,
    metrics: ControlMetrics,
    /// What was last said to be kept.
    kept: Option<Arc<LastGoodMap>>,
}

impl KubeObserver {
    pub(super) fn new(
        status: Option<StatusSender>,
        last_good: Arc<OnceLock<LastGoodStore>>,
        metrics: ControlMetrics,
    ) -> Self {
        Self {
            status,
            last_good,
            metrics,
            kept: None,
        }
    }

    fn keep(&mut self, compiler: &Compiler) {
        let Some(store) = self.last_good.get() else {
            return;
        };
        let known = self.kept.as_ref();
        let same = known.is_some_and(|known| {
            let mut count = 0;
            let all = compiler.last_good().all(|(key, object)| {
                count += 1;
                known.get(key).is_some_and(|kept| Arc::ptr_eq(kept, object))
            });
            all && count == known.len()
        });
        if same {
            return;
        }
        let map: LastGoodMap = compiler
            .last_good()
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect();
        let map = Arc::new(map);
        store.set(Arc::clone(&map));
        self.kept = Some(map);
    }
}

impl Observer for KubeObserver {
    fn observed(&mut self, observed: Vec<Observed>, removed: &[ObjectKey]) {
        if let Some(status) = &self.status {
            status.observed(observed, removed.to_vec());
        }
    }

    fn compiled(&mut self, batch: &Arc<Batch>, compiler: &Compiler, timing: Timing) {
        if let Some(status) = &self.status {
            status.batch(Arc::clone(batch));
        }
        self.keep(compiler);
        self.metrics.compiled(batch, timing);
    }

    fn gateway(&mut self, event: &GatewayEvent) {
        if let Some(status) = &self.status {
            status.gateway(event.clone());
        }
    }

    fn acknowledged(&mut self, after: Duration) {
        self.metrics.acknowledged(after);
    }

    fn audited(&mut self, result: &Result<(), AuditMismatch>) {
        self.metrics.audited(result.is_ok());
    }
}
