//! Metrics that the registry's own types cannot express.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::jiff::Timestamp;
use legate_config::Hash128;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// No point in time.
const NEVER: i64 = i64::MIN;

/// A gauge of the seconds since a point in time, 0 without one.
#[derive(Debug, Clone)]
pub(super) struct Since(Arc<AtomicI64>);

/// An info metric with one label that holds the newest hash, so that old ones do not pile up.
#[derive(Debug, Clone, Default)]
pub(super) struct Newest(Arc<RwLock<Hash128>>);

impl Default for Since {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NEVER)))
    }
}

impl Since {
    /// In seconds since the epoch.
    pub(super) fn set(&self, since: Option<i64>) {
        self.0.store(since.unwrap_or(NEVER), Ordering::Relaxed);
    }
}

impl EncodeMetric for Since {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let since = self.0.load(Ordering::Relaxed);
        let now = Timestamp::now().as_second();
        // Clocks differ, and the time may be another machine's.
        let seconds = if since == NEVER {
            0
        } else {
            now.saturating_sub(since).max(0)
        };
        encoder.encode_gauge(&seconds)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl Newest {
    pub(super) fn set(&self, hash: Hash128) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = hash;
    }
}

impl EncodeMetric for Newest {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let hash = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .to_string();
        encoder.encode_info(&[("hash", hash.as_str())])
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Info
    }
}
