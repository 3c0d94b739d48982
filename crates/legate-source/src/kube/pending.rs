//! What the reader has not taken yet. Changes of one object merge, so that a reader who is slow
//! gets few large updates, and memory is bounded by the number of objects.

use std::collections::{BTreeMap, BTreeSet};

use legate_api::{Object, ObjectKey};
use legate_compiler::Diagnostic;

use crate::update::{Observed, Update};

/// Changes since the reader last took some.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// `None` = gone.
    changes: BTreeMap<ObjectKey, Option<Object>>,
    observed: BTreeMap<ObjectKey, Observed>,
    /// What the reader has.
    known: BTreeSet<ObjectKey>,
    /// Whether to hand on an update even if it is empty.
    forced: bool,
    /// Number of the update that changes go into.
    round: u64,
}

impl Pending {
    pub(super) fn upsert(&mut self, object: Object) {
        self.changes.insert(object.key(), Some(object));
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        self.observed.remove(key);
        if self.known.contains(key) {
            self.changes.insert(key.clone(), None);
        } else {
            self.changes.remove(key);
        }
    }

    pub(super) fn observe(&mut self, observed: Observed) {
        self.observed.insert(observed.key.clone(), observed);
    }

    /// Hands on an update even if it is empty.
    pub(super) fn force(&mut self) {
        self.forced = true;
    }

    /// The update that a change of now goes into; see [`Pending::was_taken`].
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Whether the reader has taken the update of that number.
    pub(super) fn was_taken(&self, round: u64) -> bool {
        round < self.round
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.forced && self.changes.is_empty() && self.observed.is_empty()
    }

    /// All there is, with the diagnostics of now.
    pub(super) fn take(&mut self, diagnostics: Vec<Diagnostic>) -> Update {
        self.forced = false;
        self.round += 1;
        let mut update = Update {
            diagnostics,
            observed: std::mem::take(&mut self.observed).into_values().collect(),
            ..Update::default()
        };
        for (key, change) in std::mem::take(&mut self.changes) {
            if let Some(object) = change {
                self.known.insert(key);
                update.upserts.push(object);
            } else {
                self.known.remove(&key);
                update.removals.push(key);
            }
        }
        update
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::tests::{key, object};

    fn names(update: &Update) -> (Vec<&str>, Vec<&str>) {
        let upserts = update.upserts.iter().map(|o| o.meta.name.as_str());
        let removals = update.removals.iter().map(|key| key.name.as_str());
        (upserts.collect(), removals.collect())
    }

    #[test]
    fn the_last_writer_wins() {
        let mut pending = Pending::default();
        pending.upsert(object("b", 1));
        pending.upsert(object("a", 1));
        pending.upsert(object("a", 2));
        let update = pending.take(Vec::new());
        assert_eq!(names(&update), (vec!["a", "b"], vec![]));
        assert_eq!(update.upserts[0].meta.generation, 2);
        assert!(pending.is_empty());

        pending.remove(&key("a"));
        pending.upsert(object("a", 3));
        pending.upsert(object("b", 2));
        pending.remove(&key("b"));
        assert_eq!(names(&pending.take(Vec::new())), (vec!["a"], vec!["b"]));
    }

    #[test]
    fn what_the_reader_never_had_is_not_removed() {
        let mut pending = Pending::default();
        pending.upsert(object("a", 1));
        pending.remove(&key("a"));
        pending.remove(&key("b"));
        assert!(pending.is_empty());
        // A removal that was not taken yet still counts after another life of the object.
        pending.upsert(object("a", 1));
        pending.take(Vec::new());
        pending.remove(&key("a"));
        pending.upsert(object("a", 2));
        pending.remove(&key("a"));
        assert_eq!(names(&pending.take(Vec::new())), (vec![], vec!["a"]));
        pending.remove(&key("a"));
        assert!(pending.is_empty());
    }

    #[test]
    fn rounds_tell_what_was_taken() {
        let mut pending = Pending::default();
        let round = pending.round();
        assert!(!pending.was_taken(round));
        pending.force();
        assert!(!pending.is_empty());
        pending.take(Vec::new());
        assert!(pending.was_taken(round));
        assert!(!pending.was_taken(pending.round()));
    }
}
