//! Process plumbing: what any long-running program needs, whatever it serves.
//!
//! Absences first: no domain knowledge (no route, cluster or manifest), nothing on the request
//! path, no global state but the log subscriber and the count of panicked tasks.
//!
//! Map:
//! - [`admin`]: the admin server; what it shows comes through a trait
//! - [`drain`]: shutdown that waits for what is going on
//! - [`mod@env`]: how environment variables are read
//! - [`logging`]: the process log and its level
//! - [`metrics`]: the registry and its text formats
//! - [`signals`]: SIGTERM and SIGINT
//! - [`task`]: background tasks whose panics are seen
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::expect_used))]

pub mod admin;
pub mod drain;
pub mod env;
pub mod logging;
pub mod metrics;
pub mod signals;
pub mod task;
