//! CRDs that are not ours, and rights that we have not got: per kind, and per kind and namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use legate_api::{Kind, ObjectKey};

use crate::status::pace::Valve;

/// How often it is tried whether a kind has our CRD by now.
const PROBE: Duration = Duration::from_secs(30);
/// A sign that a CRD may have changed is followed after this at the earliest.
const HINT: Duration = Duration::from_secs(2);
/// Refusals for lack of rights that may be passing: a starting API server knows no rights yet.
const PASSING: u32 = 3;
/// How long a kind in a namespace is left alone after more of them.
const NO_RIGHT: Duration = Duration::from_secs(60);

/// What a kind's CRD lets us say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The whole status.
    Whole,
    /// `state` and `reason`.
    Words,
    /// Nothing.
    Nothing,
}

/// What is known to be in the way of writing.
#[derive(Debug, Default)]
pub(super) struct Crds {
    kinds: BTreeMap<Kind, Lack>,
    /// Kinds of which a status was written.
    whole: BTreeSet<Kind>,
    rights: BTreeMap<(Kind, String), Valve>,
}

#[derive(Debug, Clone, Copy)]
struct Lack {
    dialect: Dialect,
    found_at: Instant,
    probe_at: Instant,
    /// The next object may try.
    armed: bool,
    /// One is trying.
    probing: bool,
}

impl Crds {
    /// What may be said about a kind; now and then, once, more than that.
    pub(super) fn dialect(&self, kind: Kind) -> Dialect {
        match self.kinds.get(&kind) {
            Some(lack) if !lack.armed || lack.probing => lack.dialect,
            _ => Dialect::Whole,
        }
    }

    /// As [`Crds::dialect`], for a request that is made now.
    pub(super) fn speak(&mut self, kind: Kind) -> Dialect {
        let dialect = self.dialect(kind);
        if dialect == Dialect::Whole
            && let Some(lack) = self.kinds.get_mut(&kind)
        {
            lack.probing = true;
        }
        dialect
    }

    /// A CRD turned out to be not ours. Whether that is new.
    pub(super) fn lacks(&mut self, kind: Kind, dialect: Dialect, now: Instant) -> bool {
        let lack = Lack {
            dialect,
            found_at: now,
            probe_at: now + PROBE,
            armed: false,
            probing: false,
        };
        self.whole.remove(&kind);
        self.kinds
            .insert(kind, lack)
            .is_none_or(|before| before.dialect != dialect)
    }

    /// A whole status was written: the CRD is ours. Whether that is new.
    pub(super) fn is_whole(&mut self, kind: Kind) -> bool {
        self.whole.insert(kind);
        self.kinds.remove(&kind).is_some()
    }

    /// Whether a whole status of the kind was written, and nothing since says that its CRD changed.
    pub(super) fn was_whole(&self, kind: Kind) -> bool {
        self.whole.contains(&kind)
    }

    /// A trial ended without an answer to the question.
    pub(super) fn give_up(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(lack) = self.kinds.get_mut(&key.kind).filter(|lack| lack.probing) {
            lack.probing = false;
            lack.armed = false;
            lack.probe_at = now + PROBE;
        }
        if let Some(valve) = self.rights.get_mut(&place(key)) {
            valve.give_up();
        }
    }

    /// Kinds of which one object is to be tried.
    pub(super) fn probes(&mut self, now: Instant) -> Vec<Kind> {
        let due = |lack: &Lack| lack.probe_at <= now && !lack.armed;
        self.kinds
            .iter_mut()
            .filter(|(_, lack)| due(lack))
            .map(|(kind, lack)| {
                lack.armed = true;
                *kind
            })
            .collect()
    }

    /// When there is something to try.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.kinds
            .values()
            .filter(|lack| !lack.armed)
            .map(|lack| lack.probe_at)
            .min()
    }

    /// When we may ask for a right again; `None` = now.
    pub(super) fn ask(&mut self, key: &ObjectKey, now: Instant) -> Option<Instant> {
        self.rights.get_mut(&place(key))?.ask(now)
    }

    /// We may not write there. Whether it is time to say so: it does not seem to pass.
    pub(super) fn forbidden(&mut self, key: &ObjectKey, now: Instant) -> bool {
        let Some(valve) = self.rights.get_mut(&place(key)) else {
            let valve = Valve::shut(now, None, key);
            self.rights.insert(place(key), valve);
            return false;
        };
        let before = valve.faults();
        let wait = (before >= PASSING).then_some(NO_RIGHT);
        valve.fault(now, wait, key);
        before < PASSING && valve.faults() == PASSING
    }

    /// An object of the kind was made: the CRD may be another one.
    pub(super) fn hint(&mut self, kind: Kind) {
        if let Some(lack) = self.kinds.get_mut(&kind) {
            lack.probe_at = lack.probe_at.min(lack.found_at + HINT);
        }
    }

    /// We may.
    pub(super) fn permitted(&mut self, key: &ObjectKey) {
        self.rights.remove(&place(key));
    }

    /// Nothing is under way any more.
    pub(super) fn forget_work(&mut self) {
        for lack in self.kinds.values_mut() {
            lack.probing = false;
            lack.armed = true;
        }
        for valve in self.rights.values_mut() {
            valve.give_up();
        }
    }
}

fn place(key: &ObjectKey) -> (Kind, String) {
    (key.kind, key.namespace.clone())
}
