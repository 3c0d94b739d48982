//! The last good versions of objects that are rejected now, in a Secret: a fresh replica or a
//! hand-over compiles the same bytes (operator.md §6).
//!
//! The leader writes what the reconcile loop wants, compared with what is there and with the
//! `resourceVersion` it was read at, so that a leader that was deposed meanwhile is refused. All
//! replicas watch, and hand on what another wrote. Only objects of our own kinds are kept, so
//! nothing of a user's Secrets.

mod codec;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use legate_api::{Object, ObjectKey};
use legate_compiler::Diagnostic;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fault;
use crate::identity::Identity;
use codec::Entries;
use writer::Writer;

/// The key of the Secret's data.
const OBJECTS: &str = "objects";

/// Last good versions by object.
pub type LastGoodMap = BTreeMap<ObjectKey, Arc<Object>>;

/// What the Secret held when it was read.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    stored: Option<Stored>,
    /// Whether the API server answered; a default one never was.
    known: bool,
    diagnostics: Vec<Diagnostic>,
}

/// The Secret, read.
#[derive(Debug, Clone, Default)]
struct Stored {
    text: Vec<u8>,
    entries: Entries,
    resource_version: Option<String>,
}

/// Why the Secret could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("last good versions cannot be read from Secret {secret}: {message}")]
pub struct LoadError {
    /// Namespace and name.
    pub secret: String,
    /// The HTTP status; 0 when there was no answer.
    pub status: u16,
    /// What went wrong.
    pub message: String,
}

/// How the kept versions stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastGoodReport {
    /// How many there are.
    pub objects: usize,
    /// Since when the oldest is kept, in seconds since the epoch.
    pub oldest: Option<i64>,
    /// Whether there is something to write.
    pub pending: bool,
    /// What did not fit, and what could not be read.
    pub diagnostics: Vec<Diagnostic>,
    /// How often [`LastGoodStore::set`] had been called when this was made.
    pub serial: u64,
}

/// What [`LastGoodStore::set`] was told last, and how often it was called.
#[derive(Debug, Clone, Default)]
struct Set {
    serial: u64,
    map: Option<Arc<LastGoodMap>>,
}

/// Keeps the Secret as it should be. The task ends when this is dropped.
pub struct LastGoodStore {
    set: watch::Sender<Set>,
    changes: watch::Receiver<Arc<LastGoodMap>>,
    report: watch::Receiver<LastGoodReport>,
    task: JoinHandle<Option<()>>,
}

/// Reads the Secret, as every replica has to before it publishes anything.
///
/// # Errors
/// When the API server is away or refuses. A Secret that is not there is empty.
pub async fn load(client: kube::Client, identity: &Identity) -> Result<Loaded, LoadError> {
    let name = identity.last_good_name();
    let api: Api<Secret> = Api::namespaced(client, &identity.namespace);
    let found = api.get_opt(&name).await.map_err(|error| LoadError {
        secret: format!("{}/{name}", identity.namespace),
        status: fault::code(&error),
        message: fault::describe(&error),
    })?;
    Ok(Loaded::read(found))
}

// === impl Loaded ===

impl Loaded {
    fn read(secret: Option<Secret>) -> Self {
        let Some(mut secret) = secret else {
            return Self {
                known: true,
                ..Self::default()
            };
        };
        let text = secret
            .data
            .as_mut()
            .and_then(|data| data.remove(OBJECTS))
            .map_or_else(Vec::new, |bytes| bytes.0);
        let (entries, diagnostics) = codec::decode(&text);
        Self {
            stored: Some(Stored {
                text,
                entries,
                resource_version: secret.metadata.resource_version,
            }),
            known: true,
            diagnostics,
        }
    }

    /// The objects.
    #[must_use]
    pub fn objects(&self) -> LastGoodMap {
        self.stored
            .as_ref()
            .map(|stored| objects(&stored.entries))
            .unwrap_or_default()
    }
}

fn objects(entries: &Entries) -> LastGoodMap {
    entries
        .iter()
        .map(|(key, entry)| (key.clone(), Arc::clone(&entry.object)))
        .collect()
}

// === impl LastGoodStore ===

impl LastGoodStore {
    /// Starts from what was loaded. Writes only while `leading`.
    #[must_use]
    pub fn start(
        client: kube::Client,
        identity: &Identity,
        loaded: Loaded,
        leading: watch::Receiver<bool>,
        runtime: &Handle,
    ) -> Self {
        let (set, set_receiver) = watch::channel(Set::default());
        let (changes, changes_receiver) = watch::channel(Arc::new(loaded.objects()));
        let (report, report_receiver) = watch::channel(LastGoodReport::default());
        let writer = Writer::new(
            Api::namespaced(client, &identity.namespace),
            identity.last_good_name(),
            loaded,
            writer::Channels {
                set: set_receiver,
                leading,
                changes,
                report,
            },
        );
        Self {
            set,
            changes: changes_receiver,
            report: report_receiver,
            task: legate_runtime::task::spawn_on(runtime, "last-good", writer.run()),
        }
    }

    /// The last good versions of all objects that are rejected now. The newest call counts.
    pub fn set(&self, map: Arc<LastGoodMap>) {
        self.set.send_modify(|set| {
            set.serial = set.serial.wrapping_add(1);
            set.map = Some(map);
        });
    }

    /// What is kept, as loaded and whenever another replica changes it; not what this one writes.
    /// A follower takes it as it is, a leader only what it lacks. A Secret that is deleted or
    /// unreadable is no reason to forget anything, and so no change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<LastGoodMap>> {
        self.changes.clone()
    }

    /// How the kept versions stand, for metrics and diagnostics.
    #[must_use]
    pub fn report(&self) -> watch::Receiver<LastGoodReport> {
        self.report.clone()
    }

    /// Waits until what was set is written, for so long. Returns whether it is. To be called before
    /// the Lease is given back.
    pub async fn flush(&self, limit: Duration) -> bool {
        let mut report = self.report.clone();
        let serial = self.set.borrow().serial;
        let settled = report.wait_for(|report| report.serial == serial && !report.pending);
        matches!(tokio::time::timeout(limit, settled).await, Ok(Ok(_)))
    }
}

impl Drop for LastGoodStore {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for LastGoodStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGoodStore").finish_non_exhaustive()
    }
}
