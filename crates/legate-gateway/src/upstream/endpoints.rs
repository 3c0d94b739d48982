//! Sets of endpoints, shared by all clusters that name them and swapped whole when they change.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use legate_config::cluster::EndpointSet;
use legate_config::{EndpointSetKey, Hash128};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::dns::Dns;
use super::endpoint::{Endpoint, EndpointList, Known};
use super::hashing::{Needs, Tables};
use super::health::Health;
use crate::clock;

/// A set of endpoints under one key, whatever it currently is and wherever it comes from.
#[derive(Debug)]
pub(crate) struct EndpointSetHandle {
    key: EndpointSetKey,
    list: ArcSwap<EndpointList>,
    /// Wakes requests that wait for a name's first resolution.
    resolved: Notify,
    changes: Arc<Changes>,
    source: Mutex<Source>,
    /// Somebody counts how many are out; whoever comes second lets it be.
    ejecting: AtomicBool,
}

/// What came of leaving an endpoint out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ejected {
    /// It is out.
    Yes,
    /// Somebody else does it, or did.
    Already,
    /// So many are out that this one is not.
    TooMany,
}

/// Changes that can make a pooled connection unwanted: of any endpoint set, and of clusters.
#[derive(Debug, Default)]
pub(super) struct Changes {
    count: AtomicU64,
    /// Of the workers, which look through their connections at once.
    bells: Mutex<Vec<Weak<Notify>>>,
}

#[derive(Debug, Default)]
struct Source {
    hash: Option<Hash128>,
    /// Rises with every definition, so that a resolution for a former one is not taken.
    epoch: u64,
    task: Option<AbortHandle>,
    known: Known,
    /// Who checks the endpoints.
    checkers: Vec<Weak<Health>>,
    needs: Needs,
}

// === impl Changes ===

impl Changes {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// There is one more.
    pub(super) fn note(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.bells.lock().retain(|bell| match bell.upgrade() {
            Some(bell) => {
                bell.notify_one();
                true
            }
            None => false,
        });
    }

    /// Lets a worker know of changes.
    pub(super) fn add_bell(&self, bell: &Arc<Notify>) {
        self.bells.lock().push(Arc::downgrade(bell));
    }
}

// === impl EndpointSetHandle ===

impl EndpointSetHandle {
    pub(super) fn new(key: EndpointSetKey, changes: Arc<Changes>) -> Self {
        Self {
            key,
            list: ArcSwap::from_pointee(EndpointList::default()),
            resolved: Notify::new(),
            changes,
            source: Mutex::default(),
            ejecting: AtomicBool::new(false),
        }
    }

    pub(super) fn key(&self) -> &EndpointSetKey {
        &self.key
    }

    /// Where this set notes its changes.
    pub(super) fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// The endpoints now.
    pub(super) fn list(&self) -> Guard<Arc<EndpointList>> {
        self.list.load()
    }

    /// Leaves an endpoint out, if at most half of the set is out then. Where somebody else is at it, the
    /// next failure will ask again.
    pub(super) fn eject(&self, endpoint: &Endpoint) -> Ejected {
        if self.ejecting.swap(true, Ordering::Acquire) {
            return Ejected::Already;
        }
        let list = self.list();
        if list.endpoints.len() < 2 {
            self.ejecting.store(false, Ordering::Release);
            return Ejected::Already;
        }
        let out = list.endpoints.iter().filter(|it| it.ejection.is_out());
        let room = out.count().saturating_add(1).saturating_mul(2) <= list.endpoints.len();
        let ejected = match room.then(|| endpoint.ejection.eject(clock::now())) {
            Some(true) => Ejected::Yes,
            Some(false) => Ejected::Already,
            None => Ejected::TooMany,
        };
        self.ejecting.store(false, Ordering::Release);
        ejected
    }

    /// Tells a checker of all endpoints, now and whenever they change.
    pub(super) fn check_by(&self, checker: &Arc<Health>) {
        let mut source = self.source.lock();
        let addresses: Vec<SocketAddr> = self.list().addresses().collect();
        if checker.members(&addresses) {
            source.checkers.push(Arc::downgrade(checker));
        }
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
            None => self.publish(&mut source, &[], false),
            Some(EndpointSet::Static { endpoints }) => {
                let addresses: Vec<_> = endpoints.iter().map(|it| it.address).collect();
                self.publish(&mut source, &addresses, false);
            }
            Some(EndpointSet::Dns(settings)) => {
                // Addresses of the former definition must not be taken for those of this one.
                self.replace(&mut source, &[], true, false);
                source.task = Some(dns.watch(settings.clone(), Arc::downgrade(self), source.epoch));
            }
        }
    }

    /// The end of a resolution that a definition asked for: its addresses, `None` if it failed. A
    /// failure only ends the wait for the first one. `keeps`: connections to former addresses may be
    /// used on.
    pub(super) fn resolved(&self, epoch: u64, addresses: Option<Vec<SocketAddr>>, keeps: bool) {
        let mut source = self.source.lock();
        if source.epoch != epoch {
            return;
        }
        match addresses {
            Some(addresses) => self.publish(&mut source, &addresses, keeps),
            None if self.list().pending => self.publish(&mut source, &[], false),
            None => {}
        }
    }

    /// Puts new addresses in force.
    fn publish(&self, source: &mut Source, addresses: &[SocketAddr], keeps: bool) {
        self.replace(source, addresses, false, keeps);
        self.resolved.notify_waiters();
    }

    fn replace(&self, source: &mut Source, addresses: &[SocketAddr], pending: bool, keeps: bool) {
        let former = self.list();
        if former.pending == pending && former.addresses().eq(addresses.iter().copied()) {
            return;
        }
        let endpoints = source.known.endpoints(addresses);
        // Before anybody can choose what is new.
        source.checkers.retain(|checker| {
            let checker = checker.upgrade();
            checker.is_some_and(|it| it.members(addresses))
        });
        let left = if keeps {
            former.left_by(&endpoints)
        } else {
            Box::default()
        };
        self.list.store(Arc::new(EndpointList {
            left,
            tables: Tables::build(&endpoints, source.needs),
            endpoints,
            pending,
        }));
        self.changes.note();
    }

    /// What its clusters go by.
    pub(super) fn need(&self, needs: Needs) {
        let mut source = self.source.lock();
        if source.needs == needs {
            return;
        }
        source.needs = needs;
        let list = self.list();
        let same = EndpointList {
            left: list.left.clone(),
            tables: Tables::build(&list.endpoints, needs),
            endpoints: list.endpoints.clone(),
            pending: list.pending,
        };
        self.list.store(Arc::new(same));
    }
}

impl Drop for EndpointSetHandle {
    fn drop(&mut self) {
        if let Some(task) = self.source.get_mut().task.take() {
            task.abort();
        }
    }
}
