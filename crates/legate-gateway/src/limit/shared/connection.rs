//! A worker's connections to stores: one each, opened when the config is applied, and again a second
//! after it broke.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{SharedStore, Target};
use crate::limit::Limits;
use crate::upstream::side_stream;

/// How long opening may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long after a connection broke, or could not be opened, another one is.
const AGAIN: Duration = Duration::from_secs(1);

/// The connections of a worker.
#[derive(Default)]
pub(crate) struct Connections {
    links: RefCell<BTreeMap<Arc<str>, Kept>>,
}

/// A link, and the task that keeps it up.
struct Kept {
    link: Rc<Link>,
    task: JoinHandle<()>,
}

/// A connection that comes and goes.
pub(super) struct Link {
    pub(super) store: Arc<SharedStore>,
    connection: RefCell<Option<MultiplexedConnection>>,
    /// Whether the first attempt to open it is still under way.
    opening: std::cell::Cell<bool>,
    changed: Notify,
    broken: Notify,
}

/// What drives a connection, where that is ours to do; it ends with the connection.
type Driver = Pin<Box<dyn Future<Output = ()>>>;

// === impl Connections ===

impl Connections {
    /// Opens connections to the stores of a config, and closes those to others.
    pub(crate) fn update(&self, limits: &Limits) {
        let mut links = self.links.borrow_mut();
        links.retain(|name, kept| {
            let same = limits
                .stores
                .get(name)
                .is_some_and(|store| Arc::ptr_eq(store, &kept.link.store));
            if !same {
                kept.task.abort();
            }
            same
        });
        for (name, store) in &limits.stores {
            links.entry(Arc::clone(name)).or_insert_with(|| {
                let link = Rc::new(Link {
                    store: Arc::clone(store),
                    connection: RefCell::default(),
                    opening: std::cell::Cell::new(true),
                    changed: Notify::new(),
                    broken: Notify::new(),
                });
                let task = tokio::task::spawn_local(keep(Rc::clone(&link)));
                Kept { link, task }
            });
        }
    }

    pub(super) fn link(&self, name: &str) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        links.get(name).map(|kept| Rc::clone(&kept.link))
    }
}

// === impl Link ===

impl Link {
    /// The connection; waits for the first one, which the caller limits.
    pub(super) async fn connection(&self) -> Option<MultiplexedConnection> {
        loop {
            let changed = self.changed.notified();
            if let Some(connection) = &*self.connection.borrow() {
                return Some(connection.clone());
            }
            if !self.opening.get() {
                return None;
            }
            changed.await;
        }
    }

    /// The connection is of no use any more.
    pub(super) fn broke(&self) {
        if self.connection.borrow_mut().take().is_some() {
            self.broken.notify_one();
        }
    }

    fn settle(&self, connection: Option<MultiplexedConnection>) {
        *self.connection.borrow_mut() = connection;
        self.opening.set(false);
        self.changed.notify_waiters();
    }
}

/// Keeps a connection open for as long as its store is in the config.
async fn keep(link: Rc<Link>) {
    loop {
        match timeout(PATIENCE, open(&link.store)).await {
            Ok(Ok((connection, driver))) => {
                // What was said of a former one is not about this one.
                let _ = link.broken.notified().now_or_never();
                link.settle(Some(connection));
                tokio::select! {
                    // Whichever ends first; the other one is dropped with the connection.
                    () = driver => {}
                    () = link.broken.notified() => {}
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(store = %link.store, error, "Cannot connect to the store of rate limits");
            }
            Err(_) => {
                tracing::debug!(store = %link.store, "Connecting to the store of rate limits takes too long");
            }
        }
        link.settle(None);
        sleep(AGAIN).await;
    }
}

async fn open(store: &SharedStore) -> Result<(MultiplexedConnection, Driver), String> {
    // The caller of a question has a deadline of its own.
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None);
    let said = |error: redis::RedisError| error.to_string();
    match &store.target {
        Target::Url(client) => {
            let opened = client.get_multiplexed_async_connection_with_config(&config);
            let connection = opened.await.map_err(said)?;
            // Driven by a task of its own, which says nothing when it ends.
            Ok((connection, Box::pin(std::future::pending())))
        }
        Target::Cluster(cluster, login) => {
            let stream = side_stream(cluster).await.map_err(|e| format!("{e:?}"))?;
            let opened = MultiplexedConnection::new_with_config(login, stream, config);
            // Logging in needs somebody to drive the connection meanwhile: it does that itself.
            let (connection, driver) = opened.await.map_err(said)?;
            Ok((connection, Box::pin(driver)))
        }
    }
}
