//! What every connection and request of a worker shares.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::record::Notes;
use crate::drain::Lifecycle;
use crate::limit::Limiter;
use crate::limit::shared::Connections;
use crate::metrics::{MethodCache, Metrics};
use crate::timers::Timers;
use crate::upstream::{Warm, WorkerPool};

/// Rewrites the peer's address at accept.
pub type PeerHook = Arc<dyn Fn(SocketAddr) -> SocketAddr + Send + Sync>;

/// What the workers of a process share. Nothing here is written per request.
pub(crate) struct Process {
    /// Name of this machine, for `%HOSTNAME%`.
    pub(crate) hostname: Arc<str>,
    /// What probes answer.
    pub(crate) lifecycle: Lifecycle,
    /// How long a client may take from connecting to the first request, and from a request's first
    /// byte to the end of its headers.
    pub(crate) patience: Duration,
    /// Fixed draw, for tests.
    pub(crate) draw: Option<Arc<AtomicU32>>,
    /// Rewrites the peer's address at accept, for tests.
    pub(crate) peer: Option<PeerHook>,
    /// Numbers connections.
    pub(crate) connections: AtomicU64,
    /// Counts limits.
    pub(crate) limiter: Arc<Limiter>,
}

/// What the connections of a worker share.
pub(crate) struct Context {
    /// The process.
    pub(crate) process: Arc<Process>,
    /// The worker's deadlines.
    pub(crate) timers: Rc<Timers>,
    /// The worker's upstream connections.
    pub(crate) pool: Rc<WorkerPool>,
    /// The side services that the worker stays connected to.
    pub(crate) warm: Warm,
    /// The worker's connections to stores of rate limits.
    pub(crate) stores: Connections,
    /// The worker's counters.
    pub(crate) metrics: Arc<Metrics>,
    /// Counters of gRPC methods that the worker knows.
    pub(crate) methods: MethodCache,
    /// Client connections that are open.
    pub(crate) open: Cell<usize>,
    /// Most client connections that may be open.
    pub(crate) max_open: usize,
    /// Copies of requests that are under way.
    pub(crate) copies: Cell<usize>,
    /// Room for what logs want of requests.
    pub(crate) notes: Notes,
    random: RefCell<SmallRng>,
}

impl Context {
    pub(crate) fn new(process: Arc<Process>, metrics: Arc<Metrics>, max_open: usize) -> Rc<Self> {
        Rc::new(Self {
            process,
            timers: Timers::new(),
            pool: WorkerPool::new(),
            warm: Warm::default(),
            stores: Connections::default(),
            metrics,
            methods: MethodCache::default(),
            open: Cell::new(0),
            max_open,
            copies: Cell::new(0),
            notes: Notes::default(),
            random: RefCell::new(SmallRng::from_os_rng()),
        })
    }

    /// A number in `[0, 100)`: one draw decides all weights of a request.
    pub(crate) fn draw(&self) -> u32 {
        match &self.process.draw {
            Some(fixed) => fixed.load(Ordering::Relaxed),
            // The bias of 2^32 modulo 100 is 4 in 100 million.
            None => self.random.borrow_mut().next_u32() % 100,
        }
    }

    /// The number of a new connection.
    pub(crate) fn next_connection(&self) -> u64 {
        self.process.connections.fetch_add(1, Ordering::Relaxed)
    }
}
