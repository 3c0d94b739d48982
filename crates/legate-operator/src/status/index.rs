//! Which objects are in a snapshot, and as what: from the origins of its entries.
//!
//! Pure, and incremental: a new snapshot costs a walk beside the old one, not new names for all.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use legate_api::{Kind, ObjectKey};
use legate_config::auth::Auth;
use legate_config::policy::PolicySet;
use legate_config::route::Destination;
use legate_config::rules::LimitPlace;
use legate_config::{
    Action, ClusterKey, Entry, FilterChain, ListenerKey, ObjectRef, Route, RouteKey, Snapshot,
    Table,
};

/// What the rows of a Mapping come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rows {
    /// It has none.
    None,
    /// They answer with an error in its place.
    Failing,
    /// They lead to a cluster whose endpoint set is not in the snapshot.
    WithoutEndpoints,
    /// At least one serves it.
    Serving,
}

/// The parts of the newest snapshot by object.
#[derive(Debug, Default)]
pub(super) struct Index {
    snapshot: Arc<Snapshot>,
    routes: BTreeMap<ObjectKey, BTreeSet<RouteKey>>,
    /// Hosts, and each Listener with its own key.
    listeners: BTreeMap<ObjectKey, BTreeMap<ListenerKey, usize>>,
    /// Hosts with TLS chains, and how many.
    tls: BTreeMap<ObjectKey, usize>,
    /// Services that are asked about requests, each with its clusters.
    services: BTreeMap<ObjectKey, BTreeMap<ClusterKey, usize>>,
}

impl Index {
    /// Number of the snapshot.
    pub(super) fn id(&self) -> u64 {
        self.snapshot.id
    }

    /// Takes a newer snapshot; the objects whose entries differ.
    pub(super) fn update(&mut self, new: &Arc<Snapshot>) -> BTreeSet<ObjectKey> {
        let mut touched = BTreeSet::new();
        if Arc::ptr_eq(new, &self.snapshot) {
            return touched;
        }
        let old = std::mem::replace(&mut self.snapshot, Arc::clone(new));
        let routes = &mut self.routes;
        differences(&old.routes, &new.routes, |key, entry, added| {
            for object in objects(entry) {
                let keys = routes.entry(object.clone()).or_default();
                if added {
                    keys.insert(key.clone());
                } else {
                    keys.remove(key);
                    if keys.is_empty() {
                        routes.remove(&object);
                    }
                }
                touched.insert(object);
            }
        });
        let listeners = &mut self.listeners;
        differences(&old.virtual_hosts, &new.virtual_hosts, |_, entry, added| {
            for object in objects(entry) {
                count(listeners, &object, &entry.value.listener, added);
                touched.insert(object);
            }
        });
        differences(&old.listeners, &new.listeners, |key, entry, added| {
            for object in objects(entry).filter(|object| object.kind == Kind::Listener) {
                count(listeners, &object, key, added);
                touched.insert(object);
            }
        });
        differences(&old.limits, &new.limits, |_, entry, _| {
            touched.extend(objects(entry));
        });
        let services = &mut self.services;
        differences(&old.policies, &new.policies, |_, entry, added| {
            for (object, cluster) in services_of(&entry.value) {
                count(services, &object, cluster, added);
                touched.insert(object);
            }
        });
        let tls = &mut self.tls;
        differences(&old.chains, &new.chains, |_, entry, added| {
            for object in tls_hosts(entry) {
                let chains = tls.entry(object.clone()).or_default();
                *chains = if added {
                    *chains + 1
                } else {
                    chains.saturating_sub(1)
                };
                if *chains == 0 {
                    tls.remove(&object);
                }
                touched.insert(object);
            }
        });
        touched
    }

    /// What the rows of an object come to.
    pub(super) fn rows(&self, object: &ObjectKey) -> Rows {
        let Some(keys) = self.routes.get(object) else {
            return Rows::None;
        };
        let found = keys
            .iter()
            .filter_map(|key| self.snapshot.routes.get(key.as_str()))
            .map(|route| self.row(object, route));
        found.max().unwrap_or(Rows::None)
    }

    fn row(&self, object: &ObjectKey, route: &Route) -> Rows {
        let split = match &route.action {
            Action::Forward(split) => split,
            Action::Redirect(_) | Action::Probe(_) | Action::GuardedProbe { .. } => {
                return Rows::Serving;
            }
            Action::Fail(_) => return Rows::Failing,
        };
        let named = split
            .targets
            .iter()
            .any(|target| is_named(&target.name, object));
        let found = split
            .targets
            .iter()
            .filter(|target| !named || is_named(&target.name, object))
            .map(|target| match &target.to {
                Destination::Cluster { cluster, .. } => {
                    let endpoints =
                        self.snapshot
                            .clusters
                            .get(cluster.as_str())
                            .and_then(|found| {
                                self.snapshot.endpoint_sets.get(found.endpoints.as_str())
                            });
                    match endpoints {
                        Some(_) => Rows::Serving,
                        None => Rows::WithoutEndpoints,
                    }
                }
                Destination::Fail(_) => Rows::Failing,
            });
        found.max().unwrap_or(Rows::Failing)
    }

    /// The listeners that a Host or Listener is served on.
    pub(super) fn listeners(&self, object: &ObjectKey) -> impl Iterator<Item = &ListenerKey> {
        self.listeners
            .get(object)
            .into_iter()
            .flat_map(BTreeMap::keys)
    }

    /// Hosts and Listeners that are served on a listener.
    pub(super) fn on_listener(&self, listener: &str) -> impl Iterator<Item = &ObjectKey> {
        self.listeners
            .iter()
            .filter(move |(_, keys)| keys.contains_key(listener))
            .map(|(object, _)| object)
    }

    /// Whom an object has gateways ask about requests, and whether they always do.
    pub(super) fn asked(&self, object: &ObjectKey) -> Vec<(String, bool)> {
        match object.kind {
            Kind::AuthService | Kind::RateLimitService => {
                let clusters = self.services.get(object).into_iter().flatten();
                clusters
                    .map(|(cluster, _)| (format!("cluster/{cluster}"), true))
                    .collect()
            }
            Kind::RateLimitPolicy | Kind::RateLimit => {
                let limits = self.snapshot.limits.iter();
                limits
                    .filter(|(_, entry)| objects(entry).any(|found| found == *object))
                    .map(|(domain, entry)| {
                        let mut places = entry.value.rules.iter().map(|rule| rule.place);
                        let always = places
                            .any(|it| matches!(it, LimitPlace::Store(_) | LimitPlace::OwnStore));
                        (format!("limit/{domain}"), always)
                    })
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// The objects that have gateways ask somebody, whom these name as `table/key`.
    pub(super) fn asking(&self, asked: &str) -> BTreeSet<ObjectKey> {
        match asked.split_once('/') {
            Some(("limit", domain)) => named(&self.snapshot.limits, domain),
            Some(("cluster", cluster)) => {
                let services = self.services.iter();
                services
                    .filter(|(_, clusters)| clusters.keys().any(|key| key.as_str() == cluster))
                    .map(|(object, _)| object.clone())
                    .collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// Whether a Host has TLS chains.
    pub(super) fn has_tls(&self, object: &ObjectKey) -> bool {
        self.tls.contains_key(object)
    }

    /// The objects behind an entry that a gateway names as `table/key`.
    pub(super) fn behind(&self, entry: &str) -> BTreeSet<ObjectKey> {
        let snapshot = &self.snapshot;
        let Some((table, key)) = entry.split_once('/') else {
            return BTreeSet::new();
        };
        match table {
            "route" => named(&snapshot.routes, key),
            "chain" => named(&snapshot.chains, key),
            "listener" => named(&snapshot.listeners, key),
            "virtual_host" => named(&snapshot.virtual_hosts, key),
            "cluster" => {
                let mut found = named(&snapshot.clusters, key);
                found.extend(self.users(|cluster, _| cluster == key));
                found
            }
            "policy" => {
                let mut found = named(&snapshot.policies, key);
                found.extend(self.users(|_, policies| policies == key));
                found
            }
            _ => BTreeSet::new(),
        }
    }

    /// The objects whose targets lead to some cluster, with some policies.
    fn users(&self, is_it: impl Fn(&str, &str) -> bool) -> BTreeSet<ObjectKey> {
        let mut found = BTreeSet::new();
        for (_, entry) in self.snapshot.routes.iter() {
            let Action::Forward(split) = &entry.value.action else {
                continue;
            };
            if let Some(mirror) = &split.mirror
                && is_it(mirror.cluster.as_str(), "")
            {
                found.extend(objects(entry).filter(|object| is_named(&mirror.name, object)));
            }
            for target in &split.targets {
                let Destination::Cluster { cluster, policies } = &target.to else {
                    continue;
                };
                if is_it(cluster.as_str(), policies.as_str()) {
                    found.extend(objects(entry).filter(|object| is_named(&target.name, object)));
                }
            }
        }
        found
    }
}

/// The key of an object that something refers to; `None` for kinds that are not ours.
pub(super) fn object_key(object: &ObjectRef) -> Option<ObjectKey> {
    let kind = kind_of(&object.kind)?;
    Some(ObjectKey {
        kind,
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    })
}

/// The kind of that name.
pub(super) fn kind_of(name: &str) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| kind.as_str() == name)
}

/// Whether `namespace/name` names the object.
fn is_named(name: &str, object: &ObjectKey) -> bool {
    name.strip_prefix(object.namespace.as_str())
        .and_then(|rest| rest.strip_prefix('/'))
        == Some(object.name.as_str())
}

fn objects<T>(entry: &Entry<T>) -> impl Iterator<Item = ObjectKey> {
    entry
        .origins
        .iter()
        .filter_map(|origin| object_key(&origin.object))
}

/// The Hosts of a chain that speaks TLS, or refuses to.
fn tls_hosts(chain: &Entry<FilterChain>) -> impl Iterator<Item = ObjectKey> {
    let tls = chain.value.tls.is_some();
    objects(chain).filter(move |object| tls && object.kind == Kind::Host)
}

fn named<K: Ord + std::borrow::Borrow<str>, T>(
    table: &Table<K, T>,
    key: &str,
) -> BTreeSet<ObjectKey> {
    table.entry(key).into_iter().flat_map(objects).collect()
}

/// The services that a policy has gateways ask, and their clusters.
fn services_of(policy: &PolicySet) -> impl Iterator<Item = (ObjectKey, &ClusterKey)> {
    let checks = match policy.auth.as_deref() {
        Some(Auth::Check(check)) => Some(check),
        Some(Auth::Refuse { .. }) | None => None,
    };
    let checks = checks
        .into_iter()
        .flat_map(|check| check.names.iter().zip(&check.targets))
        .map(|(name, target)| (Kind::AuthService, name, &target.cluster));
    let limit = policy.rate_limit.iter();
    let limit = limit.map(|limit| (Kind::RateLimitService, &limit.name, &limit.cluster));
    checks.chain(limit).filter_map(|(kind, name, cluster)| {
        let (namespace, name) = name.split_once('/')?;
        let object = ObjectKey {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Some((object, cluster))
    })
}

fn count<K: Ord + Clone>(
    all: &mut BTreeMap<ObjectKey, BTreeMap<K, usize>>,
    object: &ObjectKey,
    key: &K,
    added: bool,
) {
    let keys = all.entry(object.clone()).or_default();
    if added {
        *keys.entry(key.clone()).or_default() += 1;
        return;
    }
    if let Some(uses) = keys.get_mut(key) {
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            keys.remove(key);
        }
    }
    if keys.is_empty() {
        all.remove(object);
    }
}

/// Walks two tables side by side. Of entries that differ, the old one is visited as taken away, then
/// the new one as added.
fn differences<K: Ord, T>(
    old: &Table<K, T>,
    new: &Table<K, T>,
    mut visit: impl FnMut(&K, &Entry<T>, bool),
) {
    let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((left, _)), Some((right, _))) => left.cmp(right),
        };
        let gone = if order.is_le() { before.next() } else { None };
        let come = if order.is_ge() { after.next() } else { None };
        if let (Some((_, gone)), Some((_, come))) = (gone, come)
            && gone.hash == come.hash
            && (Arc::ptr_eq(&gone.origins, &come.origins) || gone.origins == come.origins)
        {
            continue;
        }
        if let Some((key, entry)) = gone {
            visit(key, entry, false);
        }
        if let Some((key, entry)) = come {
            visit(key, entry, true);
        }
    }
}
