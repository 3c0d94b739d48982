//! The data plane: serves traffic from a [`legate_config::Snapshot`].
//!
//! Absences first: no Kubernetes, no CRD type, no compiler. Nothing on the request path takes a
//! lock that workers share; what is global is atomics or swapped whole.
//!
//! Map:
//! - [`gateway`]: the handle a process holds: start, apply a snapshot, view, drain
//! - `worker`: one thread per core with its own runtime, sockets and upstream pool
//! - `listener`: binding, the accept stage, telling TLS, HTTP/1.1 and HTTP/2 apart
//! - `tls`: certificate tables and server configurations
//! - `http`: serving connections and the one request pipeline
//! - `request`: what happens to a request's path, headers and addresses
//! - `upstream`: clusters, endpoints, connections, balancing
//! - `grpc`: unary calls to side services
//! - [`limit`]: rate limits that are counted by us
//! - `reply`: every response that we make ourselves; `error`: why
//! - `access_log`, [`metrics`]: what happened
//! - [`state_dir`]: the last good config on disk
//! - `framing`: messages of gRPC and gRPC-Web as bytes
//! - `gather`, `crypto`: what both sides of a connection share
//! - `config`: the run-time form of a snapshot; `timers`: deadlines of a worker; `drain`: readiness
//! - `clock`: the time, read once per turn of a connection's task

mod access_log;
mod clock;
mod config;
mod crypto;
mod drain;
mod error;
mod framing;
pub mod gateway;
mod gather;
mod grpc;
mod http;
pub mod limit;
mod listener;
pub mod metrics;
mod reply;
mod request;
pub mod state_dir;
mod timers;
mod tls;
mod upstream;
mod worker;

pub use gateway::{
    Applied, ClusterCounters, ClusterView, EndpointView, Gateway, GatewayOptions, GatewayView,
    HealthCounters, Hooks, ListenerState, LoadedConfig, PortMap, Reach, Rejected,
};
pub use limit::LimitOptions;
pub use metrics::Metrics;
pub use state_dir::StateDirOptions;

/// The path and query of a request target as the gateway matches them, for explanations.
///
/// # Errors
/// Such a target is answered with 400; says why.
pub fn normalised_path(
    target: &::http::Uri,
    settings: &legate_config::http::HttpSettings,
) -> Result<(String, Option<String>), String> {
    let parts = request::normalise_path(target, &::http::Method::GET, settings)
        .map_err(|error| format!("{error:?}"))?;
    Ok((parts.path.into_owned(), parts.query.map(str::to_owned)))
}
