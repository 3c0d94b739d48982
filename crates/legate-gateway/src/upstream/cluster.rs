//! The run-time side of a cluster: its settings, current endpoints and TLS, cursor and counters.
//!
//! A handle lives as long as its key stays in the config; what may change under one key (endpoints,
//! key material) is swapped inside it, so that whoever holds a handle never holds a stale one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use legate_config::cluster::{Balancer, Cluster, UpstreamProtocol};
use legate_config::policy::Priority;
use legate_config::{ClusterKey, Hash128};

use super::answers::Answers;
use super::breaker::{Budget, Overflows, Owner};
use super::eject::Standing;
use super::endpoint::{Endpoint, EndpointList, InFlight};
use super::endpoints::EndpointSetHandle;
use super::health::{Health, HealthCounters};
use super::tls::ClientTls;
use crate::metrics::AuthCounters;
use crate::metrics::LimitResult;

/// A cluster that requests can be sent to.
#[derive(Debug)]
pub(crate) struct ClusterHandle {
    pub(crate) key: ClusterKey,
    /// The settings; equal for the life of the handle.
    pub(crate) config: Arc<Cluster>,
    /// Host header for `HostRewrite::Auto`; `None` where the upstream has no name.
    pub(crate) host_name: Option<HeaderValue>,
    pub(super) hash: Hash128,
    pub(super) endpoints: Arc<EndpointSetHandle>,
    pub(super) transport: ArcSwap<Transport>,
    pub(super) cursor: AtomicUsize,
    /// Set when the config no longer has this cluster; its pooled connections are then closed.
    retired: AtomicBool,
    pub(super) stats: OnceLock<Shards>,
    /// Set where external authorisation asks it.
    pub(super) auth: OnceLock<Arc<AuthCounters>>,
    /// Set where it is a side service.
    pub(super) answers: OnceLock<Box<Answers>>,
    /// Set when rate limits may count its requests.
    limited: AtomicBool,
    /// Its active health checks, if it has any.
    pub(super) health: Option<Arc<Health>>,
    ejections: AtomicU64,
    ejection_overflow: AtomicU64,
    /// Its permits, as each priority takes them.
    default: Owner,
    high: Owner,
}

/// What a connection must be like for a cluster to use it.
#[derive(Debug)]
pub(super) struct Transport {
    /// Equal for equal (protocol, TLS identity, keep-alive); never reused for another combination.
    pub(super) class: u32,
    pub(super) tls: Option<Arc<ClientTls>>,
}

/// One worker's counters of one cluster, on a cache line of their own.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Shard {
    /// Where the cluster's requests are counted over all workers.
    budget: Arc<Budget>,
    pub(super) cx_active: AtomicI64,
    pub(super) cx_total: AtomicU64,
    pub(super) cx_connect_fail: AtomicU64,
    pub(super) rq_active: AtomicI64,
    pub(super) rq_total: AtomicU64,
    /// Questions about rate limits of its requests, by result.
    pub(super) limits: [AtomicU64; LimitResult::COUNT],
    /// Headers of answers to those that could not be honoured.
    pub(super) limits_dropped: AtomicU64,
    /// Requests that it was not asked about, because their routes are exempt.
    pub(super) auth_bypassed: AtomicU64,
}

/// One shard per core, made by the first request: most clusters of a large config are idle.
#[derive(Debug)]
pub(super) struct Shards {
    first: Arc<Shard>,
    others: Box<[Arc<Shard>]>,
}

/// Counters of a cluster, summed over the workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterCounters {
    /// Open upstream connections.
    pub cx_active: u64,
    /// Upstream connections ever opened.
    pub cx_total: u64,
    /// Connects and TLS handshakes that failed or timed out.
    pub cx_connect_fail: u64,
    /// Requests in flight.
    pub rq_active: u64,
    /// Requests ever sent.
    pub rq_total: u64,
    /// Requests that found no connection free and might not open one.
    pub cx_overflow: u64,
    /// Requests refused by a circuit breaker.
    pub rq_pending_overflow: u64,
    /// Retries refused by a circuit breaker.
    pub rq_retry_overflow: u64,
    /// Whether its requests are counted by rate limits at all.
    pub limited: bool,
    /// Questions about rate limits, by result.
    pub limits: [u64; LimitResult::COUNT],
    /// Headers of answers to those that could not be honoured.
    pub limits_dropped: u64,
    /// Retries that a policy asked for.
    pub rq_retry: u64,
    /// Those that brought an answer which is not retried.
    pub rq_retry_success: u64,
    /// Endpoints.
    pub membership_total: u64,
    /// Those that are used: neither unhealthy nor ejected.
    pub membership_healthy: u64,
    /// Those that have yet to pass a health check before they are used.
    pub membership_excluded: u64,
    /// Endpoints that are ejected.
    pub ejections_active: u64,
    /// Ejections ever that requests of this cluster led to.
    pub ejections: u64,
    /// Those that were not made, because too many endpoints were ejected.
    pub ejection_overflow: u64,
    /// Active health checks; `None` = it has none.
    pub health: Option<HealthCounters>,
}

/// An endpoint as the admin server shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointView {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether requests failed there so often that it is left out.
    pub ejected: bool,
    /// What active health checks say; `None` = nothing yet. Without any it is healthy.
    pub healthy: Option<bool>,
}

/// Counts a thing that is alive, by its own life.
#[derive(Debug)]
pub(super) struct Active {
    shard: Arc<Shard>,
    what: Alive,
}

/// What an [`Active`] counts.
#[derive(Debug, Clone, Copy)]
enum Alive {
    Connection,
    Request(Priority),
}

// === impl ClusterCounters ===

impl ClusterCounters {
    /// Adds another cluster's.
    pub(crate) fn add(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.cx_active, other.cx_active),
            (&mut self.cx_total, other.cx_total),
            (&mut self.cx_connect_fail, other.cx_connect_fail),
            (&mut self.rq_active, other.rq_active),
            (&mut self.rq_total, other.rq_total),
            (&mut self.cx_overflow, other.cx_overflow),
            (&mut self.rq_pending_overflow, other.rq_pending_overflow),
            (&mut self.rq_retry_overflow, other.rq_retry_overflow),
            (&mut self.limits_dropped, other.limits_dropped),
            (&mut self.rq_retry, other.rq_retry),
            (&mut self.rq_retry_success, other.rq_retry_success),
            (&mut self.membership_total, other.membership_total),
            (&mut self.membership_healthy, other.membership_healthy),
            (&mut self.membership_excluded, other.membership_excluded),
            (&mut self.ejections_active, other.ejections_active),
            (&mut self.ejections, other.ejections),
            (&mut self.ejection_overflow, other.ejection_overflow),
        ] {
            *to = to.saturating_add(from);
        }
        self.limited |= other.limited;
        for (to, from) in self.limits.iter_mut().zip(other.limits) {
            *to = to.saturating_add(from);
        }
        if let Some(other) = &other.health {
            self.health.get_or_insert_default().add(other);
        }
    }
}

// === impl ClusterHandle ===

impl ClusterHandle {
    pub(super) fn new(
        key: ClusterKey,
        config: Arc<Cluster>,
        hash: Hash128,
        endpoints: Arc<EndpointSetHandle>,
        transport: Transport,
        budget: Arc<Budget>,
        health: Option<Arc<Health>>,
    ) -> Self {
        let host_name = config
            .host_name
            .as_deref()
            .and_then(|name| HeaderValue::from_str(name).ok());
        Self {
            key,
            config,
            host_name,
            hash,
            endpoints,
            transport: ArcSwap::from_pointee(transport),
            // Workers and replicas start at different endpoints.
            cursor: AtomicUsize::new(rand::random::<u16>().into()),
            retired: AtomicBool::new(false),
            stats: OnceLock::new(),
            auth: OnceLock::new(),
            answers: OnceLock::new(),
            limited: AtomicBool::new(false),
            health,
            ejections: AtomicU64::new(0),
            ejection_overflow: AtomicU64::new(0),
            default: Owner {
                budget: Arc::clone(&budget),
                priority: Priority::Default,
            },
            high: Owner {
                budget,
                priority: Priority::High,
            },
        }
    }

    /// Its permits of a priority.
    pub(super) fn owner(&self, priority: Priority) -> &Owner {
        match priority {
            Priority::Default => &self.default,
            Priority::High => &self.high,
        }
    }

    /// Its permits of both priorities.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.default.budget
    }

    /// Whether requests leave as HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.config.protocol == UpstreamProtocol::Http2
    }

    /// Whether connections are TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.config.tls.is_some()
    }

    /// Puts a transport in force; says whether connections of the former are now unwanted.
    pub(super) fn set_transport(&self, transport: Transport) -> bool {
        if self.transport.load().class == transport.class {
            return false;
        }
        let tls = transport.tls.clone();
        self.transport.store(Arc::new(transport));
        if let Some(health) = &self.health {
            health.set_tls(tls);
        }
        true
    }

    /// The config no longer has this cluster.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        if let Some(health) = &self.health {
            health.stop();
        }
    }

    pub(super) fn count_ejection(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_ejection_overflow(&self) {
        self.ejection_overflow.fetch_add(1, Ordering::Relaxed);
    }

    /// Limit of TCP connect and TLS handshake together.
    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.config.connect_timeout_ms.max(1))
    }

    /// How long an idle connection may stay; `None` = for ever.
    pub(super) fn idle_timeout(&self) -> Option<Duration> {
        limit(self.config.idle_timeout_ms)
    }

    /// The age at which a connection takes no new request; `None` = none.
    pub(super) fn max_lifetime(&self) -> Option<Duration> {
        limit(self.config.max_lifetime_ms)
    }

    /// Whether connections of this class to this address are still wanted by this cluster.
    pub(super) fn wants(&self, class: u32, address: SocketAddr) -> bool {
        !self.retired.load(Ordering::Acquire)
            && self.transport.load().class == class
            && self.endpoints.list().has(&address)
    }

    /// A request's place at one of its endpoints. Of a single one nothing needs to be known, and load
    /// only where it decides: workers would fight for cache lines for nothing.
    pub(super) fn place(
        &self,
        list: &EndpointList,
        endpoint: &Arc<Endpoint>,
        standing: Standing,
    ) -> Option<InFlight> {
        let counted = self.config.balancer == Balancer::LeastRequest;
        let place = || InFlight::begin(Arc::clone(endpoint), counted, standing);
        (list.endpoints.len() > 1).then(place)
    }

    /// The counters that one worker writes.
    pub(super) fn shard(&self, worker: usize) -> &Arc<Shard> {
        let shards = self.stats.get_or_init(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            Shards {
                first: self.new_shard(),
                others: (1..cores.min(64)).map(|_| self.new_shard()).collect(),
            }
        });
        // More workers than cores share shards, which costs speed and not correctness.
        let count = shards.others.len().saturating_add(1);
        let other = worker.checked_rem(count).and_then(|it| it.checked_sub(1));
        other
            .and_then(|index| shards.others.get(index))
            .unwrap_or(&shards.first)
    }

    fn new_shard(&self) -> Arc<Shard> {
        Arc::new(Shard {
            budget: Arc::clone(self.budget()),
            cx_active: AtomicI64::new(0),
            cx_total: AtomicU64::new(0),
            cx_connect_fail: AtomicU64::new(0),
            rq_active: AtomicI64::new(0),
            rq_total: AtomicU64::new(0),
            limits: Default::default(),
            limits_dropped: AtomicU64::new(0),
            auth_bypassed: AtomicU64::new(0),
        })
    }

    /// Rate limits may count its requests: it is shown with zeros.
    pub(crate) fn note_limited(&self) {
        if !self.limited.swap(true, Ordering::Relaxed) {
            let _ = self.shard(0);
        }
    }

    /// Whether it was ever used, be it by probes.
    pub(crate) fn is_used(&self) -> bool {
        self.stats.get().is_some() || self.health.is_some()
    }

    /// Counters summed over the workers.
    pub(crate) fn counters(&self) -> ClusterCounters {
        let mut sum = ClusterCounters::default();
        let (mut connections, mut requests) = (0_i64, 0_i64);
        let shards = self.stats.get();
        for shard in shards.into_iter().flat_map(Shards::iter) {
            connections = connections.saturating_add(shard.cx_active.load(Ordering::Relaxed));
            requests = requests.saturating_add(shard.rq_active.load(Ordering::Relaxed));
            let add = |to: &mut u64, from: &AtomicU64| {
                *to = to.saturating_add(from.load(Ordering::Relaxed));
            };
            add(&mut sum.cx_total, &shard.cx_total);
            add(&mut sum.cx_connect_fail, &shard.cx_connect_fail);
            add(&mut sum.rq_total, &shard.rq_total);
            add(&mut sum.limits_dropped, &shard.limits_dropped);
            for (to, from) in sum.limits.iter_mut().zip(&shard.limits) {
                add(to, from);
            }
        }
        sum.limited = self.limited.load(Ordering::Relaxed);
        sum.cx_active = connections.try_into().unwrap_or_default();
        sum.rq_active = requests.try_into().unwrap_or_default();
        let Overflows {
            connections,
            requests,
            retries,
            retried,
            retry_successes,
        } = self.budget().overflows();
        sum.cx_overflow = connections;
        sum.rq_pending_overflow = requests;
        sum.rq_retry_overflow = retries;
        sum.rq_retry = retried;
        sum.rq_retry_success = retry_successes;
        self.count_endpoints(&mut sum);
        sum
    }

    fn count_endpoints(&self, sum: &mut ClusterCounters) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let verdicts = self.health.as_ref().map(|it| it.verdicts());
        let list = self.endpoints.list();
        let ejects = !self.config.never_eject && list.endpoints.len() > 1;
        let out = |it: &Endpoint| ejects && it.ejection.is_out();
        let healthy = |it: &Endpoint| {
            verdicts
                .as_ref()
                .is_none_or(|verdicts| !verdicts.is_unhealthy(&it.address))
        };
        let endpoints = || list.endpoints.iter();
        sum.membership_total = count(list.endpoints.len());
        sum.membership_healthy = count(endpoints().filter(|it| healthy(it) && !out(it)).count());
        sum.membership_excluded = count(verdicts.as_ref().map_or(0, |it| it.warming()));
        sum.ejections_active = count(endpoints().filter(|it| out(it)).count());
        sum.ejections = self.ejections.load(Ordering::Relaxed);
        sum.ejection_overflow = self.ejection_overflow.load(Ordering::Relaxed);
        sum.health = self.health.as_ref().map(|it| it.counters());
    }

    /// What is known of each of its endpoints.
    pub(super) fn endpoint_views(&self) -> Vec<EndpointView> {
        let list = self.endpoints.list();
        let ejects = !self.config.never_eject && list.endpoints.len() > 1;
        let states = self.health.as_ref().map(|it| it.states());
        let view = |it: &Arc<Endpoint>| EndpointView {
            address: it.address,
            ejected: ejects && it.ejection.is_out(),
            healthy: match &states {
                Some(states) => states.get(&it.address).copied().flatten(),
                None => Some(true),
            },
        };
        list.endpoints.iter().map(view).collect()
    }
}

// === impl Shards ===

impl Shards {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Shard>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

fn limit(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

// === impl Active ===

impl Active {
    pub(super) fn connection(shard: &Arc<Shard>) -> Self {
        shard.cx_total.fetch_add(1, Ordering::Relaxed);
        shard.cx_active.fetch_add(1, Ordering::Relaxed);
        Self {
            shard: Arc::clone(shard),
            what: Alive::Connection,
        }
    }

    /// A request in flight; `None` when the circuit breaker allows no more.
    pub(super) fn request(shard: &Arc<Shard>, priority: Priority) -> Option<Self> {
        if !shard.budget.class(priority).begin_request() {
            return None;
        }
        shard.rq_total.fetch_add(1, Ordering::Relaxed);
        shard.rq_active.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            shard: Arc::clone(shard),
            what: Alive::Request(priority),
        })
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let counter = match self.what {
            Alive::Connection => &self.shard.cx_active,
            Alive::Request(priority) => {
                self.shard.budget.class(priority).end_request();
                &self.shard.rq_active
            }
        };
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}
