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
    pub(crate) endpoint_sets: Counted<EndpointSetKey, EndpointSet>,
    pub(crate) certificates: Counted<CertificateKey, Certificate>,
    pub(crate) ca_bundles: Counted<CaKey, CaBundle>,
    plans: BTreeMap<EndpointSetKey, EndpointPlan>,
}

/// A table whose entries leave when nobody uses them any more.
#[derive(Debug)]
pub(crate) struct Counted<K, T> {
    pub(crate) table: Table<K, T>,
    uses: BTreeMap<K, usize>,
}

impl<K, T> Default for Counted<K, T> {
    fn default() -> Self {
        Self {
            table: Table::default(),
            uses: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, T> Counted<K, T> {
    /// Counts a use. The entry is asked for when there is none, and taken when it is another one:
    /// then its object changed, and all users come with the new one.
    fn acquire(
        &mut self,
        key: &K,
        entry: impl FnOnce() -> Entry<T>,
        hash: Option<legate_config::Hash128>,
    ) {
        let uses = self.uses.entry(key.clone()).or_default();
        *uses += 1;
        let stale = match (self.table.entry(key), hash) {
            (None, _) => true,
            (Some(old), Some(hash)) => old.hash != hash,
            (Some(_), None) => false,
        };
        if stale {
            self.table.insert(key.clone(), entry());
        }
    }

    /// Gives a use back; true when it was the last.
    fn release(&mut self, key: &K) -> bool {
        let Some(uses) = self.uses.get_mut(key) else {
            return false;
        };
        *uses = uses.saturating_sub(1);
        let last = *uses == 0;
        if last {
            self.uses.remove(key);
            self.table.remove(key);
        }
        last
    }

    fn acquire_entry(&mut self, key: &K, entry: &Entry<T>) {
        self.acquire(key, || entry.clone(), Some(entry.hash));
    }
}

impl Store {
    /// Puts a row in. Rows that replace others are put in before the others are taken out, so that
    /// what both use stays.
    pub(crate) fn add(&mut self, row: &Row, resources: &Resources, index: &EndpointIndex) {
        put(&mut self.routes, row.key.clone(), row.route.clone());
        for (key, entry) in &row.policies {
            self.policies.acquire_entry(key, entry);
        }
        for upstream in &row.upstreams {
            self.add_upstream(upstream, resources, index);
        }
    }

    fn add_upstream(&mut self, upstream: &Upstream, resources: &Resources, index: &EndpointIndex) {
        self.clusters
            .acquire_entry(&upstream.key, &upstream.cluster);
        let endpoints = &upstream.cluster.value.endpoints;
        self.endpoint_sets
            .acquire(endpoints, || upstream.plan.resolve(resources, index), None);
        self.plans
            .entry(endpoints.clone())
            .or_insert_with(|| upstream.plan.clone());
        if let Some((key, entry)) = &upstream.certificate {
            self.certificates.acquire_entry(key, entry);
        }
        if let Some((key, entry)) = &upstream.ca_bundle {
            self.ca_bundles.acquire_entry(key, entry);
        }
    }

    /// Gives back what a row uses. The route itself stays: see [`Store::remove_route`].
    pub(crate) fn release(&mut self, row: &Row) {
        for (key, _) in &row.policies {
            self.policies.release(key);
        }
        for upstream in &row.upstreams {
            self.clusters.release(&upstream.key);
            let endpoints = &upstream.cluster.value.endpoints;
            if self.endpoint_sets.release(endpoints) {
                self.plans.remove(endpoints);
            }
            if let Some((key, _)) = &upstream.certificate {
                self.certificates.release(key);
            }
            if let Some((key, _)) = &upstream.ca_bundle {
                self.ca_bundles.release(key);
            }
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
        for (key, plan) in &self.plans {
            if let EndpointPlan::Kubernetes { service, .. } = plan
                && touched(service)
            {
                let entry = plan.resolve(resources, index);
                put(&mut self.endpoint_sets.table, key.clone(), entry);
            }
        }
    }
}

/// Puts an entry in, but keeps the old one's `Arc` when the content is the same.
pub(crate) fn put<K: Ord, T>(table: &mut Table<K, T>, key: K, entry: Entry<T>) {
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
