//! What the folder holds: files, the objects in them, and which object of a name is served.
//!
//! Synchronous and without a clock of its own, so that tests and the watcher drive it alike.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use legate_api::{Object, ObjectKey};
use legate_compiler::{Diagnostic, Location};

use super::document::Entry;
use super::file::FileState;
use super::reader;
use super::report::{Finder, report};
use super::walk::{FoundFile, Walk, walk};
use super::{FolderOptions, SourceText, load};
use crate::update::Update;

/// The name of standard input.
const STDIN: &str = "-";

/// The state of a folder source.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: FolderOptions,
    paths: Vec<PathBuf>,
    walk: Walk,
    files: BTreeMap<Arc<str>, FileState>,
    slots: BTreeMap<ObjectKey, Slot>,
    /// Keys that more than one present object claims.
    doubled: BTreeSet<ObjectKey>,
    /// Keys without a claim, and when they go.
    leaving: BTreeMap<ObjectKey, Instant>,
    polling: Option<String>,
    reported: Vec<Diagnostic>,
}

/// All that is known about one name.
#[derive(Debug, Default)]
struct Slot {
    /// Objects of that name that are present, in order.
    live: Vec<Arc<Entry>>,
    /// What was there before, of a broken document or a missing file.
    kept: Vec<Arc<Entry>>,
    /// What the last update said.
    serving: Option<Arc<Entry>>,
}

/// Changes that wait to become an update.
#[derive(Default)]
pub(super) struct Changes {
    touched: BTreeSet<ObjectKey>,
    fresh: HashMap<*const Entry, Object>,
}

impl State {
    pub(super) fn new(paths: &[PathBuf], options: FolderOptions) -> Self {
        Self {
            options,
            paths: paths.to_vec(),
            walk: Walk::default(),
            files: BTreeMap::new(),
            slots: BTreeMap::new(),
            doubled: BTreeSet::new(),
            leaving: BTreeMap::new(),
            polling: None,
            reported: Vec::new(),
        }
    }

    /// Reads everything for the first time.
    pub(super) fn load(&mut self) -> Update {
        self.walk = walk(&self.paths);
        let mut reads = Vec::new();
        if self.paths.iter().any(|path| path.as_os_str() == STDIN) {
            reads.push((Arc::from(STDIN), reader::read_stdin(STDIN)));
        }
        for (name, found) in &self.walk.files {
            let read = reader::read(&found.path, name);
            if !read.gone {
                reads.push((Arc::clone(name), read));
            }
        }
        let mut changes = Changes::default();
        for (name, file, objects) in load::load(reads, &self.options.namespace) {
            self.attach(&file, &mut changes);
            changes.add(objects);
            self.files.insert(name, file);
        }
        let mut update = self.settle(changes, Instant::now());
        self.reported = report(self);
        update.diagnostics.clone_from(&self.reported);
        update
    }

    /// Looks at everything again; files whose stamp is unchanged are not read, unless `suspects`
    /// names them. Files that are `busy` being written are left for later.
    pub(super) fn rescan(
        &mut self,
        suspects: &BTreeSet<PathBuf>,
        busy: &BTreeMap<PathBuf, Instant>,
        changes: &mut Changes,
        now: Instant,
    ) {
        self.walk = walk(&self.paths);
        let found: Vec<(Arc<str>, FoundFile)> = self
            .walk
            .files
            .iter()
            .map(|(name, found)| (Arc::clone(name), found.clone()))
            .collect();
        for (name, found) in &found {
            let known = self.files.get(name);
            let unchanged = known.is_some_and(|file| {
                file.vanished.is_none()
                    && file.stamp.still(&found.stamp)
                    && !suspects.contains(&found.path)
            });
            if !unchanged && !busy.contains_key(&found.path) {
                self.reread(name, &found.path, changes, now);
            }
        }
        let missing: Vec<_> = self
            .files
            .iter()
            .filter(|(name, file)| {
                file.vanished.is_none()
                    && name.as_ref() != STDIN
                    && !self.walk.files.contains_key(*name)
            })
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in missing {
            self.vanish(&name, changes, now);
        }
    }

    /// Reads one file again; false if it is not one of ours, or no longer there.
    pub(super) fn touch(&mut self, path: &Path, changes: &mut Changes, now: Instant) -> bool {
        let known = self.walk.files.iter().find(|(_, found)| found.path == path);
        let Some(name) = known.map(|(name, _)| Arc::clone(name)) else {
            return false;
        };
        if !path.exists() {
            return false;
        }
        self.reread(&name, path, changes, now);
        true
    }

    /// Turns changes into an update; `None` when there is nothing to say.
    pub(super) fn update(&mut self, mut changes: Changes, now: Instant) -> Option<Update> {
        self.expire_files(&mut changes, now);
        let mut update = self.settle(changes, now);
        let diagnostics = report(self);
        let silent = update.upserts.is_empty() && update.removals.is_empty();
        if silent && diagnostics == self.reported {
            return None;
        }
        self.reported = diagnostics;
        update.diagnostics.clone_from(&self.reported);
        Some(update)
    }

    /// When something is to be removed next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let delay = self.options.removal_delay;
        let files = self.files.values().filter_map(|file| file.vanished);
        files
            .map(|at| at + delay)
            .chain(self.leaving.values().copied())
            .min()
    }

    pub(super) fn set_polling(&mut self, why: String) {
        self.polling = Some(why);
    }

    // === What others look up ===

    pub(super) fn walk(&self) -> &Walk {
        &self.walk
    }

    pub(super) fn entry(&self, key: &ObjectKey) -> Option<Arc<Entry>> {
        self.slots.get(key)?.serving.clone()
    }

    pub(super) fn finder(&self) -> Finder<'_> {
        Finder::new(self)
    }

    pub(super) fn problems(&self) -> &[Diagnostic] {
        &self.walk.problems
    }

    pub(super) fn polling(&self) -> Option<&str> {
        self.polling.as_deref()
    }

    pub(super) fn present_files(&self) -> impl Iterator<Item = &FileState> {
        self.files.values().filter(|file| file.vanished.is_none())
    }

    /// Objects of one name, each time in order.
    pub(super) fn doubled(&self) -> impl Iterator<Item = Vec<&Entry>> {
        let slots = self.doubled.iter().filter_map(|key| self.slots.get(key));
        slots.map(|slot| slot.live.iter().map(AsRef::as_ref).collect())
    }

    pub(super) fn text_at(&self, location: &Location) -> Option<SourceText> {
        let file = self.files.get(location.file.as_str())?;
        let live = file.documents.iter().map(|(document, _)| document);
        let kept = file.kept.iter().map(|entry| &entry.document);
        let document = live
            .chain(kept)
            .find(|document| document.holds_line(location.line))?;
        Some(SourceText {
            text: Arc::clone(&document.text),
            first_line: document.first_line,
        })
    }

    // === Changes ===

    fn reread(&mut self, name: &Arc<str>, path: &Path, changes: &mut Changes, now: Instant) {
        let read = reader::read(path, name);
        if read.gone {
            // It was there when the folder was looked at.
            return self.vanish(name, changes, now);
        }
        let mut file = self.files.remove(name).unwrap_or_default();
        let before: Vec<_> = file
            .claims()
            .map(|(entry, kept)| (Arc::clone(entry), kept))
            .collect();
        let objects = file.replace(name, read, &self.options.namespace);
        self.exchange(&before, &file, changes);
        changes.add(objects);
        self.files.insert(Arc::clone(name), file);
    }

    fn vanish(&mut self, name: &Arc<str>, changes: &mut Changes, now: Instant) {
        let Some(mut file) = self.files.remove(name) else {
            return;
        };
        let before: Vec<_> = file
            .claims()
            .map(|(entry, kept)| (Arc::clone(entry), kept))
            .collect();
        file.vanished = Some(now);
        self.exchange(&before, &file, changes);
        self.files.insert(Arc::clone(name), file);
    }

    fn expire_files(&mut self, changes: &mut Changes, now: Instant) {
        let delay = self.options.removal_delay;
        let over: Vec<_> = self
            .files
            .iter()
            .filter(|(_, file)| file.vanished.is_some_and(|at| at + delay <= now))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in over {
            let Some(file) = self.files.remove(&name) else {
                continue;
            };
            for (entry, _) in file.claims() {
                self.detach(entry, changes);
                // The file's absence was waited for already.
                self.leaving.entry(entry.key.clone()).or_insert(now);
            }
        }
    }

    /// Replaces a file's claims; those that stay as they are cost nothing.
    fn exchange(&mut self, before: &[(Arc<Entry>, bool)], file: &FileState, changes: &mut Changes) {
        let id = |entry: &Arc<Entry>, kept: bool| (Arc::as_ptr(entry), kept);
        let after: std::collections::HashSet<_> =
            file.claims().map(|(entry, kept)| id(entry, kept)).collect();
        let stays: std::collections::HashSet<_> = before
            .iter()
            .map(|(entry, kept)| id(entry, *kept))
            .filter(|claim| after.contains(claim))
            .collect();
        for (entry, kept) in before {
            if !stays.contains(&id(entry, *kept)) {
                self.detach(entry, changes);
            }
        }
        for (entry, kept) in file.claims() {
            if !stays.contains(&id(entry, kept)) {
                self.attach_one(entry, kept, changes);
            }
        }
    }

    fn attach(&mut self, file: &FileState, changes: &mut Changes) {
        for (entry, kept) in file.claims() {
            self.attach_one(entry, kept, changes);
        }
    }

    fn attach_one(&mut self, entry: &Arc<Entry>, kept: bool, changes: &mut Changes) {
        let slot = self.slots.entry(entry.key.clone()).or_default();
        let claims = if kept { &mut slot.kept } else { &mut slot.live };
        let at = claims.partition_point(|other| other.order(entry).is_lt());
        claims.insert(at, Arc::clone(entry));
        if slot.live.len() > 1 {
            self.doubled.insert(entry.key.clone());
        }
        changes.touched.insert(entry.key.clone());
    }

    fn detach(&mut self, entry: &Arc<Entry>, changes: &mut Changes) {
        if let Some(slot) = self.slots.get_mut(&entry.key) {
            slot.live.retain(|other| !Arc::ptr_eq(other, entry));
            slot.kept.retain(|other| !Arc::ptr_eq(other, entry));
            if slot.live.len() < 2 {
                self.doubled.remove(&entry.key);
            }
            changes.touched.insert(entry.key.clone());
        }
    }

    /// Chooses for each touched name, and removes what has waited long enough.
    fn settle(&mut self, mut changes: Changes, now: Instant) -> Update {
        let mut update = Update::default();
        for key in &changes.touched {
            let Some(slot) = self.slots.get_mut(key) else {
                continue;
            };
            let Some(best) = slot.live.first().or_else(|| slot.kept.first()).cloned() else {
                let due = now + self.options.removal_delay;
                self.leaving.entry(key.clone()).or_insert(due);
                continue;
            };
            self.leaving.remove(key);
            let known = slot
                .serving
                .as_ref()
                .is_some_and(|old| old.same_text(&best));
            if !known {
                let decoded = changes.fresh.remove(&Arc::as_ptr(&best));
                let object = decoded.or_else(|| {
                    best.document
                        .read_item(&best.items, &self.options.namespace)
                });
                update.upserts.extend(object);
            }
            slot.serving = Some(best);
        }
        let over = self.leaving.iter().filter(|(_, at)| **at <= now);
        let over: Vec<_> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            self.leaving.remove(&key);
            if self
                .slots
                .remove(&key)
                .is_some_and(|slot| slot.serving.is_some())
            {
                update.removals.push(key);
            }
        }
        update
    }
}

impl Changes {
    fn add(&mut self, objects: Vec<(Arc<Entry>, Object)>) {
        let objects = objects.into_iter();
        self.fresh
            .extend(objects.map(|(entry, object)| (Arc::as_ptr(&entry), object)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }
}
