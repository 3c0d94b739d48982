//! A real Kubernetes API server for tests and benchmarks, and what they do with it.
//!
//! etcd and kube-apiserver are child processes with TLS, RBAC and an audit log, in a network
//! namespace of the test binary ([`netns`]), where all of 10.99.0.0/16 is local: an API server, a
//! backend and a gateway each have an address of their own and may use any port.
//! `cargo xtask assets` provides the programs.

mod account;
mod assets;
mod audit;
mod client;
mod credentials;
mod legate;
mod metrics;
mod namespace;
pub mod netns;
mod objects;
mod process;
mod proxy;
mod server;

use std::time::Duration;

use tokio::time::Instant;

pub use account::Account;
pub use assets::program;
pub use audit::{AuditEvent, AuditMark};
pub use client::Output;
pub use legate::{Launch, Legate};
pub use metrics::Metrics;
pub use namespace::Namespace;
pub use objects::{condition, documents};
pub use process::{Process, abandon};
pub use proxy::{FaultProxy, Injection, Placed, Rule};
pub use server::{ApiServer, ServerOptions};

/// How often a condition that cannot be waited for is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Looks until there is a value, at most this long.
///
/// # Errors
/// The deadline passed; the text says what was waited for.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Result<T, crate::client::Error> {
    let end = Instant::now() + deadline;
    loop {
        // A look that hangs, say on a server that was stopped, must not outlive the deadline.
        match tokio::time::timeout_at(end, look()).await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if Instant::now() < end => tokio::time::sleep(POLL).await,
            _ => return Err(format!("not within {deadline:?}: {what}").into()),
        }
    }
}
