//! The operator: reconciles what a source reports, publishes the compiled config to gateways, and
//! writes true status.
//!
//! Absences first: nothing on the request path, no gateway (it is told over a channel and
//! acknowledges over another), no compile logic.
//!
//! Map:
//! - [`identity`]: which instance this is, and the names of the objects that it owns
//! - [`publish`]: what goes to gateways and what comes back
//! - [`feed`]: a folder or an API server as the reconciler sees it
//! - [`reconcile`]: source to compiler to gateways, for folders and for Kubernetes alike
//! - [`status`]: conditions, `Programmed`, and writing them
//! - [`lease`], [`last_good`], [`keys`]: the objects of the own namespace
//! - [`backoff`]: how long to wait before asking the API server again
//! - [`rbac`]: the rights that all of it needs, and no others
//! - [`metrics`]: what the control loop counts
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::expect_used))]

pub mod backoff;
mod fault;
pub mod feed;
pub mod identity;
pub mod keys;
pub mod last_good;
pub mod lease;
pub mod metrics;
pub mod publish;
pub mod rbac;
pub mod reconcile;
pub mod status;
