//! The task that watches the Secret and, on the leader, writes it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use legate_compiler::Diagnostic;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{self, Instant};

use super::codec::{self, CAPACITY, Entries, Entry};
use super::{LastGoodMap, LastGoodReport, Loaded, OBJECTS, Set, Stored};
use crate::backoff::ApiBackoff;
use crate::fault;

const FIELD_MANAGER: &str = "legate";
/// How long one write may take.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// For how long after a write the watch may still report what was there before it.
const ECHO: Duration = Duration::from_secs(10);

/// What the task is told and what it tells.
pub(super) struct Channels {
    pub(super) set: watch::Receiver<Set>,
    pub(super) leading: watch::Receiver<bool>,
    pub(super) changes: watch::Sender<Arc<LastGoodMap>>,
    pub(super) report: watch::Sender<LastGoodReport>,
}

/// The task's state.
pub(super) struct Writer {
    api: Api<Secret>,
    name: String,
    channels: Channels,
    stored: Option<Stored>,
    /// Whether `stored` came from the API server: nothing is written over what was never read.
    known: bool,
    unreadable: Vec<Diagnostic>,
    serial: u64,
    wanted: Option<Wanted>,
    /// The version of the last own write, and when it was done.
    written: Option<(u64, Instant)>,
    backoff: ApiBackoff,
    retry_at: Option<Instant>,
    said_write: bool,
    said_watch: bool,
}

struct Wanted {
    map: Arc<LastGoodMap>,
    entries: Entries,
    text: String,
    left_out: Vec<Diagnostic>,
}

impl Writer {
    pub(super) fn new(api: Api<Secret>, name: String, loaded: Loaded, channels: Channels) -> Self {
        Self {
            api,
            name,
            channels,
            stored: loaded.stored,
            known: loaded.known,
            unreadable: loaded.diagnostics,
            serial: 0,
            wanted: None,
            written: None,
            backoff: ApiBackoff::default(),
            retry_at: None,
            said_write: false,
            said_watch: false,
        }
    }

    /// Runs until one of the channels is closed.
    pub(super) async fn run(mut self) {
        let events = watcher::watch_object(self.api.clone(), &self.name).default_backoff();
        let mut events = pin!(events);
        loop {
            self.report();
            let due = self.due();
            if due && self.retry_at.is_none_or(|at| Instant::now() >= at) {
                self.write().await;
                continue;
            }
            let retry_at = self.retry_at.unwrap_or_else(Instant::now);
            tokio::select! {
                changed = self.channels.set.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let set = self.channels.set.borrow_and_update().clone();
                    self.serial = set.serial;
                    if let Some(map) = set.map {
                        self.prepare(map);
                    }
                }
                changed = self.channels.leading.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(event) = events.next() => self.watched(event),
                () = time::sleep_until(retry_at), if due => {}
            }
        }
    }

    /// Whether there is something to write, and the right to.
    fn due(&self) -> bool {
        let Some(wanted) = self.wanted.as_ref().filter(|_| self.known) else {
            return false;
        };
        let differs = match &self.stored {
            Some(stored) => stored.text != wanted.text.as_bytes(),
            None => !wanted.entries.is_empty(),
        };
        differs && *self.channels.leading.borrow()
    }

    /// What to write for these objects. An object that is kept already keeps its time.
    fn prepare(&mut self, map: Arc<LastGoodMap>) {
        let now = Timestamp::now().as_second();
        let stored = self.stored.as_ref().map(|stored| &stored.entries);
        let before = self.wanted.as_ref().map(|wanted| &wanted.entries);
        let entries: Entries = map
            .iter()
            .map(|(key, object)| {
                let since = [stored, before]
                    .into_iter()
                    .filter_map(|entries| entries?.get(key))
                    .find(|entry| same(entry, object))
                    .map_or(now, |entry| entry.since);
                let object = Arc::clone(object);
                (key.clone(), Entry { object, since })
            })
            .collect();
        let (text, left_out) = codec::encode(&entries, CAPACITY);
        self.wanted = Some(Wanted {
            map,
            entries,
            text,
            left_out,
        });
    }

    async fn write(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        let (text, entries) = (wanted.text.clone(), wanted.entries.clone());
        let mut metadata = json!({"name": self.name});
        let version = self
            .stored
            .as_ref()
            .and_then(|stored| stored.resource_version.clone());
        if let (Some(version), Some(metadata)) = (version, metadata.as_object_mut()) {
            metadata.insert("resourceVersion".to_owned(), version.into());
        }
        let body = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "data": {OBJECTS: STANDARD.encode(&text)},
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&body);
        let call = self.api.patch(&self.name, &params, &patch);
        match time::timeout(WRITE_LIMIT, call).await {
            Ok(Ok(secret)) => {
                let resource_version = secret.metadata.resource_version;
                self.written = number(resource_version.as_deref()).map(|n| (n, Instant::now()));
                self.stored = Some(Stored {
                    text: text.into_bytes(),
                    entries,
                    resource_version,
                });
                self.unreadable.clear();
                self.backoff.reset();
                self.retry_at = None;
                if std::mem::take(&mut self.said_write) {
                    tracing::info!(secret = self.name, "Last good versions are kept again");
                }
            }
            // Another replica wrote, or it was deleted: look again before the next attempt.
            Ok(Err(error)) if matches!(fault::code(&error), 404 | 409) => {
                self.retry_at = Some(Instant::now() + self.backoff.next_delay());
                if let Ok(Ok(found)) =
                    time::timeout(WRITE_LIMIT, self.api.get_opt(&self.name)).await
                {
                    self.observe(Loaded::read(found));
                }
            }
            Ok(Err(error)) => self.failed(&fault::describe(&error)),
            Err(_) => self.failed("there was no answer in time"),
        }
    }

    fn failed(&mut self, error: &str) {
        self.retry_at = Some(Instant::now() + self.backoff.next_delay());
        if !std::mem::replace(&mut self.said_write, true) {
            tracing::warn!(
                secret = self.name,
                error,
                "Last good versions cannot be kept: a restart would not find the newest of them"
            );
        }
    }

    fn watched(&mut self, event: watcher::Result<Option<Secret>>) {
        match event {
            Ok(secret) => {
                if std::mem::take(&mut self.said_watch) {
                    tracing::info!(
                        secret = self.name,
                        "Kept last good versions are watched again"
                    );
                }
                if !self.is_echo(secret.as_ref()) {
                    self.observe(Loaded::read(secret));
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.said_watch, true) {
                    let error = fault::describe_watch(&error);
                    tracing::warn!(
                        secret = self.name,
                        error,
                        "Kept last good versions cannot be watched"
                    );
                }
            }
        }
    }

    /// Whether an event is from before the own last write. Not for ever: a restored API server may
    /// go back.
    fn is_echo(&self, secret: Option<&Secret>) -> bool {
        let version = secret.and_then(|secret| secret.metadata.resource_version.as_deref());
        self.written.is_some_and(|(own, at)| {
            at.elapsed() < ECHO && number(version).is_some_and(|version| version < own)
        })
    }

    /// What the Secret holds now, if not by an own write.
    fn observe(&mut self, found: Loaded) {
        let changed = match (&self.stored, &found.stored) {
            (Some(before), Some(now)) => before.text != now.text,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if changed && found.diagnostics.is_empty() {
            self.channels
                .changes
                .send_replace(Arc::new(found.objects()));
        }
        self.stored = found.stored;
        self.unreadable = found.diagnostics;
        self.known = true;
        if let Some(map) = self.wanted.as_ref().map(|wanted| Arc::clone(&wanted.map)) {
            self.prepare(map);
        }
    }

    fn report(&self) {
        let wanted = self.wanted.as_ref();
        let stored = self.stored.as_ref().map(|stored| &stored.entries);
        let entries = wanted.map(|wanted| &wanted.entries).or(stored);
        let left_out = wanted.map(|wanted| wanted.left_out.as_slice());
        let report = LastGoodReport {
            objects: entries.map_or(0, Entries::len),
            oldest: entries.and_then(|e| e.values().map(|entry| entry.since).min()),
            pending: self.due(),
            diagnostics: [left_out.unwrap_or_default(), &self.unreadable].concat(),
            serial: self.serial,
        };
        for diagnostic in &report.diagnostics {
            if !self
                .channels
                .report
                .borrow()
                .diagnostics
                .contains(diagnostic)
            {
                let object = diagnostic.object.as_ref().map(ToString::to_string);
                tracing::warn!(
                    secret = self.name,
                    object,
                    "[{}] {}",
                    diagnostic.code,
                    diagnostic.message
                );
            }
        }
        self.channels.report.send_if_modified(|known| {
            let changed = *known != report;
            *known = report;
            changed
        });
    }
}

/// Whether the entry keeps this very version.
fn same(entry: &Entry, object: &Arc<legate_api::Object>) -> bool {
    Arc::ptr_eq(&entry.object, object)
        || (entry.object.raw == object.raw && entry.object.written_as == object.written_as)
}

fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}
