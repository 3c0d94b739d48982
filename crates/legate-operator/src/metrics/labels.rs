//! The labels of the control loop's metrics: closed sets, and never a name, host or path.

use legate_api::Kind;
use legate_compiler::{Code, ObjectState, ObjectStatus};
use prometheus_client::encoding::EncodeLabelSet;

/// A kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfKind {
    kind: &'static str,
}

/// A kind and what became of its objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfState {
    kind: &'static str,
    state: &'static str,
}

/// A kind and a diagnostic code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Rejection {
    kind: &'static str,
    code: String,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ended {
    pub(super) result: &'static str,
}

/// How gateways stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Standing {
    pub(super) state: &'static str,
}

/// What became of objects.
pub(super) const STATES: [&str; 4] = ["accepted", "partly_accepted", "rejected", "last_good"];

/// The place of an object's state in [`STATES`].
pub(super) fn state_of(status: &ObjectStatus) -> usize {
    match status.state {
        ObjectState::Accepted => 0,
        ObjectState::PartlyAccepted => 1,
        ObjectState::Rejected if status.serving_last_good => 3,
        ObjectState::Rejected => 2,
    }
}

impl OfKind {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind: kind.as_str(),
        }
    }
}

impl OfState {
    pub(super) fn new(kind: Kind, state: &'static str) -> Self {
        Self {
            kind: kind.as_str(),
            state,
        }
    }
}

impl Rejection {
    pub(super) fn new(kind: Kind, code: Option<&Code>) -> Self {
        Self {
            kind: kind.as_str(),
            code: code.map_or_else(String::new, |code| code.as_str().to_owned()),
        }
    }
}
