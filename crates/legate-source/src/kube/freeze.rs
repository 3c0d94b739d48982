//! Telling the deletion of an object from that of its whole kind (operator.md §2).
//!
//! When a CRD is deleted, every object sends an ordinary DELETED event. So a deletion is in *doubt*
//! until the API server, asked a little later, still has the kind. If it has not, the kind is
//! *frozen*: its objects stay as *ghosts*, until they reappear, or for some minutes after the kind
//! is back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use legate_api::ObjectKey;

/// Whether the API server has a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It has not said yet.
    Unknown,
    /// It has.
    Usable,
    /// It has not, and had not before.
    Absent,
    /// It has no more.
    Frozen,
}

/// A kind of the group, as far as its coming and going is concerned.
#[derive(Debug)]
pub(super) struct Vanishing {
    presence: Presence,
    /// Deleted objects, and from when on the API server may be asked about the kind.
    doubts: BTreeMap<ObjectKey, Instant>,
    /// Objects that the API server no longer has but that stay.
    ghosts: BTreeSet<ObjectKey>,
    /// When the kind came back.
    back_at: Option<Instant>,
    /// How often it came back.
    returns: u64,
}

impl Default for Vanishing {
    fn default() -> Self {
        Self {
            presence: Presence::Unknown,
            doubts: BTreeMap::new(),
            ghosts: BTreeSet::new(),
            back_at: None,
            returns: 0,
        }
    }
}

impl Vanishing {
    pub(super) fn presence(&self) -> Presence {
        self.presence
    }

    /// Objects that stay although they are gone.
    pub(super) fn ghosts(&self) -> usize {
        self.ghosts.len()
    }

    /// An object was deleted. It stays for now.
    pub(super) fn deleted(&mut self, key: ObjectKey, ask_at: Instant) {
        if self.presence == Presence::Frozen {
            self.ghosts.insert(key);
        } else if !self.ghosts.contains(&key) {
            self.doubts.entry(key).or_insert(ask_at);
        }
    }

    /// An object is there; true if it was believed gone.
    pub(super) fn appeared(&mut self, key: &ObjectKey) -> bool {
        let doubted = self.doubts.remove(key).is_some();
        self.ghosts.remove(key) || doubted
    }

    /// The API server was asked at `asked_at` and has the kind, or has it no more. Returns what is
    /// really deleted. `objects`: all that are known, if any were ever listed.
    pub(super) fn discovered(
        &mut self,
        usable: bool,
        objects: Option<impl Iterator<Item = ObjectKey>>,
        asked_at: Instant,
        now: Instant,
    ) -> Vec<ObjectKey> {
        match (usable, self.presence) {
            (true, Presence::Frozen) => {
                self.presence = Presence::Usable;
                self.back_at = Some(now);
                self.returns += 1;
                Vec::new()
            }
            (true, _) => {
                self.presence = Presence::Usable;
                self.settle(asked_at)
            }
            (false, Presence::Frozen) => Vec::new(),
            (false, _) => {
                self.back_at = None;
                match objects {
                    Some(objects) => {
                        self.presence = Presence::Frozen;
                        self.doubts.clear();
                        // A list of what is left would find nothing: all are going.
                        self.ghosts.extend(objects);
                    }
                    None => self.presence = Presence::Absent,
                }
                Vec::new()
            }
        }
    }

    /// Takes out the doubts that an answer to a question of `asked_at` settles.
    fn settle(&mut self, asked_at: Instant) -> Vec<ObjectKey> {
        let settled = self
            .doubts
            .extract_if(.., |_, ask_at| *ask_at <= asked_at)
            .map(|(key, _)| key);
        settled.collect()
    }

    /// How often the kind came back.
    pub(super) fn returns(&self) -> u64 {
        self.returns
    }

    /// Takes out the ghosts that did not reappear in the time that they had. `listed`: since when
    /// the last whole list is, without which nothing can have reappeared.
    pub(super) fn expire(
        &mut self,
        listed: Option<Instant>,
        now: Instant,
        after: Duration,
    ) -> Vec<ObjectKey> {
        if self.expires_at(listed, after).is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.back_at = None;
        std::mem::take(&mut self.ghosts).into_iter().collect()
    }

    /// When ghosts expire next; see [`Vanishing::expire`].
    pub(super) fn expires_at(&self, listed: Option<Instant>, after: Duration) -> Option<Instant> {
        if self.ghosts.is_empty() || self.presence != Presence::Usable {
            return None;
        }
        let back_at = self.back_at?;
        if listed? < back_at {
            return None;
        }
        back_at.checked_add(after)
    }

    /// When the API server has to be asked because of deletions.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        self.doubts.values().min().copied()
    }
}

#[cfg(test)]
mod tests;
