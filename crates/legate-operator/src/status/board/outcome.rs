//! What becomes of a request, and what follows.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use legate_api::{Kind, ObjectKey};
use serde_json::Value;

use super::crds::Dialect;
use super::slot::Refused;
use super::{Board, Job, Method};
use crate::status::events::About;
use crate::status::faults::Fault;
use crate::status::merge::Change;
use crate::status::observed::Seen;
use crate::status::pace::{Valve, back_off};

/// How long a newer look at the object is waited for after a conflict, at least.
const CONFLICT_WAIT: Duration = Duration::from_secs(2);
/// An object that is said to be gone so often, and is still there, has a kind without a status.
const MOST_GONE: u32 = 4;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::status) enum Outcome {
    /// It was done; the object stands like this now.
    Done {
        /// `metadata.uid`
        uid: String,
        /// `metadata.resourceVersion`
        resource_version: String,
        /// `metadata.generation`
        generation: i64,
        /// `status`
        status: Option<Arc<Value>>,
    },
    /// It was not.
    Failed(Fault),
}

impl Board {
    /// Takes the answer to a request.
    pub(in crate::status) fn finished(&mut self, job: Job, outcome: Outcome, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let key = job.key.clone();
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.in_flight = false;
        }
        self.dirty.insert(key.clone());
        match outcome {
            Outcome::Done {
                uid,
                resource_version,
                generation,
                status,
            } => {
                let seen = Seen {
                    uid,
                    resource_version,
                    generation,
                    status,
                };
                self.done(job, seen, now);
            }
            Outcome::Failed(fault) => {
                self.note_reachability(&key, &fault, now);
                if !matches!(fault, Fault::Forbidden(_)) {
                    self.crds.give_up(&key, now);
                }
                if !matches!(fault, Fault::Conflict | Fault::Gone) {
                    self.counters.write_errors.fetch_add(1, Relaxed);
                }
                self.failed(&job, fault, now);
            }
        }
    }

    fn done(&mut self, job: Job, seen: Seen, now: Instant) {
        self.counters.writes.fetch_add(1, Relaxed);
        if self.server.take().is_some() {
            tracing::info!("The API server takes status writes again");
        }
        self.crds.permitted(&job.key);
        if job.dialect == Dialect::Whole && self.crds.is_whole(job.key.kind) {
            tracing::info!(kind = %job.key.kind, "The CRD has our status now");
            self.all_of(job.key.kind);
        }
        let change = job.status.map_or(Change::Clear, Change::Set);
        let Some(slot) = self.slots.get_mut(&job.key) else {
            return;
        };
        if slot.seen.uid != job.seen.uid {
            return;
        }
        slot.faults = 0;
        slot.gone = 0;
        slot.not_before = None;
        slot.pace.wrote(now);
        let uid = slot.seen.uid.clone();
        if seen.uid == uid && seen.is_not_older(&slot.seen) {
            slot.seen = seen;
        }
        if let Some(news) = job.news {
            self.news.push((About::Object(job.key.clone(), uid), news));
        }
        // What the server does not keep is not written over and over.
        let again = self.plan(&job.key, now).map(|plan| plan.change);
        if let Some(again) = again.filter(|again| Refused::new(&change).is(again)) {
            tracing::debug!(object = %job.key, "The API server did not keep the status as written");
            if let Some(slot) = self.slots.get_mut(&job.key) {
                slot.refused = Some(Refused::new(&again));
            }
        }
    }

    /// Whatever answers is there.
    fn note_reachability(&mut self, key: &ObjectKey, fault: &Fault, now: Instant) {
        let (wait, why) = match fault {
            Fault::Busy(wait) => (*wait, "the API server is busy"),
            Fault::Unreachable(why) => (None, why.as_str()),
            _ => {
                self.server = None;
                return;
            }
        };
        match &mut self.server {
            Some(valve) => valve.fault(now, wait, key),
            None => {
                tracing::warn!(error = why, "Status cannot be written for now");
                self.server = Some(Valve::shut(now, wait, key));
            }
        }
    }

    fn failed(&mut self, job: &Job, fault: Fault, now: Instant) {
        let key = &job.key;
        let kind = key.kind;
        match fault {
            Fault::Busy(_) | Fault::Unreachable(_) => {}
            Fault::Conflict => self.conflict(job, now),
            Fault::Gone => self.gone(key, now),
            Fault::Undeclared => {
                let dialect = match kind {
                    Kind::Mapping | Kind::Host => Dialect::Words,
                    _ => Dialect::Nothing,
                };
                if self.crds.lacks(kind, dialect, now) {
                    tracing::warn!(
                        %kind,
                        "The CRD knows no conditions; run `kubectl apply -f crds/` for full status"
                    );
                }
            }
            Fault::NoSubresource => self.no_status(kind, now),
            Fault::Unconvertible if job.method == Method::Apply => {
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.by_merge = true;
                }
                tracing::warn!(
                    object = %key,
                    "The object was written in a version that its CRD does not list any more; its \
                     status is patched instead of applied. Run `kubectl apply -f crds/`"
                );
            }
            Fault::Unconvertible => self.refused(job, "no version to convert to"),
            Fault::Forbidden(why) => {
                if self.crds.forbidden(key, now) {
                    tracing::warn!(
                        %kind,
                        namespace = key.namespace,
                        error = why,
                        "Status may not be written; grant `patch` on the kind's status"
                    );
                }
            }
            Fault::Refused(why) => self.refused(job, &why),
            Fault::Server(why) => {
                let Some(slot) = self.slots.get_mut(key) else {
                    return;
                };
                slot.faults = slot.faults.saturating_add(1);
                slot.not_before = Some(now + back_off(slot.faults, key));
                if slot.faults == 1 {
                    tracing::warn!(object = %key, error = why, "Status cannot be written; it is tried again");
                }
            }
        }
    }

    /// The watch will say so too. If it does not, it is the status that is not there: a CRD without
    /// the subresource is answered in the same words.
    fn gone(&mut self, key: &ObjectKey, now: Instant) {
        if self.crds.was_whole(key.kind) {
            self.dirty.remove(key);
            return;
        }
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.gone = slot.gone.saturating_add(1);
        slot.not_before = Some(now + back_off(slot.gone, key));
        if slot.gone >= MOST_GONE {
            self.no_status(key.kind, now);
        }
    }

    fn no_status(&mut self, kind: Kind, now: Instant) {
        if self.crds.lacks(kind, Dialect::Nothing, now) {
            tracing::warn!(%kind, "The CRD has no status; run `kubectl apply -f crds/` to get it");
        }
    }

    /// Waits for the watch to show what came between.
    fn conflict(&mut self, job: &Job, now: Instant) {
        let Some(slot) = self.slots.get_mut(&job.key) else {
            return;
        };
        slot.faults = slot.faults.saturating_add(1);
        let until = now + CONFLICT_WAIT.max(back_off(slot.faults, &job.key));
        slot.conflict = Some((job.seen.resource_version.clone(), until));
        self.slots.queue(&job.key, until, now);
    }

    fn refused(&mut self, job: &Job, why: &str) {
        tracing::error!(object = %job.key, error = why, "The API server refuses the status");
        if let Some(slot) = self.slots.get_mut(&job.key) {
            let change = job.status.clone().map_or(Change::Clear, Change::Set);
            slot.refused = Some(Refused::new(&change));
        }
    }

    fn all_of(&mut self, kind: Kind) {
        let all = self.slots.keys().filter(|key| key.kind == kind).cloned();
        self.dirty.extend(all);
    }
}
