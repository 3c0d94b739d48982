//! One candidate's decisions, on injected time and without I/O.
//!
//! A candidate never compares its clock with another's. A record that it sees unchanged for the
//! record's duration, by its own monotonic clock, has expired. A holder counts its own time from
//! when it *sent* the renewal that went well, others theirs from when they *saw* the change, so
//! the holder always gives up first.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

use super::{ADDRESS_ANNOTATION, LeaseSettings};

/// What to do next.
#[derive(Debug)]
pub(super) enum Action {
    /// Nothing before this time.
    Wait(Instant),
    /// Get the Lease, and tell [`Candidate::found`].
    Read,
    /// Put this, and tell [`Candidate::written`] or [`Candidate::refused`].
    Write(Box<Lease>),
}

/// One candidate.
pub(super) struct Candidate {
    me: String,
    namespace: String,
    name: String,
    settings: LeaseSettings,
    /// A factor for each wait.
    jitter: fn() -> f64,
    /// The record as last seen, and when it was first seen like that.
    seen: Option<Seen>,
    /// Whether the Lease was gone when last read.
    missing: bool,
    /// Whether `seen` was read or written in this round, and may be built upon.
    current: bool,
    tenure: Option<Tenure>,
    /// The highest number of a tenure ever seen: numbers go on even when the Lease is deleted.
    highest: Option<i32>,
    due: Instant,
    /// Refusals in a row.
    refusals: u32,
}

struct Seen {
    lease: Lease,
    since: Instant,
}

#[derive(Clone, Copy)]
struct Tenure {
    generation: i32,
    /// When the last renewal that went well was sent.
    renewed: Instant,
}

impl Candidate {
    pub(super) fn new(
        me: String,
        namespace: String,
        name: String,
        settings: LeaseSettings,
        jitter: fn() -> f64,
        now: Instant,
    ) -> Self {
        Self {
            me,
            namespace,
            name,
            settings,
            jitter,
            seen: None,
            missing: false,
            current: false,
            tenure: None,
            highest: None,
            due: now,
            refusals: 0,
        }
    }

    /// What to do at this time. `wall` is written into the Lease for people, and read by nobody.
    pub(super) fn act(&mut self, now: Instant, wall: Timestamp) -> Action {
        if self.leads(now).is_none() {
            self.tenure = None;
        }
        if now < self.due {
            return Action::Wait(self.due);
        }
        if !self.current {
            return Action::Read;
        }
        match self.wanted(now, wall) {
            Some(lease) => Action::Write(Box::new(lease)),
            None => {
                self.later(now);
                Action::Wait(self.due)
            }
        }
    }

    /// The number of the tenure, if this candidate leads at this time.
    pub(super) fn leads(&self, now: Instant) -> Option<i32> {
        let lapse = self.lapse()?;
        let tenure = self.tenure?;
        (now < lapse).then_some(tenure.generation)
    }

    /// When leadership ends unless renewed.
    pub(super) fn lapse(&self) -> Option<Instant> {
        let tenure = self.tenure?;
        Some(tenure.renewed + self.settings.renew_deadline)
    }

    /// How long a call sent now may take: leadership must not lapse unseen behind a slow one, and
    /// there has to be time for a second.
    pub(super) fn call_limit(&self, now: Instant) -> Duration {
        let half = self.settings.renew_deadline / 2;
        self.lapse()
            .map_or(half, |lapse| half.min(lapse.saturating_duration_since(now)))
    }

    /// The other candidate that holds the Lease, and until when if it is not renewed.
    pub(super) fn foreign_holder(&self) -> Option<(&str, Instant)> {
        let seen = self.seen.as_ref()?;
        let holder = holder(&seen.lease).filter(|holder| *holder != self.me)?;
        Some((holder, seen.since + self.duration(&seen.lease)))
    }

    /// The highest number of a tenure, anyone's.
    pub(super) fn highest(&self) -> Option<i32> {
        self.highest
    }

    /// The answer to a read.
    pub(super) fn found(&mut self, now: Instant, lease: Option<Lease>) {
        self.current = true;
        match lease {
            Some(lease) => self.observe(now, lease),
            // Deleted under a holder, who may not know yet: what was seen counts until it expires.
            None => self.missing = true,
        }
    }

    /// The answer to a write that went well.
    pub(super) fn written(&mut self, sent: Instant, now: Instant, lease: Lease) {
        self.refusals = 0;
        self.observe(now, lease);
        let generation = self.highest.unwrap_or(0);
        self.tenure = Some(Tenure {
            generation,
            renewed: sent,
        });
        self.later(now);
        // The answer is the newest version: the next renewal needs no read.
        self.current = true;
    }

    /// A write was refused because the Lease is not as it was read. Returns whether that is the
    /// first refusal; a second in a row is no race.
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        self.current = false;
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals > 1 {
            self.later(now);
        }
        self.refusals == 1
    }

    /// There was no answer, or none to rely on; a write may have been done or not.
    pub(super) fn failed(&mut self, now: Instant) {
        self.later(now);
    }

    /// The Lease given back, if it is held as far as is known.
    pub(super) fn resigned(&self, wall: Timestamp) -> Option<Lease> {
        let seen = self.seen.as_ref().filter(|_| !self.missing)?;
        holder(&seen.lease).filter(|holder| *holder == self.me)?;
        let mut lease = seen.lease.clone();
        lease.metadata.managed_fields = None;
        if let Some(annotations) = &mut lease.metadata.annotations {
            annotations.remove(ADDRESS_ANNOTATION);
        }
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(MicroTime(wall));
        Some(lease)
    }

    fn observe(&mut self, now: Instant, lease: Lease) {
        if holder(&lease) != Some(self.me.as_str()) {
            self.tenure = None;
        }
        self.missing = false;
        self.highest = self.highest.max(transitions(&lease));
        let same = self.seen.as_ref().filter(|seen| {
            seen.lease.metadata.resource_version == lease.metadata.resource_version
                && seen.lease.metadata.uid == lease.metadata.uid
        });
        let since = same.map_or(now, |seen| seen.since);
        self.seen = Some(Seen { lease, since });
    }

    /// The record to write now, if it may be written.
    fn wanted(&self, now: Instant, wall: Timestamp) -> Option<Lease> {
        let free = self.seen.as_ref().is_none_or(|seen| {
            holder(&seen.lease).is_none_or(|holder| {
                holder == self.me || now >= seen.since + self.duration(&seen.lease)
            })
        });
        let known = self.seen.as_ref().filter(|_| !self.missing);
        let lease = known.map_or_else(|| self.named(), |seen| seen.lease.clone());
        free.then(|| self.held(lease, wall))
    }

    /// A Lease to create.
    fn named(&self) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(self.name.clone());
        lease.metadata.namespace = Some(self.namespace.clone());
        lease
    }

    fn held(&self, mut lease: Lease, wall: Timestamp) -> Lease {
        lease.metadata.managed_fields = None;
        let annotations = lease.metadata.annotations.get_or_insert_default();
        match &self.settings.discovery_address {
            Some(address) => {
                annotations.insert(ADDRESS_ANNOTATION.to_owned(), address.clone());
            }
            None => {
                annotations.remove(ADDRESS_ANNOTATION);
            }
        }
        let seconds = i32::try_from(self.settings.duration.as_secs()).unwrap_or(i32::MAX);
        let old = lease.spec.take().unwrap_or_default();
        let renews = self.tenure.is_some() && old.holder_identity.as_ref() == Some(&self.me);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: Some(seconds.max(1)),
            renew_time: Some(MicroTime(wall)),
            acquire_time: old
                .acquire_time
                .filter(|_| renews)
                .or(Some(MicroTime(wall))),
            lease_transitions: if renews {
                old.lease_transitions
            } else {
                Some(self.highest.map_or(0, |highest| highest.saturating_add(1)))
            },
            ..old
        });
        lease
    }

    fn duration(&self, lease: &Lease) -> Duration {
        lease
            .spec
            .as_ref()
            .and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok())
            .map_or(self.settings.duration, Duration::from_secs)
    }

    fn later(&mut self, now: Instant) {
        self.current = false;
        self.due = now + self.settings.retry.mul_f64((self.jitter)());
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

fn transitions(lease: &Lease) -> Option<i32> {
    lease.spec.as_ref()?.lease_transitions
}
