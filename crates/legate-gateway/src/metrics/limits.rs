//! What is counted about rate limits that we count ourselves.

use std::fmt;
use std::sync::Weak;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Metrics;
use crate::limit::Tally;

impl Metrics {
    /// Decisions by rule, and what became of cells and stores.
    pub(super) fn encode_limits(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let limiter = self.limiter.get().and_then(Weak::upgrade);
        let mut decisions = encoder.encode_descriptor(
            "legate_ratelimit_decisions",
            "Decisions of rate limits that are counted by the gateways, by domain and limit: its name, \
             or its keys and fixed values",
            None,
            MetricType::Counter,
        )?;
        for rule in limiter.iter().flat_map(|limiter| limiter.counts()) {
            for (result, count) in Tally::RESULTS.iter().zip(rule.counts) {
                decisions
                    .encode_family(&[
                        ("domain", &*rule.domain),
                        ("limit", rule.label.as_str()),
                        ("result", *result),
                    ])?
                    .encode_counter::<NoLabelSet, u64, f64>(&count, None)?;
            }
        }
        let (errors, fallbacks) = limiter
            .as_ref()
            .map_or((0, 0), |limiter| limiter.stores.counts());
        let evicted = limiter.as_ref().map_or(0, |limiter| limiter.evicted());
        for (name, help, value) in [
            (
                "legate_ratelimit_evictions",
                "Counters of rate limits that were given up before they were full again, because \
                 there was no room for others",
                evicted,
            ),
            (
                "legate_ratelimit_store_errors",
                "Questions to stores of shared rate limits that failed or were not answered in time",
                errors,
            ),
            (
                "legate_ratelimit_store_fallback",
                "Requests that were decided in the gateway because a store of shared rate limits did \
                 not answer",
                fallbacks,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
        Ok(())
    }
}
