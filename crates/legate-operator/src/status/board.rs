//! Which object is to be written when, and what: everything of the writer but the requests.
//!
//! Pure: the clock is handed in, [`Board::next`] hands jobs out and [`Board::finished`] takes their
//! outcome. A job is made from the newest look at the object, so that what waits is never stale;
//! nothing is queued but the wish to look again.

mod crds;
mod outcome;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use legate_api::ObjectKey;
use legate_source::Observed;
use serde_json::{Value, json};

use self::crds::{Crds, Dialect};
use self::slot::{Look, Slot, Slots};
use super::conditions::bounded;
use super::counters::StatusCounters;
use super::events::About;
use super::merge::{self, Change, News, Tone};
use super::observed::Seen;
use super::pace::Valve;
use super::tracker::{Tracker, Wish};
use crate::identity::Identity;
use crate::publish::{Batch, GatewayEvent};

pub(super) use self::outcome::Outcome;

/// Requests under way at the same time.
const CONCURRENCY: usize = 16;
/// Objects looked at before others get a turn.
const BITE: usize = 256;
/// How long the removal of our entry waits: an object may be ours again at once.
const REMOVAL_DELAY: Duration = Duration::from_secs(1);

/// A request to make.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Job {
    /// The object.
    pub(super) key: ObjectKey,
    /// How.
    pub(super) method: Method,
    /// The document.
    pub(super) body: Value,
    /// What was known of the object.
    seen: Seen,
    /// The whole new status, where one is set.
    status: Option<Value>,
    news: Option<News>,
    rival: Option<String>,
    dialect: Dialect,
}

/// How a status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Server-side apply.
    Apply,
    /// JSON merge patch, where apply cannot work.
    Merge,
}

/// What to do to an object, and from when on.
struct Plan {
    change: Change,
    not_before: Option<Instant>,
    news: Option<News>,
    rival: Option<String>,
    /// Whether it is the few words of an old CRD instead of a status.
    words: bool,
}

/// All state of the status writer.
#[derive(Debug)]
pub(super) struct Board {
    identity: Identity,
    counters: Arc<StatusCounters>,
    tracker: Tracker,
    slots: Slots,
    /// Objects to look at again.
    dirty: BTreeSet<ObjectKey>,
    leading: bool,
    in_flight: usize,
    /// Shut while the API server is away or busy.
    server: Option<Valve>,
    crds: Crds,
    /// What is to be told as Events.
    news: Vec<(About, News)>,
}

impl Board {
    /// An empty board of an instance that does not lead.
    pub(super) fn new(identity: Identity, counters: Arc<StatusCounters>) -> Self {
        Self {
            identity,
            counters,
            tracker: Tracker::default(),
            slots: Slots::default(),
            dirty: BTreeSet::new(),
            leading: false,
            in_flight: 0,
            server: None,
            crds: Crds::default(),
            news: Vec::new(),
        }
    }

    /// Takes compiles, in their order.
    pub(super) fn batches(&mut self, batches: &[Arc<Batch>], now: Instant) {
        let first = !self.tracker.has_compiled();
        let dirty = self.tracker.batches(batches, now);
        if first && self.tracker.has_compiled() {
            // Only now is known what is foreign.
            self.dirty.extend(self.slots.keys().cloned());
        }
        self.dirty.extend(dirty);
        self.count_gateways();
    }

    /// Takes what gateways report.
    pub(super) fn gateway(&mut self, event: GatewayEvent, now: Instant) {
        let dirty = self.tracker.gateway(event, now);
        self.dirty.extend(dirty);
        self.count_gateways();
    }

    /// Takes how objects stand, and which are gone.
    pub(super) fn observed(&mut self, observed: Vec<Observed>, removed: &[ObjectKey]) {
        for key in removed {
            self.slots.remove(key);
        }
        for observed in observed {
            let key = observed.key.clone();
            match self.slots.observed(&key, observed.into()) {
                Look::New => {
                    self.crds.hint(key.kind);
                    self.dirty.insert(key);
                }
                Look::Changed => {
                    self.dirty.insert(key);
                }
                Look::Known => {}
            }
        }
    }

    /// We became the leader, or ceased to be.
    pub(super) fn lead(&mut self, leading: bool, now: Instant) {
        if leading == self.leading {
            return;
        }
        self.leading = leading;
        self.slots.forget_work();
        self.in_flight = 0;
        self.server = None;
        self.crds.forget_work();
        self.dirty.clear();
        if leading {
            self.tracker.lead(now);
            self.dirty.extend(self.slots.keys().cloned());
        } else {
            self.tracker.follow();
        }
    }

    /// Does what time brings.
    pub(super) fn tick(&mut self, now: Instant) {
        let (lost, dirty) = self.tracker.tick(now);
        self.dirty.extend(dirty);
        if self.leading {
            for kind in self.crds.probes(now) {
                let some = self.slots.any_of(kind, |key| self.tracker.is_ours(key));
                self.dirty.extend(some);
            }
        }
        if lost.is_empty() {
            return;
        }
        self.count_gateways();
        for gateway in lost {
            self.counters.gateways_lost.fetch_add(1, Relaxed);
            tracing::warn!(gateway = %gateway.0, "Gateway is gone: its stream broke and did not come back");
            if self.leading {
                let news = News {
                    tone: Tone::Warning,
                    reason: "GatewayLost".to_owned(),
                    note: format!(
                        "the stream of gateway {} broke and did not come back; it counts no more",
                        gateway.0
                    ),
                };
                self.news.push((About::Ourselves, news));
            }
        }
    }

    /// When the board has something to do by itself next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let queue = self
            .slots
            .deadline()
            .filter(|_| self.leading && self.in_flight < CONCURRENCY);
        let crds = self.crds.deadline().filter(|_| self.leading);
        [self.tracker.deadline(), queue, crds]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether objects wait to be looked at: [`Board::look`] has more to do.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Looks at some of the objects about which something changed, and queues those to be written.
    pub(super) fn look(&mut self, now: Instant) {
        if !self.leading {
            self.dirty.clear();
            return;
        }
        for _ in 0..BITE {
            let Some(key) = self.dirty.pop_first() else {
                return;
            };
            self.look_at(&key, now);
        }
    }

    fn look_at(&mut self, key: &ObjectKey, now: Instant) {
        let slot = self.slots.get_mut(key);
        if slot.is_none_or(|slot| slot.in_flight || slot.is_waiting(now)) {
            return;
        }
        match self.plan(key, now) {
            None => self.slots.unqueue(key),
            Some(plan) => {
                let at = plan.not_before.unwrap_or(now);
                self.slots.queue(key, at, now);
            }
        }
    }

    /// The next request to make; `None` = nothing is due.
    pub(super) fn next(&mut self, now: Instant) -> Option<Job> {
        while self.leading && self.in_flight < CONCURRENCY {
            let key = self.slots.pop_due(now)?;
            if let Some(job) = self.job(&key, now) {
                self.in_flight += 1;
                return Some(job);
            }
        }
        None
    }

    /// Whether requests are under way or due.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.leading
            && (self.in_flight > 0
                || self.is_dirty()
                || self.slots.deadline().is_some_and(|at| at <= now))
    }

    /// What is to be told as Events since the last time.
    pub(super) fn take_news(&mut self) -> Vec<(About, News)> {
        std::mem::take(&mut self.news)
    }

    /// Makes the request for an object that is due, if there is still one to make.
    fn job(&mut self, key: &ObjectKey, now: Instant) -> Option<Job> {
        let plan = self.plan(key, now)?;
        if let Some(later) = plan.not_before.filter(|at| *at > now) {
            self.slots.queue(key, later, now);
            return None;
        }
        if let Some(later) = self.ask(key, now) {
            self.slots.queue(key, later, now);
            return None;
        }
        if plan.rival.is_some() && !self.may_overwrite(key, now) {
            self.give_up(key, now);
            return None;
        }
        let dialect = self.crds.speak(key.kind);
        let slot = self.slots.get_mut(key)?;
        slot.in_flight = true;
        Some(job(key, slot, plan, dialect))
    }

    /// When a request may be made; `None` = now, and whoever asks makes it or gives it up.
    fn ask(&mut self, key: &ObjectKey, now: Instant) -> Option<Instant> {
        if let Some(valve) = &mut self.server
            && let Some(later) = valve.ask(now)
        {
            return Some(later);
        }
        let later = self.crds.ask(key, now);
        if let (Some(_), Some(valve)) = (later, &mut self.server) {
            valve.give_up();
        }
        later
    }

    /// A request that might have been made is not.
    fn give_up(&mut self, key: &ObjectKey, now: Instant) {
        if let Some(valve) = &mut self.server {
            valve.give_up();
        }
        self.crds.give_up(key, now);
    }

    /// What is to be done to an object, from the newest that is known.
    fn plan(&mut self, key: &ObjectKey, now: Instant) -> Option<Plan> {
        let slot = self.slots.get_mut(key)?;
        if slot.is_waiting(now) {
            return None;
        }
        let wish = self.tracker.wish(key, &slot.seen, &self.identity, now);
        let mut plan = match wish {
            Wish::Later => return None,
            Wish::Foreign if !self.tracker.has_compiled() => return None,
            Wish::Foreign => Plan {
                change: merge::remove(key.kind, &slot.seen, &self.identity),
                not_before: Some(*slot.foreign_since.get_or_insert(now) + REMOVAL_DELAY),
                news: None,
                rival: None,
                words: false,
            },
            Wish::Ours(desired) => {
                slot.foreign_since = None;
                let stamp = timestamp();
                match self.crds.dialect(key.kind) {
                    Dialect::Whole => {
                        let merged =
                            merge::set(key.kind, &slot.seen, &desired, &self.identity, &stamp);
                        Plan {
                            change: merged.change,
                            not_before: desired.hold,
                            news: merged.news,
                            rival: merged.rival,
                            words: false,
                        }
                    }
                    Dialect::Words => Plan {
                        change: merge::legacy(key.kind, &slot.seen, &desired, &stamp)
                            .map_or(Change::None, Change::Set),
                        not_before: desired.hold,
                        news: None,
                        rival: None,
                        words: true,
                    },
                    Dialect::Nothing => return None,
                }
            }
        };
        if plan.change == Change::None {
            slot.refused = None;
            self.counters.skipped.fetch_add(1, Relaxed);
            return None;
        }
        if slot
            .refused
            .as_ref()
            .is_some_and(|refused| refused.is(&plan.change))
        {
            return None;
        }
        let paced = slot.pace.earliest(now, key);
        let earliest = [plan.not_before, slot.not_before, Some(paced)];
        plan.not_before = earliest.into_iter().flatten().max();
        Some(plan)
    }

    /// Whether an entry of our id that another controller wrote may be overwritten (again).
    fn may_overwrite(&mut self, key: &ObjectKey, now: Instant) -> bool {
        let Some(slot) = self.slots.get_mut(key) else {
            return false;
        };
        if slot.rivalry.overwrite(now) {
            return true;
        }
        if !slot.rivalry.stop(now) {
            return false;
        }
        self.counters.conflicts.fetch_add(1, Relaxed);
        let rival = slot
            .seen
            .entry(&self.identity.ambassador_id)
            .and_then(|entry| super::observed::text(entry, "controllerNamespace"))
            .unwrap_or_default();
        tracing::warn!(object = %key, namespace = rival, "Status is left to another controller with our id");
        let news = News {
            tone: Tone::Warning,
            reason: "StatusConflict".to_owned(),
            note: bounded(format!(
                "a controller in namespace {rival} has the id {} too and overwrites our status; \
                 give one of the two another id",
                self.identity.ambassador_id
            )),
        };
        let about = About::Object(key.clone(), slot.seen.uid.clone());
        self.news.push((about, news));
        false
    }

    fn count_gateways(&self) {
        let census = self.tracker.census();
        self.counters
            .gateways_current
            .store(census.current, Relaxed);
        self.counters.gateways_behind.store(census.behind, Relaxed);
        self.counters
            .gateways_rejecting
            .store(census.rejecting, Relaxed);
        self.counters.gateways_broken.store(census.broken, Relaxed);
    }
}

/// The request that a plan comes to.
fn job(key: &ObjectKey, slot: &Slot, plan: Plan, dialect: Dialect) -> Job {
    let method = if plan.words || slot.by_merge {
        Method::Merge
    } else {
        Method::Apply
    };
    let status = match plan.change {
        Change::Set(status) => Some(status),
        Change::None | Change::Clear => None,
    };
    let version = &slot.seen.resource_version;
    let body = match method {
        Method::Apply => {
            let mut body = json!({
                "apiVersion": key.kind.stored_version(),
                "kind": key.kind.as_str(),
                "metadata": {
                    "name": key.name,
                    "namespace": key.namespace,
                    "resourceVersion": version,
                },
            });
            // The key is left out when there is nothing: empty or null is refused.
            if let (Some(status), Some(fields)) = (&status, body.as_object_mut()) {
                fields.insert("status".to_owned(), status.clone());
            }
            body
        }
        Method::Merge => {
            let new = status.clone().unwrap_or_else(|| json!({}));
            let status = if plan.words {
                new
            } else {
                merge::as_merge_patch(&slot.seen, new)
            };
            json!({ "metadata": { "resourceVersion": version }, "status": status })
        }
    };
    Job {
        key: key.clone(),
        method,
        body,
        seen: slot.seen.clone(),
        status,
        news: plan.news,
        rival: plan.rival,
        dialect,
    }
}

/// The time as conditions carry it.
fn timestamp() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .to_string()
}
