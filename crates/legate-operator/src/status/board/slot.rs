//! What is remembered of each object, and the queue of those to be written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use legate_api::{Kind, ObjectKey};

use crate::status::merge::Change;
use crate::status::observed::Seen;
use crate::status::pace::Pace;

/// Overwrites of a rival's entry within [`RIVAL_MEMORY`] before we give in.
const MOST_OVERWRITES: usize = 3;
const RIVAL_MEMORY: Duration = Duration::from_secs(60);
/// After this long it is tried again.
const RIVAL_REST: Duration = Duration::from_secs(600);

/// An object at the API server.
#[derive(Debug)]
pub(super) struct Slot {
    /// The newest look at it.
    pub(super) seen: Seen,
    pub(super) pace: Pace,
    /// Faults in a row.
    pub(super) faults: u32,
    /// How often a write was answered as if the object were not there.
    pub(super) gone: u32,
    /// Not before this, because of faults.
    pub(super) not_before: Option<Instant>,
    pub(super) in_flight: bool,
    /// After a conflict: until the object is seen at another version than this, or this late.
    pub(super) conflict: Option<(String, Instant)>,
    /// Apply cannot work for this object.
    pub(super) by_merge: bool,
    /// What the server will not take, or does not keep.
    pub(super) refused: Option<Refused>,
    pub(super) rivalry: Rivalry,
    /// Since when it is known not to be ours.
    pub(super) foreign_since: Option<Instant>,
    due: Option<Instant>,
}

/// A document that is not to be sent again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused(Change);

/// How often another controller's entry of our id was overwritten.
#[derive(Debug, Default)]
pub(super) struct Rivalry {
    overwrites: VecDeque<Instant>,
    stopped: Option<Instant>,
}

/// What a look at an object shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// An object that was not there.
    New,
    /// It is not as it was.
    Changed,
    /// Nothing, or something older.
    Known,
}

/// All objects that were seen.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: BTreeMap<ObjectKey, Slot>,
    queue: BTreeSet<(Instant, ObjectKey)>,
}

impl Slot {
    fn new(seen: Seen) -> Self {
        Self {
            seen,
            pace: Pace::default(),
            faults: 0,
            gone: 0,
            not_before: None,
            in_flight: false,
            conflict: None,
            by_merge: false,
            refused: None,
            rivalry: Rivalry::default(),
            foreign_since: None,
            due: None,
        }
    }

    /// Whether a newer look at the object has to come first.
    pub(super) fn is_waiting(&mut self, now: Instant) -> bool {
        let still = self
            .conflict
            .as_ref()
            .is_some_and(|(version, until)| *version == self.seen.resource_version && now < *until);
        if !still {
            self.conflict = None;
        }
        still
    }
}

impl Refused {
    /// Remembers a document, whenever it was made.
    pub(super) fn new(change: &Change) -> Self {
        Self(timeless(change))
    }

    /// Whether it is this one.
    pub(super) fn is(&self, change: &Change) -> bool {
        self.0 == timeless(change)
    }
}

/// A change without the times in it, which differ each time that it is made.
fn timeless(change: &Change) -> Change {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.remove("lastTransitionTime");
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut change = change.clone();
    if let Change::Set(status) = &mut change {
        strip(status);
    }
    change
}

impl Rivalry {
    /// Whether an overwrite is still in order; counts it if so.
    pub(super) fn overwrite(&mut self, now: Instant) -> bool {
        if self.stopped.is_some_and(|at| now < at + RIVAL_REST) {
            return false;
        }
        while self
            .overwrites
            .front()
            .is_some_and(|at| *at + RIVAL_MEMORY <= now)
        {
            self.overwrites.pop_front();
        }
        if self.overwrites.len() >= MOST_OVERWRITES {
            return false;
        }
        self.stopped = None;
        self.overwrites.push_back(now);
        true
    }

    /// Gives in; false when that was so already.
    pub(super) fn stop(&mut self, now: Instant) -> bool {
        if self.stopped.is_some_and(|at| now < at + RIVAL_REST) {
            return false;
        }
        self.stopped = Some(now);
        self.overwrites.clear();
        true
    }
}

impl Slots {
    /// Takes a look at an object.
    pub(super) fn observed(&mut self, key: &ObjectKey, seen: Seen) -> Look {
        match self.slots.get_mut(key) {
            None => {
                self.slots.insert(key.clone(), Slot::new(seen));
                Look::New
            }
            Some(slot) if slot.seen.uid != seen.uid => {
                // Another object under the same name; of the old one nothing counts.
                if let Some(due) = slot.due.take() {
                    self.queue.remove(&(due, key.clone()));
                }
                let in_flight = slot.in_flight;
                *slot = Slot::new(seen);
                slot.in_flight = in_flight;
                Look::New
            }
            Some(slot) if seen.is_not_older(&slot.seen) => {
                let changed = slot.seen != seen;
                slot.seen = seen;
                if changed { Look::Changed } else { Look::Known }
            }
            Some(_) => Look::Known,
        }
    }

    /// The object is gone.
    pub(super) fn remove(&mut self, key: &ObjectKey) {
        self.unqueue(key);
        self.slots.remove(key);
    }

    pub(super) fn get_mut(&mut self, key: &ObjectKey) -> Option<&mut Slot> {
        self.slots.get_mut(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.slots.keys()
    }

    /// Some object of a kind that fits.
    pub(super) fn any_of(
        &self,
        kind: Kind,
        fits: impl Fn(&ObjectKey) -> bool,
    ) -> Option<ObjectKey> {
        let from = ObjectKey {
            kind,
            namespace: String::new(),
            name: String::new(),
        };
        self.slots
            .range(from..)
            .map(|(key, _)| key)
            .take_while(|key| key.kind == kind)
            .find(|key| fits(key))
            .cloned()
    }

    /// Queues an object for a time, in place of whatever it was queued for.
    pub(super) fn queue(&mut self, key: &ObjectKey, at: Instant, now: Instant) {
        self.unqueue(key);
        if let Some(slot) = self.slots.get_mut(key) {
            let at = at.max(now);
            slot.due = Some(at);
            self.queue.insert((at, key.clone()));
        }
    }

    /// Takes an object out of the queue.
    pub(super) fn unqueue(&mut self, key: &ObjectKey) {
        if let Some(due) = self.slots.get_mut(key).and_then(|slot| slot.due.take()) {
            self.queue.remove(&(due, key.clone()));
        }
    }

    /// Takes the first object out of the queue whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ObjectKey> {
        let (at, key) = self.queue.first()?;
        if *at > now {
            return None;
        }
        let key = key.clone();
        self.unqueue(&key);
        Some(key)
    }

    /// When the first object in the queue is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Nothing is under way or queued any more.
    pub(super) fn forget_work(&mut self) {
        self.queue.clear();
        for slot in self.slots.values_mut() {
            slot.due = None;
            slot.in_flight = false;
            slot.conflict = None;
            slot.faults = 0;
            slot.gone = 0;
            slot.not_before = None;
            slot.refused = None;
            slot.rivalry = Rivalry::default();
        }
    }
}
