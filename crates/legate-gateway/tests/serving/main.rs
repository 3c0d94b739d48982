//! A gateway with hand-built snapshots, real sockets on ports of the system's choice, and clients
//! that write bytes. The compiler is not involved.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a helper cannot do fails the test that called it"
)]

mod client;
mod connections;
mod drain;
mod http2;
mod origin;
mod proxying;
mod snapshot;
mod state_dir;
mod swap;
mod tls;
mod upgrades;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use legate_config::Snapshot;
use legate_gateway::{Applied, Gateway, GatewayOptions, Hooks, Metrics};

/// A gateway of two workers that serves a snapshot on `127.0.0.1`.
pub(crate) struct Served {
    pub(crate) gateway: Gateway,
    pub(crate) applied: Applied,
}

pub(crate) fn options() -> GatewayOptions {
    GatewayOptions {
        workers: 2,
        bind: Some([127, 0, 0, 1].into()),
        drain_time: Duration::from_secs(3),
        hooks: Hooks {
            on_port_zero: true,
            patience: Some(Duration::from_millis(300)),
            ..Hooks::default()
        },
        ..GatewayOptions::default()
    }
}

pub(crate) fn serve(snapshot: Snapshot) -> Served {
    serve_with(options(), snapshot)
}

pub(crate) fn serve_with(options: GatewayOptions, snapshot: Snapshot) -> Served {
    let gateway = Gateway::start(options, Metrics::new(2)).unwrap();
    let applied = gateway.apply(Arc::new(snapshot));
    assert_eq!(applied.rejected, []);
    Served { gateway, applied }
}

impl Served {
    /// Where the only listener, or the first, listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.applied.listeners[0].bound.unwrap()
    }
}
