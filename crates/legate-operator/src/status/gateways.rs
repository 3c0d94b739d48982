//! Which gateways are counted, and what each of them applied (operator.md §3). Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::publish::{Ack, GatewayEvent, GatewayId, RejectedEntry};

/// How long a gateway still counts after its stream broke.
pub(super) const BROKEN_COUNTS: Duration = Duration::from_secs(15);

/// The counted gateways: from the first acknowledgement until they say goodbye, or some time after
/// their stream broke.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    counted: BTreeMap<GatewayId, Gateway>,
}

/// A counted gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    /// The snapshot that it serves.
    pub(super) snapshot: u64,
    /// What of it it does not apply.
    pub(super) rejected: Vec<RejectedEntry>,
    /// Its listeners by key.
    pub(super) binds: BTreeMap<String, Result<String, String>>,
    /// Those that it asks about requests, by key.
    pub(super) reached: BTreeMap<String, Result<(), String>>,
    broken_at: Option<Instant>,
}

/// What an event changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Whether the entries that are rejected somewhere may be others than before.
    pub(super) rejections: bool,
    /// Listeners whose sockets are other ones than before.
    pub(super) binds: BTreeSet<String>,
    /// Those that it asks of whom something else is said than before.
    pub(super) reached: BTreeSet<String>,
}

/// Counted gateways by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Serve the newest snapshot.
    pub(super) current: u64,
    /// Serve an older one.
    pub(super) behind: u64,
    /// Serve the newest snapshot but for some entries.
    pub(super) rejecting: u64,
    /// Their stream broke, and they may come back.
    pub(super) broken: u64,
}

impl Gateways {
    /// Takes an event.
    pub(super) fn event(&mut self, event: GatewayEvent, now: Instant) -> Changes {
        match event {
            GatewayEvent::Acked(id, ack) => self.acked(id, ack),
            GatewayEvent::Goodbye(id) => self.leave(&id),
            GatewayEvent::Broken(id) => {
                if let Some(gateway) = self.counted.get_mut(&id) {
                    gateway.broken_at.get_or_insert(now);
                }
                Changes::default()
            }
        }
    }

    fn acked(&mut self, id: GatewayId, ack: Ack) -> Changes {
        let binds: BTreeMap<_, _> = ack
            .listeners
            .into_iter()
            .map(|bind| (bind.key, bind.bound))
            .collect();
        let reached: BTreeMap<_, _> = ack
            .reached
            .into_iter()
            .map(|reached| (reached.key, reached.answers))
            .collect();
        let old = self.counted.remove(&id);
        let changes = Changes {
            rejections: !ack.rejected.is_empty()
                || old.as_ref().is_some_and(|old| !old.rejected.is_empty()),
            binds: differing(old.as_ref().map(|old| &old.binds), &binds),
            reached: differing(old.as_ref().map(|old| &old.reached), &reached),
        };
        self.counted.insert(
            id,
            Gateway {
                snapshot: ack.snapshot,
                rejected: ack.rejected,
                binds,
                reached,
                broken_at: None,
            },
        );
        changes
    }

    fn leave(&mut self, id: &GatewayId) -> Changes {
        let Some(gone) = self.counted.remove(id) else {
            return Changes::default();
        };
        Changes {
            rejections: !gone.rejected.is_empty(),
            binds: gone.binds.into_keys().collect(),
            reached: gone.reached.into_keys().collect(),
        }
    }

    /// Ends the counting of gateways whose stream has been broken for long; who they were.
    pub(super) fn expire(&mut self, now: Instant) -> (Vec<GatewayId>, Changes) {
        let lost: Vec<GatewayId> = self
            .counted
            .iter()
            .filter(|(_, gateway)| gateway.ends().is_some_and(|end| end <= now))
            .map(|(id, _)| id.clone())
            .collect();
        let mut changes = Changes::default();
        for id in &lost {
            let gone = self.leave(id);
            changes.rejections |= gone.rejections;
            changes.binds.extend(gone.binds);
            changes.reached.extend(gone.reached);
        }
        (lost, changes)
    }

    /// When [`Gateways::expire`] has something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.counted.values().filter_map(Gateway::ends).min()
    }

    /// Number of counted gateways.
    pub(super) fn len(&self) -> usize {
        self.counted.len()
    }

    /// The snapshot that all of them serve, or a later one; `None` without gateways.
    pub(super) fn common(&self) -> Option<u64> {
        self.counted.values().map(|gateway| gateway.snapshot).min()
    }

    /// How many of them serve a snapshot or a later one.
    pub(super) fn at_or_after(&self, snapshot: u64) -> usize {
        self.counted
            .values()
            .filter(|gateway| gateway.snapshot >= snapshot)
            .count()
    }

    /// The counted gateways.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&GatewayId, &Gateway)> {
        self.counted.iter()
    }

    /// Counted gateways by state, seen from the newest snapshot.
    pub(super) fn census(&self, newest: u64) -> Census {
        let mut census = Census::default();
        for gateway in self.counted.values() {
            let state = if gateway.broken_at.is_some() {
                &mut census.broken
            } else if gateway.snapshot < newest {
                &mut census.behind
            } else if gateway.rejected.is_empty() {
                &mut census.current
            } else {
                &mut census.rejecting
            };
            *state += 1;
        }
        census
    }
}

impl Gateway {
    /// When it stops counting, if its stream is broken.
    fn ends(&self) -> Option<Instant> {
        self.broken_at.map(|at| at + BROKEN_COUNTS)
    }
}

/// The keys of which two maps say different things.
fn differing<T: PartialEq>(
    before: Option<&BTreeMap<String, T>>,
    after: &BTreeMap<String, T>,
) -> BTreeSet<String> {
    let old = |key: &String| before.and_then(|before| before.get(key));
    let keys = before.into_iter().flat_map(BTreeMap::keys);
    keys.chain(after.keys())
        .filter(|key| after.get(*key) != old(key))
        .cloned()
        .collect()
}
