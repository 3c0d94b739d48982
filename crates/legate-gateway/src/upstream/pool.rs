//! One worker's connections: idle HTTP/1.1 ones by endpoint, newest first, and shared HTTP/2 ones.
//!
//! Nothing here is shared between workers. Expiry is a matter of [`WorkerPool::sweep`], which the
//! worker calls now and then, and of a look at the age when a connection is taken: no connection
//! has a timer of its own.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::RequestBody;
use super::breaker::{Budget, ConnectionPermit, Free, Owner, Transfer};
use super::cluster::{Active, ClusterHandle, Transport};
use super::connect::{self, Heard};
use super::endpoint::InFlight;
use super::http2::{Http2, LocalExec};
use crate::clock;
use crate::error::{ErrorKind, ProxyError};

/// Head of a response that we accept; as Envoy's default.
const MAX_RESPONSE_HEAD: u16 = 60 * 1024;
/// HTTP/2: bytes in flight per stream and per connection before we read them. One stream must not
/// take the whole of a connection.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// How long a connection that was given back may take to finish its request before it is closed.
const SETTLE: Duration = Duration::from_secs(1);

/// One worker's pool.
pub(crate) struct WorkerPool {
    pub(super) worker: usize,
    buckets: RefCell<HashMap<PoolKey, Rc<Bucket>, foldhash::fast::RandomState>>,
    http1: http1::Builder,
    http2: http2::Builder<LocalExec>,
    /// Counter of endpoint changes, and its value at the last sweep.
    changes: OnceCell<Arc<AtomicU64>>,
    swept: Cell<u64>,
    /// Rings when somebody waits for a connection that we may hold idle.
    bell: Arc<Notify>,
}

/// What must be equal for a connection to be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    class: u32,
    address: SocketAddr,
}

/// The connections under one key.
pub(super) struct Bucket {
    key: PoolKey,
    idle: RefCell<Vec<Idle>>,
    pub(super) shared: RefCell<Vec<Rc<Http2>>>,
    /// Whether an HTTP/2 connection is being opened; others wait for it instead of opening theirs.
    pub(super) opening: Cell<bool>,
    pub(super) opened: Notify,
    /// Why the opening that others waited for failed.
    pub(super) open_failure: RefCell<Option<ProxyError>>,
    /// Budgets of the clusters that opened connections here.
    users: RefCell<Vec<Weak<Budget>>>,
    /// Taken out of the pool: connections that come back are closed.
    retired: Cell<bool>,
}

/// An HTTP/1.1 connection.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) heard: Heard,
    pub(super) local: Option<SocketAddr>,
    /// Whose permit it has.
    pub(super) owner: Owner,
    transfer: Transfer,
    created: Instant,
}

struct Idle {
    connection: Http1,
    since: Instant,
    /// Of the cluster that used it last.
    timeout: Option<Duration>,
}

/// What a response holds until its body has been read.
pub(super) struct Lease {
    pub(super) connection: Held,
    pub(super) request: Active,
    /// The request's place at its endpoint.
    pub(super) at: Option<InFlight>,
}

/// The connection of a response.
pub(super) enum Held {
    Http1 {
        connection: Http1,
        bucket: Rc<Bucket>,
        idle_timeout: Option<Duration>,
        worker: usize,
    },
    Http2(super::http2::Stream),
    /// Not to be used again.
    Single(Http1),
}

// === impl WorkerPool ===

impl WorkerPool {
    /// An empty pool for the worker that calls this.
    pub(crate) fn new() -> Rc<Self> {
        static WORKERS: AtomicUsize = AtomicUsize::new(0);
        let mut http1 = http1::Builder::new();
        http1.max_header_size(MAX_RESPONSE_HEAD.into());
        let mut http2 = http2::Builder::new(LocalExec);
        http2
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_RESPONSE_HEAD.into());
        Rc::new(Self {
            worker: WORKERS.fetch_add(1, Ordering::Relaxed),
            buckets: RefCell::default(),
            http1,
            http2,
            changes: OnceCell::new(),
            swept: Cell::new(0),
            bell: Arc::default(),
        })
    }

    /// Gives up idle connections for the sake of requests at other workers, for ever; a worker runs
    /// this as a task of its own.
    pub(crate) async fn attend(&self) {
        loop {
            self.bell.notified().await;
            self.yield_idle();
        }
    }

    /// Closes idle connections whose permits others wait for.
    pub(super) fn yield_idle(&self) {
        for bucket in self.buckets.borrow().values() {
            bucket.yield_idle();
        }
    }

    /// Closes what is idle for too long, too old, or connected to an endpoint that is gone.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let changes = self
            .changes
            .get()
            .map_or(0, |it| it.load(Ordering::Acquire));
        let changed = self.swept.replace(changes) != changes;
        self.buckets.borrow_mut().retain(|_, bucket| {
            if changed && !bucket.is_wanted() {
                bucket.retire();
                return false;
            }
            bucket.reap(now);
            bucket.yield_idle();
            // Leases and openings hold the bucket; it must stay reachable for them.
            !bucket.is_empty() || Rc::strong_count(bucket) > 1
        });
    }

    /// Closes every idle connection (drain).
    pub(crate) fn close_idle(&self) {
        for bucket in self.buckets.borrow().values() {
            bucket.idle.borrow_mut().clear();
            bucket.shared.borrow_mut().retain(|shared| shared.in_use());
        }
    }

    /// The bucket for a key, made if need be.
    pub(super) fn bucket(&self, class: u32, address: SocketAddr) -> Rc<Bucket> {
        let key = PoolKey { class, address };
        if let Some(bucket) = self.buckets.borrow().get(&key) {
            return Rc::clone(bucket);
        }
        let bucket = Rc::new(Bucket::new(key));
        self.buckets.borrow_mut().insert(key, Rc::clone(&bucket));
        bucket
    }

    /// Opens an HTTP/1.1 connection and starts its driver.
    pub(super) async fn open_http1(
        &self,
        cluster: &Arc<ClusterHandle>,
        transport: &Transport,
        bucket: &Bucket,
        (owner, permit): (&Owner, ConnectionPermit),
    ) -> Result<Http1, ProxyError> {
        self.register(cluster, bucket);
        let address = bucket.key.address;
        let shard = cluster.shard(self.worker);
        let transfer = permit.transfer();
        let opened = connect::open(cluster, transport.tls.as_deref(), address, false, permit)
            .await
            .inspect_err(|_| {
                shard.cx_connect_fail.fetch_add(1, Ordering::Relaxed);
            })?;
        let (sender, connection) = self
            .http1
            .handshake(TokioIo::new(opened.stream))
            .await
            .map_err(|_| ProxyError::new(ErrorKind::ConnectionTerminated))?;
        let alive = Active::connection(shard);
        tokio::task::spawn_local(async move {
            let _alive = alive;
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%error, "Upstream connection ended");
            }
        });
        Ok(Http1 {
            sender,
            heard: opened.heard,
            local: opened.local,
            owner: owner.clone(),
            transfer,
            created: Instant::now(),
        })
    }

    /// Opens an HTTP/2 connection and starts its driver.
    pub(super) async fn open_http2(
        &self,
        cluster: &Arc<ClusterHandle>,
        transport: &Transport,
        bucket: &Bucket,
        (owner, permit): (&Owner, ConnectionPermit),
    ) -> Result<Rc<Http2>, ProxyError> {
        self.register(cluster, bucket);
        let address = bucket.key.address;
        let shard = cluster.shard(self.worker);
        let opened = connect::open(cluster, transport.tls.as_deref(), address, true, permit)
            .await
            .inspect_err(|_| {
                shard.cx_connect_fail.fetch_add(1, Ordering::Relaxed);
            })?;
        let (sender, connection) = self
            .http2
            .handshake(TokioIo::new(opened.stream))
            .await
            .map_err(|_| ProxyError::new(ErrorKind::ConnectionTerminated))?;
        let alive = Active::connection(shard);
        Ok(Http2::start(
            cluster,
            sender,
            connection,
            opened.local,
            alive,
            (owner.clone(), self.worker, Arc::clone(&self.bell)),
        ))
    }

    fn register(&self, cluster: &Arc<ClusterHandle>, bucket: &Bucket) {
        let changes = self.changes.get_or_init(|| {
            // What happened before we had a connection concerns none of ours.
            let changes = cluster.endpoints.changes();
            self.swept.set(changes.load(Ordering::Acquire));
            Arc::clone(changes)
        });
        debug_assert!(Arc::ptr_eq(changes, cluster.endpoints.changes()));
        let budget = cluster.budget();
        budget.add_bell(&self.bell);
        let mut users = bucket.users.borrow_mut();
        let budget = Arc::downgrade(budget);
        if !users.iter().any(|user| user.ptr_eq(&budget)) {
            users.push(budget);
        }
    }

    /// Connections that wait for a request.
    #[cfg(test)]
    pub(super) fn idle_count(&self) -> usize {
        let buckets = self.buckets.borrow();
        let count = |bucket: &Rc<Bucket>| {
            let shared = bucket.shared.borrow();
            bucket.idle.borrow().len() + shared.iter().filter(|it| !it.in_use()).count()
        };
        buckets.values().map(count).sum()
    }
}

// === impl Bucket ===

impl Bucket {
    fn new(key: PoolKey) -> Self {
        Self {
            key,
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: Cell::new(false),
            opened: Notify::new(),
            open_failure: RefCell::default(),
            users: RefCell::default(),
            retired: Cell::new(false),
        }
    }

    /// Takes the newest idle connection that is fit for another request; unfit ones that are met
    /// on the way are closed.
    pub(super) fn take(
        &self,
        now: Instant,
        max_lifetime: Option<Duration>,
        owner: &Owner,
    ) -> Option<Http1> {
        let mut idle = self.idle.borrow_mut();
        let mut below = idle.len();
        while let Some(index) = below.checked_sub(1) {
            below = index;
            let entry = idle.get(index)?;
            let fit = !entry.connection.sender.is_closed()
                && !entry.is_expired(now)
                && max_lifetime.is_none_or(|limit| entry.connection.age(now) < limit);
            if fit && !entry.connection.sender.is_ready() {
                // Its request is still being written; it may be ready later.
                continue;
            }
            let own = entry.connection.owner.is(owner);
            if fit && !own && !entry.connection.transfer.to(owner) {
                // It may serve others, but we may have no more.
                continue;
            }
            let mut entry = idle.remove(index);
            if fit {
                if !own {
                    entry.connection.owner = owner.clone();
                }
                return Some(entry.connection);
            }
        }
        None
    }

    /// Takes a connection that is free.
    pub(super) fn put(&self, connection: Http1, timeout: Option<Duration>, worker: usize) {
        if self.retired.get()
            || connection.sender.is_closed()
            || connection.owner.class().is_free(worker) == Free::Close
        {
            return;
        }
        self.idle.borrow_mut().push(Idle {
            connection,
            since: clock::now(),
            timeout,
        });
    }

    /// Whether any cluster that opened connections here still wants them.
    fn is_wanted(&self) -> bool {
        let users = self.users.borrow();
        users
            .iter()
            .filter_map(|user| user.upgrade()?.cluster())
            .any(|cluster| cluster.wants(self.key.class, self.key.address))
    }

    /// Where it leads.
    pub(super) fn address(&self) -> SocketAddr {
        self.key.address
    }

    /// Closes idle connections whose permits others wait for, as many as wait.
    fn yield_idle(&self) {
        let mut closed: SmallVec<[(Owner, usize); 1]> = SmallVec::new();
        let mut wanted = |owner: &Owner| {
            let waiters = owner.class().waiters();
            if waiters == 0 {
                return false;
            }
            match closed.iter_mut().find(|(other, _)| other.is(owner)) {
                Some((_, count)) if *count >= waiters => false,
                Some((_, count)) => {
                    *count = count.saturating_add(1);
                    true
                }
                None => {
                    closed.push((owner.clone(), 1));
                    true
                }
            }
        };
        let mut idle = self.idle.borrow_mut();
        idle.retain(|entry| !wanted(&entry.connection.owner));
        drop(idle);
        let mut shared = self.shared.borrow_mut();
        shared.retain(|it| it.in_use() || !wanted(it.owner()));
    }

    fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        // Streams in flight hold their connection; it ends with the last of them.
        self.shared.borrow_mut().clear();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    fn reap(&self, now: Instant) {
        self.idle.borrow_mut().retain(|entry| {
            let sender = &entry.connection.sender;
            let stuck = !sender.is_ready() && now.duration_since(entry.since) > SETTLE;
            !sender.is_closed() && !stuck && !entry.is_expired(now)
        });
        self.shared
            .borrow_mut()
            .retain(|shared| shared.is_worth_keeping(now));
        self.users
            .borrow_mut()
            .retain(|user| user.strong_count() > 0);
    }

    fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }
}

// === impl Http1 ===

impl Http1 {
    fn age(&self, now: Instant) -> Duration {
        now.duration_since(self.created)
    }
}

// === impl Idle ===

impl Idle {
    fn is_expired(&self, now: Instant) -> bool {
        self.timeout
            .is_some_and(|limit| now.duration_since(self.since) >= limit)
    }
}

// === impl Lease ===

impl Lease {
    /// The response has been read to its end: its connection is free for another request.
    pub(super) fn give_back(self) {
        let Self {
            connection,
            request,
            at,
        } = self;
        drop((request, at));
        match connection {
            Held::Http1 {
                connection,
                bucket,
                idle_timeout,
                worker,
            } => bucket.put(connection, idle_timeout, worker),
            Held::Http2(stream) => drop(stream),
            Held::Single(connection) => drop(connection),
        }
    }
}
