//! All that is known, and what follows from each event: one synchronous state, free of I/O, with
//! the time given by the caller.

mod discovery;
mod picture;
mod report;
mod secrets;

use std::collections::BTreeMap;
use std::time::Instant;

use legate_api::{Kind, Object, ObjectKey};
use legate_compiler::Diagnostic;

use super::fault::Fault;
use super::freeze::{Presence, Vanishing};
use super::ingest::{Content, Incoming};
use super::kinds::Feed;
use super::pending::Pending;
use super::{KubeOptions, Timing};
use crate::update::{Observed, Update};
use discovery::Asking;
pub(super) use secrets::Job;
use secrets::Secrets;

/// Everything that the source knows.
#[derive(Debug)]
pub(super) struct State {
    timing: Timing,
    feeds: Vec<FeedState>,
    /// The group's kinds.
    kinds: BTreeMap<Kind, Vanishing>,
    objects: BTreeMap<ObjectKey, Entry>,
    pending: Pending,
    secrets: Secrets,
    asking: Asking,
    restarts: BTreeMap<Kind, u64>,
    /// Since when not all watches work.
    failing_since: Option<Instant>,
    /// The diagnostics that the reader has.
    said: Vec<Diagnostic>,
    /// Whether they may have changed.
    restate: bool,
    synced: bool,
    effects: Effects,
}

/// Who has to look at the state because of what happened.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Effects {
    /// Watches that wait for their kind.
    pub(super) gate: bool,
    /// Who asks for the kinds.
    pub(super) discovery: bool,
    /// Who reads Secrets.
    pub(super) secrets: bool,
    /// Watches that wait for their next attempt.
    pub(super) recovered: bool,
}

/// A list and watch.
#[derive(Debug)]
struct FeedState {
    feed: Feed,
    /// Whether it was listed whole once.
    listed: bool,
    /// When the last list began.
    list_begun: Option<Instant>,
    /// When the last whole list began.
    whole_since: Option<Instant>,
    /// Number of the last list.
    round: u64,
    trouble: Option<Trouble>,
}

/// A list and watch that fails now.
#[derive(Debug)]
struct Trouble {
    fault: Fault,
    since: Instant,
    /// Since when every answer was a 403.
    forbidden_since: Option<Instant>,
}

/// An object that is known.
#[derive(Debug)]
struct Entry {
    feed: usize,
    /// The list that it was last seen in or after.
    round: u64,
    uid: String,
    content: Content,
}

impl State {
    pub(super) fn new(options: &KubeOptions, feeds: &[Feed], now: Instant) -> Self {
        let custom = feeds.iter().map(|feed| feed.kind);
        let kinds = custom.filter(|kind| kind.is_ambassador());
        Self {
            timing: options.timing,
            kinds: kinds.map(|kind| (kind, Vanishing::default())).collect(),
            feeds: feeds.iter().map(FeedState::new).collect(),
            objects: BTreeMap::new(),
            pending: Pending::default(),
            secrets: Secrets::new(options),
            asking: Asking::new(&options.timing, now),
            restarts: BTreeMap::new(),
            failing_since: None,
            said: Vec::new(),
            restate: false,
            synced: false,
            effects: Effects::default(),
        }
    }

    /// Who has to look, since the last time that this was asked.
    pub(super) fn effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Whether the kind may be listed: it is not known to be absent.
    pub(super) fn may_watch(&self, kind: Kind) -> bool {
        match self.kinds.get(&kind).map(Vanishing::presence) {
            None | Some(Presence::Usable) => true,
            Some(Presence::Unknown) => self.asking.has_failed(),
            Some(Presence::Absent | Presence::Frozen) => false,
        }
    }

    /// How often the kind came back. Who watches it has to list it anew: what is there may not have
    /// changed, and would say nothing.
    pub(super) fn returns(&self, kind: Kind) -> u64 {
        self.kinds.get(&kind).map_or(0, Vanishing::returns)
    }

    /// An object is there; false if it is not as it was last time, and nothing was done.
    pub(super) fn unchanged(&mut self, feed: usize, incoming: &Incoming) -> bool {
        let round = self.round(feed);
        match self.objects.get_mut(&incoming.key) {
            Some(entry) if entry.uid == incoming.uid && entry.content == incoming.content => {
                entry.round = round;
            }
            _ => return false,
        }
        self.seen(&incoming.key, incoming.observed.clone());
        true
    }

    /// An object is there, new or changed.
    pub(super) fn changed(
        &mut self,
        feed: usize,
        uid: String,
        content: Content,
        observed: Option<Observed>,
        object: Object,
    ) {
        let key = object.key();
        let entry = Entry {
            feed,
            round: self.round(feed),
            uid,
            content,
        };
        self.seen(&key, observed);
        self.objects.insert(key, entry);
        self.pending.upsert(object);
    }

    /// An object was deleted.
    pub(super) fn deleted(&mut self, key: &ObjectKey, uid: &str, now: Instant) {
        let same = |entry: &Entry| uid.is_empty() || entry.uid == uid;
        if !self.objects.get(key).is_some_and(same) {
            return;
        }
        if let Some(kind) = self.kinds.get_mut(&key.kind) {
            kind.deleted(key.clone(), now + self.timing.deletion_wait);
            self.effects.discovery = true;
        } else {
            self.remove(key);
        }
    }

    /// A list begins.
    pub(super) fn list_begun(&mut self, feed: usize, now: Instant) {
        if let Some(feed) = self.feeds.get_mut(feed) {
            feed.round += 1;
            feed.list_begun = Some(now);
        }
    }

    /// A list is complete: what it did not have is deleted.
    pub(super) fn list_done(&mut self, feed: usize, now: Instant) {
        self.worked(feed, now);
        let Some(state) = self.feeds.get_mut(feed) else {
            return;
        };
        state.listed = true;
        state.whole_since = state.list_begun;
        // Ghosts may have waited for it.
        self.effects.discovery = true;
        let (kind, round) = (state.feed.kind, state.round);
        if kind == Kind::Secret {
            self.secrets_listed(feed, round, now);
            return;
        }
        let missed: Vec<ObjectKey> = self
            .objects_of(kind)
            .filter(|(_, entry)| entry.feed == feed && entry.round != round)
            .map(|(key, _)| key.clone())
            .collect();
        for key in missed {
            self.deleted(&key, "", now);
        }
    }

    /// An answer of success came, or a whole list.
    pub(super) fn worked(&mut self, feed: usize, now: Instant) {
        let Some(state) = self.feeds.get_mut(feed) else {
            return;
        };
        let Some(trouble) = state.trouble.take() else {
            return;
        };
        self.restate = true;
        self.effects.recovered = true;
        let seconds = now.duration_since(trouble.since).as_secs();
        tracing::debug!(kind = %state.feed.kind, seconds, "Watch works again");
        if !self.is_failing() {
            let since = self.failing_since.take().unwrap_or(trouble.since);
            let seconds = now.duration_since(since).as_secs();
            tracing::info!(seconds, "All watches work again");
        }
    }

    /// A watch broke off; it goes on where it was, unless that fails.
    pub(super) fn broken(&mut self, feed: usize) {
        let Some(state) = self.feeds.get(feed) else {
            return;
        };
        let kind = state.feed.kind;
        tracing::debug!(%kind, "Watch broke off");
        *self.restarts.entry(kind).or_default() += 1;
    }

    /// A list or watch failed; it will be tried again.
    pub(super) fn failed(&mut self, feed: usize, fault: Fault, now: Instant) {
        let Some(state) = self.feeds.get_mut(feed) else {
            return;
        };
        let kind = state.feed.kind;
        *self.restarts.entry(kind).or_default() += 1;
        if fault.is_not_found() && self.kinds.contains_key(&kind) {
            self.asking.request();
            self.effects.discovery = true;
        }
        let verb = fault.verb;
        // One outage is one warning. That a version is too old is how a watch is told to list.
        if self.failing_since.is_none() && !fault.is_expired() {
            self.failing_since = Some(now);
            tracing::warn!(
                %kind, verb, error = %fault.message,
                "Watch failed, it is tried again, as are others that fail"
            );
        } else {
            tracing::debug!(%kind, verb, error = %fault.message, "Watch failed");
        }
        let before = state.trouble.take();
        let forbidden_since = before.as_ref().and_then(|trouble| trouble.forbidden_since);
        state.trouble = Some(Trouble {
            forbidden_since: fault.is_forbidden().then(|| forbidden_since.unwrap_or(now)),
            since: before.map_or(now, |trouble| trouble.since),
            fault,
        });
        self.restate = true;
        if kind == Kind::Secret && self.is_refused(feed, now) {
            self.assess_all(now);
        }
    }

    /// What the reader has not had yet; `None` if there is nothing, or not everything yet.
    pub(super) fn take(&mut self, now: Instant) -> Option<Update> {
        if !self.synced {
            if !self.is_complete(now) {
                return None;
            }
            self.synced = true;
            self.pending.force();
            tracing::info!(objects = self.objects.len(), "Everything was listed");
        }
        if std::mem::take(&mut self.restate) {
            let say = self.diagnostics(now);
            if say != self.said {
                self.said = say;
                self.pending.force();
            }
        }
        if self.pending.is_empty() {
            return None;
        }
        Some(self.pending.take(self.said.clone()))
    }

    fn is_failing(&self) -> bool {
        let watched = |state: &&FeedState| self.may_watch(state.feed.kind);
        let mut feeds = self.feeds.iter().filter(watched);
        feeds.any(|state| state.trouble.is_some())
    }

    /// Whether a feed was forbidden for longer than a starting API server would.
    fn is_refused(&self, feed: usize, now: Instant) -> bool {
        let trouble = self.feeds.get(feed).and_then(|feed| feed.trouble.as_ref());
        trouble
            .and_then(|trouble| trouble.forbidden_since)
            .is_some_and(|since| now.duration_since(since) >= self.timing.forbidden_after)
    }

    fn round(&self, feed: usize) -> u64 {
        self.feeds.get(feed).map_or(0, |feed| feed.round)
    }

    fn seen(&mut self, key: &ObjectKey, observed: Option<Observed>) {
        if let Some(kind) = self.kinds.get_mut(&key.kind)
            && kind.appeared(key)
        {
            self.restate = true;
        }
        if let Some(observed) = observed {
            self.pending.observe(observed);
        }
    }

    fn remove(&mut self, key: &ObjectKey) {
        self.objects.remove(key);
        self.pending.remove(key);
    }

    fn objects_of(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Entry)> {
        let first = ObjectKey {
            kind,
            namespace: String::new(),
            name: String::new(),
        };
        let from_first = self.objects.range(first..);
        from_first.take_while(move |(key, _)| key.kind == kind)
    }
}

impl FeedState {
    fn new(feed: &Feed) -> Self {
        Self {
            feed: feed.clone(),
            listed: false,
            list_begun: None,
            whole_since: None,
            round: 0,
            trouble: None,
        }
    }
}

#[cfg(test)]
mod tests;
