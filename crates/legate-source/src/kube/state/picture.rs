//! Pictures of the state as a whole: is it complete, how does each kind stand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use legate_api::Kind;

use super::State;
use crate::kube::freeze::{Presence, Vanishing};
use crate::kube::kinds;
use crate::kube::{KindState, KubeState};

impl State {
    /// A picture of the whole.
    pub(in crate::kube) fn snapshot(&self, now: Instant) -> KubeState {
        let kinds: BTreeSet<Kind> = self.feeds.iter().map(|feed| feed.feed.kind).collect();
        let mut objects: BTreeMap<Kind, usize> = kinds.iter().map(|kind| (*kind, 0)).collect();
        for key in self.objects.keys() {
            *objects.entry(key.kind).or_default() += 1;
        }
        if let Some(count) = objects.get_mut(&Kind::Secret) {
            *count = self.secrets.known();
        }
        let errors = self.feeds.iter().filter_map(|state| {
            let trouble = state.trouble.as_ref()?;
            Some((state.feed.kind, trouble.fault.message.clone()))
        });
        KubeState {
            synced: self.synced,
            missing: self.missing(),
            kinds: kinds.iter().map(|k| (*k, self.kind_state(*k))).collect(),
            restarts: self.restarts.clone(),
            last_contact: None,
            fault: self.fault(now),
            objects,
            errors: errors.collect(),
        }
    }

    /// Needed kinds that the API server does not have.
    pub(super) fn missing(&self) -> BTreeSet<Kind> {
        let absent = self.absent().filter(|kind| kinds::is_needed(*kind));
        absent.collect()
    }

    pub(super) fn absent(&self) -> impl Iterator<Item = Kind> {
        let absent = |kind: &Vanishing| kind.presence() == Presence::Absent;
        self.kinds
            .iter()
            .filter(move |(_, state)| absent(state))
            .map(|(kind, _)| *kind)
    }

    fn kind_state(&self, kind: Kind) -> KindState {
        match self.kinds.get(&kind).map(Vanishing::presence) {
            Some(Presence::Absent) => return KindState::Absent,
            Some(Presence::Frozen) => return KindState::Frozen,
            _ => {}
        }
        let mut state = KindState::Live;
        for feed in self.feeds.iter().filter(|feed| feed.feed.kind == kind) {
            if feed.trouble.is_some() {
                return KindState::Failing;
            }
            if !feed.listed {
                state = KindState::Listing;
            }
        }
        state
    }

    /// Whether each kind that is there was listed.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        if !self.missing().is_empty() {
            return false;
        }
        self.feeds.iter().enumerate().all(|(index, state)| {
            let kind = state.feed.kind;
            let presence = self.kinds.get(&kind).map(Vanishing::presence);
            state.listed
                || presence == Some(Presence::Absent)
                // One Secret that may not be read must not keep everything from being served.
                || (kind == Kind::Secret && self.is_refused(index, now))
        })
    }
}
