//! First set of metrics of the data plane (spec/operations §1.5).
//!
//! Counters are sharded: a worker adds to its own cache lines with relaxed atomics, a scrape sums.
//! Labels are bounded: listeners, classes of status codes, flags; never a host, path, route or
//! client. Nothing here knows the pipeline; it is told.

mod auth;
mod clusters;
mod collector;
mod endpoints;
mod grpc;
mod limits;
mod shard;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use legate_config::hash::Hash128;
use parking_lot::RwLock;
use prometheus_client::registry::Registry;

use crate::limit::Limiter;
use crate::reply::{Flag, Flags};
use crate::upstream::Upstreams;
pub(crate) use auth::{AuthCounters, AuthResult};
pub(crate) use grpc::{MethodCache, MethodMetrics, method_of};
pub(crate) use shard::shard_index;
use shard::{Counters, Sharded};

/// Upper bounds of the latency buckets, in microseconds. Coarse: one increment per request.
const BUCKETS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 15_000_000, 60_000_000,
];
/// Status classes: `1xx` to `5xx`, and `0` for requests whose client was gone.
const CLASSES: [&str; 6] = ["0", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Results of writing the state file.
const STATE_WRITES: [&str; 2] = ["ok", "failed"];

/// How a TLS handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeResult {
    /// A connection.
    Ok,
    /// No chain for the server name.
    UnknownName,
    /// The chain refuses.
    Refused,
    /// No agreement, or a bad certificate.
    Failed,
    /// The client went away.
    Closed,
    /// The client took too long.
    Timeout,
}

impl HandshakeResult {
    const LABELS: [&'static str; 6] = [
        "ok",
        "unrecognized_name",
        "refused",
        "failed",
        "closed",
        "timeout",
    ];
}

/// What became of a question about a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitResult {
    /// The request is within its limits.
    Ok,
    /// It is over one.
    OverLimit,
    /// Nobody can say.
    Error,
    /// Nobody can say, and the request passed.
    FailureModeAllowed,
}

impl LimitResult {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::LABELS.len();
    const LABELS: [&'static str; 4] = ["ok", "over_limit", "error", "failure_mode_allowed"];
}

/// All metrics of a process's data plane.
pub struct Metrics {
    listeners: RwLock<BTreeMap<String, Arc<ListenerMetrics>>>,
    shards: usize,
    upstream: Sharded<{ CLASSES.len() }>,
    /// By flag, and those without any.
    flags: Sharded<{ Flag::ALL.len() + 1 }>,
    handshakes: Sharded<{ HandshakeResult::LABELS.len() }>,
    log_dropped: AtomicU64,
    generation: AtomicU64,
    root: RwLock<Hash128>,
    from_state: AtomicBool,
    state_writes: [AtomicU64; STATE_WRITES.len()],
    upstreams: OnceLock<Weak<Upstreams>>,
    limiter: OnceLock<Weak<Limiter>>,
    clusters: RwLock<BTreeSet<String>>,
    grpc: grpc::Methods,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics for a process with so many workers.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Self> {
        // One more for threads that are no workers.
        let shards = workers.saturating_add(1);
        Arc::new(Self {
            listeners: RwLock::default(),
            shards,
            upstream: Sharded::new(shards),
            flags: Sharded::new(shards),
            handshakes: Sharded::new(shards),
            log_dropped: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            root: RwLock::default(),
            from_state: AtomicBool::new(false),
            state_writes: Default::default(),
            upstreams: OnceLock::new(),
            limiter: OnceLock::new(),
            clusters: RwLock::default(),
            grpc: grpc::Methods::default(),
        })
    }

    /// Adds everything to a registry.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(self)));
    }

    /// The metrics of a listener, for its connections to hold. Listeners with one name share them,
    /// and a listener that comes back continues its own.
    pub(crate) fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        if let Some(known) = self.listeners.read().get(name) {
            return Arc::clone(known);
        }
        let mut listeners = self.listeners.write();
        let entry = listeners.entry(name.to_owned());
        Arc::clone(entry.or_insert_with(|| Arc::new(ListenerMetrics::new(self.shards))))
    }

    /// Shows a listener with zeros, before anything was served there.
    pub fn announce_listener(&self, name: &str) {
        let _ = self.listener(name);
    }

    /// Where clusters are counted. A second gateway with the same metrics shows none of its own.
    pub(crate) fn watch_upstreams(&self, upstreams: &Arc<Upstreams>) {
        let _ = self.upstreams.set(Arc::downgrade(upstreams));
    }

    /// Where limits are counted, as with [`Self::watch_upstreams`].
    pub(crate) fn watch_limiter(&self, limiter: &Arc<Limiter>) {
        let _ = self.limiter.set(Arc::downgrade(limiter));
    }

    /// Shows a cluster with zeros, before anything was sent to it.
    pub fn announce_cluster(&self, name: &str) {
        self.clusters.write().insert(name.to_owned());
    }

    /// Shows a gRPC method with all that is counted of it, before anything was.
    pub fn announce_grpc_method(&self, cluster: &str, service: &str, method: &str) {
        let names = [cluster, service, method];
        let method = self.grpc.method(names, false, self.shards);
        method.announce();
    }

    /// A response came from an upstream.
    pub(crate) fn upstream_response(&self, status: u16) {
        self.upstream.add(class(status), 1);
    }

    /// A reply was made by us, with these flags. Replies without flags are counted as `-`.
    pub(crate) fn local_reply(&self, flags: Flags) {
        if flags.is_empty() {
            self.flags.add(Flag::ALL.len(), 1);
        }
        for flag in flags.iter() {
            self.flags.add(flag as usize, 1);
        }
    }

    /// A TLS handshake ended.
    pub(crate) fn tls_handshake(&self, result: HandshakeResult) {
        self.handshakes.add(result as usize, 1);
    }

    /// Lines of the access log were dropped.
    pub(crate) fn access_log_dropped(&self, lines: u64) {
        self.log_dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// A snapshot is being served.
    pub(crate) fn config_applied(&self, id: u64, root: Hash128) {
        self.generation.store(id, Ordering::Relaxed);
        *self.root.write() = root;
    }

    /// Whether the config being served was stored by an earlier process.
    pub(crate) fn config_from_state(&self, from_state: bool) {
        self.from_state.store(from_state, Ordering::Relaxed);
    }

    /// A config was written to the state directory, or could not be.
    pub(crate) fn state_write(&self, ok: bool) {
        let [written, failed] = &self.state_writes;
        let counter = if ok { written } else { failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Metrics of one listener.
pub(crate) struct ListenerMetrics {
    connections: Sharded<2>,
    requests: Sharded<{ CLASSES.len() }>,
    /// Buckets, the one beyond them, and the sum of microseconds.
    latency: Sharded<{ BUCKETS.len() + 2 }>,
}

impl fmt::Debug for ListenerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerMetrics").finish_non_exhaustive()
    }
}

impl ListenerMetrics {
    fn new(shards: usize) -> Self {
        Self {
            connections: Sharded::new(shards),
            requests: Sharded::new(shards),
            latency: Sharded::new(shards),
        }
    }

    /// A connection was accepted; it counts as active until the guard is dropped.
    pub(crate) fn connection(self: &Arc<Self>) -> ActiveConnection {
        self.connections.add(0, 1);
        ActiveConnection(Arc::clone(self))
    }

    /// A request ended with this status (0: its client was gone) after this time.
    pub(crate) fn request(&self, status: u16, duration: Duration) {
        self.requests.add(class(status), 1);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|bound| *bound < micros);
        self.latency.add(bucket, 1);
        self.latency.add(BUCKETS.len() + 1, micros);
    }

    fn active(&self) -> u64 {
        // The closings first: a connection that opens and closes between the two sums must not
        // make the difference negative.
        let closed = self.connections.sum(1);
        self.connections.sum(0).saturating_sub(closed)
    }

    fn latency(&self) -> Counters<{ BUCKETS.len() + 2 }> {
        self.latency.sums()
    }
}

/// A connection that is being served.
#[derive(Debug)]
pub(crate) struct ActiveConnection(Arc<ListenerMetrics>);

impl Drop for ActiveConnection {
    fn drop(&mut self) {
        self.0.connections.add(1, 1);
    }
}

fn class(status: u16) -> usize {
    usize::from(status / 100).min(CLASSES.len() - 1)
}
