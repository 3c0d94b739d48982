//! The config as it is: applying a snapshot, binding what is not bound, handing it to the workers.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};

use legate_config::{ListenerKey, Snapshot};
use parking_lot::Mutex;

use super::held;
use super::{Applied, GatewayOptions, ListenerState, LoadedConfig, Reach, ports};
use crate::access_log::AccessLogs;
use crate::config::{Builder, PortConfig, Rejected};
use crate::http::context::Process;
use crate::limit::{Limiter, Limits};
use crate::metrics::Metrics;
use crate::state_dir::{StateWriter, Stored};
use crate::tls::{TlsStore, TlsTable};
use crate::upstream::{ClusterHandle, Upstreams};
use crate::worker::{Command, Worker};

/// What the handle and its tasks share.
pub(super) struct Inner {
    pub(super) options: GatewayOptions,
    pub(super) process: Arc<Process>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) logs: Arc<AccessLogs>,
    pub(super) store: Option<StateWriter>,
    pub(super) workers: Mutex<Vec<Worker>>,
    pub(super) state: Mutex<State>,
}

/// The config as it is; held while one is applied.
pub(super) struct State {
    pub(super) builder: Builder,
    pub(super) tls: TlsStore,
    pub(super) serving: Option<Serving>,
    pub(super) bound: BTreeMap<ListenerKey, Bound>,
    /// What is served, while that is an earlier process's config.
    pub(super) loaded: Option<LoadedConfig>,
    /// Number of configs applied. Ids of snapshots do not tell two apart: whoever makes them starts
    /// again at 1, while we may serve the stored one of its former life.
    applied: u64,
}

/// What every listener's config is made from, kept for those that are bound late.
pub(super) struct Serving {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) router: Arc<legate_router::Router<crate::config::Plan>>,
    pub(super) tls: BTreeMap<ListenerKey, Arc<TlsTable>>,
    pub(super) rejected: Vec<Rejected>,
    pub(super) ports: BTreeMap<ListenerKey, Arc<PortConfig>>,
    /// The side services that the workers stay connected to.
    warm: Arc<[Arc<ClusterHandle>]>,
    limits: Arc<Limits>,
    generation: u64,
}

/// A listener's socket, or why there is none.
pub(super) struct Bound {
    pub(super) declared: u16,
    pub(super) socket: Result<SocketAddr, String>,
}

/// A new listener's sockets, one per worker.
type Sockets = Vec<(ListenerKey, Vec<TcpListener>)>;

// === impl Inner ===

impl Inner {
    /// Applies a config that somebody gave us, and stores it.
    pub(super) fn apply(&self, snapshot: Arc<Snapshot>) -> Applied {
        let mut state = self.state.lock();
        let applied = self.swap(&mut state, snapshot);
        state.loaded = None;
        self.metrics.config_from_state(false);
        // Under the lock, so that the last one applied is the last one stored. What is served, which
        // may hold on to more than what was given.
        if let (Some(store), Some(serving)) = (&self.store, &state.serving) {
            store.store(Arc::clone(&serving.snapshot));
        }
        applied
    }

    /// Applies the config that an earlier process stored.
    pub(super) fn restore(&self, stored: Stored) {
        let mut state = self.state.lock();
        let applied = self.swap(&mut state, stored.snapshot);
        state.loaded = Some(LoadedConfig {
            root: applied.root,
            stored: stored.at,
        });
        self.metrics.config_from_state(true);
        let age = stored.at.and_then(|at| at.elapsed().ok());
        tracing::info!(
            config.root = %applied.root,
            config.age_secs = age.map(|age| age.as_secs()),
            "Serving the stored config until a newer one comes"
        );
        for rejected in applied.rejected {
            tracing::warn!(key = %rejected.key, code = rejected.code, "Entry of the stored config cannot be used: {}", rejected.message);
        }
    }

    fn swap(&self, state: &mut State, published: Arc<Snapshot>) -> Applied {
        state.applied += 1;
        let serving = state.serving.as_ref().map(|serving| &*serving.snapshot);
        let snapshot = held::resolve(&published, serving);
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
            warm: built.warm,
            limits: built.limits,
            generation: state.applied,
        });
        let sockets = self.bind_missing(state);
        self.publish(state, former.as_ref(), sockets);
        self.metrics.config_applied(published.id, published.root);
        self.process.lifecycle.set_configured();
        Applied {
            snapshot: published.id,
            root: published.root,
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
            self.tell(serving, Vec::new());
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
                limits: Arc::clone(&serving.limits),
                metrics: self.metrics.listener(&entry.value.stats_prefix),
                log,
                server: crate::config::server_header(&http.server_name),
                strip_ports: http
                    .strip_matching_host_port
                    .then(|| vec![entry.value.port, address.port()]),
                generation: serving.generation,
                listener: Arc::clone(&entry.value),
            };
            serving.ports.insert(key.clone(), Arc::new(config));
        }
        self.tell(serving, sockets);
    }

    /// Hands configs and sockets to the workers and waits until all of them use those.
    fn tell(&self, serving: &Serving, mut sockets: Sockets) {
        let ports = Arc::new(serving.ports.clone());
        let (done, waiting) = mpsc::channel();
        for worker in &*self.workers.lock() {
            let share = sockets
                .iter_mut()
                .filter_map(|(key, sockets)| Some((key.clone(), sockets.pop()?)))
                .collect();
            worker.tell(Command::Apply {
                ports: Arc::clone(&ports),
                sockets: share,
                warm: Arc::clone(&serving.warm),
                drain_time: self.options.drain_time,
                done: done.clone(),
            });
        }
        drop(done);
        // One message per worker; the channel closes when the last one answered or ended.
        while waiting.recv().is_ok() {}
    }

    pub(super) fn retry(&self) {
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
    /// Nothing yet.
    pub(super) fn new(upstreams: Arc<Upstreams>, limiter: Arc<Limiter>) -> Self {
        Self {
            builder: Builder::new(upstreams, limiter),
            tls: TlsStore::new(),
            serving: None,
            bound: BTreeMap::new(),
            loaded: None,
            applied: 0,
        }
    }

    pub(super) fn reach(&self) -> Vec<Reach> {
        let Some(serving) = &self.serving else {
            return Vec::new();
        };
        let services = serving.warm.iter().map(|cluster| Reach {
            key: format!("cluster/{}", cluster.key),
            trouble: cluster.answers().look(),
        });
        let stores = serving.limits.stores_of_domains();
        let stores = stores.into_iter().map(|(domain, trouble)| Reach {
            key: format!("limit/{domain}"),
            trouble,
        });
        services.chain(stores).collect()
    }

    pub(super) fn listeners(&self) -> Vec<ListenerState> {
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
