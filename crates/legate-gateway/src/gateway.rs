//! The handle that a process holds on its data plane: start it, give it snapshots, look at it, end
//! it.
//!
//! Snapshots are applied one after the other and whole: [`Gateway::apply`] returns once every
//! worker uses the new one. A listener that cannot be bound is reported and tried again every
//! second, while the rest serves.

mod limits;
mod ports;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use legate_config::{Hash128, ListenerKey, Snapshot};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::access_log::AccessLogs;
use crate::config::{Builder, PortConfig};
use crate::drain::Lifecycle;
use crate::http::context::Process;
use crate::metrics::Metrics;
use crate::tls::{TlsStore, TlsTable};
use crate::upstream::Upstreams;
use crate::worker::{Command, Worker};

pub use crate::config::Rejected;
pub use crate::http::context::PeerHook;
pub use crate::upstream::{ClusterCounters, ClusterView};
pub use ports::PortMap;

/// How long a client may take to begin, and for the headers of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often listeners that could not be bound are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How long the end waits for the last lines of access logs.
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

/// A running data plane. Dropping it ends it at once.
pub struct Gateway {
    inner: Arc<Inner>,
    control: Option<Runtime>,
}

struct Inner {
    options: GatewayOptions,
    process: Arc<Process>,
    upstreams: Arc<Upstreams>,
    metrics: Arc<Metrics>,
    logs: Arc<AccessLogs>,
    workers: Mutex<Vec<Worker>>,
    state: Mutex<State>,
}

/// The config as it is; held while one is applied.
struct State {
    builder: Builder,
    tls: TlsStore,
    serving: Option<Serving>,
    bound: BTreeMap<ListenerKey, Bound>,
}

/// What every listener's config is made from, kept for those that are bound late.
struct Serving {
    snapshot: Arc<Snapshot>,
    router: Arc<legate_router::Router<crate::config::Plan>>,
    tls: BTreeMap<ListenerKey, Arc<TlsTable>>,
    rejected: Vec<Rejected>,
    ports: BTreeMap<ListenerKey, Arc<PortConfig>>,
}

/// A listener's socket, or why there is none.
struct Bound {
    declared: u16,
    socket: Result<SocketAddr, String>,
}

/// A new listener's sockets, one per worker.
type Sockets = Vec<(ListenerKey, Vec<TcpListener>)>;

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
            hooks: Hooks::default(),
            hostname: String::new(),
        }
    }
}

// === impl Gateway ===

impl Gateway {
    /// Starts the workers. Nothing is served before the first snapshot.
    ///
    /// # Errors
    /// A thread or a runtime cannot be made.
    pub fn start(options: GatewayOptions, metrics: Arc<Metrics>) -> io::Result<Self> {
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("control")
            .enable_all()
            .build()?;
        let upstreams = Upstreams::new(control.handle().clone());
        let count = options.workers.max(1);
        let process = Arc::new(Process {
            hostname: options.hostname.as_str().into(),
            lifecycle: Lifecycle::default(),
            patience: options.hooks.patience.unwrap_or(PATIENCE),
            draw: options.hooks.draw.clone(),
            peer: options.hooks.peer.clone(),
            connections: AtomicU64::new(1),
        });
        let max_open = limits::max_connections(count);
        let workers = (0..count)
            .map(|index| {
                let process = Arc::clone(&process);
                Worker::start(index, process, Arc::clone(&metrics), max_open)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let inner = Arc::new(Inner {
            logs: AccessLogs::new(Arc::clone(&metrics), count),
            process,
            metrics,
            workers: Mutex::new(workers),
            state: Mutex::new(State {
                builder: Builder::new(Arc::clone(&upstreams)),
                tls: TlsStore::new(),
                serving: None,
                bound: BTreeMap::new(),
            }),
            upstreams,
            options,
        });
        control.spawn(retry(Arc::downgrade(&inner)));
        Ok(Self {
            inner,
            control: Some(control),
        })
    }

    /// Makes a snapshot the one that is served. Blocks until every worker uses it: call it where
    /// blocking is allowed. Requests keep the snapshot that they started with.
    #[must_use]
    pub fn apply(&self, snapshot: Arc<Snapshot>) -> Applied {
        self.inner.apply(snapshot)
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

// === impl Inner ===

impl Inner {
    fn apply(&self, snapshot: Arc<Snapshot>) -> Applied {
        let mut state = self.state.lock();
        let state = &mut *state;
        let built = state.builder.build(&snapshot);
        let tls = state.tls.update(&snapshot);
        let mut rejected = built.rejected;
        rejected.extend(tls.rejected.into_iter().map(|(key, message)| Rejected {
            key: format!("chain/{key}"),
            code: crate::config::CODE,
            message,
        }));
        self.remove_gone(state, &snapshot);
        let former = state.serving.replace(Serving {
            snapshot: Arc::clone(&snapshot),
            router: built.router,
            tls: tls.listeners,
            rejected,
            ports: BTreeMap::new(),
        });
        let sockets = self.bind_missing(state);
        self.publish(state, former.as_ref(), sockets);
        self.metrics.config_applied(snapshot.id, snapshot.root);
        self.process.lifecycle.set_configured();
        Applied {
            snapshot: snapshot.id,
            root: snapshot.root,
            rejected: state
                .serving
                .as_ref()
                .map_or_else(Vec::new, |serving| serving.rejected.clone()),
            listeners: state.listeners(),
        }
    }

    /// Closes the sockets of listeners that the snapshot does not have, so that others may have
    /// their ports.
    fn remove_gone(&self, state: &mut State, snapshot: &Snapshot) {
        let before = state.bound.len();
        state
            .bound
            .retain(|key, _| snapshot.listeners.get(key.as_str()).is_some());
        if state.bound.len() == before {
            return;
        }
        if let Some(serving) = &mut state.serving {
            let bound = &state.bound;
            serving.ports.retain(|key, _| bound.contains_key(key));
            self.tell(&serving.ports, Vec::new());
        }
    }

    /// Binds the listeners that are not.
    fn bind_missing(&self, state: &mut State) -> Sockets {
        let Some(serving) = &state.serving else {
            return Vec::new();
        };
        let mut sockets = Vec::new();
        for (key, entry) in serving.snapshot.listeners.iter() {
            if state
                .bound
                .get(key)
                .is_some_and(|bound| bound.socket.is_ok())
            {
                continue;
            }
            let listener = &entry.value;
            let result = ports::bind(listener, &self.options);
            let socket = match result {
                Ok((address, opened)) => {
                    tracing::info!(listener = %key, server.addr = %address, "Listening");
                    sockets.push((key.clone(), opened));
                    Ok(address)
                }
                Err(error) => Err(error),
            };
            let declared = listener.port;
            let former = state.bound.insert(key.clone(), Bound { declared, socket });
            let new = state.bound.get(key).map(|bound| &bound.socket);
            if let Some(Err(error)) = new
                && former.is_none_or(|former| former.socket.as_ref() != Err(error))
            {
                tracing::error!(listener = %key, %error, "Cannot listen; trying again every second");
            }
        }
        sockets
    }

    /// Makes the configs of all bound listeners and hands them to the workers.
    fn publish(&self, state: &mut State, former: Option<&Serving>, sockets: Sockets) {
        let Some(serving) = &mut state.serving else {
            return;
        };
        let empty = Arc::new(TlsTable::default());
        for (key, entry) in serving.snapshot.listeners.iter() {
            let Some(Bound {
                socket: Ok(address),
                ..
            }) = state.bound.get(key)
            else {
                continue;
            };
            let http = &entry.value.http;
            let old = former.and_then(|former| former.ports.get(key));
            let log = match old {
                Some(old) if old.listener.http.access_log == http.access_log => old.log.clone(),
                _ => self.logs.open(&http.access_log),
            };
            let config = PortConfig {
                key: key.clone(),
                router: Arc::clone(&serving.router),
                tls: Arc::clone(serving.tls.get(key).unwrap_or(&empty)),
                metrics: self.metrics.listener(&entry.value.stats_prefix),
                log,
                server: crate::config::server_header(&http.server_name),
                strip_ports: http
                    .strip_matching_host_port
                    .then(|| vec![entry.value.port, address.port()]),
                generation: serving.snapshot.id,
                listener: Arc::clone(&entry.value),
            };
            serving.ports.insert(key.clone(), Arc::new(config));
        }
        self.tell(&serving.ports, sockets);
    }

    /// Hands configs and sockets to the workers and waits until all of them use those.
    fn tell(&self, ports: &BTreeMap<ListenerKey, Arc<PortConfig>>, mut sockets: Sockets) {
        let ports = Arc::new(ports.clone());
        let (done, waiting) = mpsc::channel();
        for worker in &*self.workers.lock() {
            let share = sockets
                .iter_mut()
                .filter_map(|(key, sockets)| Some((key.clone(), sockets.pop()?)))
                .collect();
            worker.tell(Command::Apply {
                ports: Arc::clone(&ports),
                sockets: share,
                drain_time: self.options.drain_time,
                done: done.clone(),
            });
        }
        drop(done);
        // One message per worker; the channel closes when the last one answered or ended.
        while waiting.recv().is_ok() {}
    }

    fn retry(&self) {
        let mut state = self.state.lock();
        if state.bound.values().all(|bound| bound.socket.is_ok()) {
            return;
        }
        let sockets = self.bind_missing(&mut state);
        if !sockets.is_empty() {
            self.publish(&mut state, None, sockets);
        }
    }
}

// === impl State ===

impl State {
    fn listeners(&self) -> Vec<ListenerState> {
        self.bound
            .iter()
            .map(|(key, bound)| ListenerState {
                key: key.clone(),
                declared: bound.declared,
                bound: bound.socket.as_ref().ok().copied(),
                error: bound.socket.as_ref().err().cloned(),
            })
            .collect()
    }
}
