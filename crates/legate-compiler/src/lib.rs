//! The compiler: from decoded objects to the data-plane config, a pure and total function.
//!
//! Absences first: no async, no clock, no I/O, no environment, no hash order, and no `Result` at
//! the boundary: every object ends as accepted, partly accepted or rejected, each with diagnostics,
//! and a rejected object loses only itself.
//!
//! Passes: *select* (by `ambassador_id`), *lower* (one object at a time, context-free), *resolve*
//! (references: services, resolvers, TLS contexts, Module defaults), *normalise* (groups, weights,
//! ranks, interned policies and clusters). [`Compiler`] keeps the results of each pass per object
//! and redoes only what a change reaches; [`compile`] does everything, with the same outcome.
//!
//! Map:
//! - [`options`], [`resources`]: the input; [`status`]: what became of each object
//! - `engine`: the incremental driver; `select`, `lower`, `resolve`, `group`, `attach`: the passes
//! - `rank`, `regex`, `service`, `cluster`, `endpoints`, `policy`, `weights`: one subject each
//! - `frontends`, `module`, `http_settings`, `tls_context`, `secrets`, `glob`: Listeners, Hosts,
//!   the Module, key material
//! - `auth`, `rate_limit`: AuthServices and RateLimitServices; `side`: how they are reached
//! - `limits`: limits that the gateways count themselves
//! - `labels`: what requests are counted by
//! - [`codes`]: every diagnostic code
//!
//! What `decode` found wrong with an object ([`legate_api::Object::issues`]) is reported by the
//! engine for every kind; the passes only ask whether the object is rejected.

pub mod codes;
pub mod options;
pub mod resources;
pub mod status;

mod attach;
mod auth;
mod cluster;
mod emit;
mod endpoints;
mod engine;
mod frontends;
mod glob;
mod group;
mod http_settings;
mod labels;
mod limits;
mod lower;
mod module;
mod policy;
mod rank;
mod rate_limit;
mod regex;
mod remedies;
mod resolve;
mod secrets;
mod select;
mod service;
mod side;
mod tls_context;
mod unsupported;
mod weights;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use engine::{Audit, AuditMismatch, Compilation, Compiler, compile};
pub use legate_config::{Code, Diagnostic, Effect, Location, ObjectRef, Severity, Snapshot};
pub use options::{MissingRefs, Mode, Options};
pub use resources::{Held, Resources};
pub use select::is_ours;
pub use status::{ObjectState, ObjectStatus};
