//! A Kubernetes API server as a source of objects (operator.md §2).

use std::collections::BTreeSet;

use legate_api::Kind;

/// What is watched, and with which rights.
#[derive(Debug, Clone)]
pub struct KubeOptions {
    /// The id whose objects are served; objects of other ids are handed on too (the compiler counts
    /// them).
    pub ambassador_id: String,
    /// The controller's own namespace.
    pub namespace: String,
    /// Only these namespaces, one watch per namespace and kind; empty = the whole cluster.
    pub watch_namespaces: Vec<String>,
    /// `AMBASSADOR_LABEL_SELECTOR`: passed to every list and watch.
    pub label_selector: Option<String>,
    /// `AMBASSADOR_FIELD_SELECTOR`: passed to every list and watch.
    pub field_selector: Option<String>,
    /// How Secrets are read.
    pub secrets: SecretAccess,
    /// Whether EndpointSlices are watched (`AMBASSADOR_DISABLE_ENDPOINTS` turns it off).
    pub endpoints: bool,
    /// Whether cluster-scoped kinds (Namespace) may be watched; false in a namespaces-only install.
    pub cluster_scoped: bool,
}

/// The three ways to read Secrets (operator.md §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretAccess {
    /// A metadata watch wherever objects are watched, and a `get` for each referenced one.
    All,
    /// The same, in these namespaces only.
    Namespaces(Vec<String>),
    /// One list and watch for each of these (namespace, name).
    Names(Vec<(String, String)>),
}

/// How a watched kind stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KindState {
    /// The first list has not come back yet.
    Listing,
    /// Listed and watched.
    Live,
    /// The API server does not have the kind.
    Absent,
    /// Its CRD is gone or going: what was last known serves, nothing is removed.
    Frozen,
    /// The watch is failing; what was last known serves.
    Failing,
}

/// What is known of the source as a whole; for readiness, metrics and diagnostics pages.
#[derive(Debug, Clone, Default)]
pub struct KubeState {
    /// Whether each present kind was listed once: an update has been handed on.
    pub synced: bool,
    /// Needed kinds (Listener, Host, Mapping) that the API server does not have.
    pub missing: BTreeSet<Kind>,
    /// The watched kinds.
    pub kinds: std::collections::BTreeMap<Kind, KindState>,
    /// Watches that were started again after a fault, per kind.
    pub restarts: std::collections::BTreeMap<Kind, u64>,
    /// When an answer or event last came from the API server, seconds since the epoch.
    pub last_contact: Option<i64>,
    /// The fault that stands in the way now, as one sentence.
    pub fault: Option<String>,
}
