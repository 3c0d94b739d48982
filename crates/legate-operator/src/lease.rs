//! Who of an instance's replicas leads: the holder of one Lease (operator.md §1, operations §4.3).
//!
//! Only `get`, and `update` by name are asked for, and `create` by a PUT without a
//! `resourceVersion`: all three can be limited by name. A second creator is refused with 422.
//!
//! Decisions are in `candidate`; here is what talks to the API server.

mod candidate;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time;

use crate::fault;
use crate::identity::Identity;
use candidate::{Action, Candidate};

/// Where gateways find the holder.
const ADDRESS_ANNOTATION: &str = "getambassador.io/discovery-address";
/// How long giving back the Lease may take; after that it expires by itself.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);

/// How the Lease is held.
#[derive(Debug, Clone)]
pub struct LeaseSettings {
    /// How long others wait for a holder that is not heard of.
    pub duration: Duration,
    /// How long a holder leads without having renewed; less than `duration`.
    pub renew_deadline: Duration,
    /// Between two attempts, give or take a fifth.
    pub retry: Duration,
    /// Where gateways find this replica; for an operator that serves gateways.
    pub discovery_address: Option<String>,
    /// The pod's uid. With it a restarted container takes up its own Lease at once; without it
    /// each process is a candidate of its own.
    pub pod_uid: Option<String>,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            discovery_address: None,
            pod_uid: None,
        }
    }
}

/// Whether this replica leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// Whether it does.
    pub is_leader: bool,
    /// Since when it does or does not.
    pub since: Instant,
    /// `leaseTransitions`, which tells one tenure from another; of a replica that does not lead,
    /// the last that it saw.
    pub generation: u64,
}

/// Takes part in the election.
#[derive(Debug)]
pub struct LeaseElector;

/// A candidate that takes part until it is released or dropped. Dropped, it leaves the Lease to
/// expire, as a crash would.
pub struct LeaseHandle {
    leadership: watch::Receiver<Leadership>,
    leading: watch::Receiver<bool>,
    holder: watch::Receiver<Option<(String, Instant)>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Option<()>>,
}

struct Driver {
    api: Api<Lease>,
    name: String,
    candidate: Candidate,
    leadership: watch::Sender<Leadership>,
    leading: watch::Sender<bool>,
    holder: watch::Sender<Option<(String, Instant)>>,
    stop: oneshot::Receiver<()>,
    /// Whether the fault that lasts was logged.
    said: bool,
}

// === impl LeaseElector ===

impl LeaseElector {
    /// Starts a candidate on a runtime. It is not the leader until the API server says so.
    #[must_use]
    pub fn start(
        client: kube::Client,
        identity: &Identity,
        settings: LeaseSettings,
        runtime: &Handle,
    ) -> LeaseHandle {
        let now = now();
        let name = identity.lease_name();
        let suffix = settings
            .pod_uid
            .clone()
            .unwrap_or_else(|| format!("{:08x}", rand::random::<u32>()));
        let candidate = Candidate::new(
            format!("{}_{suffix}", identity.pod_name),
            identity.namespace.clone(),
            name.clone(),
            settings,
            || rand::random_range(0.8..=1.2),
            now,
        );
        let (stop, stopped) = oneshot::channel();
        let (leadership, leadership_receiver) = watch::channel(Leadership {
            is_leader: false,
            since: now,
            generation: 0,
        });
        let (leading, leading_receiver) = watch::channel(false);
        let (holder, holder_receiver) = watch::channel(None);
        let driver = Driver {
            api: Api::namespaced(client, &identity.namespace),
            name,
            candidate,
            leadership,
            leading,
            holder,
            stop: stopped,
            said: false,
        };
        LeaseHandle {
            leadership: leadership_receiver,
            leading: leading_receiver,
            holder: holder_receiver,
            stop: Some(stop),
            task: legate_runtime::task::spawn_on(runtime, "lease", driver.run()),
        }
    }
}

// === impl LeaseHandle ===

impl LeaseHandle {
    /// Whether this replica leads, since when, and in which tenure.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Whether this replica leads, and nothing else.
    #[must_use]
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leading.clone()
    }

    /// The other replica that holds the Lease now, as it names itself.
    #[must_use]
    pub fn holder(&self) -> Option<String> {
        let holder = self.holder.borrow();
        let (name, until) = holder.as_ref()?;
        (now() < *until).then(|| name.clone())
    }

    /// Stops leading, and gives the Lease back so that another replica need not wait.
    pub async fn release(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Err(error) = (&mut self.task).await {
            tracing::debug!(%error, "The election had ended before");
        }
    }
}

impl fmt::Debug for LeaseHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseHandle")
            .field("leadership", &*self.leadership.borrow())
            .finish_non_exhaustive()
    }
}

// === impl Driver ===

impl Driver {
    async fn run(mut self) {
        let released = self.take_part().await;
        // Nobody may act as the leader once the Lease is on its way to another.
        self.publish(None);
        if released
            && time::timeout(RELEASE_LIMIT, self.give_back())
                .await
                .is_err()
        {
            tracing::warn!(
                lease = self.name,
                "The Lease could not be given back in time; it expires"
            );
        }
    }

    /// Returns when told to stop: whether to release, or because nobody holds the handle.
    async fn take_part(&mut self) -> bool {
        loop {
            let now = now();
            let action = self.candidate.act(now, Timestamp::now());
            self.publish(self.candidate.leads(now));
            let stopped = match action {
                Action::Wait(until) => {
                    let until = self
                        .candidate
                        .lapse()
                        .map_or(until, |lapse| lapse.min(until));
                    tokio::select! {
                        biased;
                        stopped = &mut self.stop => Some(stopped),
                        () = time::sleep_until(until.into()) => None,
                    }
                }
                // A write that is cut off may have been done: what is done next reads first.
                Action::Read => {
                    let limit = self.candidate.call_limit(now);
                    let call = time::timeout(limit, self.api.get_opt(&self.name));
                    tokio::select! {
                        biased;
                        stopped = &mut self.stop => Some(stopped),
                        answer = call => { self.read(answer); None }
                    }
                }
                Action::Write(lease) => {
                    let limit = self.candidate.call_limit(now);
                    let params = PostParams::default();
                    let call = time::timeout(limit, self.api.replace(&self.name, &params, &lease));
                    tokio::select! {
                        biased;
                        stopped = &mut self.stop => Some(stopped),
                        answer = call => { self.wrote(now, answer); None }
                    }
                }
            };
            if let Some(stopped) = stopped {
                return stopped.is_ok();
            }
        }
    }

    fn read(&mut self, answer: Result<kube::Result<Option<Lease>>, time::error::Elapsed>) {
        match answer {
            Ok(Ok(lease)) => {
                self.heard();
                self.candidate.found(now(), lease);
            }
            Ok(Err(error)) => self.failed(&fault::describe(&error)),
            Err(_) => self.failed("there was no answer in time"),
        }
    }

    fn wrote(&mut self, sent: Instant, answer: Result<kube::Result<Lease>, time::error::Elapsed>) {
        match answer {
            Ok(Ok(lease)) => {
                self.heard();
                self.candidate.written(sent, now(), lease);
            }
            // 409 and 422: another replica was faster. 404: deleted since.
            Ok(Err(error)) if matches!(fault::code(&error), 404 | 409 | 422) => {
                if !self.candidate.refused(now()) {
                    self.say(&fault::describe(&error));
                }
            }
            Ok(Err(error)) => self.failed(&fault::describe(&error)),
            Err(_) => self.failed("there was no answer in time"),
        }
    }

    fn failed(&mut self, why: &str) {
        self.candidate.failed(now());
        self.say(why);
    }

    fn say(&mut self, why: &str) {
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(
                lease = self.name,
                error = why,
                "The Lease cannot be read or written; without it this replica does not lead"
            );
        }
    }

    fn heard(&mut self) {
        if std::mem::take(&mut self.said) {
            tracing::info!(lease = self.name, "The Lease can be read and written again");
        }
    }

    fn publish(&self, leads: Option<i32>) {
        let generation = leads.or(self.candidate.highest()).unwrap_or(0);
        let generation = u64::try_from(generation).unwrap_or(0);
        let is_leader = leads.is_some();
        let changed = self.leadership.send_if_modified(|leadership| {
            if (leadership.is_leader, leadership.generation) == (is_leader, generation) {
                return false;
            }
            if leadership.is_leader || is_leader {
                leadership.since = now();
            }
            leadership.is_leader = is_leader;
            leadership.generation = generation;
            true
        });
        let turned = self
            .leading
            .send_if_modified(|leading| std::mem::replace(leading, is_leader) != is_leader);
        if changed && turned {
            let lease = self.name.as_str();
            if is_leader {
                tracing::info!(lease, generation, "This replica leads");
            } else {
                tracing::info!(lease, generation, "This replica no longer leads");
            }
        }
        let holder = self.candidate.foreign_holder();
        self.holder.send_if_modified(|known| {
            let same = match (&*known, holder) {
                (Some((name, until)), Some((new, new_until))) => name == new && *until == new_until,
                (None, None) => true,
                _ => false,
            };
            if !same {
                *known = holder.map(|(name, until)| (name.to_owned(), until));
            }
            !same
        });
    }

    /// Empties the holder, if it is this candidate. A race with an own renewal that was cut off
    /// is worth a second attempt.
    async fn give_back(&mut self) {
        for _ in 0..2 {
            match self.api.get_opt(&self.name).await {
                Ok(lease) => self.candidate.found(now(), lease),
                Err(error) => {
                    let error = fault::describe(&error);
                    tracing::warn!(
                        lease = self.name,
                        error,
                        "The Lease could not be given back"
                    );
                    return;
                }
            }
            let Some(lease) = self.candidate.resigned(Timestamp::now()) else {
                return;
            };
            let params = PostParams::default();
            match self.api.replace(&self.name, &params, &lease).await {
                Ok(_) => return,
                Err(error) if fault::code(&error) == 409 => {}
                Err(error) => {
                    let error = fault::describe(&error);
                    tracing::warn!(
                        lease = self.name,
                        error,
                        "The Lease could not be given back"
                    );
                    return;
                }
            }
        }
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    time::Instant::now().into_std()
}
