//! What is counted of external authorisation, for each cluster that is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Metrics;

/// How a check of external authorisation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthResult {
    /// The request may pass.
    Ok,
    /// It may not.
    Denied,
    /// The check failed, and the request was refused.
    Error,
    /// The check took too long, and the request was refused.
    Timeout,
    /// The check failed, and the request passed.
    FailureModeAllowed,
    /// The answer could not be used.
    Invalid,
}

impl AuthResult {
    /// The results, and after them what needed none: its route is exempt.
    const LABELS: [&'static str; 7] = [
        "ok",
        "denied",
        "error",
        "timeout",
        "failure_mode_allowed",
        "invalid",
        "disabled",
    ];
}

/// What a cluster was asked, and said. Beside a request to another process, counters that workers
/// share cost nothing.
#[derive(Debug, Default)]
pub(crate) struct AuthCounters {
    results: [AtomicU64; AuthResult::LABELS.len() - 1],
    dropped: AtomicU64,
}

impl AuthCounters {
    /// A check ended.
    pub(crate) fn ended(&self, result: AuthResult) {
        if let Some(counter) = self.results.get(result as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Parts of an answer could not be honoured.
    pub(crate) fn dropped(&self, parts: u64) {
        self.dropped.fetch_add(parts, Ordering::Relaxed);
    }

    /// In the order of the labels, then what was dropped.
    fn read(&self, disabled: u64) -> [u64; AuthResult::LABELS.len() + 1] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let results = self.results.iter().map(load);
        let mut values = [0; AuthResult::LABELS.len() + 1];
        let found = results.chain([disabled, load(&self.dropped)]);
        for (value, found) in values.iter_mut().zip(found) {
            *value = found;
        }
        values
    }
}

impl Metrics {
    /// Clusters that are asked; those of one name are summed.
    pub(super) fn encode_auth(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let upstreams = self.upstreams.get().and_then(Weak::upgrade);
        let announced = self.clusters.read().clone();
        let mut clusters: BTreeMap<String, [u64; AuthResult::LABELS.len() + 1]> = announced
            .into_iter()
            .map(|name| (name, Default::default()))
            .collect();
        for (name, counters, disabled) in upstreams.iter().flat_map(|it| it.asked()) {
            let sums = clusters.entry(name).or_default();
            for (sum, value) in sums.iter_mut().zip(counters.read(disabled)) {
                *sum = sum.saturating_add(value);
            }
        }
        let mut results = encoder.encode_descriptor(
            "legate_ext_authz",
            "Checks of external authorisation by result; disabled = the route is exempt",
            None,
            MetricType::Counter,
        )?;
        for (cluster, values) in &clusters {
            for (result, value) in AuthResult::LABELS.iter().zip(values) {
                results
                    .encode_family(&[("cluster", cluster.as_str()), ("result", *result)])?
                    .encode_counter::<NoLabelSet, u64, f64>(value, None)?;
            }
        }
        let mut dropped = encoder.encode_descriptor(
            "legate_ext_authz_dropped",
            "Headers, query parameters and metadata of answers to checks that could not be honoured",
            None,
            MetricType::Counter,
        )?;
        for (cluster, values) in &clusters {
            if let Some(value) = values.last() {
                dropped
                    .encode_family(&[("cluster", cluster.as_str())])?
                    .encode_counter::<NoLabelSet, u64, f64>(value, None)?;
            }
        }
        Ok(())
    }
}
