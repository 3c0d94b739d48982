//! From declared ports to sockets.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};

use legate_config::listener::Listener;

use super::GatewayOptions;
use crate::listener::bind::{BindAddress, unmapped};

/// From the port that a listener declares to the one that is bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortMap {
    /// Added to every declared port that has no override.
    pub offset: u16,
    /// Bound ports by declared ones.
    pub overrides: BTreeMap<u16, u16>,
}

impl PortMap {
    /// The port to bind; `None` when it would be beyond 65535.
    #[must_use]
    pub fn actual(&self, declared: u16) -> Option<u16> {
        match self.overrides.get(&declared) {
            Some(actual) => Some(*actual),
            None => declared.checked_add(self.offset),
        }
    }
}

/// Opens a listener's sockets, one per worker. The error is for people.
pub(super) fn bind(
    listener: &Listener,
    options: &GatewayOptions,
) -> Result<(SocketAddr, Vec<TcpListener>), String> {
    let address = match listener.address.or(options.bind) {
        Some(ip) => BindAddress::Only(ip),
        None => BindAddress::Any,
    };
    let port = if options.hooks.on_port_zero {
        0
    } else {
        options.port_map.actual(listener.port).ok_or_else(|| {
            format!(
                "port {} plus offset {} is beyond 65535",
                listener.port, options.port_map.offset
            )
        })?
    };
    let open = || {
        let sockets = crate::listener::bind::bind(address, port, options.workers.max(1))?;
        let bound = match sockets.first() {
            Some(socket) => socket.local_addr()?,
            None => return Err(std::io::ErrorKind::InvalidInput.into()),
        };
        Ok((unmapped(bound), sockets))
    };
    open().map_err(|error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("port {port} is in use by another process"),
        std::io::ErrorKind::PermissionDenied => {
            format!("no permission to listen on port {port}; ports below 1024 are privileged")
        }
        _ => format!("cannot listen on port {port}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_win_over_the_offset() {
        let map = PortMap {
            offset: 10_000,
            overrides: [(8443, 443)].into(),
        };
        assert_eq!(map.actual(8080), Some(18_080));
        assert_eq!(map.actual(8443), Some(443));
        assert_eq!(map.actual(60_000), None);
    }
}
