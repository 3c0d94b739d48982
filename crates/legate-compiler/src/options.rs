//! What a compile depends on besides the objects.

/// Settings of the process that influence the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The id whose objects count (spec/routing §2).
    pub ambassador_id: String,
    /// The controller's namespace.
    pub namespace: String,
    /// Whether only objects of the controller's namespace are seen.
    pub single_namespace: bool,
    /// Whether all labels of a selector must match, rather than any.
    pub strict_label_selectors: bool,
    /// Where the objects come from.
    pub mode: Mode,
    /// Whether a Host may be made up when there is none: no Host of our id was ever seen since start.
    pub allow_synthetic_host: bool,
    /// Now, in seconds since the epoch, for the dates of certificates; `None` = dates are not checked.
    pub now: Option<i64>,
    /// Key of secret fingerprints, shared by the replicas of an instance.
    pub hash_key: [u8; 32],
    /// What to say about Secrets and Services that are not there.
    pub missing: MissingRefs,
    /// Whether EndpointSlices and Endpoints are looked at; without them an endpoint resolver finds
    /// nothing.
    pub endpoints: bool,
}

/// Where the objects come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Files: objects may be incomplete, e.g. without the Services that they name.
    Folder,
    /// A Kubernetes API server.
    Cluster,
}

/// What to say about Secrets and Services that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingRefs {
    /// They may exist elsewhere: `I-NOT-IN-FOLDER`.
    Info,
    /// They must be here to serve: an error.
    Error,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ambassador_id: "default".to_owned(),
            namespace: "default".to_owned(),
            single_namespace: false,
            strict_label_selectors: true,
            mode: Mode::Folder,
            allow_synthetic_host: true,
            now: None,
            hash_key: [0; 32],
            missing: MissingRefs::Info,
            endpoints: true,
        }
    }
}
