//! When to ask the API server which kinds it has, and what follows from its answer.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use legate_api::Kind;

use super::State;
use crate::kube::Timing;
use crate::kube::backoff::Backoff;
use crate::kube::fault::Fault;
use crate::kube::freeze::{Presence, Vanishing};
use crate::kube::kinds;

/// A question that somebody wants answered soon is not asked more often than this.
const AT_MOST_EVERY: Duration = Duration::from_millis(200);

/// The questions asked so far.
#[derive(Debug)]
pub(super) struct Asking {
    started: Instant,
    asked_at: Option<Instant>,
    /// The failure of the last question.
    pub(super) fault: Option<Fault>,
    /// After a failure, not before this.
    not_before: Option<Instant>,
    backoff: Backoff,
    /// A list or watch found its kind missing.
    requested: bool,
}

impl Asking {
    pub(super) fn new(timing: &Timing, now: Instant) -> Self {
        Self {
            started: now,
            asked_at: None,
            fault: None,
            not_before: None,
            backoff: Backoff::new(timing.backoff_first, timing.backoff_most),
            requested: false,
        }
    }

    pub(super) fn request(&mut self) {
        self.requested = true;
    }

    /// Whether no answer came although one was asked for.
    pub(super) fn has_failed(&self) -> bool {
        self.fault.is_some()
    }
}

impl State {
    /// When to ask which kinds there are; `None` if there is no need.
    pub(in crate::kube) fn ask_at(&self) -> Option<Instant> {
        let asking = &self.asking;
        let Some(asked_at) = asking.asked_at else {
            return Some(asking.started);
        };
        let mut due: Vec<Instant> = Vec::new();
        if asking.requested {
            due.push(asked_at + AT_MOST_EVERY);
        }
        for kind in self.kinds.values() {
            // One question settles many deletions.
            let wait = asked_at + self.timing.deletion_wait;
            due.extend(kind.ask_at().map(|at| at.max(wait)));
            match kind.presence() {
                Presence::Unknown => due.push(asked_at),
                Presence::Absent => due.push(asked_at + self.timing.recheck_absent),
                Presence::Frozen => due.push(asked_at + self.timing.recheck_frozen),
                Presence::Usable => {}
            }
        }
        let at = due.into_iter().min()?;
        Some(asking.not_before.map_or(at, |earliest| at.max(earliest)))
    }

    /// When something happens without an event; see [`State::tick`].
    pub(in crate::kube) fn wakes_at(&self) -> Option<Instant> {
        let after = self.timing.ghosts_stay;
        let expires = |(kind, state): (&Kind, &Vanishing)| {
            // Most kinds have no ghosts, and need no look at their lists.
            (state.ghosts() > 0).then(|| state.expires_at(self.whole_since(*kind), after))?
        };
        self.kinds.iter().filter_map(expires).min()
    }

    /// Since when what was listed of a kind is whole, in all its scopes.
    fn whole_since(&self, kind: Kind) -> Option<Instant> {
        let feeds = self.feeds.iter().filter(|state| state.feed.kind == kind);
        // `None` is less than any time.
        feeds.map(|state| state.whole_since).min()?
    }

    /// Lets go of what had its time.
    pub(in crate::kube) fn tick(&mut self, now: Instant) {
        let after = self.timing.ghosts_stay;
        let mut expired = Vec::new();
        let kinds: Vec<(Kind, Option<Instant>)> = self
            .kinds
            .keys()
            .map(|kind| (*kind, self.whole_since(*kind)))
            .collect();
        for (kind, listed) in kinds {
            let Some(state) = self.kinds.get_mut(&kind) else {
                continue;
            };
            let keys = state.expire(listed, now, after);
            if !keys.is_empty() {
                tracing::warn!(
                    %kind, objects = keys.len(),
                    "Objects did not come back with their kind, they are removed"
                );
                self.restate = true;
            }
            expired.extend(keys);
        }
        for key in expired {
            self.remove(&key);
        }
    }

    /// The answer to a question of `asked_at`: the plural names of the kinds that can be used.
    pub(in crate::kube) fn discovered(
        &mut self,
        answer: Result<&BTreeSet<String>, Fault>,
        asked_at: Instant,
        now: Instant,
    ) {
        self.asking.asked_at = Some(asked_at);
        // Who waits for an answer may try, or may now know better.
        self.effects.gate = true;
        self.restate = true;
        let usable = match answer {
            Ok(usable) => usable,
            Err(fault) => {
                if self.asking.fault.is_none() {
                    tracing::warn!(error = %fault.message, "Kinds cannot be discovered");
                }
                self.asking.fault = Some(fault);
                self.asking.not_before = Some(now + self.asking.backoff.delay());
                return;
            }
        };
        self.asking.fault = None;
        self.asking.not_before = None;
        self.asking.requested = false;
        self.asking.backoff.reset();
        let kinds: Vec<Kind> = self.kinds.keys().copied().collect();
        for kind in kinds {
            self.discovered_kind(kind, usable.contains(kinds::plural(kind)), asked_at, now);
        }
    }

    fn discovered_kind(&mut self, kind: Kind, usable: bool, asked_at: Instant, now: Instant) {
        let listed = self.feeds.iter().any(|f| f.feed.kind == kind && f.listed);
        let objects: Vec<_> = if usable {
            Vec::new()
        } else {
            self.objects_of(kind).map(|(key, _)| key.clone()).collect()
        };
        let Some(state) = self.kinds.get_mut(&kind) else {
            return;
        };
        let before = state.presence();
        let known = listed.then(|| objects.into_iter());
        let deleted = state.discovered(usable, known, asked_at, now);
        let after = state.presence();
        for key in deleted {
            self.remove(&key);
        }
        if before != after {
            self.tell(kind, before, after);
        }
    }

    fn tell(&mut self, kind: Kind, before: Presence, after: Presence) {
        let objects = self.objects_of(kind).count();
        match (before, after) {
            (_, Presence::Frozen) => tracing::warn!(
                %kind, objects, "Kind is gone or going, what was last known of it serves on"
            ),
            (_, Presence::Absent) if kinds::is_needed(kind) => tracing::warn!(
                %kind, "API server does not have a kind that is needed, run: kubectl apply -f crds/"
            ),
            (Presence::Frozen, Presence::Usable) => {
                let waiting = self.kinds.get(&kind).map_or(0, Vanishing::ghosts);
                tracing::info!(%kind, waiting, "Kind is back");
            }
            (Presence::Absent, Presence::Usable) => tracing::info!(%kind, "Kind is there now"),
            _ => {}
        }
    }
}
