//! What goes to gateways and what comes back. A gateway in the same process and one behind a
//! network are told and answer alike: by number and key, never by shared memory of what was done.

use std::collections::BTreeMap;
use std::sync::Arc;

use legate_api::ObjectKey;
use legate_compiler::{Diagnostic, ObjectStatus, Snapshot};
use legate_config::Hash128;

/// Names one gateway among all that follow this operator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(pub Arc<str>);

/// What gateways report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayEvent {
    /// It applied a snapshot, minus what it rejects.
    Acked(GatewayId, Ack),
    /// It ends, in good order.
    Goodbye(GatewayId),
    /// Its stream broke.
    Broken(GatewayId),
}

/// A gateway's acknowledgement of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// [`Snapshot::id`] of what it serves now.
    pub snapshot: u64,
    /// Its root.
    pub root: Hash128,
    /// Entries that it could not build.
    pub rejected: Vec<RejectedEntry>,
    /// Its listeners.
    pub listeners: Vec<ListenerBind>,
    /// Those that it asks about requests.
    pub reached: Vec<Reached>,
}

/// An entry of a snapshot that a gateway does not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedEntry {
    /// Its table and key: `cluster/…`, `chain/…`, `route/…`.
    pub key: String,
    /// Diagnostic code.
    pub code: String,
    /// What is wrong.
    pub message: String,
}

/// A listener of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerBind {
    /// Its key in the snapshot.
    pub key: String,
    /// The address, or why there is none.
    pub bound: Result<String, String>,
}

/// A side service, or the stores of a domain of limits, as a gateway last found them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Its table and key: `cluster/…`, `limit/…`.
    pub key: String,
    /// Whether it answers, or why not.
    pub answers: Result<(), String>,
}

/// One compile, as the status writer sees it.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Number of the compile, from 1.
    pub number: u64,
    /// What it was published as; the same id as before when nothing changed for gateways.
    pub snapshot: Arc<Snapshot>,
    /// What became of each object of ours.
    pub status: BTreeMap<ObjectKey, ObjectStatus>,
    /// All there is to say, sorted.
    pub diagnostics: Vec<Diagnostic>,
    /// The version of each object that this compile saw for the first time.
    pub versions: Vec<Version>,
    /// Objects that this compile no longer saw.
    pub removed: Vec<ObjectKey>,
}

/// Which version of an object a compile saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The object.
    pub key: ObjectKey,
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.generation`
    pub generation: i64,
}
