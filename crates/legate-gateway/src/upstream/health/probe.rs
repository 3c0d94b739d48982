//! Probes: one task per endpoint, TLS identity and check, whoever wants to know.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use legate_config::health::HealthCheck;
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Health;
use super::ask::{self, Answer, Target};
use crate::upstream::tls::ClientTls;

/// Time between the first questions of probes that begin together: many of them are no burst, and
/// those of one set still follow one another at once.
const STEP: Duration = Duration::from_millis(1);

/// All probes of the process.
#[derive(Debug)]
pub(in crate::upstream) struct Probes {
    control: Handle,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    probes: HashMap<Key, Weak<Probe>>,
    /// When the next probe may ask for the first time.
    next: Option<Instant>,
    /// Entries at which those that ended are looked for.
    limit: usize,
}

/// What makes two probes one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    address: SocketAddr,
    /// Where the TLS settings are; they live as long as the probe.
    tls: usize,
    http2: bool,
    check: Arc<HealthCheck>,
}

/// What is known of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// It did not answer yet, nor fail to.
    Unknown,
    /// It is fit for use.
    Healthy,
    /// It is not.
    Unhealthy,
}

/// One endpoint that is asked the same again and again, as long as somebody wants to know.
#[derive(Debug)]
pub(super) struct Probe {
    state: AtomicU8,
    target: Target,
    users: Mutex<Vec<Weak<Health>>>,
    task: OnceLock<AbortHandle>,
}

/// From single answers to a state.
#[derive(Debug)]
struct Thresholds {
    state: State,
    /// Answers in a row that speak against the state.
    against: u32,
}

// === impl Probes ===

impl Probes {
    pub(in crate::upstream) fn new(control: Handle) -> Arc<Self> {
        Arc::new(Self {
            control,
            known: Mutex::default(),
        })
    }

    /// The probe that asks this; a new one begins at the given state.
    pub(super) fn of(
        &self,
        address: SocketAddr,
        (check, http2, tls): (&Arc<HealthCheck>, bool, Option<&Arc<ClientTls>>),
        state: State,
        user: Weak<Health>,
    ) -> Arc<Probe> {
        let key = Key {
            address,
            tls: tls.map_or(0, |it| Arc::as_ptr(it).addr()),
            http2,
            check: Arc::clone(check),
        };
        let mut known = self.known.lock();
        if let Some(probe) = known.probes.get(&key).and_then(Weak::upgrade) {
            probe.add(user);
            return probe;
        }
        let probe = Arc::new(Probe {
            state: AtomicU8::new(state as u8),
            target: Target {
                address,
                tls: tls.map(Arc::clone),
                http2,
                check: Arc::clone(check),
            },
            users: Mutex::new(vec![user]),
            task: OnceLock::new(),
        });
        let start = known.start(Instant::now(), &probe.target);
        known.insert(key, &probe);
        drop(known);
        let task = run(Arc::downgrade(&probe), probe.target.clone(), start);
        let task = legate_runtime::task::spawn_on(&self.control, "health check", task);
        // Nobody else sets it.
        let _ = probe.task.set(task.abort_handle());
        probe
    }
}

// === impl Known ===

impl Known {
    fn insert(&mut self, key: Key, probe: &Arc<Probe>) {
        if self.probes.len() >= self.limit {
            self.probes.retain(|_, probe| probe.strong_count() > 0);
            self.limit = self.probes.len().saturating_mul(2).max(64);
        }
        self.probes.insert(key, Arc::downgrade(probe));
    }

    /// When a new probe asks for the first time.
    fn start(&mut self, now: Instant, target: &Target) -> Instant {
        let start = self.next.map_or(now, |next| next.max(now));
        self.next = Some(start + STEP);
        // So many at once that the turn of this one comes after it should have asked again.
        let latest = Duration::from_millis(target.check.interval_ms);
        if start.duration_since(now) > latest {
            return now + latest.mul_f64(rand::rng().random_range(0.0..=1.0));
        }
        start
    }
}

// === impl Probe ===

impl Probe {
    pub(super) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Unknown,
            1 => State::Healthy,
            _ => State::Unhealthy,
        }
    }

    /// One that nobody asks.
    #[cfg(test)]
    pub(super) fn in_state(state: State) -> Arc<Self> {
        use legate_config::health::{GrpcProbe, Probe as Question};
        let check = HealthCheck {
            probe: Question::Grpc(GrpcProbe {
                service: String::new(),
                authority: String::new(),
            }),
            timeout_ms: 1,
            interval_ms: 1,
            unhealthy_threshold: 1,
            healthy_threshold: 1,
        };
        Arc::new(Self {
            state: AtomicU8::new(state as u8),
            target: Target {
                address: SocketAddr::from(([127, 0, 0, 1], 1)),
                tls: None,
                http2: false,
                check: Arc::new(check),
            },
            users: Mutex::default(),
            task: OnceLock::new(),
        })
    }

    fn add(&self, user: Weak<Health>) {
        let mut users = self.users.lock();
        users.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&user));
        users.push(user);
    }

    /// Takes an answer to the books, and tells those who want to know if it changed anything.
    fn note(&self, answer: &Answer, state: State) {
        let users: Vec<_> = {
            let users = self.users.lock();
            users.iter().filter_map(Weak::upgrade).collect()
        };
        let former = self.state();
        self.state.store(state as u8, Ordering::Release);
        for user in &users {
            user.count(answer);
            if former != state {
                user.refresh();
            }
        }
        if former != state {
            self.say(answer, former, state);
        }
    }

    fn say(&self, answer: &Answer, former: State, state: State) {
        let endpoint = self.target.address;
        let check = self.target.question();
        match (answer, former, state) {
            (Answer::Bad(reason) | Answer::None(reason), _, State::Unhealthy) => {
                tracing::warn!(%endpoint, check, reason, "Endpoint is unhealthy");
            }
            (_, State::Unhealthy, State::Healthy) => {
                tracing::info!(%endpoint, check, "Endpoint is healthy again");
            }
            _ => tracing::debug!(%endpoint, check, ?state, "Endpoint was checked"),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// Asks until nobody wants to know any more.
async fn run(probe: Weak<Probe>, target: Target, start: Instant) {
    tokio::time::sleep_until(start).await;
    let limit = Duration::from_millis(target.check.timeout_ms);
    let interval = Duration::from_millis(target.check.interval_ms);
    let state = probe.upgrade().map_or(State::Unknown, |it| it.state());
    let mut thresholds = Thresholds { state, against: 0 };
    loop {
        let answer = tokio::time::timeout(limit, ask::ask(&target)).await;
        let answer = answer.unwrap_or_else(|_| Answer::None("timeout".to_owned()));
        thresholds.take(&answer, &target.check);
        match probe.upgrade() {
            Some(probe) => probe.note(&answer, thresholds.state),
            None => return,
        }
        // So that probes that began together do not stay together.
        let jitter = rand::rng().random_range(0.95..=1.05);
        tokio::time::sleep(interval.mul_f64(jitter)).await;
    }
}

// === impl Thresholds ===

impl Thresholds {
    fn take(&mut self, answer: &Answer, check: &HealthCheck) {
        let next = match answer {
            Answer::Good => State::Healthy,
            Answer::Bad(_) | Answer::None(_) => State::Unhealthy,
        };
        if next == self.state {
            self.against = 0;
            return;
        }
        self.against = self.against.saturating_add(1);
        let needed = match (self.state, answer) {
            // Its first answer decides, and so does an answer that is wrong.
            (State::Unknown, _) | (_, Answer::Bad(_)) => 1,
            (_, Answer::None(_)) => check.unhealthy_threshold,
            (_, Answer::Good) => check.healthy_threshold,
        };
        if self.against >= needed {
            self.state = next;
            self.against = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use legate_config::health::{GrpcProbe, Probe};

    use super::*;

    #[test]
    fn thresholds_count_what_is_in_a_row() {
        let check = HealthCheck {
            probe: Probe::Grpc(GrpcProbe {
                service: String::new(),
                authority: "a".to_owned(),
            }),
            timeout_ms: 1,
            interval_ms: 1,
            unhealthy_threshold: 3,
            healthy_threshold: 2,
        };
        for (answers, state) in [
            ("+", State::Healthy),
            ("-", State::Unhealthy),
            ("!", State::Unhealthy),
            ("+--", State::Healthy),
            ("+---", State::Unhealthy),
            ("+--+--", State::Healthy),
            ("+!", State::Unhealthy),
            ("+!+", State::Unhealthy),
            ("+!+-+", State::Unhealthy),
            ("+!++", State::Healthy),
        ] {
            let mut thresholds = Thresholds {
                state: State::Unknown,
                against: 0,
            };
            for answer in answers.chars() {
                let answer = match answer {
                    '+' => Answer::Good,
                    '!' => Answer::Bad(String::new()),
                    _ => Answer::None(String::new()),
                };
                thresholds.take(&answer, &check);
            }
            assert_eq!(thresholds.state, state, "{answers}");
        }
    }
}
