//! Upstreams: clusters, their endpoints, and each worker's connections to them.
//!
//! Process-wide and built from snapshots: [`Upstreams`] with one [`ClusterHandle`] per cluster.
//! Per worker and never shared: [`WorkerPool`]. Timeouts of whole requests are not here.
//!
//! - `cluster`: a cluster at run time; `endpoints`, `dns`: where its endpoints come from
//! - `endpoint`: one of them; `choose`, `balance`, `hashing`: which of them a request goes to
//! - `eject`: leaves out those that fail; `health`: those that say they are not well
//! - `pool`, `http2`: connections kept and shared; `connect`, `tls`: how they are opened
//! - `side_stream`: connections for what is not HTTP
//! - `warm`: connections to side services, opened ahead of the first call; `answers`: whether they do
//! - `breaker`: how many connections and requests there may be, over all workers
//! - `send`, `slot`: one request through all of that; `body`: what it carries either way
//! - `retry`, `replay`: the same once more, where a policy says so

mod answers;
mod balance;
mod body;
mod breaker;
mod choose;
mod classify;
mod cluster;
mod connect;
mod dns;
mod eject;
mod endpoint;
mod endpoints;
mod hashing;
mod health;
mod http2;
mod limited;
mod pool;
mod replay;
mod retry;
mod send;
mod side_stream;
mod slot;
mod tls;
mod warm;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use legate_config::cluster::{Breakers, Cluster, TcpKeepalive, UpstreamProtocol, UpstreamTls};
use legate_config::{ClusterKey, EndpointSetKey, Hash128, Snapshot};
use parking_lot::Mutex;

use crate::metrics::AuthCounters;

pub(crate) use self::body::UpstreamBody;
pub(crate) use self::classify::classify;
pub(crate) use self::cluster::ClusterHandle;
pub use self::cluster::{ClusterCounters, EndpointView};
pub(crate) use self::endpoint::InFlight;
pub use self::health::HealthCounters;
pub(crate) use self::pool::WorkerPool;
pub(crate) use self::send::{Call, outgoing};
pub(crate) use self::side_stream::side_stream;
pub(crate) use self::slot::Slot;
pub(crate) use self::warm::Warm;

use self::breaker::Budget;
use self::cluster::Transport;
use self::dns::Dns;
use self::endpoints::{Changes, EndpointSetHandle};
use self::hashing::Needs;
use self::health::{Health, Probes};
use self::tls::ClientTls;

/// All clusters of the process.
#[derive(Debug)]
pub(crate) struct Upstreams {
    dns: Arc<Dns>,
    probes: Arc<Probes>,
    changes: Arc<Changes>,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    clusters: BTreeMap<ClusterKey, Arc<ClusterHandle>>,
    sets: BTreeMap<EndpointSetKey, Arc<EndpointSetHandle>>,
    tls: HashMap<TlsIdentity, Arc<ClientTls>>,
    classes: HashMap<Class, u32>,
    next_class: u32,
    /// Permits by the hash of the clusters' settings without their limits. Several clusters can
    /// differ in nothing else.
    budgets: HashMap<Hash128, Vec<SizedBudget>>,
}

/// A budget and the limits in force.
#[derive(Debug, Clone)]
struct SizedBudget {
    breakers: Breakers,
    budget: Arc<Budget>,
}

/// Equal identities are one TLS configuration, with one session cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TlsIdentity {
    settings: UpstreamTls,
    ca: Option<Hash128>,
    certificate: Option<Hash128>,
}

/// Connections of one class and address are interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Class {
    protocol: UpstreamProtocol,
    tls: Option<TlsIdentity>,
    keepalive: Option<TcpKeepalive>,
    /// Copies never use connections of real requests, nor the other way round.
    shadow: bool,
}

/// A cluster as the admin server shows it.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// The cluster's key.
    pub key: ClusterKey,
    /// Its name in metrics.
    pub stats_name: String,
    /// Whether HTTP/2 is spoken to it.
    pub http2: bool,
    /// Whether connections are TLS.
    pub tls: bool,
    /// Where its endpoints come from.
    pub endpoint_set: EndpointSetKey,
    /// Its endpoints now.
    pub endpoints: Vec<EndpointView>,
    /// Whether a name's first resolution is still under way.
    pub resolving: bool,
    /// Counters over all workers.
    pub counters: ClusterCounters,
}

// === impl Upstreams ===

impl Upstreams {
    /// No clusters yet. Names will be resolved on the given runtime.
    pub(crate) fn new(control: tokio::runtime::Handle) -> Arc<Self> {
        Arc::new(Self {
            dns: Arc::new(Dns::new(control.clone())),
            probes: Probes::new(control),
            changes: Arc::default(),
            registry: Mutex::default(),
        })
    }

    /// Brings clusters and endpoint sets in line with a snapshot. What did not change keeps its
    /// state. Returns the clusters that cannot be built, and why: a former version of theirs stays
    /// in force, if there is one.
    pub(crate) fn update(&self, snapshot: &Snapshot) -> Vec<(ClusterKey, String)> {
        let mut failed = Vec::new();
        let mut registry = self.registry.lock();
        self.update_sets(&mut registry, snapshot);

        let mut budgets = registry.budgets(snapshot);
        let mut clusters = BTreeMap::new();
        let mut changed = false;
        for (key, entry) in snapshot.clusters.iter() {
            let former = registry.clusters.remove(key);
            let transport = match registry.transport(&entry.value, snapshot) {
                Ok(transport) => transport,
                Err(reason) => {
                    failed.push((key.clone(), reason));
                    clusters.extend(former.map(|former| (key.clone(), former)));
                    continue;
                }
            };
            let handle = match former {
                Some(handle) if handle.hash == entry.hash => {
                    changed |= handle.set_transport(transport);
                    handle
                }
                former => {
                    if let Some(former) = former {
                        former.retire();
                        changed = true;
                    }
                    let set = registry.set(&entry.value.endpoints, &self.changes);
                    let config = Arc::clone(&entry.value);
                    let budget = budgets.remove(key);
                    let budget = budget.unwrap_or_else(|| Budget::new(&config.breakers));
                    let health = Health::new(&config, transport.tls.clone(), &self.probes);
                    let handle = Arc::new(ClusterHandle::new(
                        key.clone(),
                        config,
                        entry.hash,
                        set,
                        transport,
                        budget,
                        health,
                    ));
                    if let Some(health) = &handle.health {
                        handle.endpoints.check_by(health);
                    }
                    handle.budget().belongs_to(&handle);
                    handle
                }
            };
            clusters.insert(key.clone(), handle);
        }
        let former = std::mem::replace(&mut registry.clusters, clusters);
        for gone in former.values() {
            gone.retire();
            changed = true;
        }
        registry.prune();
        drop(registry);
        if changed {
            self.changes.note();
        }
        failed
    }

    /// Defines every set that a cluster names. Others would resolve for nobody.
    fn update_sets(&self, registry: &mut Registry, snapshot: &Snapshot) {
        let mut needs: HashMap<&EndpointSetKey, Needs> = HashMap::new();
        for (_, cluster) in snapshot.clusters.iter() {
            let key = &cluster.value.endpoints;
            registry.set(key, &self.changes);
            needs.entry(key).or_default().add(cluster.value.balancer);
        }
        for set in registry.sets.values() {
            set.need(needs.get(set.key()).copied().unwrap_or_default());
            let definition = snapshot.endpoint_sets.entry(set.key());
            set.define(
                definition.map(|entry| (&*entry.value, entry.hash)),
                &self.dns,
            );
        }
    }

    /// The cluster under a key.
    pub(crate) fn cluster(&self, key: &ClusterKey) -> Option<Arc<ClusterHandle>> {
        self.registry.lock().clusters.get(key).cloned()
    }

    /// Name in metrics and counters of each cluster that ever had a request.
    pub(crate) fn used(&self) -> Vec<(String, ClusterCounters)> {
        let registry = self.registry.lock();
        let used = registry.clusters.values().filter(|it| it.is_used());
        used.map(|it| (it.config.stats_name.clone(), it.counters()))
            .collect()
    }

    /// Name in metrics and counters of each cluster that external authorisation asks, and how many
    /// requests it was not asked about because their routes are exempt.
    pub(crate) fn asked(&self) -> Vec<(String, Arc<AuthCounters>, u64)> {
        let registry = self.registry.lock();
        let asked = registry.clusters.values().filter_map(|it| {
            let counters = Arc::clone(it.asked()?);
            Some((it.config.stats_name.clone(), counters, it.bypassed()))
        });
        asked.collect()
    }

    /// All clusters, in key order.
    pub(crate) fn view(&self) -> Vec<ClusterView> {
        let registry = self.registry.lock();
        let view = |cluster: &Arc<ClusterHandle>| {
            let list = cluster.endpoints.list();
            ClusterView {
                key: cluster.key.clone(),
                stats_name: cluster.config.stats_name.clone(),
                http2: cluster.is_http2(),
                tls: cluster.is_tls(),
                endpoint_set: cluster.config.endpoints.clone(),
                endpoints: cluster.endpoint_views(),
                resolving: list.pending,
                counters: cluster.counters(),
            }
        };
        registry.clusters.values().map(view).collect()
    }
}

// === impl Registry ===

impl Registry {
    /// The budget of each cluster of a snapshot, with its limits in force. A budget stays with the
    /// cluster that has its limits; one whose limits are gone goes on with those that are new.
    fn budgets(&mut self, snapshot: &Snapshot) -> HashMap<ClusterKey, Arc<Budget>> {
        let mut former = std::mem::take(&mut self.budgets);
        let mut homeless = Vec::new();
        let mut found = HashMap::new();
        for (key, entry) in snapshot.clusters.iter() {
            let breakers = entry.value.breakers;
            let base = if breakers.is_default() {
                entry.hash
            } else {
                let mut plain = Cluster::clone(&entry.value);
                plain.breakers = Breakers::default();
                Hash128::of(&plain)
            };
            let same = former.get_mut(&base).and_then(|list| {
                let index = list.iter().position(|it| it.breakers == breakers)?;
                Some(list.remove(index))
            });
            match same {
                Some(sized) => {
                    found.insert(key.clone(), Arc::clone(&sized.budget));
                    self.budgets.entry(base).or_default().push(sized);
                }
                None => homeless.push((key, base, breakers)),
            }
        }
        for (key, base, breakers) in homeless {
            let free = former.get_mut(&base).filter(|list| !list.is_empty());
            let budget = match free.map(|list| list.remove(0)) {
                Some(sized) => {
                    sized.budget.set(&breakers);
                    sized.budget
                }
                None => Budget::new(&breakers),
            };
            found.insert(key.clone(), Arc::clone(&budget));
            let sized = SizedBudget { breakers, budget };
            self.budgets.entry(base).or_default().push(sized);
        }
        found
    }

    fn set(&mut self, key: &EndpointSetKey, changes: &Arc<Changes>) -> Arc<EndpointSetHandle> {
        let set = self.sets.entry(key.clone());
        let make = || Arc::new(EndpointSetHandle::new(key.clone(), Arc::clone(changes)));
        Arc::clone(set.or_insert_with(make))
    }

    fn transport(&mut self, cluster: &Cluster, snapshot: &Snapshot) -> Result<Transport, String> {
        let tls = match &cluster.tls {
            None => None,
            Some(settings) => Some(self.tls(settings, snapshot)?),
        };
        let (identity, tls) = tls.unzip();
        let class = Class {
            protocol: cluster.protocol,
            tls: identity,
            keepalive: cluster.keepalive,
            shadow: cluster.shadow,
        };
        let next = &mut self.next_class;
        let class = *self.classes.entry(class).or_insert_with(|| {
            *next = next.wrapping_add(1);
            *next
        });
        Ok(Transport { class, tls })
    }

    fn tls(
        &mut self,
        settings: &UpstreamTls,
        snapshot: &Snapshot,
    ) -> Result<(TlsIdentity, Arc<ClientTls>), String> {
        let find = |kind: &str, key: &dyn std::fmt::Display| format!("{kind} `{key}` is missing");
        let ca = match &settings.ca {
            None => None,
            Some(key) => {
                let entry = snapshot.ca_bundles.entry(key);
                Some(entry.ok_or_else(|| find("CA bundle", key))?)
            }
        };
        let certificate = match &settings.client_certificate {
            None => None,
            Some(key) => {
                let entry = snapshot.certificates.entry(key);
                Some(entry.ok_or_else(|| find("certificate", key))?)
            }
        };
        let identity = TlsIdentity {
            settings: settings.clone(),
            ca: ca.map(|entry| entry.hash),
            certificate: certificate.map(|entry| entry.hash),
        };
        if let Some(tls) = self.tls.get(&identity) {
            return Ok((identity, Arc::clone(tls)));
        }
        let tls = Arc::new(ClientTls::build(
            settings,
            ca.map(|entry| &*entry.value),
            certificate.map(|entry| &*entry.value),
        )?);
        self.tls.insert(identity.clone(), Arc::clone(&tls));
        Ok((identity, tls))
    }

    /// Forgets what no cluster uses any more.
    fn prune(&mut self) {
        let used: std::collections::HashSet<u32> = self
            .clusters
            .values()
            .map(|cluster| cluster.transport.load().class)
            .collect();
        self.classes.retain(|_, class| used.contains(class));
        self.tls.retain(|_, tls| Arc::strong_count(tls) > 1);
        // A set without a cluster would go on resolving for nobody.
        self.sets.retain(|_, set| Arc::strong_count(set) > 1);
    }
}
