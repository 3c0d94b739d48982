//! What became of each object.

use legate_config::{Code, Diagnostic, Effect, Severity};
use serde::Serialize;

/// How much of an object takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectState {
    /// All of it.
    Accepted,
    /// Some fields do not.
    PartlyAccepted,
    /// Nothing of this version.
    Rejected,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectStatus {
    /// How much of it takes effect.
    pub state: ObjectState,
    /// The code that decided the state; `None` when accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Code>,
    /// Whether an earlier version serves in this one's place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub serving_last_good: bool,
    /// For routes: number of Hosts that take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_hosts: Option<u32>,
}

impl Default for ObjectStatus {
    fn default() -> Self {
        Self {
            state: ObjectState::Accepted,
            reason: None,
            serving_last_good: false,
            attached_hosts: None,
        }
    }
}

impl ObjectStatus {
    /// Takes a diagnostic about the object into account. The worst state wins; among equals the
    /// first diagnostic names the reason.
    pub(crate) fn note(&mut self, diagnostic: &Diagnostic) {
        let state = match diagnostic.effect {
            Effect::Dropped | Effect::Answering(_) => ObjectState::Rejected,
            Effect::ServingLastGood => {
                self.serving_last_good = true;
                ObjectState::Rejected
            }
            Effect::FieldIgnored if diagnostic.severity() == Severity::Error => {
                ObjectState::PartlyAccepted
            }
            Effect::FieldIgnored | Effect::None => return,
        };
        if state > self.state {
            self.state = state;
            self.reason = Some(diagnostic.code.clone());
        }
    }
}
