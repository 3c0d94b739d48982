//! A real Redis for limits that are shared and name no store, where one is installed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use legate_api::{Body, Enforcement, Object};
use legate_compiler::Options;

/// How long a start may take.
const STARTING: Duration = Duration::from_secs(5);

/// A running `redis-server`; it ends with this process, however that ends.
#[derive(Debug)]
pub(in crate::run) struct Store {
    child: Child,
    /// Where it listens.
    pub(in crate::run) address: SocketAddr,
}

/// Whether some policy of ours wants a store and names none.
pub(in crate::run) fn wanted(objects: &[Object], options: &Options) -> bool {
    objects.iter().any(|object| {
        let Body::RateLimitPolicy(spec) = &object.body else {
            return false;
        };
        spec.enforcement == Some(Enforcement::Shared)
            && spec.store.is_none()
            && legate_compiler::is_ours(object, &object.key(), options)
    })
}

/// Starts one on a free port, with nothing on disk; `None` where none is installed.
///
/// # Errors
/// It is installed and does not start.
pub(in crate::run) fn start() -> io::Result<Option<Store>> {
    let installed = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !installed.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    // The shell holds our end of a pipe: when that closes, because we are gone, the server goes.
    let child = Command::new("sh")
        .args([
            "-c",
            "redis-server --port \"$0\" --bind 127.0.0.1 --save '' --appendonly no \
             >/dev/null 2>&1 & server=$!; cat >/dev/null; kill $server; wait $server",
        ])
        .arg(address.port().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let store = Store { child, address };
    let end = Instant::now() + STARTING;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > end {
            return Err(io::Error::other("redis-server does not start"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(Some(store))
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
