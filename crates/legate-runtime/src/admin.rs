//! The admin server: probes, metrics and Envoy's admin paths (spec/operations §§1.2, 1.4).
//!
//! It runs on a thread of its own, so that nothing asked here delays a worker, and knows nothing
//! about what it shows: that comes through [`AdminState`]. The port may be reachable by anybody,
//! so connections, headers and time are limited, and whatever changes something is taken from
//! loopback only.

mod accept;
mod routes;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::sync::oneshot;

use crate::logging::LogHandle;
use crate::metrics::Registry;

/// What the admin server shows. Methods may take milliseconds; they are called off the thread
/// that answers probes, but for [`AdminState::alive`] and [`AdminState::ready`].
pub trait AdminState: Send + Sync + 'static {
    /// `Err` with the reason when the process should be restarted.
    fn alive(&self) -> Result<(), String> {
        Ok(())
    }

    /// `Err` with the reason while no traffic should be sent here.
    fn ready(&self) -> Result<(), String>;

    /// Envoy's word for where the process is.
    fn phase(&self) -> ServerPhase {
        if self.ready().is_ok() {
            ServerPhase::Live
        } else {
            ServerPhase::Initializing
        }
    }

    /// The running configuration, without secrets.
    fn config_dump(&self) -> Value;

    /// Clusters and their endpoints, a line for each fact.
    fn clusters_text(&self) -> String;

    /// Clusters and their endpoints.
    fn clusters_json(&self) -> Value;

    /// Listeners, a line for each.
    fn listeners_text(&self) -> String;

    /// Listeners.
    fn listeners_json(&self) -> Value;

    /// Version, state, uptime, options.
    fn server_info(&self) -> Value;

    /// Ends the process in good order; returns at once.
    fn quit(&self);
}

/// Where the process is, in Envoy's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerPhase {
    /// No configuration yet.
    PreInitializing,
    /// The first configuration is being applied.
    Initializing,
    /// Serving.
    Live,
    /// Shutting down.
    Draining,
}

impl ServerPhase {
    /// Envoy's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
        }
    }
}

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("the admin address {address} cannot be bound: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// The admin server. Dropping it stops it.
#[derive(Debug)]
pub struct AdminServer {
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Binds all addresses, then serves on a thread of its own.
    ///
    /// # Errors
    /// When an address cannot be bound; none is served then.
    pub fn start(
        addresses: &[SocketAddr],
        state: Arc<dyn AdminState>,
        metrics: Registry,
        log: Option<LogHandle>,
    ) -> Result<AdminServer, BindError> {
        let mut listeners = Vec::new();
        let mut bound = Vec::new();
        for address in addresses {
            let (listener, actual) = bind(*address).map_err(|source| BindError {
                address: *address,
                source,
            })?;
            listeners.push(listener);
            bound.push(actual);
        }
        let routes = routes::routes(state, metrics, log);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("legate-admin".to_owned())
            .spawn(move || accept::run(listeners, routes, stopped))
            .map_err(|source| BindError {
                address: addresses
                    .first()
                    .copied()
                    .unwrap_or(([0, 0, 0, 0], 0).into()),
                source,
            })?;
        Ok(AdminServer {
            addresses: bound,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The addresses it listens on, in the order given.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        // Fails only if the thread has ended.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let actual = listener.local_addr()?;
    Ok((listener, actual))
}

#[cfg(test)]
mod tests;
