//! Active health checks (spec/services §3.3): what a cluster knows of its endpoints by asking them.
//!
//! The control runtime asks; a worker reads which endpoints are left out, which is worked out anew
//! whenever a verdict or the set of endpoints changes. Clusters without checks have none of this, and
//! take no notice of what others found out.
//!
//! - `probe`: one endpoint, asked for all clusters that want to know the same; `ask`: one question

mod ask;
mod probe;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use legate_config::cluster::{Cluster, UpstreamProtocol};
use legate_config::health::HealthCheck;
use parking_lot::Mutex;
use smallvec::SmallVec;

use self::ask::Answer;
use self::probe::{Probe, State};
use super::tls::ClientTls;

pub(super) use self::probe::Probes;

/// The health checks of one cluster.
#[derive(Debug)]
pub(super) struct Health {
    checks: Box<[Arc<HealthCheck>]>,
    http2: bool,
    probes: Arc<Probes>,
    members: Mutex<Members>,
    verdicts: ArcSwap<Verdicts>,
    counters: Counters,
}

/// The endpoints that are asked, and how.
#[derive(Debug, Default)]
struct Members {
    tls: Option<Arc<ClientTls>>,
    list: Vec<Member>,
    /// The cluster is no longer in the config.
    stopped: bool,
}

#[derive(Debug)]
struct Member {
    address: SocketAddr,
    /// It came when others were healthy: it has to pass before it is used.
    late: bool,
    /// One for each check.
    probes: SmallVec<[Arc<Probe>; 1]>,
}

type Addresses = HashSet<SocketAddr, foldhash::fast::RandomState>;

/// What all probes together say.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    left_out: Addresses,
    /// The same without regard to `panic`.
    unhealthy: Addresses,
    /// Endpoints that have yet to pass before they are used.
    warming: usize,
    /// So few are healthy that health is ignored.
    panic: bool,
}

/// How probes ended, and how often there were too few healthy endpoints.
#[derive(Debug, Default)]
struct Counters {
    attempt: AtomicU64,
    success: AtomicU64,
    failure: AtomicU64,
    network_failure: AtomicU64,
    panic: AtomicU64,
}

/// What is counted of a cluster's health checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HealthCounters {
    /// Probes made.
    pub attempt: u64,
    /// Probes with the expected answer.
    pub success: u64,
    /// Probes with another answer or none.
    pub failure: u64,
    /// Probes without an answer.
    pub network_failure: u64,
    /// Requests for which health was ignored, because too few endpoints are healthy.
    pub panic: u64,
}

// === impl Health ===

impl Health {
    /// The checks of a cluster that has any.
    pub(super) fn new(
        cluster: &Cluster,
        tls: Option<Arc<ClientTls>>,
        probes: &Arc<Probes>,
    ) -> Option<Arc<Self>> {
        if cluster.health_checks.is_empty() {
            return None;
        }
        let checks = cluster.health_checks.iter().cloned().map(Arc::new);
        Some(Arc::new(Self {
            checks: checks.collect(),
            http2: cluster.protocol == UpstreamProtocol::Http2,
            probes: Arc::clone(probes),
            members: Mutex::new(Members {
                tls,
                ..Members::default()
            }),
            verdicts: ArcSwap::default(),
            counters: Counters::default(),
        }))
    }

    /// What is known now.
    pub(super) fn verdicts(&self) -> Guard<Arc<Verdicts>> {
        self.verdicts.load()
    }

    /// The same, for a request.
    pub(super) fn for_request(&self) -> Guard<Arc<Verdicts>> {
        let verdicts = self.verdicts.load();
        if verdicts.panic {
            self.counters.panic.fetch_add(1, Ordering::Relaxed);
        }
        verdicts
    }

    /// These are the endpoints from now on. `false`: nobody need be told any more.
    pub(super) fn members(self: &Arc<Self>, addresses: &[SocketAddr]) -> bool {
        let mut members = self.members.lock();
        if members.stopped {
            return false;
        }
        let late = members.list.iter().any(|it| it.state() == State::Healthy);
        let former = std::mem::take(&mut members.list);
        let mut former: HashMap<SocketAddr, Member> =
            former.into_iter().map(|it| (it.address, it)).collect();
        for address in addresses {
            let member = match former.remove(address) {
                Some(member) => member,
                None => Member {
                    address: *address,
                    late,
                    probes: self.ask(*address, members.tls.as_ref(), &[]),
                },
            };
            members.list.push(member);
        }
        self.publish(&members);
        true
    }

    /// Connections are made in this way from now on. Until the new probes have answers, those of the
    /// former hold.
    pub(super) fn set_tls(self: &Arc<Self>, tls: Option<Arc<ClientTls>>) {
        let mut members = self.members.lock();
        if members.stopped {
            return;
        }
        members.tls = tls;
        let mut list = std::mem::take(&mut members.list);
        for member in &mut list {
            member.probes = self.ask(member.address, members.tls.as_ref(), &member.probes);
        }
        members.list = list;
        self.publish(&members);
    }

    /// The cluster is gone: nobody is asked for its sake any more.
    pub(super) fn stop(&self) {
        let mut members = self.members.lock();
        members.stopped = true;
        members.list.clear();
        self.publish(&members);
    }

    fn ask(
        self: &Arc<Self>,
        address: SocketAddr,
        tls: Option<&Arc<ClientTls>>,
        former: &[Arc<Probe>],
    ) -> SmallVec<[Arc<Probe>; 1]> {
        let probes = self.checks.iter().enumerate().map(|(index, check)| {
            let state = former.get(index).map_or(State::Unknown, |it| it.state());
            let known = (check, self.http2, tls);
            self.probes.of(address, known, state, Arc::downgrade(self))
        });
        probes.collect()
    }

    /// A verdict changed.
    fn refresh(&self) {
        let members = self.members.lock();
        self.publish(&members);
    }

    fn publish(&self, members: &Members) {
        self.verdicts.store(Arc::new(Verdicts::of(&members.list)));
    }

    fn count(&self, answer: &Answer) {
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        add(&self.counters.attempt);
        match answer {
            Answer::Good => {
                add(&self.counters.success);
            }
            Answer::Bad(_) => {
                add(&self.counters.failure);
            }
            Answer::None(_) => {
                add(&self.counters.failure);
                add(&self.counters.network_failure);
            }
        }
    }

    /// What was counted.
    pub(super) fn counters(&self) -> HealthCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HealthCounters {
            attempt: read(&self.counters.attempt),
            success: read(&self.counters.success),
            failure: read(&self.counters.failure),
            network_failure: read(&self.counters.network_failure),
            panic: read(&self.counters.panic),
        }
    }

    /// What is known of each endpoint: `None` while it did not answer yet.
    pub(super) fn states(&self) -> HashMap<SocketAddr, Option<bool>> {
        let members = self.members.lock();
        let state = |member: &Member| match member.state() {
            State::Unknown => None,
            State::Healthy => Some(true),
            State::Unhealthy => Some(false),
        };
        let members = members.list.iter();
        members.map(|it| (it.address, state(it))).collect()
    }
}

// === impl Member ===

impl Member {
    /// All checks together: each must be content.
    fn state(&self) -> State {
        let states = self.probes.iter().map(|probe| probe.state());
        states.fold(State::Healthy, |all, one| match (all, one) {
            (State::Unhealthy, _) | (_, State::Unhealthy) => State::Unhealthy,
            (State::Unknown, _) | (_, State::Unknown) => State::Unknown,
            (State::Healthy, State::Healthy) => State::Healthy,
        })
    }
}

// === impl Verdicts ===

impl Verdicts {
    fn of(members: &[Member]) -> Self {
        let states: Vec<(&Member, State)> = members.iter().map(|it| (it, it.state())).collect();
        // Before anybody answered, nobody is worse than another.
        let fresh = states.iter().all(|(_, state)| *state == State::Unknown);
        let healthy = |state: State| state == State::Healthy || fresh;
        let warming = |member: &Member, state: State| {
            member.late && state == State::Unknown && !healthy(state)
        };
        let well = states.iter().filter(|(_, state)| healthy(*state)).count();
        let warm = states.iter().filter(|(it, state)| warming(it, *state));
        let warm = warm.count();
        let counted = states.len().saturating_sub(warm);
        let panic = well.saturating_mul(2) < counted;
        let unhealthy = states.iter().filter(|(_, state)| !healthy(*state));
        let unhealthy: Addresses = unhealthy.map(|(member, _)| member.address).collect();
        Self {
            left_out: if panic {
                Addresses::default()
            } else {
                unhealthy.clone()
            },
            unhealthy,
            warming: warm,
            panic,
        }
    }

    /// Whether an endpoint may be used.
    pub(super) fn allows(&self, address: &SocketAddr) -> bool {
        self.left_out.is_empty() || !self.left_out.contains(address)
    }

    /// Whether an endpoint does not count as healthy.
    pub(super) fn is_unhealthy(&self, address: &SocketAddr) -> bool {
        self.unhealthy.contains(address)
    }

    /// Endpoints that have yet to pass before they are used.
    pub(super) fn warming(&self) -> usize {
        self.warming
    }
}

// === impl HealthCounters ===

impl HealthCounters {
    /// Adds another cluster's.
    pub(crate) fn add(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.attempt, other.attempt),
            (&mut self.success, other.success),
            (&mut self.failure, other.failure),
            (&mut self.network_failure, other.network_failure),
            (&mut self.panic, other.panic),
        ] {
            *to = to.saturating_add(from);
        }
    }
}
