//! The run-time form of a snapshot: routes with compiled policies and cluster handles, TLS tables,
//! access logs.
//!
//! Built once per snapshot, outside the workers; immutable afterwards. What is unchanged since the
//! previous one is shared with it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::HeaderValue;
use legate_config::listener::Listener;
use legate_config::route::{Destination, Fail, ProbeKind};
use legate_config::{Action, ClusterKey, ListenerKey, PolicyKey, Route, Snapshot};
use legate_router::Router;

use crate::access_log::AccessLog;
use crate::limit::{Limiter, Limits};
use crate::metrics::ListenerMetrics;
use crate::request::{CompiledAuth, CompiledPolicy, CompiledRedirect};
use crate::tls::TlsTable;
use crate::upstream::{ClusterHandle, Upstreams};

/// What a route does, ready to be done; the payload of the router's rows.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Proxy to one of the targets, and perhaps a copy to another cluster.
    Forward(Vec<Target>, Option<Mirror>),
    /// Redirect.
    Redirect(CompiledRedirect),
    /// Answer for a probe, perhaps after a check.
    Probe(ProbeKind, Option<Guard>),
    /// Answer with a failure.
    Fail(Fail),
}

/// One weighted target.
#[derive(Debug)]
pub(crate) enum Target {
    /// A cluster, with the effective policies.
    Cluster {
        /// The cluster; `None` when it does not exist or could not be built.
        cluster: Option<Arc<ClusterHandle>>,
        /// The policies.
        policy: Arc<CompiledPolicy>,
        /// The clusters that the policy's check asks, in its order.
        asked: Box<[Option<Arc<ClusterHandle>>]>,
        /// The cluster that a check would ask, were the route not exempt.
        bypassed: Option<Arc<ClusterHandle>>,
        /// The cluster that is asked whether a request is over a limit.
        limiter: Option<Arc<ClusterHandle>>,
    },
    /// A failure that keeps its share.
    Fail(Fail),
}

/// Who is asked before a probe is answered.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The policies: the check.
    pub(crate) policy: Arc<CompiledPolicy>,
    /// The clusters that the check asks, in its order.
    pub(crate) asked: Box<[Option<Arc<ClusterHandle>>]>,
}

/// Where copies of requests go.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// The cluster.
    pub(crate) cluster: Arc<ClusterHandle>,
    /// Percentage of requests copied.
    pub(crate) percent: u32,
}

/// One listener, ready to serve.
pub(crate) struct PortConfig {
    /// Its key.
    pub(crate) key: ListenerKey,
    /// Its settings.
    pub(crate) listener: Arc<Listener>,
    /// The routes of all listeners.
    pub(crate) router: Arc<Router<Plan>>,
    /// Server configurations of its TLS chains.
    pub(crate) tls: Arc<TlsTable>,
    /// Its metrics.
    pub(crate) metrics: Arc<ListenerMetrics>,
    /// The limits that are counted by us.
    pub(crate) limits: Arc<Limits>,
    /// Its access log.
    pub(crate) log: AccessLog,
    /// The `server` response header.
    pub(crate) server: HeaderValue,
    /// Ports that are removed from a Host; `None` when none is.
    pub(crate) strip_ports: Option<Vec<u16>>,
    /// Number of the config in this process; not the snapshot's id, which may come again.
    pub(crate) generation: u64,
}

/// An entry of a snapshot that could not be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The entry's key, with its table: `cluster/…`.
    pub key: String,
    /// Diagnostic code.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

/// Code of everything that the compiler let pass and the gateway could not build: a bug in one of
/// them.
pub(crate) const CODE: &str = "E-GATEWAY-REJECTED";

/// Builds run-time configs, and remembers what the next one may share.
pub(crate) struct Builder {
    upstreams: Arc<Upstreams>,
    limiter: Arc<Limiter>,
    policies: BTreeMap<PolicyKey, Arc<CompiledPolicy>>,
    clusters: BTreeMap<ClusterKey, Arc<ClusterHandle>>,
    router: Option<Arc<Router<Plan>>>,
    /// Whether a row of the router names a cluster that was not there.
    dangling: Cell<bool>,
}

/// The parts of a config that all listeners share.
pub(crate) struct Built {
    /// The routes.
    pub(crate) router: Arc<Router<Plan>>,
    /// The side services that workers stay connected to.
    pub(crate) warm: Arc<[Arc<ClusterHandle>]>,
    /// The limits that are counted by us.
    pub(crate) limits: Arc<Limits>,
    /// What could not be built.
    pub(crate) rejected: Vec<Rejected>,
}

impl Builder {
    pub(crate) fn new(upstreams: Arc<Upstreams>, limiter: Arc<Limiter>) -> Self {
        Self {
            upstreams,
            limiter,
            policies: BTreeMap::new(),
            clusters: BTreeMap::new(),
            router: None,
            dangling: Cell::new(false),
        }
    }

    /// Builds what all listeners share, and updates the clusters.
    pub(crate) fn build(&mut self, snapshot: &Snapshot) -> Built {
        let mut rejected: Vec<Rejected> = self
            .upstreams
            .update(snapshot)
            .into_iter()
            .map(|(key, message)| Rejected {
                key: format!("cluster/{key}"),
                code: CODE,
                message,
            })
            .collect();
        let reusable = self.take_clusters(snapshot);
        self.take_policies(snapshot, &mut rejected);
        let reusable = !self.dangling.take() && reusable;
        let previous = self.router.take().filter(|_| reusable);
        let router = Router::build(snapshot, previous.as_deref(), &mut |key, route| {
            self.plan(key.as_str(), route, &mut rejected)
        });
        rejected.extend(router.rejected().iter().map(|(key, message)| Rejected {
            key: format!("route/{key}"),
            code: CODE,
            message: message.clone(),
        }));
        let router = Arc::new(router);
        self.router = Some(Arc::clone(&router));
        let limits = self.limits(snapshot, &mut rejected);
        Built {
            router,
            warm: self.side_services(),
            limits,
            rejected,
        }
    }

    /// The limits that are counted by us.
    fn limits(&self, snapshot: &Snapshot, rejected: &mut Vec<Rejected>) -> Arc<Limits> {
        let cluster = |key: &ClusterKey| self.clusters.get(key).cloned();
        let limits = self.limiter.build(snapshot, &cluster, |key, message| {
            rejected.push(Rejected {
                key,
                code: CODE,
                message,
            });
        });
        Arc::new(limits)
    }

    /// Looks up the clusters. Whether rows of the previous router still hold the right handles: a
    /// handle survives as long as its key does and its settings are the same.
    fn take_clusters(&mut self, snapshot: &Snapshot) -> bool {
        let new: BTreeMap<_, _> = snapshot
            .clusters
            .iter()
            .filter_map(|(key, _)| Some((key.clone(), self.upstreams.cluster(key)?)))
            .collect();
        let same = new.iter().all(|(key, handle)| {
            self.clusters
                .get(key)
                .is_none_or(|old| Arc::ptr_eq(old, handle))
        });
        self.clusters = new;
        same
    }

    fn take_policies(&mut self, snapshot: &Snapshot, rejected: &mut Vec<Rejected>) {
        let mut old = std::mem::take(&mut self.policies);
        for (key, entry) in snapshot.policies.iter() {
            // Policies are keyed by their content.
            let built = match old.remove(key) {
                Some(policy) => Ok(policy),
                None => CompiledPolicy::build(&entry.value).map(Arc::new),
            };
            match built {
                Ok(policy) => {
                    self.policies.insert(key.clone(), policy);
                }
                Err(message) => rejected.push(Rejected {
                    key: format!("policy/{key}"),
                    code: CODE,
                    message,
                }),
            }
        }
    }

    /// The clusters that policies ask something of.
    fn side_services(&self) -> Arc<[Arc<ClusterHandle>]> {
        let policies = || self.policies.values();
        let auth = policies().filter_map(|it| it.auth.as_deref());
        let limits = policies().filter_map(|it| it.rate_limit.as_deref());
        let exempt = policies().filter_map(|it| it.bypassed.as_ref());
        let mut keys: BTreeSet<&ClusterKey> = auth.flat_map(CompiledAuth::clusters).collect();
        for cluster in exempt.filter_map(|key| self.clusters.get(key)) {
            cluster.auth();
        }
        // Shown with zeros before the first check.
        for cluster in keys.iter().filter_map(|key| self.clusters.get(*key)) {
            cluster.auth();
        }
        keys.extend(limits.map(|limit| &limit.cluster));
        let clusters = keys.into_iter().filter_map(|key| self.clusters.get(key));
        clusters.cloned().collect()
    }

    fn plan(&self, key: &str, route: &Route, rejected: &mut Vec<Rejected>) -> Plan {
        match &route.action {
            Action::Forward(split) => Plan::Forward(
                split
                    .targets
                    .iter()
                    .map(|target| self.target(&target.to))
                    .collect(),
                split.mirror.as_ref().and_then(|mirror| self.mirror(mirror)),
            ),
            Action::Redirect(redirect) => match CompiledRedirect::build(redirect) {
                Ok(redirect) => Plan::Redirect(redirect),
                Err(message) => {
                    rejected.push(Rejected {
                        key: format!("route/{key}"),
                        code: CODE,
                        message,
                    });
                    Plan::Fail(broken())
                }
            },
            Action::Probe(kind) => Plan::Probe(*kind, None),
            Action::GuardedProbe { probe, policies } => match self.policies.get(policies) {
                Some(policy) => {
                    let guard = Guard {
                        policy: Arc::clone(policy),
                        asked: self.asked(policy),
                    };
                    Plan::Probe(*probe, Some(guard))
                }
                None => Plan::Fail(broken()),
            },
            Action::Fail(fail) => Plan::Fail(fail.clone()),
        }
    }

    fn cluster(&self, key: &ClusterKey) -> Option<Arc<ClusterHandle>> {
        let cluster = self.clusters.get(key).map(Arc::clone);
        if cluster.is_none() {
            self.dangling.set(true);
        }
        cluster
    }

    /// The clusters that a policy's check asks.
    fn asked(&self, policy: &CompiledPolicy) -> Box<[Option<Arc<ClusterHandle>>]> {
        let asked = policy.auth.iter().flat_map(|auth| auth.clusters());
        asked.map(|cluster| self.cluster(cluster)).collect()
    }

    /// The cluster that a check would ask, were it not bypassed. Nothing depends on it.
    fn bypassed(&self, policy: &CompiledPolicy) -> Option<Arc<ClusterHandle>> {
        self.clusters.get(policy.bypassed.as_ref()?).cloned()
    }

    fn mirror(&self, mirror: &legate_config::route::Mirror) -> Option<Mirror> {
        Some(Mirror {
            cluster: self.cluster(&mirror.cluster)?,
            percent: mirror.percent,
        })
    }

    fn target(&self, destination: &Destination) -> Target {
        match destination {
            Destination::Cluster { cluster, policies } => match self.policies.get(policies) {
                Some(policy) => {
                    let limiter = policy.rate_limit.as_ref();
                    let cluster = self.cluster(cluster);
                    if let (Some(cluster), Some(_)) = (&cluster, &policy.labels) {
                        cluster.note_limited();
                    }
                    Target::Cluster {
                        cluster,
                        policy: Arc::clone(policy),
                        limiter: limiter.and_then(|limit| self.cluster(&limit.cluster)),
                        asked: self.asked(policy),
                        bypassed: self.bypassed(policy),
                    }
                }
                // Never without its policies: they may protect the upstream.
                None => Target::Fail(broken()),
            },
            Destination::Fail(fail) => Target::Fail(fail.clone()),
        }
    }
}

fn broken() -> Fail {
    Fail {
        status: 503,
        reason: CODE.to_owned(),
    }
}

/// The `server` header's value; the default where the configured one is no header value.
pub(crate) fn server_header(name: &str) -> HeaderValue {
    const DEFAULT: &str = "envoy";
    // A static value is cloned without touching a count that all workers share.
    match HeaderValue::from_str(name) {
        Ok(value) if name != DEFAULT => value,
        Ok(_) | Err(_) => HeaderValue::from_static(DEFAULT),
    }
}
