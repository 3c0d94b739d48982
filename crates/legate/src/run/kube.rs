//! `legate run --kube`: operator and gateway joined in one process.
//!
//! Starting needs no API server: with a state directory the last good config serves at once, and the
//! rest waits. What talks to the API server runs on a runtime of its own, so that nothing of it delays
//! a worker or the reconciler.

mod observer;
mod view;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use legate_operator::backoff::ApiBackoff;
use legate_operator::feed::KubeFeed;
use legate_operator::identity::Identity;
use legate_operator::keys::{KeyError, hash_key};
use legate_operator::last_good::{self, LastGoodStore, Loaded};
use legate_operator::lease::{LeaseElector, LeaseHandle, LeaseSettings};
use legate_operator::metrics::ControlMetrics;
use legate_operator::reconcile::{Bootstrap, Reconciler, Settings};
use legate_operator::status::{StatusHandle, StatusManager};
use legate_runtime::task;
use legate_source::kube::{KubeOptions, KubeSource, client, client_config};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{oneshot, watch};

use super::{Plane, RunOptions, Running, Serving, StartError, admin};
use observer::KubeObserver;
pub(super) use view::ControlView;

/// How long a batch may wait for Secrets that it refers to for the first time.
const SECRET_PATIENCE: Duration = Duration::from_secs(1);
/// How often the API server may refuse what has to be known first until that is believed: while it
/// starts it answers 403 for some moments.
const REFUSALS: u32 = 12;
/// How long the end waits for what is still to be written.
const FLUSH: Duration = Duration::from_secs(2);

/// How to run with an API server.
#[derive(Debug)]
pub struct KubeRun {
    /// The kubeconfig file; `None` = the pod's account, `KUBECONFIG` or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    pub context: Option<String>,
    /// Which replica of which instance this is.
    pub identity: Identity,
    /// What is watched.
    pub source: KubeOptions,
    /// Whether status is written.
    pub status: bool,
}

/// Everything that talks to the API server.
#[derive(Debug)]
pub(super) struct Control {
    runtime: Option<Runtime>,
    lease: Mutex<Option<LeaseHandle>>,
    status: Option<StatusHandle>,
    last_good: Arc<OnceLock<LastGoodStore>>,
}

/// Starts everything; returns before anything was listed.
pub(super) fn start(options: RunOptions, kube: KubeRun) -> Result<Running, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("kube")
        .enable_all()
        .build()
        .map_err(StartError::Gateway)?;
    let client = connect(&runtime, &kube)?;

    let drain_delay = options.gateway.drain_delay;
    let name = kube.identity.pod_name.clone();
    let plane = Plane::start(options.gateway, &name, options.seams.hold)?;
    let (control, parts) = control(runtime, client, kube);
    let settings = Settings {
        options: options.compile,
        secret_patience: SECRET_PATIENCE,
        bootstrap: Some(parts.bootstrap),
        spoil: options.seams.spoil,
    };
    let reconciling = Reconciler::new(
        parts.feed,
        settings,
        plane.gateways,
        Box::new(parts.observer),
    )
    .start(None)
    .map_err(StartError::Gateway)?;
    let shown = admin::Shown {
        gateway: &plane.gateway,
        metrics: &plane.metrics,
        control: Some(parts.view),
    };
    let admin = admin::start(&options.admin, shown, options.quit, options.log)?;
    Ok(Running {
        reconciling,
        joint: plane.joint,
        control: Some(control),
        gateway: Serving(plane.gateway),
        drain_delay,
        substitutions: Vec::new(),
        admin,
        _demo: None,
        _store: None,
    })
}

/// What the reconciler and the admin server need of everything that talks to the API server.
struct Parts {
    feed: KubeFeed,
    bootstrap: oneshot::Receiver<Bootstrap>,
    observer: KubeObserver,
    view: ControlView,
}

/// Starts everything that talks to the API server.
fn control(runtime: Runtime, client: ::kube::Client, kube: KubeRun) -> (Control, Parts) {
    let handle = runtime.handle().clone();
    let settings = LeaseSettings {
        pod_uid: std::env::var("POD_UID").ok().filter(|uid| !uid.is_empty()),
        ..LeaseSettings::default()
    };
    let lease = LeaseElector::start(client.clone(), &kube.identity, settings, &handle);
    let leading = lease.leading();
    let status = kube.status.then(|| {
        let (client, identity) = (client.clone(), kube.identity.clone());
        StatusManager::start(client, identity, leading.clone(), &handle)
    });
    let (source, watch) = KubeSource::start(client.clone(), kube.source, &handle);
    let last_good = Arc::new(OnceLock::new());
    let (done, bootstrap) = oneshot::channel();
    let preparing = prepare(Preparation {
        client,
        identity: kube.identity,
        leading: leading.clone(),
        runtime: handle.clone(),
        store: Arc::clone(&last_good),
        done,
    });
    task::spawn_on(&handle, "bootstrap", preparing);
    let metrics = ControlMetrics::new();
    let view = ControlView::new(
        source.clone(),
        metrics.clone(),
        status.as_ref().map(StatusHandle::counters),
        leading,
        Arc::clone(&last_good),
    );
    let sender = status.as_ref().map(StatusHandle::sender);
    let observer = KubeObserver::new(sender, Arc::clone(&last_good), metrics);
    let control = Control {
        runtime: Some(runtime),
        lease: Mutex::new(Some(lease)),
        status,
        last_good,
    };
    let parts = Parts {
        feed: KubeFeed::new(source, watch),
        bootstrap,
        observer,
        view,
    };
    (control, parts)
}

/// A client for the API server; it is not asked anything yet.
fn connect(runtime: &Runtime, kube: &KubeRun) -> Result<::kube::Client, StartError> {
    // On a thread of its own: the caller may be in a runtime, where blocking is refused.
    let made = std::thread::scope(|scope| {
        let making = scope.spawn(|| {
            runtime.block_on(async {
                let config =
                    client_config(kube.kubeconfig.as_deref(), kube.context.as_deref()).await?;
                client(config)
            })
        });
        making.join()
    });
    match made {
        Ok(made) => made.map_err(|error| StartError::Kube(error.to_string())),
        Err(_) => Err(StartError::Kube("a thread panicked".to_owned())),
    }
}

struct Preparation {
    client: ::kube::Client,
    identity: Identity,
    leading: watch::Receiver<bool>,
    runtime: Handle,
    store: Arc<OnceLock<LastGoodStore>>,
    done: oneshot::Sender<Bootstrap>,
}

/// Fetches what has to be known before the first compile.
async fn prepare(preparation: Preparation) {
    let Preparation {
        client,
        identity,
        leading,
        runtime,
        store,
        done,
    } = preparation;
    let hash_key = key(&client, &identity).await;
    let loaded = kept(&client, &identity).await;
    let kept = LastGoodStore::start(client, &identity, loaded, leading.clone(), &runtime);
    let last_good = kept.changes();
    // Set once, here.
    let _ = store.set(kept);
    // The reconciler is gone only when the process ends.
    let _ = done.send(Bootstrap {
        hash_key,
        last_good,
        leading,
    });
}

/// The instance's key. An API server that is away is waited for; where it refuses, fingerprints are
/// this process's own, and nothing else suffers.
async fn key(client: &::kube::Client, identity: &Identity) -> [u8; 32] {
    let mut pause = backoff();
    let mut refusals = 0;
    loop {
        match hash_key(client.clone(), identity).await {
            Ok(key) => return key,
            Err(error) => {
                let refused = !matches!(error, KeyError::Api { .. });
                refusals = if refused { refusals + 1 } else { 0 };
                if refusals >= REFUSALS {
                    tracing::warn!(%error, "No shared key; replicas will disagree about the hashes of keys");
                    return rand::random();
                }
                tracing::debug!(%error, "Waiting for the shared key");
            }
        }
        tokio::time::sleep(pause.next_delay()).await;
    }
}

/// The last good versions that were kept.
async fn kept(client: &::kube::Client, identity: &Identity) -> Loaded {
    let mut pause = backoff();
    let mut refusals = 0;
    loop {
        match last_good::load(client.clone(), identity).await {
            Ok(loaded) => return loaded,
            Err(error) => {
                let refused = matches!(error.status, 401 | 403);
                refusals = if refused { refusals + 1 } else { 0 };
                if refusals >= REFUSALS {
                    tracing::warn!(%error, "No last good versions: what is rejected now has none");
                    return Loaded::default();
                }
                tracing::debug!(%error, "Waiting for last good versions");
            }
        }
        tokio::time::sleep(pause.next_delay()).await;
    }
}

fn backoff() -> ApiBackoff {
    ApiBackoff::new(Duration::from_millis(200), Duration::from_secs(2))
}

impl Control {
    /// Gives up the lead, so that another replica takes it at once; what only the leader may write
    /// is written before.
    pub(super) async fn resign(&self) {
        if let Some(status) = &self.status {
            status.flush().await;
        }
        if let Some(store) = self.last_good.get() {
            store.flush(FLUSH).await;
        }
        let lease = self.lease.lock().take();
        if let Some(lease) = lease {
            lease.release().await;
        }
    }

    /// Ends everything.
    pub(super) async fn shutdown(mut self) {
        if let Some(status) = self.status.take() {
            status.shutdown().await;
        }
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end();
    }
}
