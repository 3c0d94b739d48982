//! What every source hands on, whether it reads files or watches an API server.

use std::sync::Arc;

use legate_api::{Object, ObjectKey};
use legate_compiler::Diagnostic;
use serde_json::Value;

/// What changed since the update before.
#[derive(Debug, Default)]
pub struct Update {
    /// New and changed objects, in the order of their keys.
    pub upserts: Vec<Object>,
    /// Objects that are gone.
    pub removals: Vec<ObjectKey>,
    /// All that the source has to report now; replaces what earlier updates said.
    pub diagnostics: Vec<Diagnostic>,
    /// How objects of the group stand at the API server, for those that any event spoke of, whether
    /// or not their content changed. Empty in folder mode.
    pub observed: Vec<Observed>,
}

/// How one object of the group `getambassador.io` stands at the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The object.
    pub key: ObjectKey,
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.resourceVersion`, which a status write has to name.
    pub resource_version: String,
    /// `metadata.generation`
    pub generation: i64,
    /// `status` as it is; `None` when the object has none.
    pub status: Option<Arc<Value>>,
}
