//! From compiles and acknowledgements to what each object's status ought to say.
//!
//! Pure: the clock is handed in, nothing is sent. It remembers per object which generation first
//! appeared whole in which snapshot; [`gateways`](super::gateways) remembers who applied what.
//! A batch costs one walk beside the objects that are known, and new sentences only for those of
//! which the compiler says something else than before.

mod gate;
mod objections;
mod said;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use legate_api::{Kind, ObjectKey};

use self::gate::{Presence, Progress, Question, decide};
use self::objections::{bound_everywhere, presence, reachable, refine_tls, rejected, unbound};
use self::said::Diagnostics;
use super::conditions::{Judgement, Truth, Verdict, judge};
use super::gateways::{Census, Changes, Gateways};
use super::index::Index;
use super::observed::Seen;
use crate::identity::Identity;
use crate::publish::{Batch, GatewayEvent, GatewayId};

pub(super) use gate::NEW_LEADER;

/// What an object's status ought to say on behalf of our instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Desired {
    /// The generation that it speaks of.
    pub(super) generation: i64,
    /// The conditions in the order in which they are written.
    pub(super) verdicts: Vec<Verdict>,
    /// Whether it is a Host that asks for TLS.
    pub(super) tls: bool,
    /// Until when the write had better wait for more to become known.
    pub(super) hold: Option<Instant>,
}

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is ours and ought to say this.
    Ours(Desired),
    /// It is not ours (any more).
    Foreign,
    /// Nothing can be said before more is known.
    Later,
}

/// The state of all objects of ours.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    objects: BTreeMap<ObjectKey, Tracked>,
    /// The version of every object that any compile saw, ours or not.
    versions: BTreeMap<ObjectKey, (String, i64)>,
    index: Index,
    gateways: Gateways,
    /// What gateways reject, by object: who, of which snapshot, and why.
    rejections: BTreeMap<ObjectKey, Vec<Rejection>>,
    /// Objects whose gate waits for gateways.
    pending: BTreeSet<ObjectKey>,
    /// Objects that wait for the endpoints of their clusters.
    without_endpoints: BTreeSet<ObjectKey>,
    /// Whether any compile was seen: before, nobody knows what is ours.
    compiled: bool,
    leader_since: Option<Instant>,
    /// Whether the end of the new leader's ignorance was announced.
    settled: bool,
}

#[derive(Debug)]
struct Tracked {
    uid: String,
    generation: i64,
    /// Hash of what the compiler said.
    said: u64,
    judgement: Judgement,
    progress: Progress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rejection {
    gateway: GatewayId,
    snapshot: u64,
    message: String,
}

impl Tracker {
    /// Takes compiles in their order; of several only the newest counts, apart from what it says
    /// for the first time. The objects whose status may have to change.
    pub(super) fn batches(&mut self, batches: &[Arc<Batch>], now: Instant) -> BTreeSet<ObjectKey> {
        let mut dirty = BTreeSet::new();
        let Some(newest) = batches.last() else {
            return dirty;
        };
        self.compiled = true;
        for batch in batches {
            for key in &batch.removed {
                self.versions.remove(key);
            }
            for version in &batch.versions {
                self.versions.insert(
                    version.key.clone(),
                    (version.uid.clone(), version.generation),
                );
                dirty.insert(version.key.clone());
            }
        }
        dirty.extend(self.index.update(&newest.snapshot));
        self.walk(newest, now, &mut dirty);
        dirty.append(&mut self.without_endpoints);
        for key in &dirty {
            self.advance(key, now);
        }
        if !self.rejections.is_empty() || self.gateways.iter().any(|(_, g)| !g.rejected.is_empty())
        {
            dirty.extend(self.find_rejections());
        }
        dirty
    }

    /// Compares what the compile says of each object with what the one before said.
    fn walk(&mut self, batch: &Batch, now: Instant, dirty: &mut BTreeSet<ObjectKey>) {
        let diagnostics = Diagnostics::new(&batch.diagnostics);
        let objects = std::mem::take(&mut self.objects);
        let mut known = objects.into_iter().peekable();
        let mut kept = Vec::with_capacity(batch.status.len());
        for (key, status) in &batch.status {
            while let Some((gone, _)) = known.next_if(|(other, _)| other < key) {
                self.pending.remove(&gone);
                dirty.insert(gone);
            }
            let (about, said) = diagnostics.about(key, status);
            let old = known.next_if(|(other, _)| other == key);
            let judgement = || judge(key.kind, status, &about, &|other| diagnostics.owned(other));
            let entry = match old {
                Some((key, tracked)) if tracked.said == said => (key, tracked),
                Some((key, mut tracked)) => {
                    tracked.said = said;
                    tracked.judgement = judgement();
                    dirty.insert(key.clone());
                    (key, tracked)
                }
                None => {
                    dirty.insert(key.clone());
                    let tracked = Tracked {
                        uid: String::new(),
                        generation: 0,
                        said,
                        judgement: judgement(),
                        progress: Progress::new(now),
                    };
                    (key.clone(), tracked)
                }
            };
            kept.push(entry);
        }
        for (gone, _) in known {
            self.pending.remove(&gone);
            dirty.insert(gone);
        }
        self.objects = kept.into_iter().collect();
    }

    /// Brings an object's version and progress up to the newest snapshot.
    fn advance(&mut self, key: &ObjectKey, now: Instant) {
        let Some(tracked) = self.objects.get_mut(key) else {
            return;
        };
        if let Some((uid, generation)) = self.versions.get(key)
            && (tracked.uid != *uid || tracked.generation != *generation)
        {
            tracked.uid.clone_from(uid);
            tracked.generation = *generation;
            tracked.progress.reset(now);
        }
        let whole = match (&tracked.judgement.gate, presence(&self.index, key)) {
            (None, _) | (_, Presence::Absent(..)) => {
                tracked.progress.held = false;
                false
            }
            (Some(_), Presence::WithoutEndpoints) => {
                self.without_endpoints.insert(key.clone());
                false
            }
            (Some(_), Presence::Whole) => true,
        };
        if whole && tracked.progress.since.is_none() {
            tracked.progress.since = Some(self.index.id());
            tracked.progress.changed_at = now;
        } else if !whole && !tracked.progress.held {
            tracked.progress.since = None;
        }
    }

    /// Takes what a gateway reports. The objects whose status may have to change.
    pub(super) fn gateway(&mut self, event: GatewayEvent, now: Instant) -> BTreeSet<ObjectKey> {
        let before = self.gateways.len();
        let changes = self.gateways.event(event, now);
        self.changed(&changes, before)
    }

    /// The objects that other gateways than before may decide. Those that still wait for one of
    /// them are not among them: that another one applied them is no news.
    fn changed(&mut self, changes: &Changes, before: usize) -> BTreeSet<ObjectKey> {
        let first_or_last = (before == 0) != (self.gateways.len() == 0);
        let mut dirty: BTreeSet<ObjectKey> = match self.gateways.common() {
            _ if first_or_last => self.pending.clone(),
            Some(common) if self.settled => self
                .pending
                .iter()
                .filter(|key| {
                    let tracked = self.objects.get(*key);
                    let since = tracked.and_then(|tracked| tracked.progress.since);
                    since.is_some_and(|since| since <= common)
                })
                .cloned()
                .collect(),
            _ => BTreeSet::new(),
        };
        if changes.rejections {
            dirty.extend(self.find_rejections());
        }
        for key in &changes.binds {
            dirty.extend(self.index.on_listener(key).cloned());
        }
        for key in &changes.reached {
            dirty.extend(self.index.asking(key));
        }
        dirty
    }

    /// Looks up anew which objects are behind what gateways reject; those before and after.
    fn find_rejections(&mut self) -> BTreeSet<ObjectKey> {
        let mut found: BTreeMap<ObjectKey, Vec<Rejection>> = BTreeMap::new();
        for (id, gateway) in self.gateways.iter() {
            for entry in &gateway.rejected {
                let rejection = Rejection {
                    gateway: id.clone(),
                    snapshot: gateway.snapshot,
                    message: format!("{} ({}): {}", entry.key, entry.code, entry.message),
                };
                for key in self.index.behind(&entry.key) {
                    found.entry(key).or_default().push(rejection.clone());
                }
            }
        }
        let before = std::mem::replace(&mut self.rejections, found);
        before
            .into_keys()
            .chain(self.rejections.keys().cloned())
            .collect()
    }

    /// Does what time brings: who is no gateway any more, and the objects whose status may change.
    pub(super) fn tick(&mut self, now: Instant) -> (Vec<GatewayId>, BTreeSet<ObjectKey>) {
        let before = self.gateways.len();
        let (lost, changes) = self.gateways.expire(now);
        let mut dirty = BTreeSet::new();
        if !lost.is_empty() {
            dirty = self.changed(&changes, before);
        }
        if !self.settled
            && self
                .leader_since
                .is_some_and(|since| since + NEW_LEADER <= now)
        {
            self.settled = true;
            dirty.extend(self.pending.iter().cloned());
        }
        (lost, dirty)
    }

    /// When [`Tracker::tick`] has something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let settles = self
            .leader_since
            .filter(|_| !self.settled)
            .map(|since| since + NEW_LEADER);
        [self.gateways.deadline(), settles]
            .into_iter()
            .flatten()
            .min()
    }

    /// We write status from now on. What objects' status says counts as known again.
    pub(super) fn lead(&mut self, now: Instant) {
        self.leader_since = Some(now);
        self.settled = false;
        for tracked in self.objects.values_mut() {
            tracked.progress.held = false;
            tracked.progress.adopted = false;
        }
    }

    /// Somebody else writes status from now on.
    pub(super) fn follow(&mut self) {
        self.leader_since = None;
    }

    /// Whether any compile was seen.
    pub(super) fn has_compiled(&self) -> bool {
        self.compiled
    }

    /// Whether an object is ours.
    pub(super) fn is_ours(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    /// Counted gateways by state.
    pub(super) fn census(&self) -> Census {
        self.gateways.census(self.index.id())
    }

    /// What ought to be on an object, as it stands at the API server.
    pub(super) fn wish(
        &mut self,
        key: &ObjectKey,
        seen: &Seen,
        ours: &Identity,
        now: Instant,
    ) -> Wish {
        let Some(leader_since) = self.leader_since.filter(|_| self.compiled) else {
            return Wish::Later;
        };
        let Some(tracked) = self.objects.get_mut(key) else {
            self.pending.remove(key);
            return Wish::Foreign;
        };
        if tracked.uid != seen.uid || tracked.generation != seen.generation {
            return Wish::Later;
        }
        let generation = tracked.generation;
        let mut verdicts = tracked.judgement.verdicts.clone();
        let rejections = self.rejections.get(key).map_or(&[][..], Vec::as_slice);
        if key.kind == Kind::Host {
            refine_tls(&mut verdicts, rejections, self.index.has_tls(key));
        }
        verdicts.extend(reachable(&self.index, &self.gateways, key));
        let mut hold = None;
        if let Some(gate) = &tracked.judgement.gate {
            let progress = &mut tracked.progress;
            let written = seen.condition(ours, gate.type_);
            let current = written.filter(|found| found.generation == Some(generation));
            if !progress.adopted {
                progress.adopted = true;
                progress.held |= progress.since.is_some()
                    && current.is_some_and(|found| found.truth == Truth::True);
            }
            let since = progress.since.unwrap_or(u64::MAX);
            let bound = gate.type_ == "Bound";
            let question = Question {
                gate,
                generation,
                presence: presence(&self.index, key),
                gateways: &self.gateways,
                applied: if bound && key.kind == Kind::Listener {
                    bound_everywhere(&self.index, &self.gateways, key, since)
                } else {
                    self.gateways.at_or_after(since)
                },
                objection: if bound {
                    unbound(&self.index, &self.gateways, key, since)
                } else {
                    rejected(rejections, since)
                },
                leader_since,
                written: current.is_some(),
                now,
            };
            let (verdict, until) = decide(progress, question);
            if verdict.truth == Truth::Unknown {
                self.pending.insert(key.clone());
            } else {
                self.pending.remove(key);
            }
            verdicts.push(verdict);
            hold = until;
        } else {
            self.pending.remove(key);
        }
        Wish::Ours(Desired {
            generation,
            verdicts,
            tls: key.kind == Kind::Host && self.index.has_tls(key),
            hold,
        })
    }
}
