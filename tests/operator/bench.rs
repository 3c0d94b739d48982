//! What all trials share: the API server and a runtime.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};

use legate_testkit::client::Error;
use legate_testkit::kube::{ApiServer, Namespace, ServerOptions, abandon, documents};
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// The API server of this binary, with our CRDs.
pub(crate) struct Bench {
    runtime: Runtime,
    server: Mutex<Option<Arc<ApiServer>>>,
}

impl Bench {
    /// Nothing runs yet.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            runtime,
            server: Mutex::new(None),
        }
    }

    /// Starts the API server and applies `crds/`.
    pub(crate) fn start(&self) -> Result<(), Error> {
        let server = self.runtime.block_on(async {
            let server = ApiServer::launch(ServerOptions::default()).await?;
            server.apply_crds(&crds()).await?;
            Ok::<_, Error>(server)
        })?;
        self.runtime.spawn(async move {
            interrupted().await;
            abandon();
            std::process::exit(130);
        });
        eprintln!(
            "API server ready after {:.1} s",
            server.took().as_secs_f64()
        );
        *self.server.lock().unwrap() = Some(Arc::new(server));
        Ok(())
    }

    /// Ends the API server.
    pub(crate) fn stop(&self) {
        self.server.lock().unwrap().take();
    }

    /// The API server.
    pub(crate) fn server(&self) -> Arc<ApiServer> {
        let server = self.server.lock().unwrap();
        Arc::clone(server.as_ref().expect("main has started it"))
    }

    /// A trial with a namespace and an id of its own.
    pub(crate) fn trial<F>(
        self: &Arc<Self>,
        name: &str,
        work: impl FnOnce(Namespace) -> F + Send + 'static,
    ) -> Trial
    where
        F: Future<Output = Result<(), Error>>,
    {
        let word = name.to_owned();
        self.bare(name, move |server| async move {
            work(Namespace::create(&server, &word).await?).await
        })
    }

    /// A trial that needs no namespace.
    pub(crate) fn bare<F>(
        self: &Arc<Self>,
        name: &str,
        work: impl FnOnce(Arc<ApiServer>) -> F + Send + 'static,
    ) -> Trial
    where
        F: Future<Output = Result<(), Error>>,
    {
        let bench = Arc::clone(self);
        Trial::test(name, move || {
            let work = work(bench.server());
            Ok(bench.runtime.block_on(work)?)
        })
    }

    /// A trial that breaks its API server, and therefore has one for itself.
    pub(crate) fn alone<F>(
        self: &Arc<Self>,
        name: &str,
        work: impl FnOnce(Arc<ApiServer>) -> F + Send + 'static,
    ) -> Trial
    where
        F: Future<Output = Result<(), Error>>,
    {
        let bench = Arc::clone(self);
        Trial::test(name, move || {
            Ok(bench.runtime.block_on(async {
                let server = ApiServer::launch(ServerOptions::default()).await?;
                server.apply_crds(&crds()).await?;
                work(Arc::new(server)).await
            })?)
        })
    }
}

/// Whether this is the long run of `cargo xtask soak`.
pub(crate) fn long() -> bool {
    std::env::var_os("LEGATE_SOAK").is_some()
}

/// Waits for SIGINT or SIGTERM.
async fn interrupted() {
    let mut term = signal(SignalKind::terminate()).unwrap();
    let mut int = signal(SignalKind::interrupt()).unwrap();
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// The documents of `crds/`.
pub(crate) fn crds() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| documents(&std::fs::read_to_string(file).unwrap()).unwrap())
        .collect()
}

/// The crds folder, for kubectl.
pub(crate) fn crds_folder() -> String {
    format!("{}/../crds", env!("CARGO_MANIFEST_DIR"))
}
