//! Limits that several gateways share, counted in a Redis or Valkey (spec/services §2.7.5).
//!
//! One script call per request and store does all that is to be done there, on the store's own
//! clock. While the store cannot be asked, this process decides by itself with its share of the
//! limits, which is all of them until it is told how many gateways there are, and tries again once a second.

mod ask;
mod connection;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use legate_config::rules::{LimitDomain, LimitStore};
use legate_config::secret::Credential;
use legate_config::{ClusterKey, Hash128, Snapshot};
use parking_lot::Mutex;
use redis::{Client, RedisConnectionInfo};

pub(crate) use ask::decide;
pub(crate) use connection::Connections;

use crate::upstream::ClusterHandle;

/// Name of the store that the process was started with.
const OWN: &str = "own";
/// Milliseconds for an answer of that store.
const OWN_TIMEOUT_MS: u64 = 20;
/// Nanoseconds without a question after one that failed.
const PAUSE: u64 = 1_000_000_000;

/// Looks clusters up.
pub(crate) type Clusters<'a> = dyn Fn(&ClusterKey) -> Option<Arc<ClusterHandle>> + 'a;

/// The stores that the process knows.
#[derive(Debug)]
pub(crate) struct Stores {
    own: Option<Arc<SharedStore>>,
    /// Those of the config, as long as they are in it.
    known: Mutex<BTreeMap<Arc<str>, Arc<SharedStore>>>,
}

/// A store.
pub(crate) struct SharedStore {
    /// What tells it from others, its settings included.
    pub(crate) name: Arc<str>,
    target: Target,
    timeout: Duration,
    /// When it may be asked again; 0 = it answers.
    silent_until: AtomicU64,
    /// Why it does not answer.
    trouble: Mutex<Option<String>>,
    counters: Arc<StoreCounters>,
}

/// What happened to questions to stores.
#[derive(Debug, Default)]
pub(crate) struct StoreCounters {
    errors: AtomicU64,
    fallbacks: AtomicU64,
}

/// Where a store is.
enum Target {
    /// At a URL.
    Url(Box<Client>),
    /// Behind a cluster.
    Cluster(Arc<ClusterHandle>, Box<RedisConnectionInfo>),
}

// === impl Stores ===

impl Stores {
    /// The store of a process, by its URL; a text without a scheme is `host:port`.
    pub(crate) fn new(url: Option<&str>) -> Self {
        let own = url.and_then(|url| match client(url) {
            Ok(client) => Some(Arc::new(SharedStore {
                name: OWN.into(),
                target: Target::Url(Box::new(client)),
                timeout: Duration::from_millis(OWN_TIMEOUT_MS),
                silent_until: AtomicU64::new(0),
                trouble: Mutex::default(),
                counters: Arc::default(),
            })),
            Err(error) => {
                tracing::error!(%error, "The store of rate limits cannot be used; each gateway counts for itself");
                None
            }
        });
        Self {
            own,
            known: Mutex::default(),
        }
    }

    /// The store that the process was started with.
    pub(super) fn own(&self) -> Option<Arc<SharedStore>> {
        self.own.clone()
    }

    /// The stores of a domain, in its order; `Err` says in words why one cannot be used.
    pub(super) fn of_domain(
        &self,
        domain: &LimitDomain,
        snapshot: &Snapshot,
        clusters: &Clusters<'_>,
    ) -> Vec<Result<Arc<SharedStore>, String>> {
        let mut known = self.known.lock();
        let one = |store: &LimitStore| {
            let cluster = clusters(&store.cluster)
                .ok_or_else(|| format!("there is no cluster `{}`", store.cluster))?;
            let credential = match &store.credential {
                None => None,
                Some(key) => {
                    let found = snapshot.credentials.get(key.as_str());
                    let missing = || format!("there is no credential `{key}`");
                    Some(&**found.ok_or_else(missing)?)
                }
            };
            let name: Arc<str> = Hash128::of(&(store, credential)).to_string().into();
            if let Some(old) = known.get(&name)
                && matches!(&old.target, Target::Cluster(old, _) if Arc::ptr_eq(old, &cluster))
            {
                return Ok(Arc::clone(old));
            }
            let new = Arc::new(SharedStore {
                name: Arc::clone(&name),
                target: Target::Cluster(cluster, Box::new(login(credential))),
                timeout: Duration::from_millis(store.timeout_ms),
                silent_until: AtomicU64::new(0),
                trouble: Mutex::default(),
                counters: known
                    .get(&name)
                    .map(|old| Arc::clone(&old.counters))
                    .unwrap_or_default(),
            });
            known.insert(name, Arc::clone(&new));
            Ok(new)
        };
        domain.stores.iter().map(one).collect()
    }

    /// Questions that failed, and requests that were decided here in place of a store.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let known = self.known.lock();
        let all = known.values().chain(&self.own);
        all.fold((0, 0), |(errors, fallbacks), store| {
            (
                errors + store.counters.errors.load(Ordering::Relaxed),
                fallbacks + store.counters.fallbacks.load(Ordering::Relaxed),
            )
        })
    }
}

/// Whether a text is the URL of a store, or its `host:port`.
///
/// # Errors
/// Says why not, without what may be secret in it.
pub fn check_store_url(url: &str) -> Result<(), String> {
    client(url).map(drop)
}

fn client(url: &str) -> Result<Client, String> {
    // The form that Edge Stack takes.
    let url = if url.contains("://") {
        url.to_owned()
    } else {
        format!("redis://{url}")
    };
    // The error may hold the text, and that a password.
    Client::open(url).map_err(|error| format!("no URL of a Redis: {:?}", error.kind()))
}

fn login(credential: Option<&Credential>) -> RedisConnectionInfo {
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    match credential {
        None => info,
        Some(credential) if credential.username.is_empty() => {
            info.set_password(credential.password.reveal())
        }
        Some(credential) => info
            .set_username(&credential.username)
            .set_password(credential.password.reveal()),
    }
}

// === impl SharedStore ===

impl SharedStore {
    /// Whether it may be asked now. After a failure nobody asks for a while; then one request does,
    /// and the others wait for what comes of it.
    fn may_ask(&self, now: u64) -> bool {
        let until = self.silent_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        now >= until
            && self
                .silent_until
                .compare_exchange(
                    until,
                    now.saturating_add(PAUSE),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    fn answered(&self) {
        if self.silent_until.swap(0, Ordering::Relaxed) != 0 {
            *self.trouble.lock() = None;
            tracing::info!(store = %self, "The store of rate limits answers again");
        }
    }

    fn failed(&self, now: u64, error: &dyn fmt::Display) {
        self.counters.errors.fetch_add(1, Ordering::Relaxed);
        let until = now.saturating_add(PAUSE);
        if self.silent_until.swap(until, Ordering::Relaxed) == 0 {
            *self.trouble.lock() = Some(format!("{self} does not answer: {error}"));
            tracing::warn!(store = %self, %error, "The store of rate limits does not answer; until it does, each gateway counts for itself");
        }
    }

    /// Why it did not answer when it was last asked; `None` = it did, or nobody asked.
    pub(super) fn trouble(&self) -> Option<String> {
        let silent = self.silent_until.load(Ordering::Relaxed) != 0;
        self.trouble.lock().clone().filter(|_| silent)
    }

    fn fell_back(&self) {
        self.counters.fallbacks.fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Display for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Url(client) => fmt::Display::fmt(client.get_connection_info().addr(), f),
            Target::Cluster(cluster, _) => fmt::Display::fmt(&cluster.key, f),
        }
    }
}

impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore")
            .field("target", &format_args!("{self}"))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
