//! The status that we write on objects, the same shape in every version of every kind.
//!
//! Several instances may serve one object, so conditions are kept per instance; what lies at the
//! root is the worst of all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Status of every kind but Host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CommonStatus {
    /// One entry per instance that serves the object.
    #[schemars(extend("x-list-map-key" = "ambassadorId"))]
    pub instances: Option<Vec<InstanceStatus>>,
    /// The worst of all instances, per type of condition.
    #[schemars(extend("x-list-map-key" = "type"))]
    pub conditions: Option<Vec<Condition>>,
    /// One word for humans and scripts: `Running` or `Inactive`.
    pub state: Option<String>,
    /// Why the object is not running.
    pub reason: Option<String>,
}

/// Status of a Host: the common one and the fields that existed before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostStatus {
    /// One entry per instance that serves the object.
    #[schemars(extend("x-list-map-key" = "ambassadorId"))]
    pub instances: Option<Vec<InstanceStatus>>,
    /// The worst of all instances, per type of condition.
    #[schemars(extend("x-list-map-key" = "type"))]
    pub conditions: Option<Vec<Condition>>,
    /// One word for humans and scripts: `Initial`, `Pending`, `Ready` or `Error`.
    pub state: Option<String>,
    /// Why the object is not ready.
    pub reason: Option<String>,
    /// Where the certificate comes from: `Unknown`, `None`, `Other` or `ACME`.
    #[serde(rename = "tlsCertificateSource")]
    pub tls_certificate_source: Option<String>,
    /// The error when `state` is `Error`.
    #[serde(rename = "errorReason")]
    pub error_reason: Option<String>,
    /// When the error appeared. Kept for old readers.
    #[serde(rename = "errorTimestamp")]
    pub error_timestamp: Option<String>,
    /// How long is waited after the error. Kept for old readers.
    #[serde(rename = "errorBackoff")]
    pub error_backoff: Option<String>,
    /// The last phase completed. Kept for old readers.
    #[serde(rename = "phaseCompleted")]
    pub phase_completed: Option<String>,
    /// The phase that is under way. Kept for old readers.
    #[serde(rename = "phasePending")]
    pub phase_pending: Option<String>,
}

/// What one instance says about the object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InstanceStatus {
    /// The instance's id.
    #[serde(rename = "ambassadorId")]
    #[schemars(extend("x-required" = true))]
    pub ambassador_id: String,
    /// Namespace of the instance's controller.
    #[serde(rename = "controllerNamespace")]
    pub controller_namespace: Option<String>,
    /// The instance's conditions.
    #[schemars(extend("x-list-map-key" = "type"))]
    pub conditions: Option<Vec<Condition>>,
}

/// One condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition, e.g. `Accepted` or `Programmed`.
    #[serde(rename = "type")]
    #[schemars(extend("x-required" = true))]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[schemars(extend("x-required" = true))]
    pub status: String,
    /// The object's generation that the condition speaks of.
    pub observed_generation: Option<i64>,
    /// When `status` last changed, RFC 3339.
    pub last_transition_time: Option<String>,
    /// One word that says why.
    pub reason: Option<String>,
    /// One sentence for humans.
    pub message: Option<String>,
}
