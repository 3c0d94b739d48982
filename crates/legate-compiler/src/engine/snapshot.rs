//! Puts the tables together to a snapshot.

use std::sync::Arc;

use legate_config::listener::VirtualHost;
use legate_config::snapshot::Snapshot;
use legate_config::{Entry, RouteSetKey, Table, VirtualHostKey};

use super::passes::Engine;
use crate::attach::INTERNAL;
use crate::emit::{put, union};

impl Engine {
    /// Publishes the tables. The id grows only when the content changed; otherwise the snapshot is
    /// the very same.
    pub(super) fn publish(&mut self) -> Arc<Snapshot> {
        let mut snapshot = Snapshot {
            id: self.snapshot.id.saturating_add(1),
            listeners: self.fronts.frontends.listeners.clone(),
            chains: self.fronts.frontends.chains.clone(),
            revocation_lists: self.fronts.frontends.revocation_lists.clone(),
            route_sets: self.groups.route_sets.clone(),
            limits: self.limits.domains.clone(),
            credentials: self.limits.credentials.clone(),
            ..Snapshot::default()
        };
        let store = &mut self.groups.store;
        snapshot.routes = store.routes.clone();
        snapshot.policies = store.policies.table();
        snapshot.clusters = store.clusters.table();
        snapshot.endpoint_sets = store.endpoint_sets.table();
        let frontends = &self.fronts.frontends;
        snapshot.certificates = union(&frontends.certificates, &store.certificates.table());
        snapshot.ca_bundles = union(&frontends.ca_bundles, &store.ca_bundles.table());
        snapshot.virtual_hosts = self.virtual_hosts();
        snapshot.root = snapshot.compute_root();
        if snapshot.root != self.snapshot.root {
            self.snapshot = Arc::new(snapshot);
        }
        Arc::clone(&self.snapshot)
    }

    /// The virtual hosts with the sets that their Hosts take.
    fn virtual_hosts(&mut self) -> Table<VirtualHostKey, VirtualHost> {
        let changed = std::mem::take(&mut self.groups.changed_hosts);
        let rebuilt = std::mem::take(&mut self.fronts.rebuilt);
        let mut table = if rebuilt {
            Table::default()
        } else {
            self.snapshot.virtual_hosts.clone()
        };
        for (index, host) in self.fronts.frontends.hosts.iter().enumerate() {
            if !rebuilt && !changed.contains(&index) {
                continue;
            }
            let probes = self.groups.internal.any && self.fronts.hosts.attaches(index);
            let sets: Vec<RouteSetKey> = probes
                .then(|| RouteSetKey::from(INTERNAL))
                .into_iter()
                .chain(self.groups.taken.get(index).into_iter().flatten().cloned())
                .collect();
            for (key, content) in &host.virtual_hosts {
                let mut content = content.clone();
                content.route_sets.clone_from(&sets);
                let entry = Entry::new(content, vec![host.origin.clone()]);
                if let Some(old) = self.snapshot.virtual_hosts.entry(key) {
                    table.insert(key.clone(), old.clone());
                }
                put(&mut table, key.clone(), entry);
            }
        }
        table
    }
}
