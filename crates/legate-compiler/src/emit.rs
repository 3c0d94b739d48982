//! Pass 5, emit: the tables of a snapshot, kept between compiles.
//!
//! Rows come and go one by one; clusters, policies, endpoint sets and key material are counted, and
//! leave with the last row that names them. An entry whose content stays the same keeps its `Arc`.

use std::collections::BTreeMap;
use std::sync::Arc;

use legate_config::cluster::{Cluster, EndpointSet};
use legate_config::policy::PolicySet;
use legate_config::route::Route;
use legate_config::secret::{CaBundle, Certificate};
use legate_config::{
    CaKey, CertificateKey, ClusterKey, EndpointSetKey, Entry, PolicyKey, RouteKey, Table,
};

use crate::endpoints::{EndpointIndex, EndpointPlan, ServiceName};
use crate::group::Row;
use crate::resolve::Upstream;
use crate::resources::Resources;

/// The tables that rows feed.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) routes: Table<RouteKey, Route>,
    pub(crate) policies: Counted<PolicyKey, PolicySet>,
    pub(crate) clusters: Counted<ClusterKey, Cluster>,
    pub(crate) endpoint_sets: Counted<EndpointSetKey, EndpointSet, Option<EndpointPlan>>,
    pub(crate) certificates: Counted<CertificateKey, Certificate>,
    pub(crate) ca_bundles: Counted<CaKey, CaBundle>,
    /// Upstreams that no row leads to.
    held: Vec<Arc<Upstream>>,
}

/// What a row refers to.
pub(crate) type Uses<'a> = (&'a [(PolicyKey, Entry<PolicySet>)], &'a [Arc<Upstream>]);

/// Entries that leave when nobody uses them any more; `X` is kept beside each.
#[derive(Debug)]
pub(crate) struct Counted<K, T, X = ()> {
    slots: BTreeMap<K, Slot<T, X>>,
    /// The entries as a table, until something changes.
    table: Option<Table<K, T>>,
}

#[derive(Debug)]
struct Slot<T, X> {
    entry: Entry<T>,
    uses: usize,
    beside: X,
}

impl<K, T, X> Default for Counted<K, T, X> {
    fn default() -> Self {
        Self {
            slots: BTreeMap::new(),
            table: None,
        }
    }
}

impl<K: Ord + Clone, T, X: Default> Counted<K, T, X> {
    /// The entries as they are now.
    pub(crate) fn table(&mut self) -> Table<K, T> {
        let slots = &self.slots;
        let make = || {
            let entries = slots.iter();
            entries
                .map(|(key, slot)| (key.clone(), slot.entry.clone()))
                .collect()
        };
        self.table.get_or_insert_with(make).clone()
    }

    /// Counts a use; the entry is made when there is none.
    fn acquire(&mut self, key: &K, make: impl FnOnce() -> (Entry<T>, X)) -> &mut Slot<T, X> {
        let table = &mut self.table;
        let slot = self.slots.entry(key.clone()).or_insert_with(|| {
            *table = None;
            let (entry, beside) = make();
            Slot {
                entry,
                uses: 0,
                beside,
            }
        });
        slot.uses += 1;
        slot
    }

    /// Counts a use of an entry. Where there is another one, its object changed, and all users come
    /// with the new one in this run.
    fn acquire_entry(&mut self, key: &K, entry: &Entry<T>) {
        let slot = self.acquire(key, || (entry.clone(), X::default()));
        if slot.entry.hash != entry.hash {
            slot.entry = entry.clone();
            self.table = None;
        }
    }

    /// Gives a use back.
    fn release(&mut self, key: &K) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.uses = slot.uses.saturating_sub(1);
            if slot.uses == 0 {
                self.slots.remove(key);
                self.table = None;
            }
        }
    }
}

impl Store {
    /// Puts a row in. Rows that replace others are put in before the others are taken out, so that
    /// what both use stays.
    pub(crate) fn add(&mut self, row: &Row, resources: &Resources, index: &EndpointIndex) {
        put(&mut self.routes, row.key.clone(), row.route.clone());
        self.acquire((&row.policies, &row.upstreams), resources, index);
    }

    /// Counts what a row uses.
    pub(crate) fn acquire(
        &mut self,
        (policies, upstreams): Uses<'_>,
        resources: &Resources,
        index: &EndpointIndex,
    ) {
        for (key, entry) in policies {
            self.policies.acquire_entry(key, entry);
        }
        for upstream in upstreams {
            self.add_upstream(upstream, resources, index);
        }
    }

    /// Holds on to upstreams that no row leads to, and lets go of those held before.
    pub(crate) fn hold(
        &mut self,
        upstreams: &[Arc<Upstream>],
        resources: &Resources,
        index: &EndpointIndex,
    ) {
        for upstream in upstreams {
            self.add_upstream(upstream, resources, index);
        }
        for upstream in std::mem::replace(&mut self.held, upstreams.to_vec()) {
            self.release_upstream(&upstream);
        }
    }

    fn add_upstream(&mut self, upstream: &Upstream, resources: &Resources, index: &EndpointIndex) {
        self.clusters
            .acquire_entry(&upstream.key, &upstream.cluster);
        self.endpoint_sets
            .acquire(&upstream.cluster.value.endpoints, || {
                let plan = &upstream.plan;
                (plan.resolve(resources, index), Some(plan.clone()))
            });
        if let Some((key, entry)) = &upstream.certificate {
            self.certificates.acquire_entry(key, entry);
        }
        if let Some((key, entry)) = &upstream.ca_bundle {
            self.ca_bundles.acquire_entry(key, entry);
        }
    }

    /// Gives back what a row uses. The route itself stays: see [`Store::remove_route`].
    pub(crate) fn release(&mut self, row: &Row) {
        self.give_back((&row.policies, &row.upstreams));
    }

    /// Gives uses back.
    pub(crate) fn give_back(&mut self, (policies, upstreams): Uses<'_>) {
        for (key, _) in policies {
            self.policies.release(key);
        }
        for upstream in upstreams {
            self.release_upstream(upstream);
        }
    }

    fn release_upstream(&mut self, upstream: &Upstream) {
        self.clusters.release(&upstream.key);
        self.endpoint_sets
            .release(&upstream.cluster.value.endpoints);
        if let Some((key, _)) = &upstream.certificate {
            self.certificates.release(key);
        }
        if let Some((key, _)) = &upstream.ca_bundle {
            self.ca_bundles.release(key);
        }
    }

    /// Takes a route out.
    pub(crate) fn remove_route(&mut self, key: &RouteKey) {
        self.routes.remove(key);
    }

    /// Looks the endpoints of some Services up again.
    pub(crate) fn refresh(
        &mut self,
        touched: impl Fn(&ServiceName) -> bool,
        resources: &Resources,
        index: &EndpointIndex,
    ) {
        for slot in self.endpoint_sets.slots.values_mut() {
            if let Some(plan @ EndpointPlan::Kubernetes { service, .. }) = &slot.beside
                && touched(service)
            {
                let entry = plan.resolve(resources, index);
                if entry.hash != slot.entry.hash {
                    slot.entry = entry;
                    self.endpoint_sets.table = None;
                }
            }
        }
    }
}

/// Puts an entry in, but keeps the old one's `Arc` when the content is the same.
pub(crate) fn put<K: Ord + Clone, T>(table: &mut Table<K, T>, key: K, entry: Entry<T>) {
    let entry = match table.entry(&key) {
        Some(old) if old.hash == entry.hash => Entry {
            value: Arc::clone(&old.value),
            ..entry
        },
        _ => entry,
    };
    table.insert(key, entry);
}

/// A freshly built table with the `Arc`s of the old one where contents are the same.
pub(crate) fn reuse<K: Ord + Clone, T>(new: &Table<K, T>, old: &Table<K, T>) -> Table<K, T> {
    new.iter()
        .map(|(key, entry)| {
            let entry = match old.entry(key) {
                Some(same) if same.hash == entry.hash => Entry {
                    value: Arc::clone(&same.value),
                    ..entry.clone()
                },
                _ => entry.clone(),
            };
            (key.clone(), entry)
        })
        .collect()
}

/// One table with the entries of both; the first wins.
pub(crate) fn union<K: Ord + Clone, T>(first: &Table<K, T>, second: &Table<K, T>) -> Table<K, T> {
    let mut all = second.clone();
    for (key, entry) in first.iter() {
        all.insert(key.clone(), entry.clone());
    }
    all
}
