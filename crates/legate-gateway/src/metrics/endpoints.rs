//! What is known of the endpoints of clusters, under Envoy's names (spec/operations §1.5).

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::upstream::{ClusterCounters, HealthCounters};

type Clusters = BTreeMap<String, ClusterCounters>;
/// Where a metric's value is found.
type Value<T> = fn(&T) -> u64;

/// Membership of all clusters; ejections of those that had any or are checked, and health checks of
/// those that have some: most clusters never see either, and series cost.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, clusters: &Clusters) -> fmt::Result {
    membership(encoder, clusters)?;
    ejections(encoder, clusters)?;
    health_checks(encoder, clusters)
}

fn membership(encoder: &mut DescriptorEncoder<'_>, clusters: &Clusters) -> fmt::Result {
    let metrics: [(&str, &str, Value<ClusterCounters>); 3] = [
        (
            "envoy_cluster_membership_total",
            "Endpoints of a cluster",
            |it| it.membership_total,
        ),
        (
            "envoy_cluster_membership_healthy",
            "Endpoints of a cluster that are neither unhealthy nor ejected",
            |it| it.membership_healthy,
        ),
        (
            "envoy_cluster_membership_excluded",
            "Endpoints of a cluster that have yet to pass a health check before they are used",
            |it| it.membership_excluded,
        ),
    ];
    for (name, help, value) in metrics {
        let values = clusters.iter().map(|(cluster, it)| (cluster, value(it)));
        encode_each(encoder, (name, help, MetricType::Gauge), values)?;
    }
    Ok(())
}

fn ejections(encoder: &mut DescriptorEncoder<'_>, clusters: &Clusters) -> fmt::Result {
    let metrics: [(&str, &str, MetricType, Value<ClusterCounters>); 3] = [
        (
            "envoy_cluster_outlier_detection_ejections_active",
            "Endpoints of a cluster that are ejected",
            MetricType::Gauge,
            |it| it.ejections_active,
        ),
        (
            "envoy_cluster_outlier_detection_ejections_enforced_total",
            "Ejections of endpoints that requests to a cluster led to",
            MetricType::Unknown,
            |it| it.ejections,
        ),
        (
            "envoy_cluster_outlier_detection_ejections_overflow",
            "Ejections that were not made, because too many endpoints were ejected",
            MetricType::Unknown,
            |it| it.ejection_overflow,
        ),
    ];
    for (name, help, kind, value) in metrics {
        let some = |it: &ClusterCounters| {
            let any = it.ejections != 0 || it.ejections_active != 0 || it.ejection_overflow != 0;
            any || it.health.is_some()
        };
        let values = clusters
            .iter()
            .filter(|(_, it)| some(it))
            .map(|(cluster, it)| (cluster, value(it)));
        encode_each(encoder, (name, help, kind), values)?;
    }
    Ok(())
}

fn health_checks(encoder: &mut DescriptorEncoder<'_>, clusters: &Clusters) -> fmt::Result {
    let metrics: [(&str, &str, Value<HealthCounters>); 5] = [
        (
            "envoy_cluster_health_check_attempt",
            "Health checks made; one that several clusters share counts in each",
            |it| it.attempt,
        ),
        (
            "envoy_cluster_health_check_success",
            "Health checks with the expected answer",
            |it| it.success,
        ),
        (
            "envoy_cluster_health_check_failure",
            "Health checks with another answer or none",
            |it| it.failure,
        ),
        (
            "envoy_cluster_health_check_network_failure",
            "Health checks without an answer",
            |it| it.network_failure,
        ),
        (
            "envoy_cluster_lb_healthy_panic",
            "Requests for which health was ignored, because too few endpoints are healthy",
            |it| it.panic,
        ),
    ];
    for (name, help, value) in metrics {
        let values = clusters.iter().filter_map(|(cluster, it)| {
            let health = it.health.as_ref()?;
            Some((cluster, value(health)))
        });
        encode_each(encoder, (name, help, MetricType::Unknown), values)?;
    }
    Ok(())
}

/// A metric with a value for each cluster. Envoy's counters keep their names: one that is declared as
/// counter would be renamed.
fn encode_each<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    values: impl Iterator<Item = (&'a String, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (cluster, value) in values {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        metric
            .encode_family(&[("envoy_cluster_name", cluster.as_str())])?
            .encode_gauge(&value)?;
    }
    Ok(())
}
