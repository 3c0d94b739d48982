//! `legate run`: source, compiler and gateway joined in one process.
//!
//! One thread reconciles: it takes updates of the source, compiles, hands the snapshot to the
//! gateway and waits for its acknowledgement; changes that arrive meanwhile wait and form the next
//! batch. The request path knows nothing of it.

mod admin;
mod command;
mod demo;
mod reconcile;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use legate_compiler::{Compiler, Diagnostic, Options, Snapshot};
use legate_gateway::{Gateway, GatewayOptions, ListenerState};
use legate_runtime::admin::{AdminServer, BindError};
use legate_runtime::logging::LogHandle;
use legate_source::folder::{FolderOptions, FolderSource};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

pub use command::command;
pub use demo::Substitution;
pub use reconcile::Published;

use crate::selector::LabelSelector;
use reconcile::Reconciler;

/// What to run.
#[derive(Debug, Default)]
pub struct RunOptions {
    /// Files, folders or `-`.
    pub paths: Vec<PathBuf>,
    /// Only objects with such labels.
    pub selector: LabelSelector,
    /// How to compile.
    pub compile: Options,
    /// How to serve.
    pub gateway: GatewayOptions,
    /// Where the admin server listens; empty = nowhere.
    pub admin: Vec<SocketAddr>,
    /// Start echo backends and certificates for what the folder lacks.
    pub demo: bool,
    /// The process log, so that the admin server can change its level.
    pub log: Option<LogHandle>,
    /// Told when the admin server is asked to end the process.
    pub quit: Option<UnboundedSender<()>>,
}

/// Why a run cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The gateway's threads or sockets.
    #[error("cannot start the gateway: {0}")]
    Gateway(std::io::Error),
    /// The admin server's address.
    #[error("{0}; --admin-addr or --port-offset moves it")]
    Admin(BindError),
    /// A Listener's port.
    #[error(
        "Listener port {declared} cannot be opened: {error}; --port-offset N or --port-map {declared}=N moves it"
    )]
    Listener {
        /// The port that the Listener declares.
        declared: u16,
        /// Why not.
        error: String,
    },
    /// The demo's backends or certificates.
    #[error("cannot start the demo: {0}")]
    Demo(std::io::Error),
}

/// A running gateway that follows its manifests. Dropping it closes everything at once.
#[derive(Debug)]
pub struct Running {
    gateway: Option<Arc<Gateway>>,
    published: watch::Receiver<Arc<Published>>,
    source: FolderSource,
    substitutions: Vec<Substitution>,
    // Dropped before `reconciler` is joined: its end is what ends that thread.
    stop: Option<oneshot::Sender<()>>,
    reconciler: Option<JoinHandle<()>>,
    _admin: Option<AdminServer>,
    _demo: Option<demo::Backends>,
}

impl Running {
    /// Loads, compiles and applies the first config, then follows changes. Returns when the first
    /// config serves.
    ///
    /// # Errors
    /// A Listener's port is busy, or threads or the admin address cannot be had.
    pub fn start(options: RunOptions) -> Result<Self, StartError> {
        let folder = FolderOptions {
            namespace: options.compile.namespace.clone(),
            ..FolderOptions::default()
        };
        let (source, mut update) = FolderSource::load(&options.paths, folder);
        let mut demo_backends = None;
        let mut substitutions = Vec::new();
        if options.demo {
            let (backends, objects, list) =
                demo::prepare(&update.upserts, &options.compile).map_err(StartError::Demo)?;
            update.upserts.extend(objects);
            substitutions = list;
            demo_backends = Some(backends);
        }
        let metrics = legate_gateway::metrics::Metrics::new(options.gateway.workers);
        let gateway =
            Gateway::start(options.gateway, Arc::clone(&metrics)).map_err(StartError::Gateway)?;
        let gateway = Arc::new(gateway);
        let mut reconciler = Reconciler::new(
            Compiler::new(options.compile),
            options.selector,
            source.clone(),
            Arc::clone(&gateway),
        );
        let (first, listeners) = reconciler.step(vec![update]);
        busy(&listeners)?;
        let (sender, published) = watch::channel(Arc::new(first));
        let admin = match options.admin.as_slice() {
            [] => None,
            addresses => Some(
                admin::start(addresses, &gateway, options.quit, &metrics, options.log)
                    .map_err(StartError::Admin)?,
            ),
        };
        let (stop, thread) =
            reconcile::spawn(reconciler, &source, sender).map_err(StartError::Gateway)?;
        Ok(Self {
            gateway: Some(gateway),
            published,
            source,
            substitutions,
            stop: Some(stop),
            reconciler: Some(thread),
            _admin: admin,
            _demo: demo_backends,
        })
    }

    /// Where a Listener's declared port is bound.
    #[must_use]
    pub fn bound(&self, declared: u16) -> Option<SocketAddr> {
        let gateway = self.gateway.as_ref()?;
        gateway
            .view()
            .listeners
            .iter()
            .find(|listener| listener.declared == declared)
            .and_then(|listener| listener.bound)
    }

    /// All there is to report now: the source's and the compiler's, located.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.published.borrow().diagnostics.clone()
    }

    /// The snapshot that serves.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.published.borrow().snapshot)
    }

    /// Changes whenever a batch was compiled and, if it changed anything, applied.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Published>> {
        self.published.clone()
    }

    /// Where the objects come from.
    #[must_use]
    pub fn source(&self) -> &FolderSource {
        &self.source
    }

    /// What the demo put in place of what is missing.
    #[must_use]
    pub fn substitutions(&self) -> &[Substitution] {
        &self.substitutions
    }

    /// Drains: connections end politely, none is cut before the drain time is over. With `delay`
    /// it first keeps accepting for the drain delay.
    pub async fn drain(mut self, delay: bool) {
        self.stop_reconciling();
        if let Some(gateway) = self.gateway.take() {
            gateway.drain(delay).await;
        }
    }

    fn stop_reconciling(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.reconciler.take() {
            // A panic there was logged where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop_reconciling();
        if let Some(gateway) = self.gateway.take() {
            gateway.close_now();
        }
    }
}

/// A port that somebody else has is an error at the start of a folder run (design §6.1).
fn busy(listeners: &[ListenerState]) -> Result<(), StartError> {
    for listener in listeners {
        if let (None, Some(error)) = (&listener.bound, &listener.error) {
            return Err(StartError::Listener {
                declared: listener.declared,
                error: error.clone(),
            });
        }
    }
    Ok(())
}
