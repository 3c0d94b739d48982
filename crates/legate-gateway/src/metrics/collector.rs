//! The scrape: sums the shards into the exposition format.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{BUCKETS, CLASSES, Flag, HandshakeResult, Metrics, Ordering, STATE_WRITES};

type Label<'a> = [(&'a str, &'a str); 1];

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_listeners(&mut encoder)?;
        let classes = self.upstream.sums();
        counters(
            &mut encoder,
            "legate_upstream_requests",
            "Responses of upstreams by class of status",
            CLASSES
                .iter()
                .zip(classes)
                .map(|(class, value)| ([("code_class", *class)], value)),
        )?;
        let flags = self.flags.sums();
        counters(
            &mut encoder,
            "legate_local_replies",
            "Replies made by the gateway itself by response flag",
            Flag::ALL
                .iter()
                .map(|flag| flag.as_str())
                .chain(["-"])
                .zip(flags)
                .map(|(flag, value)| ([("flag", flag)], value)),
        )?;
        let handshakes = self.handshakes.sums();
        counters(
            &mut encoder,
            "legate_tls_handshakes",
            "TLS handshakes with clients by result",
            HandshakeResult::LABELS
                .iter()
                .zip(handshakes)
                .map(|(label, value)| ([("result", *label)], value)),
        )?;
        self.encode_auth(&mut encoder)?;
        encoder
            .encode_descriptor(
                "legate_access_log_dropped",
                "Access log lines dropped because their file took too long",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, u64, f64>(
                &self.log_dropped.load(Ordering::Relaxed),
                None,
            )?;
        self.encode_clusters(&mut encoder)?;
        self.encode_limits(&mut encoder)?;
        self.grpc.encode(&mut encoder)?;
        self.encode_config(&mut encoder)
    }
}

impl Metrics {
    fn encode_listeners(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let listeners = self.listeners.read();
        counters(
            encoder,
            "legate_downstream_connections",
            "Connections accepted from clients",
            listeners
                .iter()
                .map(|(name, metrics)| ([("listener", name.as_str())], metrics.connections.sum(0))),
        )?;
        let mut active = encoder.encode_descriptor(
            "legate_downstream_connections_active",
            "Connections from clients that are open",
            None,
            MetricType::Gauge,
        )?;
        for (name, metrics) in listeners.iter() {
            let value = i64::try_from(metrics.active()).unwrap_or(i64::MAX);
            active
                .encode_family(&[("listener", name.as_str())])?
                .encode_gauge(&value)?;
        }
        let mut requests = encoder.encode_descriptor(
            "legate_requests",
            "Requests by class of the status sent",
            None,
            MetricType::Counter,
        )?;
        for (name, metrics) in listeners.iter() {
            for (class, value) in CLASSES.iter().zip(metrics.requests.sums()) {
                requests
                    .encode_family(&[("listener", name.as_str()), ("code_class", *class)])?
                    .encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
            }
        }
        let mut latency = encoder.encode_descriptor(
            "legate_request_duration_seconds",
            "From a request's first byte to its response's last",
            None,
            MetricType::Histogram,
        )?;
        for (name, metrics) in listeners.iter() {
            encode_latency(&mut latency, name, &metrics.latency())?;
        }
        Ok(())
    }

    fn encode_config(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let generation = self.generation.load(Ordering::Relaxed);
        encoder
            .encode_descriptor(
                "legate_config_generation",
                "Number of the snapshot being served",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::try_from(generation).unwrap_or(i64::MAX))?;
        let root = self.root.read().to_string();
        encoder
            .encode_descriptor(
                "legate_config",
                "Hash of the snapshot being served",
                None,
                MetricType::Info,
            )?
            .encode_info(&[("hash", root.as_str())])?;
        encoder
            .encode_descriptor(
                "legate_config_from_state",
                "1 while the config being served is the stored one of an earlier process",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::from(self.from_state.load(Ordering::Relaxed)))?;
        counters(
            encoder,
            "legate_state_writes",
            "Configs written to the state directory by result",
            STATE_WRITES
                .iter()
                .zip(&self.state_writes)
                .map(|(result, count)| ([("result", *result)], count.load(Ordering::Relaxed))),
        )
    }
}

fn counters<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Label<'a>, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (label, value) in values {
        metric
            .encode_family(&label)?
            .encode_counter::<NoLabelSet, u64, f64>(&value, None)?;
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds for people; 2^53 microseconds are 285 years"
)]
fn encode_latency(
    encoder: &mut MetricEncoder<'_>,
    listener: &str,
    counts: &[u64; BUCKETS.len() + 2],
) -> fmt::Result {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let bounds = BUCKETS
        .iter()
        .map(|bound| seconds(*bound))
        .chain(std::iter::once(f64::INFINITY));
    let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    let sum = counts.last().copied().unwrap_or(0);
    encoder
        .encode_family(&[("listener", listener)])?
        .encode_histogram::<NoLabelSet>(seconds(sum), count, &buckets, None)
}
