//! A Kubernetes API server as a source of objects (operator.md §2).
//!
//! Every kind is listed and watched by a task of its own (`feed`, `probe`); what comes in is reduced
//! (`wire`, `ingest`, `written_as`) and goes into one synchronous state (`state`, `freeze`,
//! `pending`), from which the reader takes what changed. `tasks` runs it all; nothing here writes to
//! the API server.
//!
//! Whatever fails is tried again, and what was last known stays: an object goes only when the API
//! server says that it was deleted while its kind is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::kube::Client;
use legate_api::Kind;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::update::Update;
use shared::Shared;
use state::State;
use tasks::Tasks;

mod backoff;
mod client;
pub mod codes;
mod fault;
mod feed;
mod freeze;
mod ingest;
mod kinds;
mod pending;
mod probe;
mod shared;
mod state;
mod tasks;
mod wire;
mod written_as;

pub use client::{ClientError, client, client_config};

/// What is watched, and with which rights.
#[derive(Debug, Clone)]
pub struct KubeOptions {
    /// Only these namespaces, one watch per namespace and kind; empty = the whole cluster.
    pub watch_namespaces: Vec<String>,
    /// `AMBASSADOR_LABEL_SELECTOR`: passed to every list and watch.
    pub label_selector: Option<String>,
    /// `AMBASSADOR_FIELD_SELECTOR`: passed to every list and watch.
    pub field_selector: Option<String>,
    /// How Secrets are read.
    pub secrets: SecretAccess,
    /// Whether EndpointSlices are watched (`AMBASSADOR_DISABLE_ENDPOINTS` turns it off).
    pub endpoints: bool,
    /// Whether cluster-scoped kinds (Namespace) may be watched; false in a namespaces-only install.
    pub cluster_scoped: bool,
    /// How long things take; the default, except in tests.
    pub timing: Timing,
}

/// The three ways to read Secrets (operator.md §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretAccess {
    /// A metadata watch wherever objects are watched, and a `get` for each referenced one.
    All,
    /// The same, in these namespaces only.
    Namespaces(Vec<String>),
    /// One list and watch for each of these (namespace, name).
    Names(Vec<(String, String)>),
}

/// Intervals and limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Delay after a first failure; it doubles with each further one.
    pub backoff_first: Duration,
    /// The longest delay after a failure.
    pub backoff_most: Duration,
    /// Limit on waiting for the head of an answer.
    pub answer: Duration,
    /// How long a watch may be silent until it is opened again, in case nobody is there any more.
    pub silence: Duration,
    /// How often an absent kind is looked for.
    pub recheck_absent: Duration,
    /// How often a frozen kind is looked for.
    pub recheck_frozen: Duration,
    /// How long a deletion waits before the API server is asked whether the kind is still there.
    pub deletion_wait: Duration,
    /// How long objects of a kind that was frozen stay after it is back, unless they reappear.
    pub ghosts_stay: Duration,
    /// How long a list or watch has to be forbidden until that is believed.
    pub forbidden_after: Duration,
}

/// How a watched kind stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KindState {
    /// The first list has not come back yet.
    Listing,
    /// Listed and watched.
    Live,
    /// The API server does not have the kind.
    Absent,
    /// Its CRD is gone or going: what was last known serves, nothing is removed.
    Frozen,
    /// The watch is failing; what was last known serves.
    Failing,
}

/// What is known of the source as a whole; for readiness, metrics and diagnostics pages.
#[derive(Debug, Clone, Default)]
pub struct KubeState {
    /// Whether each present kind was listed once: an update has been handed on.
    pub synced: bool,
    /// Needed kinds (Listener, Host, Mapping) that the API server does not have.
    pub missing: BTreeSet<Kind>,
    /// The watched kinds.
    pub kinds: BTreeMap<Kind, KindState>,
    /// Lists and watches that were started again after a fault, per kind.
    pub restarts: BTreeMap<Kind, u64>,
    /// When an answer or event last came from the API server, seconds since the epoch.
    pub last_contact: Option<i64>,
    /// The fault that stands in the way now, as one sentence.
    pub fault: Option<String>,
    /// Objects that are known, per watched kind; of Secrets those that there are, read or not.
    pub objects: BTreeMap<Kind, usize>,
    /// What fails now, per kind.
    pub errors: BTreeMap<Kind, String>,
}

/// A running source. Clones are handles of the same one, which ends with the last of them and of its
/// [`KubeWatch`].
#[derive(Clone)]
pub struct KubeSource {
    shared: Arc<Shared>,
    _life: Arc<Life>,
}

/// The updates of a source as they happen.
pub struct KubeWatch {
    shared: Arc<Shared>,
    _life: Arc<Life>,
}

/// Ends the tasks when nobody is interested any more.
struct Life(AbortHandle);

impl KubeSource {
    /// Starts to watch, on tasks of `runtime`.
    ///
    /// Nothing fails here: an API server that is away is waited for, see [`KubeSource::state`].
    #[must_use]
    pub fn start(
        client: Client,
        options: KubeOptions,
        runtime: &Handle,
    ) -> (KubeSource, KubeWatch) {
        let feeds = kinds::feeds(&options);
        let state = State::new(&options, &feeds, Instant::now());
        let shared = Arc::new(Shared::new(state));
        let tasks = Tasks {
            shared: Arc::clone(&shared),
            client,
            timing: options.timing,
            feeds,
        };
        let life = Arc::new(Life(runtime.spawn(tasks.run()).abort_handle()));
        let source = KubeSource {
            shared: Arc::clone(&shared),
            _life: Arc::clone(&life),
        };
        let watch = KubeWatch {
            shared,
            _life: life,
        };
        (source, watch)
    }

    /// How things stand.
    #[must_use]
    pub fn state(&self) -> KubeState {
        let mut state = self.shared.look(State::snapshot);
        state.last_contact = self.shared.contact.last();
        state
    }

    /// Replaces the Secrets that are wanted, as (namespace, name); one that is no longer wanted is
    /// removed from the reader's view.
    ///
    /// True when each is settled: its content, or that it cannot be had, was in an update that the
    /// reader has taken, or there is no such Secret. After false an update will come; ask again
    /// when it has.
    #[must_use]
    pub fn want_secrets(&self, wanted: BTreeSet<(String, String)>) -> bool {
        self.shared
            .update(|state, now| state.want_secrets(&wanted, now))
    }
}

impl KubeWatch {
    /// The next update; `None` when the watch has ended. The first one comes when each kind that the
    /// API server has was listed, and holds everything; those that are not taken in time merge.
    ///
    /// Cancel-safe: dropping the future loses no update.
    pub async fn recv(&mut self) -> Option<Update> {
        loop {
            if let Some(update) = self.shared.take() {
                return Some(update);
            }
            if self.shared.has_ended() {
                return None;
            }
            self.shared.readable().await;
        }
    }

    /// An update that is there already.
    pub fn try_recv(&mut self) -> Option<Update> {
        self.shared.take()
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff_first: Duration::from_millis(500),
            backoff_most: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            silence: Duration::from_secs(90),
            recheck_absent: Duration::from_secs(10),
            recheck_frozen: Duration::from_secs(2),
            deletion_wait: Duration::from_millis(50),
            ghosts_stay: Duration::from_secs(600),
            forbidden_after: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for KubeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeSource").finish_non_exhaustive()
    }
}

impl fmt::Debug for KubeWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeWatch").finish_non_exhaustive()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
