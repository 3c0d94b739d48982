//! A network namespace for a test binary: nothing leaves it, nothing on the machine disturbs it.

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::client::Error;

/// Set in the process that runs inside.
const MARK: &str = "LEGATE_TEST_NETNS";

/// All of it is local inside, as 127.0.0.0/8 is everywhere.
const NETWORK: &str = "10.99.0.1/16";

/// Starts the same program again in a new network namespace, or, inside, brings the network up.
///
/// Call it first in `main`: outside it returns only with an error. Arguments, standard streams,
/// process id and exit code stay as they are.
///
/// # Errors
/// Namespaces or the `unshare` and `ip` programs are not to be had; the text says so in one line.
pub fn enter_or_reexec() -> Result<(), Error> {
    if std::env::var_os(MARK).is_some() {
        ip(&["link", "set", "lo", "up"])?;
        return ip(&["address", "add", NETWORK, "dev", "lo"]);
    }
    // Root may lack the right to make a namespace directly, as in a container.
    let ways: &[&[&str]] = &[&["-n"], &["-Urn"]];
    let mut refusal = String::new();
    for way in ways {
        match probe(way) {
            Ok(()) => return Err(replace(way)?.into()),
            Err(error) => refusal = error.to_string(),
        }
    }
    Err(format!("a network namespace is needed (unshare -n as root, else -Urn): {refusal}").into())
}

/// Where API servers take cluster IPs from; the addresses below are for [`address`].
pub(super) const SERVICES: &str = "10.99.192.0/18";

/// An address that nobody else in this process uses, in 10.99.1.0 to 10.99.191.255.
#[must_use]
pub fn address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(0x0101);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = number.to_be_bytes();
    if low == 0 || low == 255 {
        return address();
    }
    Ipv4Addr::new(10, 99, high, low)
}

fn probe(way: &[&str]) -> Result<(), Error> {
    let output = Command::new("unshare")
        .args(way)
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start unshare: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().into())
}

/// Returns only if it fails.
fn replace(way: &[&str]) -> Result<std::io::Error, Error> {
    let this = std::env::current_exe()?;
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    Ok(Command::new("unshare")
        .args(way)
        .arg(this)
        .args(args)
        .env(MARK, "1")
        .exec())
}

fn ip(args: &[&str]) -> Result<(), Error> {
    let output = Command::new("ip")
        .args(args.iter().map(OsStr::new))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start ip (package iproute2): {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("ip {}: {}", args.join(" "), text.trim()).into());
    }
    Ok(())
}
