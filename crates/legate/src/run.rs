//! `legate run`: source, compiler and gateway joined in one process.
//!
//! One thread reconciles ([`legate_operator::reconcile`]): it takes updates of a folder or of an API
//! server, compiles, and publishes. Another applies what was published and acknowledges. The request
//! path knows nothing of either.

mod admin;
mod command;
mod demo;
mod joint;
mod kube;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use legate_compiler::{Diagnostic, Options, Snapshot};
use legate_gateway::metrics::Metrics;
use legate_gateway::{Gateway, GatewayOptions, ListenerState};
use legate_operator::feed::FolderFeed;
use legate_operator::reconcile::{Gateways, Reconciler, Reconciling, Settings, Unobserved};
use legate_runtime::admin::{AdminServer, BindError};
use legate_runtime::logging::LogHandle;
use legate_source::folder::{FolderOptions, FolderSource};
use legate_source::selector::LabelSelector;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;

pub use command::command;
pub use demo::Substitution;
pub use kube::KubeRun;
pub use legate_operator::reconcile::Published;

use joint::Joint;
use kube::Control;

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
    /// Take resources from an API server instead of `paths`.
    pub kube: Option<KubeRun>,
    /// Test seams.
    pub seams: Seams,
}

/// Test seams of the control loop, all inert by default.
#[derive(Debug, Default)]
pub struct Seams {
    /// While it says true, nothing that was published is applied.
    pub hold: Option<watch::Receiver<bool>>,
    /// Spoils what the compiler remembers of the Mapping that is sent here.
    pub spoil: Option<UnboundedReceiver<legate_api::ObjectKey>>,
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
    /// The way to the API server.
    #[error("cannot use the Kubernetes API: {0}")]
    Kube(String),
}

/// A running gateway that follows its manifests or its API server. Dropping it closes everything at
/// once.
#[derive(Debug)]
pub struct Running {
    // In the order in which they end: nothing is published once the reconciler is gone, and the
    // joint says goodbye before the control tasks end.
    reconciling: Reconciling,
    joint: Joint,
    control: Option<Control>,
    gateway: Serving,
    drain_delay: Duration,
    substitutions: Vec<Substitution>,
    admin: Option<AdminServer>,
    _demo: Option<demo::Backends>,
    _store: Option<demo::store::Store>,
}

/// A gateway that is closed when this is dropped, whoever else looks at it.
#[derive(Debug)]
struct Serving(Arc<Gateway>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.close_now();
    }
}

/// A gateway without a config, joined to whoever will publish one.
struct Plane {
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    joint: Joint,
    gateways: Gateways,
}

impl Plane {
    fn start(
        options: GatewayOptions,
        name: &str,
        hold: Option<watch::Receiver<bool>>,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::new(options.workers);
        let gateway = Gateway::start(options, Arc::clone(&metrics)).map_err(StartError::Gateway)?;
        let gateway = Arc::new(gateway);
        let joined = Joint::start(Arc::clone(&gateway), name, hold);
        let (joint, gateways) = joined.map_err(StartError::Gateway)?;
        Ok(Self {
            gateway,
            metrics,
            joint,
            gateways,
        })
    }
}

impl Running {
    /// From a folder: loads, compiles and applies the first config, then follows changes; returns
    /// when the first config serves. From an API server: returns at once; the first config serves
    /// when the API server was listed, or from the state directory.
    ///
    /// # Errors
    /// A Listener's port is busy (folder), or threads, the admin address or a kubeconfig cannot be
    /// had.
    pub fn start(mut options: RunOptions) -> Result<Self, StartError> {
        match options.kube.take() {
            Some(kube) => kube::start(options, kube),
            None => Self::start_folder(options),
        }
    }

    fn start_folder(mut options: RunOptions) -> Result<Self, StartError> {
        let folder = FolderOptions {
            namespace: options.compile.namespace.clone(),
            ..FolderOptions::default()
        };
        let (source, mut update) = FolderSource::load(&options.paths, folder);
        let mut demo_backends = None;
        let mut demo_store = None;
        let mut substitutions = Vec::new();
        if options.demo {
            let (backends, objects, list) =
                demo::prepare(&update.upserts, &options.compile).map_err(StartError::Demo)?;
            update.upserts.extend(objects);
            substitutions = list;
            demo_backends = Some(backends);
            let limits = &mut options.gateway.limits;
            if limits.store.is_none() && demo::store::wanted(&update.upserts, &options.compile) {
                demo_store = demo::store::start().map_err(StartError::Demo)?;
                let address = demo_store.as_ref().map(|store| store.address);
                limits.store = address.map(|address| address.to_string());
                substitutions.push(Substitution::Store { address });
            }
        }
        let drain_delay = options.gateway.drain_delay;
        let plane = Plane::start(options.gateway, "self", options.seams.hold)?;
        let feed = FolderFeed::new(source, options.selector);
        let first = feed.select(update);
        let settings = Settings {
            options: options.compile,
            secret_patience: Duration::ZERO,
            bootstrap: None,
            spoil: options.seams.spoil,
        };
        let reconciling = Reconciler::new(feed, settings, plane.gateways, Box::new(Unobserved))
            .start(Some(first))
            .map_err(StartError::Gateway)?;
        reconciling.wait_for_first().map_err(StartError::Gateway)?;
        busy(&plane.gateway.view().listeners)?;
        let shown = admin::Shown {
            gateway: &plane.gateway,
            metrics: &plane.metrics,
            control: None,
        };
        let admin = admin::start(&options.admin, shown, options.quit, options.log)?;
        Ok(Self {
            reconciling,
            joint: plane.joint,
            control: None,
            gateway: Serving(plane.gateway),
            drain_delay,
            substitutions,
            admin,
            _demo: demo_backends,
            _store: demo_store,
        })
    }

    /// Where a Listener's declared port is bound.
    #[must_use]
    pub fn bound(&self, declared: u16) -> Option<SocketAddr> {
        self.gateway
            .0
            .view()
            .listeners
            .iter()
            .find(|listener| listener.declared == declared)
            .and_then(|listener| listener.bound)
    }

    /// Where the admin server listens, if it does.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.addresses().first().copied()
    }

    /// All there is to report now: the source's and the compiler's, located.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.changes().borrow().diagnostics.clone()
    }

    /// The snapshot that serves.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.changes().borrow().snapshot)
    }

    /// Changes whenever a batch was compiled and, if it changed anything, applied.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Published>> {
        self.reconciling.published()
    }

    /// What the demo put in place of what is missing.
    #[must_use]
    pub fn substitutions(&self) -> &[Substitution] {
        &self.substitutions
    }

    /// Drains: connections end politely, none is cut before the drain time is over. With `delay`
    /// it first keeps accepting for the drain delay, and keeps following changes meanwhile.
    pub async fn drain(self, delay: bool) {
        let Self {
            mut reconciling,
            mut joint,
            control,
            gateway,
            drain_delay,
            ..
        } = self;
        let follow = async {
            if let Some(control) = &control {
                // Another replica may lead from now on.
                control.resign().await;
            }
            if delay {
                tokio::time::sleep(drain_delay).await;
            }
            let ended = tokio::task::spawn_blocking(move || {
                reconciling.stop();
                joint.join();
            });
            let _ = ended.await;
            if let Some(control) = control {
                control.shutdown().await;
            }
        };
        tokio::join!(gateway.0.drain(delay), follow);
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
