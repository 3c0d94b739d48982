//! The handle that a process holds on its data plane: start it, give it snapshots, look at it, end
//! it.
//!
//! Snapshots are applied one after the other and whole: [`Gateway::apply`] returns once every
//! worker uses the new one. A listener that cannot be bound is reported and tried again every
//! second, while the rest serves.

mod current;
mod held;
mod limits;
mod ports;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use legate_config::{Hash128, ListenerKey, Snapshot};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::access_log::AccessLogs;
use crate::drain::Lifecycle;
use crate::http::context::Process;
use crate::limit::{LimitOptions, Limiter};
use crate::metrics::Metrics;
use crate::state_dir::{StateDirOptions, StateWriter};
use crate::upstream::Upstreams;
use crate::worker::{Command, Worker};

pub use crate::config::Rejected;
pub use crate::http::context::PeerHook;
pub use crate::upstream::{ClusterCounters, ClusterView, EndpointView, HealthCounters};
pub use ports::PortMap;

use current::{Inner, State};

/// How long a client may take to begin, and for the headers of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often listeners that could not be bound are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long the end waits for the last lines of access logs, and for the last config to be stored.
const FLUSH: Duration = Duration::from_secs(1);

/// Settings of a gateway that no snapshot holds.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Number of workers, at least 1.
    pub workers: usize,
    /// Address of listeners that name none; `None` = `::` for both families, or `0.0.0.0` where
    /// there is no IPv6.
    pub bind: Option<IpAddr>,
    /// From declared ports to bound ones.
    pub port_map: PortMap,
    /// How long connections may last once draining.
    pub drain_time: Duration,
    /// How long connections are still accepted after the process was told to end.
    pub drain_delay: Duration,
    /// Where the last good config is kept over a restart; `None` = nowhere.
    pub state_dir: Option<StateDirOptions>,
    /// Where limits are counted, and how many.
    pub limits: LimitOptions,
    /// Test seams.
    pub hooks: Hooks,
    /// Name of this machine, for `%HOSTNAME%`.
    pub hostname: String,
}

/// Test seams, all inert by default.
#[derive(Clone, Default)]
pub struct Hooks {
    /// A fixed draw in place of random ones.
    pub draw: Option<Arc<AtomicU32>>,
    /// Rewrites the address of each peer at accept.
    pub peer: Option<PeerHook>,
    /// Binds every listener to a port of the system's choice.
    pub on_port_zero: bool,
    /// How long a client may take to begin, and for the headers of a request, instead of 10 s.
    pub patience: Option<Duration>,
}

/// What became of a snapshot.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Its number.
    pub snapshot: u64,
    /// Its root hash.
    pub root: Hash128,
    /// Entries that could not be built. What depends on them fails safely; the rest serves.
    pub rejected: Vec<Rejected>,
    /// Its listeners.
    pub listeners: Vec<ListenerState>,
}

/// A listener and its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerState {
    /// Its key.
    pub key: ListenerKey,
    /// The port that the config declares.
    pub declared: u16,
    /// Where it listens.
    pub bound: Option<SocketAddr>,
    /// Why it does not.
    pub error: Option<String>,
}

/// Whether somebody who is asked about requests answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Who: the entry of the snapshot, `cluster/KEY` for a side service, `limit/DOMAIN` for the
    /// stores of a domain of limits.
    pub key: String,
    /// Why not; `None` = it does, as far as it was asked.
    pub trouble: Option<String>,
}

/// A look at the whole, for the admin server.
#[derive(Debug, Clone)]
pub struct GatewayView {
    /// The snapshot that is being served.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Its listeners.
    pub listeners: Vec<ListenerState>,
    /// Its clusters and their endpoints.
    pub clusters: Vec<ClusterView>,
    /// What of it could not be built.
    pub rejected: Vec<Rejected>,
    /// Whether traffic is welcome: a config is applied, its binds were tried, and nobody said stop.
    pub ready: bool,
    /// Whether the process is about to end.
    pub draining: bool,
}

/// A config that is served because an earlier process stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedConfig {
    /// Its root hash.
    pub root: Hash128,
    /// When it was stored, by the clock of the file system.
    pub stored: Option<SystemTime>,
}

/// A running data plane. Dropping it ends it at once.
pub struct Gateway {
    inner: Arc<Inner>,
    control: Option<Runtime>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("draw", &self.draw)
            .field("peer", &self.peer.is_some())
            .field("on_port_zero", &self.on_port_zero)
            .field("patience", &self.patience)
            .finish()
    }
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            bind: None,
            port_map: PortMap::default(),
            drain_time: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
            state_dir: None,
            limits: LimitOptions::default(),
            hooks: Hooks::default(),
            hostname: String::new(),
        }
    }
}

// === impl Gateway ===

impl Gateway {
    /// Starts the workers. Serves the last good config from the state directory, if there is one;
    /// else nothing before the first snapshot. Blocks while that config is read and applied.
    ///
    /// # Errors
    /// A thread or a runtime cannot be made. Trouble with the state directory is none: it is
    /// reported, and the gateway starts without.
    pub fn start(options: GatewayOptions, metrics: Arc<Metrics>) -> io::Result<Self> {
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("control")
            .enable_all()
            .build()?;
        let upstreams = Upstreams::new(control.handle().clone());
        metrics.watch_upstreams(&upstreams);
        let limiter = Limiter::new(options.limits.clone());
        metrics.watch_limiter(&limiter);
        let count = options.workers.max(1);
        let process = Arc::new(Process {
            hostname: options.hostname.as_str().into(),
            lifecycle: Lifecycle::default(),
            patience: options.hooks.patience.unwrap_or(PATIENCE),
            draw: options.hooks.draw.clone(),
            peer: options.hooks.peer.clone(),
            connections: AtomicU64::new(1),
            limiter: Arc::clone(&limiter),
        });
        let max_open = limits::max_connections(count);
        let workers = (0..count)
            .map(|index| {
                let process = Arc::clone(&process);
                Worker::start(index, process, Arc::clone(&metrics), max_open)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let state_dir = options.state_dir.clone();
        let (store, stored) = state_dir
            .map(|state_dir| StateWriter::start(state_dir, Arc::clone(&metrics)))
            .transpose()?
            .unzip();
        let inner = Arc::new(Inner {
            logs: AccessLogs::new(Arc::clone(&metrics), count),
            process,
            metrics,
            workers: Mutex::new(workers),
            state: Mutex::new(State::new(Arc::clone(&upstreams), limiter)),
            upstreams,
            store,
            options,
        });
        if let Some(stored) = stored.flatten() {
            inner.restore(stored);
        }
        control.spawn(retry(Arc::downgrade(&inner)));
        Ok(Self {
            inner,
            control: Some(control),
        })
    }

    /// Makes a snapshot the one that is served. Blocks until every worker uses it: call it where
    /// blocking is allowed. Requests keep the snapshot that they started with.
    ///
    /// With a state directory it is stored there, some time after.
    #[must_use]
    pub fn apply(&self, snapshot: Arc<Snapshot>) -> Applied {
        self.inner.apply(snapshot)
    }

    /// The stored config of an earlier process, while that is what is served: nobody has given this
    /// one a config yet.
    #[must_use]
    pub fn loaded_from_state(&self) -> Option<LoadedConfig> {
        self.inner.state.lock().loaded.clone()
    }

    /// A look at the whole.
    #[must_use]
    pub fn view(&self) -> GatewayView {
        let state = self.inner.state.lock();
        let lifecycle = &self.inner.process.lifecycle;
        let serving = state.serving.as_ref();
        GatewayView {
            snapshot: serving.map(|serving| Arc::clone(&serving.snapshot)),
            listeners: state.listeners(),
            clusters: self.inner.upstreams.view(),
            rejected: serving.map_or_else(Vec::new, |serving| serving.rejected.clone()),
            ready: lifecycle.is_ready(),
            draining: lifecycle.is_draining(),
        }
    }

    /// The listeners and their sockets.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerState> {
        self.inner.state.lock().listeners()
    }

    /// Whether the side services and stores of the config answer. Each look tells of the time since
    /// the one before: let nobody but one look.
    #[must_use]
    pub fn reach(&self) -> Vec<Reach> {
        self.inner.state.lock().reach()
    }

    /// Ends without losing a request: unready at once; keeps accepting for the drain delay; takes
    /// what the kernel has accepted already; then each connection ends with its next response
    /// (HTTP/2: GOAWAY). Completes when the last one closed, or the drain time is over. Without
    /// `delay` it goes on as if the drain delay were over.
    pub async fn drain(&self, delay: bool) {
        let inner = Arc::clone(&self.inner);
        inner.process.lifecycle.set_draining();
        if delay {
            sleep(inner.options.drain_delay).await;
        }
        let deadline = Instant::now() + inner.options.drain_time;
        let waiting: Vec<_> = inner
            .workers
            .lock()
            .iter()
            .map(|worker| {
                let (done, waiting) = oneshot::channel();
                worker.tell(Command::Drain(done));
                waiting
            })
            .collect();
        for waiting in waiting {
            if timeout_at(deadline, waiting).await.is_err() {
                tracing::info!("Drain time is over; closing what is left");
                break;
            }
        }
        self.close_now();
        let ended = tokio::task::spawn_blocking(move || {
            for worker in &mut *inner.workers.lock() {
                worker.join();
            }
            inner.logs.flush(FLUSH);
            if let Some(store) = &inner.store
                && !store.flush(FLUSH)
            {
                tracing::warn!("The last config was not stored in time");
            }
        });
        let _ = ended.await;
    }

    /// Whether traffic is welcome; `Err` with the reason while it is not.
    ///
    /// # Errors
    /// No config is applied yet, none of its listeners could be bound, or the process is ending.
    pub fn ready(&self) -> Result<(), String> {
        let lifecycle = &self.inner.process.lifecycle;
        if lifecycle.is_draining() {
            return Err("draining".to_owned());
        }
        if !lifecycle.is_ready() {
            return Err("no config is applied yet".to_owned());
        }
        let state = self.inner.state.lock();
        if !state.bound.is_empty() && state.bound.values().all(|bound| bound.socket.is_err()) {
            return Err("no listener could be opened".to_owned());
        }
        Ok(())
    }

    /// Ends now: every connection is cut.
    pub fn close_now(&self) {
        self.inner.process.lifecycle.set_draining();
        for worker in &*self.inner.workers.lock() {
            worker.tell(Command::Close);
        }
    }

    fn shutdown_control(&mut self) {
        if let Some(control) = self.control.take() {
            control.shutdown_background();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.close_now();
        self.shutdown_control();
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

/// Tries listeners again that could not be bound.
async fn retry(inner: Weak<Inner>) {
    loop {
        sleep(RETRY).await;
        let Some(inner) = inner.upgrade() else { return };
        // Binding blocks, if only for a moment, and so does waiting for the workers.
        let _ = tokio::task::spawn_blocking(move || inner.retry()).await;
    }
}
