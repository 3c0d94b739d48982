//! Connections that are there before anybody needs them: those to side services, whose calls have
//! limits of milliseconds.
//!
//! HTTP/2 only: one connection serves all calls of a worker, and a server does not mind that nothing
//! is asked for a while.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::cluster::ClusterHandle;
use super::pool::WorkerPool;

/// How often lost connections are looked for, and the longest pause while none can be opened.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Most endpoints of a cluster that a worker connects to ahead of time.
const MAX_ENDPOINTS: usize = 16;

/// The clusters that a worker stays connected to.
#[derive(Debug, Default)]
pub(crate) struct Warm {
    clusters: RefCell<Arc<[Arc<ClusterHandle>]>>,
    changed: Notify,
}

// === impl Warm ===

impl Warm {
    /// Stays connected to these from now on.
    pub(crate) fn set(&self, clusters: &Arc<[Arc<ClusterHandle>]>) {
        self.clusters.replace(Arc::clone(clusters));
        self.changed.notify_one();
    }

    /// Opens what is missing, for ever; a worker runs this as a task of its own.
    pub(crate) async fn run(&self, pool: &WorkerPool) {
        let mut pause = PAUSE;
        loop {
            let clusters = Arc::clone(&self.clusters.borrow());
            let round = async {
                if clusters.is_empty() {
                    return std::future::pending().await;
                }
                let all = join_all(clusters.iter().map(|cluster| pool.warm(cluster))).await;
                pause = if all.contains(&false) {
                    pause.saturating_mul(2).min(LONGEST_PAUSE)
                } else {
                    PAUSE
                };
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                () = self.changed.notified() => pause = PAUSE,
                () = round => {}
            }
        }
    }
}

// === impl WorkerPool ===

impl WorkerPool {
    /// Connects to the endpoints of a cluster that there is no connection to. Says whether all of
    /// them could be reached.
    pub(crate) async fn warm(&self, cluster: &Arc<ClusterHandle>) -> bool {
        if !cluster.is_http2() {
            return true;
        }
        cluster.endpoints.settled(cluster.connect_timeout()).await;
        let list = cluster.endpoints.list();
        let addresses: Vec<_> = list.addresses().take(MAX_ENDPOINTS).collect();
        drop(list);
        let open = |address| async move {
            let transport = cluster.transport.load_full();
            let bucket = self.bucket(transport.class, address);
            if bucket.opening.get() || bucket.has_room(Instant::now()) {
                return true;
            }
            // Requests have the first claim to permits, so it does not wait for one.
            let owner = cluster.owner(legate_config::policy::Priority::Default);
            let Some(permit) = owner.connection() else {
                return true;
            };
            let opened = self.open_shared(cluster, &transport, &bucket, (owner, permit));
            match opened.await {
                Ok(_) => cluster.answers().answered(),
                Err(error) => {
                    cluster.answers().lost(&error);
                    return false;
                }
            }
            true
        };
        let all = join_all(addresses.into_iter().map(open));
        !all.await.contains(&false)
    }
}
