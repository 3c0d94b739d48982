//! What is counted per cluster, by the name that it has in metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Weak;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{LimitResult, Metrics, endpoints};
use crate::upstream::{ClusterCounters, HealthCounters};

/// Which circuit breaker refused.
const BREAKERS: [&str; 3] = ["connections", "requests", "retries"];

impl Metrics {
    /// Clusters that had requests; those of one name are summed.
    pub(super) fn encode_clusters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let upstreams = self.upstreams.get().and_then(Weak::upgrade);
        let announced = self.clusters.read().clone();
        let mut clusters: BTreeMap<String, ClusterCounters> = announced
            .into_iter()
            .map(|name| {
                let counters = ClusterCounters {
                    health: Some(HealthCounters::default()),
                    limited: true,
                    ..ClusterCounters::default()
                };
                (name, counters)
            })
            .collect();
        for (name, counters) in upstreams.iter().flat_map(|it| it.used()) {
            clusters.entry(name).or_default().add(&counters);
        }
        for (name, help, value) in [
            (
                "legate_upstream_connections_active",
                "Connections to upstreams that are open",
                (|it| it.cx_active) as fn(&ClusterCounters) -> u64,
            ),
            (
                "legate_upstream_requests_active",
                "Requests to upstreams in flight",
                |it| it.rq_active,
            ),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (cluster, counters) in &clusters {
                let value = i64::try_from(value(counters)).unwrap_or(i64::MAX);
                metric
                    .encode_family(&[("cluster", cluster.as_str())])?
                    .encode_gauge(&value)?;
            }
        }
        let mut overflow = encoder.encode_descriptor(
            "legate_upstream_overflow",
            "How often circuit breakers of a cluster were open: no connection might be opened, a \
             request or a retry was refused",
            None,
            MetricType::Counter,
        )?;
        for (cluster, counters) in &clusters {
            let values = [
                counters.cx_overflow,
                counters.rq_pending_overflow,
                counters.rq_retry_overflow,
            ];
            for (breaker, value) in BREAKERS.iter().zip(values) {
                overflow
                    .encode_family(&[("cluster", cluster.as_str()), ("breaker", *breaker)])?
                    .encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
            }
        }
        let mut retries = encoder.encode_descriptor(
            "legate_upstream_retries",
            "Retries that a policy asked for, and those of them that brought an answer which is not \
             retried",
            None,
            MetricType::Counter,
        )?;
        for (cluster, counters) in &clusters {
            let values = [
                ("made", counters.rq_retry),
                ("success", counters.rq_retry_success),
            ];
            for (what, value) in values {
                retries
                    .encode_family(&[("cluster", cluster.as_str()), ("what", what)])?
                    .encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
            }
        }
        encode_limits(&clusters, encoder)?;
        endpoints::encode(encoder, &clusters)
    }
}

/// Rate limits, of those clusters that have any.
fn encode_limits(
    clusters: &BTreeMap<String, ClusterCounters>,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let limited = || clusters.iter().filter(|(_, counters)| counters.limited);
    let mut results = encoder.encode_descriptor(
        "legate_ratelimit",
        "Questions about rate limits of requests to a cluster by result; what failed and passed all \
         the same is under both",
        None,
        MetricType::Counter,
    )?;
    for (cluster, counters) in limited() {
        for (result, value) in LimitResult::LABELS.iter().zip(counters.limits) {
            results
                .encode_family(&[("cluster", cluster.as_str()), ("result", *result)])?
                .encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
        }
    }
    let mut dropped = encoder.encode_descriptor(
        "legate_ratelimit_dropped_headers",
        "Headers in answers of rate limit services that cannot be sent",
        None,
        MetricType::Counter,
    )?;
    for (cluster, counters) in limited() {
        dropped
            .encode_family(&[("cluster", cluster.as_str())])?
            .encode_counter::<NoLabelSet, u64, f64>(&counters.limits_dropped, None)?;
    }
    Ok(())
}
