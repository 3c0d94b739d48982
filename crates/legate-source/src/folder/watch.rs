//! Follows what happens on disk, on a thread of its own.
//!
//! A rename or a closed file is acted on at once; a file that is still being written waits for
//! its writer. Events only say where to look: what changed is found by reading.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::reader::Stamp;
use super::state::{Changes, State};
use super::walk::is_manifest;
use crate::update::Update;

/// Looks at the folder this often even where the system notifies: not all file systems do.
const SAFETY_INTERVAL: Duration = Duration::from_secs(30);

/// Updates as they happen. Dropping it stops the thread behind it.
#[derive(Debug)]
pub struct Watch {
    updates: UnboundedReceiver<Update>,
    stop: Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Signal {
    Event(Event),
    Failed(String),
    Stop,
}

struct Worker {
    state: Arc<Mutex<State>>,
    signals: Receiver<Signal>,
    updates: UnboundedSender<Update>,
    notifier: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, (u64, u64)>,
    /// Files being written, and when they are read although nobody closed them.
    writing: BTreeMap<PathBuf, Instant>,
    look: Look,
}

/// What has to be looked at.
#[derive(Debug, Default)]
struct Look {
    everywhere: bool,
    files: BTreeSet<PathBuf>,
}

impl Watch {
    pub(super) fn start(state: Arc<Mutex<State>>) -> Watch {
        let (send, signals) = channel();
        let (updates, receive) = unbounded_channel();
        let always_poll = lock(&state).options.always_poll;
        let notifier = if always_poll {
            Err("notification is switched off".to_owned())
        } else {
            start_notifier(send.clone())
        };
        let mut worker = Worker {
            state,
            signals,
            updates,
            notifier: None,
            watched: BTreeMap::new(),
            writing: BTreeMap::new(),
            look: Look::default(),
        };
        match notifier {
            Ok(notifier) => {
                worker.notifier = Some(notifier);
                worker.follow_directories();
            }
            Err(why) => worker.poll_instead(why),
        }
        // What happened between the load and the first watch was not notified.
        worker.look.everywhere = true;
        let thread = std::thread::Builder::new()
            .name("legate-folder".to_owned())
            .spawn(move || worker.run());
        if let Err(error) = &thread {
            tracing::error!(%error, "Folder is not watched: no thread");
        }
        Watch {
            updates: receive,
            stop: send,
            thread: thread.ok(),
        }
    }

    /// The next update; `None` when the watch has ended.
    ///
    /// Cancel-safe: dropping the future loses no update.
    pub async fn recv(&mut self) -> Option<Update> {
        self.updates.recv().await
    }

    /// An update that is there already.
    pub fn try_recv(&mut self) -> Option<Update> {
        self.updates.try_recv().ok()
    }

    /// As [`Watch::recv`], for code without a runtime.
    pub fn blocking_recv(&mut self) -> Option<Update> {
        self.updates.blocking_recv()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Fails only if the thread has ended.
        let _ = self.stop.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Worker {
    fn run(mut self) {
        loop {
            if !self.act() {
                return;
            }
            let signal = self.signals.recv_timeout(self.timeout());
            let first = match signal {
                Ok(signal) => signal,
                Err(RecvTimeoutError::Timeout) => {
                    self.look.everywhere |= self.writing.is_empty() && self.nothing_is_due();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if !self.note(first) {
                return;
            }
            while let Ok(signal) = self.signals.try_recv() {
                if !self.note(signal) {
                    return;
                }
            }
        }
    }

    /// Does what is due; false when nobody listens any more.
    fn act(&mut self) -> bool {
        let now = Instant::now();
        let late: Vec<_> = self.writing.iter().filter(|(_, at)| **at <= now).collect();
        let late: Vec<PathBuf> = late.into_iter().map(|(path, _)| path.clone()).collect();
        for path in late {
            self.writing.remove(&path);
            self.look.files.insert(path);
        }
        let look = std::mem::take(&mut self.look);
        let mut changes = Changes::default();
        if self.look_at(&look, &mut changes, now) && self.follow_directories() {
            // Files may have come into a new directory before it was watched.
            lock(&self.state).rescan(&look.files, &self.writing, &mut changes, now);
            self.follow_directories();
        }
        let looked = look.everywhere || !look.files.is_empty();
        let mut state = lock(&self.state);
        if changes.is_empty() && !looked && state.deadline().is_none_or(|at| at > now) {
            return true;
        }
        match state.update(changes, now) {
            Some(update) => self.updates.send(update).is_ok(),
            None => !self.updates.is_closed(),
        }
    }

    /// Reads what may have changed; true if the whole folder was walked.
    fn look_at(&self, look: &Look, changes: &mut Changes, now: Instant) -> bool {
        let mut state = lock(&self.state);
        let mut walk = look.everywhere;
        for path in &look.files {
            walk |= !state.touch(path, changes, now);
        }
        if walk {
            state.rescan(&look.files, &self.writing, changes, now);
        }
        walk
    }

    fn timeout(&self) -> Duration {
        let state = lock(&self.state);
        let interval = if self.notifier.is_some() {
            SAFETY_INTERVAL
        } else {
            state.options.poll_interval
        };
        let next = self.writing.values().copied().chain(state.deadline()).min();
        next.map_or(interval, |at| {
            at.saturating_duration_since(Instant::now()).min(interval)
        })
    }

    fn nothing_is_due(&self) -> bool {
        let now = Instant::now();
        lock(&self.state).deadline().is_none_or(|at| at > now)
    }

    /// Takes note of a signal; false to stop.
    fn note(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Stop => return false,
            Signal::Failed(why) => {
                self.poll_instead(why);
                self.look.everywhere = true;
            }
            Signal::Event(event) => self.note_event(&event),
        }
        true
    }

    fn note_event(&mut self, event: &Event) {
        if event.need_rescan() || event.paths.is_empty() {
            self.look.everywhere = true;
            return;
        }
        for path in &event.paths {
            let ours = path.parent().is_some_and(|parent| {
                let state = lock(&self.state);
                let walk = state.walk();
                walk.directories.contains(parent)
                    || walk.anchors.contains(path)
                    || walk.directories.contains(path)
            });
            if ours {
                self.note_path(event.kind, path);
            }
        }
    }

    fn note_path(&mut self, kind: EventKind, path: &Path) {
        let link = || std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_symlink());
        match kind {
            // The inode is another one from now on, whatever comes back under the name.
            EventKind::Remove(_) => {
                self.watched.remove(path);
                self.writing.remove(path);
                self.look.everywhere |= is_manifest(path) || !is_noise(path);
            }
            EventKind::Modify(ModifyKind::Name(_)) => {
                self.watched.remove(path);
                self.writing.remove(path);
                if is_manifest(path) {
                    self.look.files.insert(path.to_owned());
                } else {
                    self.look.everywhere |= !is_noise(path);
                }
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                self.writing.remove(path);
                if !is_noise(path) {
                    self.look.files.insert(path.to_owned());
                }
            }
            EventKind::Create(CreateKind::Folder) => self.look.everywhere = true,
            EventKind::Create(_) if link() => self.look.everywhere |= !is_noise(path),
            EventKind::Create(_) | EventKind::Modify(_) if !is_noise(path) => {
                let due = Instant::now() + lock(&self.state).options.writer_silence;
                self.writing.insert(path.to_owned(), due);
            }
            _ => {}
        }
    }

    /// Watches the directories that count now; true if one was added.
    fn follow_directories(&mut self) -> bool {
        let (directories, parents) = {
            let state = lock(&self.state);
            let walk = state.walk();
            (walk.directories.clone(), walk.parents.clone())
        };
        let mut added = false;
        let mut failure = None;
        let Some(notifier) = &mut self.notifier else {
            return false;
        };
        self.watched.retain(|path, _| {
            let wanted = directories.contains(path) || parents.contains(path);
            if !wanted {
                // Gone with the directory, most of the time.
                let _ = notifier.unwatch(path);
            }
            wanted
        });
        for path in directories.iter().chain(&parents) {
            let Ok(metadata) = std::fs::metadata(path) else {
                continue;
            };
            let stamp = Stamp::of(&metadata);
            let id = (stamp.device, stamp.inode);
            if self.watched.get(path) == Some(&id) {
                continue;
            }
            if self.watched.contains_key(path) {
                let _ = notifier.unwatch(path);
            }
            match notifier.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), id);
                    added = true;
                }
                Err(error) if directories.contains(path) && path.exists() => {
                    failure = Some(error.to_string());
                }
                Err(error) => tracing::debug!(path = %path.display(), %error, "Not watched"),
            }
        }
        if let Some(why) = failure {
            self.poll_instead(why);
        }
        added
    }

    fn poll_instead(&mut self, why: String) {
        tracing::warn!(reason = %why, "Folder is polled, because the system does not notify");
        self.notifier = None;
        self.watched.clear();
        lock(&self.state).set_polling(why);
    }
}

/// Names that editors use while they work. `..data` and its like are how ConfigMaps change.
fn is_noise(path: &Path) -> bool {
    let Some(name) = path.file_name() else {
        return false;
    };
    let name = name.as_encoded_bytes();
    let hidden = name.starts_with(b".") && !name.starts_with(b"..");
    let temporary = name.ends_with(b"~") || name.ends_with(b".swp") || name.ends_with(b".tmp");
    hidden || temporary
}

fn start_notifier(signals: Sender<Signal>) -> Result<RecommendedWatcher, String> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        let signal = match event {
            // Reading causes these; only the end of writing is of interest.
            Ok(Event {
                kind: EventKind::Access(access),
                ..
            }) if access != AccessKind::Close(AccessMode::Write) => return,
            Ok(event) => Signal::Event(event),
            Err(error) => Signal::Failed(error.to_string()),
        };
        // Fails only when the thread has ended.
        let _ = signals.send(signal);
    })
    .map_err(|error| error.to_string())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
