//! Circuit breakers: what a cluster may use, counted over all workers (spec/services §3.1).
//!
//! Every limit is a number of permits, taken by compare-and-swap and given back by the life of a
//! guard. The queue has a lock, which only requests that must wait anyway ever see, and those that
//! end while others wait.
//!
//! A budget outlives a change of its limits: lowering closes nothing, it gives no new permits until
//! enough came back.

mod permits;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use legate_config::cluster::{Breakers, Limits};
use legate_config::policy::Priority;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use self::permits::Permits;
use super::cluster::ClusterHandle;

/// How long the oldest waiter may see its own worker's connections go to younger ones of another
/// worker: handing a connection over between workers means to close it and to open another.
const LOCAL_FIRST: Duration = Duration::from_millis(50);

/// The permits of a cluster, for both priorities.
#[derive(Debug)]
pub(super) struct Budget {
    default: Class,
    high: Class,
    /// The cluster that has it now.
    cluster: Mutex<Weak<ClusterHandle>>,
    /// Workers that hold connections of it, to be told when somebody waits for one.
    bells: RwLock<Vec<Arc<Notify>>>,
}

/// The permits of one priority.
#[derive(Debug, Default)]
pub(super) struct Class {
    connections: Permits,
    pending: Permits,
    requests: Permits,
    retries: Permits,
    /// Length of the queue, for a look without the lock.
    waiters: AtomicUsize,
    queue: Mutex<VecDeque<Arc<Waiter>>>,
    connection_overflow: AtomicU64,
    request_overflow: AtomicU64,
    retry_overflow: AtomicU64,
    retried: AtomicU64,
    retry_successes: AtomicU64,
}

/// Which of a cluster's permits a request or a connection is counted in.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) budget: Arc<Budget>,
    pub(super) priority: Priority,
}

/// The permit of a connection; given back when it is dropped, or before.
#[derive(Debug)]
pub(super) struct ConnectionPermit(Arc<Mutex<Option<Owner>>>);

/// Lets the pool move a connection from one owner to another.
#[derive(Debug, Clone)]
pub(super) struct Transfer(Arc<Mutex<Option<Owner>>>);

/// A place among the requests that wait.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    owner: &'a Owner,
    since: Instant,
    again: bool,
}

/// A retry in flight.
#[derive(Debug)]
pub(super) struct RetryPermit(Owner);

/// What a waiter was given.
#[derive(Debug)]
pub(super) enum Turn {
    /// A connection may be opened.
    Open(ConnectionPermit),
    /// A connection of this worker is free, or has room.
    Look,
}

/// What is to become of a connection that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Free {
    /// It stays with its worker.
    Keep,
    /// It is closed, for the sake of somebody at another worker.
    Close,
}

/// How often a limit was met, and how often something was retried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Overflows {
    pub(super) connections: u64,
    pub(super) requests: u64,
    pub(super) retries: u64,
    pub(super) retried: u64,
    pub(super) retry_successes: u64,
}

#[derive(Debug)]
struct Waiter {
    worker: usize,
    since: Instant,
    given: Mutex<Option<Given>>,
    woken: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Permit,
    Look,
}

/// A waiter in the queue, until it was given something.
struct Queued<'a> {
    owner: &'a Owner,
    waiter: Arc<Waiter>,
}

// === impl Class ===

impl Class {
    fn set(&self, limits: &Limits) {
        self.connections.set(limits.max_connections);
        self.pending.set(limits.max_pending_requests);
        self.requests.set(limits.max_requests);
        self.retries.set(limits.max_retries);
        // A raised limit may let somebody in.
        self.pump();
    }

    /// Takes the permit of a request in flight; [`Self::end_request`] gives it back.
    pub(super) fn begin_request(&self) -> bool {
        let taken = self.requests.take();
        if !taken {
            self.request_overflow.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    pub(super) fn end_request(&self) {
        self.requests.give();
    }

    /// Whether anybody waits for a connection.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiters() > 0
    }

    /// How many wait for a connection.
    pub(super) fn waiters(&self) -> usize {
        self.waiters.load(Ordering::SeqCst)
    }

    /// Gives free permits to those that wait, oldest first.
    fn pump(&self) {
        let mut queue = self.queue.lock();
        while !queue.is_empty() && self.connections.take() {
            match queue.pop_front() {
                Some(waiter) => waiter.give(Given::Permit),
                None => self.connections.give(),
            }
        }
        self.waiters.store(queue.len(), Ordering::SeqCst);
    }

    fn end_connection(&self) {
        self.connections.give();
        if self.is_awaited() {
            self.pump();
        }
    }

    /// A connection of this worker is free, or has room: for whom?
    pub(super) fn is_free(&self, worker: usize) -> Free {
        if !self.is_awaited() {
            return Free::Keep;
        }
        let mut queue = self.queue.lock();
        let Some(oldest) = queue.front() else {
            return Free::Keep;
        };
        let own = if oldest.worker != worker && oldest.since.elapsed() > LOCAL_FIRST {
            None
        } else {
            queue.iter().position(|waiter| waiter.worker == worker)
        };
        let told = own.and_then(|index| queue.remove(index));
        self.waiters.store(queue.len(), Ordering::SeqCst);
        match told {
            Some(waiter) => {
                waiter.give(Given::Look);
                Free::Keep
            }
            None => Free::Close,
        }
    }

    /// A retry brought an answer that is not retried.
    pub(super) fn retry_succeeded(&self) {
        self.retry_successes.fetch_add(1, Ordering::Relaxed);
    }

    fn overflows(&self) -> Overflows {
        Overflows {
            connections: self.connection_overflow.load(Ordering::Relaxed),
            requests: self.request_overflow.load(Ordering::Relaxed),
            retries: self.retry_overflow.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            retry_successes: self.retry_successes.load(Ordering::Relaxed),
        }
    }
}

// === impl Budget ===

impl Budget {
    pub(super) fn new(breakers: &Breakers) -> Arc<Self> {
        let budget = Self {
            default: Class::default(),
            high: Class::default(),
            cluster: Mutex::default(),
            bells: RwLock::default(),
        };
        budget.set(breakers);
        Arc::new(budget)
    }

    /// Puts limits in force.
    pub(super) fn set(&self, breakers: &Breakers) {
        self.default.set(&breakers.default);
        self.high.set(&breakers.high);
    }

    /// Names the cluster that has it from now on.
    pub(super) fn belongs_to(&self, cluster: &Arc<ClusterHandle>) {
        *self.cluster.lock() = Arc::downgrade(cluster);
    }

    /// The cluster that has it.
    pub(super) fn cluster(&self) -> Option<Arc<ClusterHandle>> {
        self.cluster.lock().upgrade()
    }

    pub(super) fn class(&self, priority: Priority) -> &Class {
        match priority {
            Priority::Default => &self.default,
            Priority::High => &self.high,
        }
    }

    /// From now on this bell rings when somebody waits.
    pub(super) fn add_bell(&self, bell: &Arc<Notify>) {
        let known = |bells: &[Arc<Notify>]| bells.iter().any(|other| Arc::ptr_eq(other, bell));
        if known(&self.bells.read()) {
            return;
        }
        let mut bells = self.bells.write();
        if !known(&bells) {
            bells.push(Arc::clone(bell));
        }
    }

    fn ring(&self) {
        for bell in &*self.bells.read() {
            bell.notify_one();
        }
    }

    /// How often limits were met, both priorities together.
    pub(super) fn overflows(&self) -> Overflows {
        let (one, other) = (self.default.overflows(), self.high.overflows());
        Overflows {
            connections: one.connections.saturating_add(other.connections),
            requests: one.requests.saturating_add(other.requests),
            retries: one.retries.saturating_add(other.retries),
            retried: one.retried.saturating_add(other.retried),
            retry_successes: one.retry_successes.saturating_add(other.retry_successes),
        }
    }
}

// === impl Owner ===

impl Owner {
    pub(super) fn class(&self) -> &Class {
        self.budget.class(self.priority)
    }

    /// Whether both are counted in the same permits.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.priority == other.priority && Arc::ptr_eq(&self.budget, &other.budget)
    }

    /// Takes the permit of a connection, unless others wait for one.
    pub(super) fn connection(&self) -> Option<ConnectionPermit> {
        let class = self.class();
        (!class.is_awaited() && class.connections.take()).then(|| ConnectionPermit::of(self))
    }

    /// Whether another request is refused, so that no connection need be opened for it.
    pub(super) fn refuses(&self) -> bool {
        let class = self.class();
        let full = class.requests.is_full();
        if full {
            class.request_overflow.fetch_add(1, Ordering::Relaxed);
        }
        full
    }

    /// Takes a place among those that wait for a connection.
    pub(super) fn pending(&self) -> Option<Pending<'_>> {
        let class = self.class();
        class.connection_overflow.fetch_add(1, Ordering::Relaxed);
        if class.pending.take() {
            return Some(Pending {
                owner: self,
                since: Instant::now(),
                again: false,
            });
        }
        class.request_overflow.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Takes the permit of a retry.
    pub(super) fn retry(&self) -> Option<RetryPermit> {
        let class = self.class();
        if class.retries.take() {
            class.retried.fetch_add(1, Ordering::Relaxed);
            return Some(RetryPermit(self.clone()));
        }
        class.retry_overflow.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.class().retries.give();
    }
}

// === impl ConnectionPermit ===

impl ConnectionPermit {
    fn of(owner: &Owner) -> Self {
        Self(Arc::new(Mutex::new(Some(owner.clone()))))
    }

    /// Whether others wait for it.
    pub(super) fn is_awaited(&self) -> bool {
        let owner = self.0.lock();
        owner.as_ref().is_some_and(|it| it.class().is_awaited())
    }

    pub(super) fn transfer(&self) -> Transfer {
        Transfer(Arc::clone(&self.0))
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let Some(owner) = self.0.lock().take() {
            owner.class().end_connection();
        }
    }
}

// === impl Transfer ===

impl Transfer {
    /// Counts the connection as another owner's from now on, if that one may have another.
    pub(super) fn to(&self, owner: &Owner) -> bool {
        let mut held = self.0.lock();
        let Some(former) = held.take() else {
            return false;
        };
        let class = owner.class();
        if class.is_awaited() || !class.connections.take() {
            *held = Some(former);
            return false;
        }
        *held = Some(owner.clone());
        drop(held);
        former.class().end_connection();
        true
    }
}

// === impl Pending ===

impl Pending<'_> {
    /// Waits for a connection, or for the right to open one. Whoever found that [`Turn::Look`] came
    /// to nothing keeps its place.
    pub(super) async fn turn(&mut self, worker: usize) -> Turn {
        let class = self.owner.class();
        let queued = Queued {
            owner: self.owner,
            waiter: Arc::new(Waiter {
                worker,
                since: self.since,
                given: Mutex::default(),
                woken: Notify::new(),
            }),
        };
        {
            let mut queue = class.queue.lock();
            let waiter = Arc::clone(&queued.waiter);
            if std::mem::replace(&mut self.again, true) {
                queue.push_front(waiter);
            } else {
                queue.push_back(waiter);
            }
            class.waiters.store(queue.len(), Ordering::SeqCst);
        }
        // Whoever gave something back before could not see us.
        class.pump();
        // More connections than requests: somebody holds an idle one. On HTTP/2 the numbers tell
        // nothing.
        let budget = &self.owner.budget;
        if class.connections.used() > class.requests.used()
            || budget.cluster().is_some_and(|it| it.is_http2())
        {
            budget.ring();
        }
        queued.waiter.woken.notified().await;
        let given = queued.waiter.given.lock().take();
        match given {
            Some(Given::Permit) => Turn::Open(ConnectionPermit::of(self.owner)),
            Some(Given::Look) | None => Turn::Look,
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.owner.class().pending.give();
    }
}

// === impl Waiter ===

impl Waiter {
    fn give(&self, what: Given) {
        *self.given.lock() = Some(what);
        self.woken.notify_one();
    }
}

// === impl Queued ===

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let class = self.owner.class();
        let mut queue = class.queue.lock();
        queue.retain(|waiter| !Arc::ptr_eq(waiter, &self.waiter));
        class.waiters.store(queue.len(), Ordering::SeqCst);
        // Things are given under the lock of the queue: nothing comes after this.
        let given = self.waiter.given.lock().take();
        drop(queue);
        // Abandoned in between: the next one has it.
        match given {
            Some(Given::Permit) => class.end_connection(),
            Some(Given::Look) => {
                class.is_free(self.waiter.worker);
            }
            None => {}
        }
    }
}
