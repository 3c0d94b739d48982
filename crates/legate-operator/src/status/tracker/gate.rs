//! The conditions that gateways decide: `Programmed`, and `Bound` of what is served on sockets.
//!
//! Once it holds it is kept: only a rejection, a new generation or the compiler's word take it back,
//! never a gateway that joins, leaves or restarts, and never a restart of ours (operator.md §3).

use std::time::{Duration, Instant};

use crate::status::conditions::{Gate, Truth, Verdict, bounded};
use crate::status::gateways::Gateways;

/// How long a first write waits for acknowledgements.
pub(in crate::status) const PATIENCE: Duration = Duration::from_secs(1);
/// How long a new leader does not know whether all gateways have found it.
pub(in crate::status) const NEW_LEADER: Duration = Duration::from_secs(5);

/// How far the current generation of an object has come.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// The first snapshot that holds the current generation whole; `None` = none does.
    pub(super) since: Option<u64>,
    /// When that, or the generation, last changed.
    pub(super) changed_at: Instant,
    /// Whether the condition was found to hold.
    pub(super) held: bool,
    /// Whether it was looked up what the object's status says, so that it is not asked again.
    pub(super) adopted: bool,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: None,
            changed_at: now,
            held: false,
            adopted: false,
        }
    }

    /// Begins anew.
    pub(super) fn reset(&mut self, now: Instant) {
        *self = Self::new(now);
    }
}

/// What an object is in the newest snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nothing, for this reason.
    Absent(&'static str, &'static str),
    /// There, but for the endpoints of its clusters.
    WithoutEndpoints,
    /// There.
    Whole,
}

/// Something that a gateway says against an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Objection {
    /// The reason of the condition.
    pub(super) reason: &'static str,
    /// Who says what.
    pub(super) message: String,
}

/// All that a decision depends on.
pub(super) struct Question<'a> {
    pub(super) gate: &'a Gate,
    pub(super) generation: i64,
    pub(super) presence: Presence,
    pub(super) gateways: &'a Gateways,
    /// How many gateways applied the object since [`Progress::since`].
    pub(super) applied: usize,
    pub(super) objection: Option<Objection>,
    /// When we became the leader.
    pub(super) leader_since: Instant,
    /// Whether our status of the current generation is on the object already.
    pub(super) written: bool,
    pub(super) now: Instant,
}

/// Decides the condition, and until when its write had better wait.
pub(super) fn decide(
    progress: &mut Progress,
    question: Question<'_>,
) -> (Verdict, Option<Instant>) {
    let gate = question.gate;
    let verdict = |truth, reason, message| Verdict {
        type_: gate.type_,
        truth,
        reason,
        message: bounded(message),
    };
    let total = question.gateways.len();
    let count = format!(
        "{} of {total} gateways applied generation {}",
        question.applied, question.generation
    );
    if let Presence::Absent(reason, message) = question.presence {
        progress.held = false;
        return (verdict(Truth::False, reason, message.to_owned()), None);
    }
    if let Some(objection) = question.objection {
        progress.held = false;
        let message = format!("{}; {count}", objection.message);
        return (verdict(Truth::False, objection.reason, message), None);
    }
    if progress.held {
        return (
            verdict(Truth::True, gate.reason, gate.message.clone()),
            None,
        );
    }
    let window = question.leader_since + NEW_LEADER;
    let new_leader = question.now < window;
    let everywhere = progress.since.is_some() && total > 0 && question.applied == total;
    if everywhere && !new_leader {
        progress.held = true;
        return (
            verdict(Truth::True, gate.reason, gate.message.clone()),
            None,
        );
    }
    let patience = progress.changed_at + PATIENCE;
    // A new leader rather waits than writes twice.
    let hold = if new_leader && (everywhere || question.written) {
        patience.max(window)
    } else {
        patience
    };
    let message = match (total, new_leader) {
        (0, _) => "no gateway is connected".to_owned(),
        (_, true) => format!("gateways are still connecting; {count}"),
        _ if question.presence == Presence::WithoutEndpoints => {
            format!("its endpoints are not published yet; {count}")
        }
        _ => count,
    };
    let reason = if total == 0 || new_leader {
        "NoGateway"
    } else {
        "Pending"
    };
    (verdict(Truth::Unknown, reason, message), Some(hold))
}
