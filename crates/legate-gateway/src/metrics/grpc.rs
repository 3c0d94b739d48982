//! Calls of gRPC methods (Module `grpc_stats`, spec/services §3.13), under the names that Emissary's
//! dashboards know.
//!
//! What clients name is not trusted: a method becomes a label once somebody answered for it, and only
//! so many do. Beyond that calls are summed under one name.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::shard::Sharded;

/// Most methods that are told apart, over all clusters.
const MAX_METHODS: usize = 1000;

/// Longest name of a service or a method that becomes a label.
const MAX_NAME: usize = 200;

/// The service and the method that stand for all further ones.
pub(crate) const OTHER: &str = "_other";

/// Codes that gRPC defines: 0 to 16.
const CODES: usize = 17;

const SUCCESS: usize = CODES;
const FAILURE: usize = CODES + 1;
const REQUEST_MESSAGES: usize = CODES + 2;
const RESPONSE_MESSAGES: usize = CODES + 3;
const COUNTS: usize = CODES + 4;

/// Upper bounds of the buckets of an upstream's time, in tenths of milliseconds; as Envoy's.
const BUCKETS: [u64; 19] = [
    5, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 300_000,
    600_000, 3_000_000, 6_000_000, 18_000_000, 36_000_000,
];

/// Buckets, the one beyond them, and the sum.
const TIMES: usize = BUCKETS.len() + 2;

/// What is counted of one method of one cluster.
pub(crate) struct MethodMetrics {
    counts: Sharded<COUNTS>,
    times: OnceLock<Sharded<TIMES>>,
    shards: usize,
}

/// Methods by cluster, service and name.
#[derive(Default)]
pub(super) struct Methods {
    known: RwLock<BTreeMap<[String; 3], Arc<MethodMetrics>>>,
    full: AtomicBool,
}

/// What a worker remembers of the methods, so that it need not ask: by cluster and path.
#[derive(Default)]
pub(crate) struct MethodCache(RefCell<HashMap<Box<str>, Paths>>);

type Paths = HashMap<Box<str>, Arc<MethodMetrics>>;

impl MethodMetrics {
    fn new(shards: usize) -> Self {
        Self {
            counts: Sharded::new(shards),
            times: OnceLock::new(),
            shards,
        }
    }

    /// Shows what is counted, before anything was.
    pub(super) fn announce(&self) {
        let _ = self.times.get_or_init(|| Sharded::new(self.shards));
    }

    /// Messages came from the client.
    pub(crate) fn request_messages(&self, messages: u64) {
        self.counts.add(REQUEST_MESSAGES, messages);
    }

    /// Messages came from the upstream.
    pub(crate) fn response_messages(&self, messages: u64) {
        self.counts.add(RESPONSE_MESSAGES, messages);
    }

    /// A call ended with a status.
    pub(crate) fn ended(&self, status: u32) {
        let code = usize::try_from(status).ok().filter(|code| *code < CODES);
        if let Some(code) = code {
            self.counts.add(code, 1);
        }
        self.counts
            .add(if status == 0 { SUCCESS } else { FAILURE }, 1);
    }

    /// The upstream took so long from the end of the request to the end of the response.
    pub(crate) fn upstream_time(&self, time: Duration) {
        let times = self.times.get_or_init(|| Sharded::new(self.shards));
        let tenths = u64::try_from(time.as_micros() / 100).unwrap_or(u64::MAX);
        times.add(BUCKETS.partition_point(|bound| *bound < tenths), 1);
        times.add(BUCKETS.len() + 1, tenths);
    }
}

impl Methods {
    /// The counters of a method. `bounded`: its name is a client's.
    pub(super) fn method(
        &self,
        [cluster, service, method]: [&str; 3],
        bounded: bool,
        shards: usize,
    ) -> Arc<MethodMetrics> {
        let key = |service: &str, method: &str| {
            [cluster.to_owned(), service.to_owned(), method.to_owned()]
        };
        let mut key = if bounded && service.len().max(method.len()) > MAX_NAME {
            key(OTHER, OTHER)
        } else {
            key(service, method)
        };
        let mut known = self.known.write();
        if bounded && !known.contains_key(&key) && known.len() >= MAX_METHODS {
            self.full.store(true, Ordering::Relaxed);
            let [_, service, method] = &mut key;
            OTHER.clone_into(service);
            OTHER.clone_into(method);
        }
        let entry = known.entry(key);
        Arc::clone(entry.or_insert_with(|| Arc::new(MethodMetrics::new(shards))))
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.known.read();
        if known.is_empty() {
            return Ok(());
        }
        type Value = fn(&MethodMetrics) -> u64;
        let named: [(&str, &str, Value); 5] = [
            (
                "success",
                "Calls of gRPC methods that ended with status 0",
                |it| it.counts.sum(SUCCESS),
            ),
            (
                "failure",
                "Calls of gRPC methods that ended with another status than 0",
                |it| it.counts.sum(FAILURE),
            ),
            (
                "request_message_count",
                "Messages from clients by gRPC method",
                |it| it.counts.sum(REQUEST_MESSAGES),
            ),
            (
                "response_message_count",
                "Messages from upstreams by gRPC method",
                |it| it.counts.sum(RESPONSE_MESSAGES),
            ),
            (
                "total",
                "Calls of gRPC methods that ended with a status",
                |it| it.counts.sum(SUCCESS).wrapping_add(it.counts.sum(FAILURE)),
            ),
        ];
        for (what, help, value) in named {
            let values = known.iter().map(|(key, it)| (key, value(it)));
            family(encoder, what, help, values)?;
        }
        for code in 0..CODES {
            let values = known
                .iter()
                .map(|(key, it)| (key, it.counts.sum(code)))
                .filter(|(_, value)| *value > 0)
                .collect::<Vec<_>>();
            if !values.is_empty() {
                let help = format!("Calls of gRPC methods that ended with status {code}");
                family(encoder, &code.to_string(), &help, values.into_iter())?;
            }
        }
        times(encoder, &known)
    }
}

/// One family without the suffix that counters get: the names are others' names.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    what: &str,
    help: &str,
    values: impl Iterator<Item = (&'a [String; 3], u64)>,
) -> fmt::Result {
    let name = format!("envoy_cluster_grpc_{what}");
    let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Unknown)?;
    for (key, value) in values {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        metric.encode_family(&labels(key))?.encode_gauge(&value)?;
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds for people; 2^53 tenths of them are 28 thousand years"
)]
fn times(
    encoder: &mut DescriptorEncoder<'_>,
    known: &BTreeMap<[String; 3], Arc<MethodMetrics>>,
) -> fmt::Result {
    let measured: Vec<_> = known
        .iter()
        .filter_map(|(key, it)| Some((key, it.times.get()?.sums())))
        .collect();
    if measured.is_empty() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(
        "envoy_cluster_grpc_upstream_rq_time",
        "Milliseconds from the end of a gRPC request to the end of its response",
        None,
        MetricType::Histogram,
    )?;
    for (key, counts) in measured {
        let ms = |tenths: u64| tenths as f64 / 10.0;
        let bounds = BUCKETS.iter().map(|bound| ms(*bound));
        let bounds = bounds.chain(std::iter::once(f64::INFINITY));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = ms(counts.last().copied().unwrap_or(0));
        metric
            .encode_family(&labels(key))?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn labels([cluster, service, method]: &[String; 3]) -> [(&'static str, &str); 3] {
    [
        ("envoy_cluster_name", cluster),
        ("envoy_grpc_bridge_service", service),
        ("envoy_grpc_bridge_method", method),
    ]
}

impl MethodCache {
    /// The counters of a path, where this worker knows them.
    pub(crate) fn get(&self, cluster: &str, path: &str) -> Option<Arc<MethodMetrics>> {
        self.0.borrow().get(cluster)?.get(path).map(Arc::clone)
    }

    /// The same; of one that it does not know it asks, and remembers.
    pub(crate) fn get_or_ask(
        &self,
        metrics: &super::Metrics,
        (cluster, path): (&str, &str),
        bounded: bool,
    ) -> Option<Arc<MethodMetrics>> {
        if let Some(known) = self.get(cluster, path) {
            return Some(known);
        }
        let (mut path, mut names) = (path, method_of(path)?);
        if bounded && metrics.grpc.full.load(Ordering::Relaxed) {
            // Nobody asks for each of what clients may think of.
            path = "";
            names = (OTHER, OTHER);
            if let Some(known) = self.get(cluster, path) {
                return Some(known);
            }
        }
        let (service, method) = names;
        let method = metrics
            .grpc
            .method([cluster, service, method], bounded, metrics.shards);
        let mut clusters = self.0.borrow_mut();
        let paths = clusters.entry(cluster.into()).or_default();
        if path.len() <= 2 * MAX_NAME + 2 {
            paths.insert(path.into(), Arc::clone(&method));
        }
        Some(method)
    }
}

/// Service and method of a path; `None` where it is no gRPC path.
pub(crate) fn method_of(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/'))
        .then_some((service, method))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn paths_name_methods() {
        assert_eq!(
            method_of("/shop.Catalog/List"),
            Some(("shop.Catalog", "List"))
        );
        for path in ["", "/", "/a", "a/b", "//b", "/a/", "/a/b/c", "/a/b/"] {
            assert_eq!(method_of(path), None, "{path}");
        }
    }

    #[test]
    fn what_clients_name_is_bounded() {
        let metrics = Metrics::new(1);
        let cache = MethodCache::default();
        for n in 0..MAX_METHODS + 500 {
            let path = format!("/s/m{n}");
            let method = cache.get_or_ask(&metrics, ("c", &path), true).unwrap();
            method.ended(0);
        }
        let long = format!("/s/{}", "m".repeat(MAX_NAME + 1));
        cache.get_or_ask(&metrics, ("c", &long), true).unwrap();
        let known = metrics.grpc.known.read();
        assert_eq!(known.len(), MAX_METHODS + 1);
        let other = &known[&["c", OTHER, OTHER].map(str::to_owned)];
        assert_eq!(other.counts.sum(SUCCESS), 500);
        assert_eq!(cache.0.borrow()["c"].len(), MAX_METHODS + 2);
        drop(known);
        // What the config names is told apart all the same.
        cache
            .get_or_ask(&metrics, ("c", "/s/Listed"), false)
            .unwrap();
        assert_eq!(metrics.grpc.known.read().len(), MAX_METHODS + 2);
    }
}
