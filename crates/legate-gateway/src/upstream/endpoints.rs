//! Sets of endpoints, shared by all clusters that name them and swapped whole when they change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use legate_config::cluster::EndpointSet;
use legate_config::{EndpointSetKey, Hash128};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::dns::Dns;
use super::endpoint::{EndpointList, Known};

/// A set of endpoints under one key, whatever it currently is and wherever it comes from.
#[derive(Debug)]
pub(crate) struct EndpointSetHandle {
    key: EndpointSetKey,
    list: ArcSwap<EndpointList>,
    /// Wakes requests that wait for a name's first resolution.
    resolved: Notify,
    /// Rises with every change of any set, for the workers' sweeps.
    changes: Arc<AtomicU64>,
    source: Mutex<Source>,
}

#[derive(Debug, Default)]
struct Source {
    hash: Option<Hash128>,
    /// Rises with every definition, so that a resolution for a former one is not taken.
    epoch: u64,
    task: Option<AbortHandle>,
    known: Known,
}

// === impl EndpointSetHandle ===

impl EndpointSetHandle {
    pub(super) fn new(key: EndpointSetKey, changes: Arc<AtomicU64>) -> Self {
        Self {
            key,
            list: ArcSwap::from_pointee(EndpointList::default()),
            resolved: Notify::new(),
            changes,
            source: Mutex::default(),
        }
    }

    pub(super) fn key(&self) -> &EndpointSetKey {
        &self.key
    }

    /// The counter of changes that this set adds to.
    pub(super) fn changes(&self) -> &Arc<AtomicU64> {
        &self.changes
    }

    /// The endpoints now.
    pub(super) fn list(&self) -> Guard<Arc<EndpointList>> {
        self.list.load()
    }

    /// Waits until the first resolution has ended, well or not, or the limit has passed.
    pub(super) async fn settled(&self, limit: Duration) {
        let wait = async {
            loop {
                let notified = self.resolved.notified();
                if !self.list().pending {
                    return;
                }
                notified.await;
            }
        };
        // Late is late: the caller looks at the list either way.
        let _ = tokio::time::timeout(limit, wait).await;
    }

    /// Takes a new definition, `None` when the config has none for this key.
    pub(super) fn define(
        self: &Arc<Self>,
        definition: Option<(&EndpointSet, Hash128)>,
        dns: &Arc<Dns>,
    ) {
        let mut source = self.source.lock();
        let hash = definition.map(|(_, hash)| hash);
        if source.hash == hash && (hash.is_some() || source.task.is_none()) {
            return;
        }
        if let Some(task) = source.task.take() {
            task.abort();
        }
        source.hash = hash;
        source.epoch = source.epoch.wrapping_add(1);
        match definition.map(|(set, _)| set) {
            None => self.publish(&mut source, &[]),
            Some(EndpointSet::Static { endpoints }) => {
                let addresses: Vec<_> = endpoints.iter().map(|it| it.address).collect();
                self.publish(&mut source, &addresses);
            }
            Some(EndpointSet::Dns(settings)) => {
                // Addresses of the former definition must not be taken for those of this one.
                self.replace(&mut source, &[], true);
                source.task = Some(dns.watch(settings.clone(), Arc::downgrade(self), source.epoch));
            }
        }
    }

    /// The end of a resolution that a definition asked for: its addresses, `None` if it failed. A
    /// failure only ends the wait for the first one.
    pub(super) fn resolved(&self, epoch: u64, addresses: Option<Vec<SocketAddr>>) {
        let mut source = self.source.lock();
        if source.epoch != epoch {
            return;
        }
        match addresses {
            Some(addresses) => self.publish(&mut source, &addresses),
            None if self.list().pending => self.publish(&mut source, &[]),
            None => {}
        }
    }

    /// Puts new addresses in force.
    fn publish(&self, source: &mut Source, addresses: &[SocketAddr]) {
        self.replace(source, addresses, false);
        self.resolved.notify_waiters();
    }

    fn replace(&self, source: &mut Source, addresses: &[SocketAddr], pending: bool) {
        let former = self.list();
        if former.pending == pending && former.addresses().eq(addresses.iter().copied()) {
            return;
        }
        let endpoints = source.known.endpoints(addresses);
        self.list
            .store(Arc::new(EndpointList { endpoints, pending }));
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl Drop for EndpointSetHandle {
    fn drop(&mut self) {
        if let Some(task) = self.source.get_mut().task.take() {
            task.abort();
        }
    }
}
