//! Binding of listening sockets: one per worker, all on one port.
//!
//! A port is first bound without `SO_REUSEPORT`: otherwise a second process could share it silently.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel holds for us per socket.
const BACKLOG: i32 = 4096;

/// Where to bind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BindAddress {
    /// Every address of both families, or of IPv4 where there is no IPv6.
    Any,
    /// This one.
    Only(IpAddr),
}

/// Binds `count` sockets to one port; port 0 lets the system choose it.
pub(crate) fn bind(address: BindAddress, port: u16, count: usize) -> io::Result<Vec<TcpListener>> {
    match address {
        BindAddress::Only(ip) => bind_all(SocketAddr::new(ip, port), count),
        BindAddress::Any => {
            match bind_all(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port), count) {
                Err(error) if no_ipv6(&error) => {
                    bind_all(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port), count)
                }
                other => other,
            }
        }
    }
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    )
}

fn bind_all(mut address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        drop(open(address, false)?);
    }
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = open(address, true)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        address.set_port(listener.local_addr()?.port());
        sockets.push(listener);
    }
    Ok(sockets)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Connections of a former process in TIME_WAIT do not block the port; a listening one does.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// An IPv4 address that came through a dual-stack socket, as what it is.
pub(crate) fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_share_a_port_among_themselves_only() {
        let ours = bind(BindAddress::Only(Ipv4Addr::LOCALHOST.into()), 0, 2).unwrap();
        let port = ours[0].local_addr().unwrap().port();
        assert_eq!(ours[1].local_addr().unwrap().port(), port);
        let other = bind(BindAddress::Only(Ipv4Addr::LOCALHOST.into()), port, 1);
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(ours);
        bind(BindAddress::Only(Ipv4Addr::LOCALHOST.into()), port, 1).unwrap();
    }

    #[test]
    fn mapped_addresses_are_unmapped() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:80".parse().unwrap();
        assert_eq!(unmapped(mapped), "192.0.2.7:80".parse().unwrap());
    }
}
