//! The examples, run for real: the binary, `--demo`, and what the README promises.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise; the helpers are not marked as tests"
)]

#[path = "examples/auth.rs"]
mod auth;
#[path = "examples/limits.rs"]
mod limits;
#[path = "examples/policies.rs"]
mod policies;
#[path = "examples/protocols.rs"]
mod protocols;
#[path = "examples/quickstart.rs"]
mod quickstart;
#[path = "examples/rate_limits.rs"]
mod rate_limits;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use legate_testkit::{Client, TlsOptions};

/// A running `legate run EXAMPLE --demo` on a copy of the example.
struct Demo {
    child: Child,
    folder: tempfile::TempDir,
    offset: u16,
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An offset at which the example's ports are free. Another test may take one before we do; the
/// start then fails and the next offset is tried.
fn free_offset() -> u16 {
    loop {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = probe.local_addr().unwrap().port();
        let offset = port
            .checked_sub(8080)
            .filter(|offset| 8877_u16.checked_add(*offset).is_some());
        if let Some(offset) = offset
            && [8080, 8443, 8877].iter().all(|port| {
                port + offset == probe.local_addr().unwrap().port()
                    || TcpListener::bind((Ipv4Addr::LOCALHOST, port + offset)).is_ok()
            })
        {
            return offset;
        }
    }
}

impl Demo {
    fn start(example: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples")
            .join(example);
        for file in std::fs::read_dir(from).unwrap() {
            let path = file.unwrap().path();
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        for _ in 0..5 {
            let offset = free_offset();
            let mut child = Command::new(env!("CARGO_BIN_EXE_legate"))
                .arg("run")
                .arg(folder.path())
                .args([
                    "--demo",
                    "--port-offset",
                    &offset.to_string(),
                    "--workers",
                    "2",
                ])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut errors = BufReader::new(child.stderr.take().unwrap());
            let mut text = String::new();
            loop {
                let before = text.len();
                if errors.read_line(&mut text).unwrap() == 0 {
                    break;
                }
                if text[before..].starts_with("Ctrl-C ends it.") {
                    // The rest must be read, or the process blocks on a full pipe one day.
                    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
                    return Self {
                        child,
                        folder,
                        offset,
                    };
                }
            }
            let status = child.wait().unwrap();
            assert_eq!(
                status.code(),
                Some(3),
                "only a busy port may end the start: {text}"
            );
        }
        panic!("no free ports");
    }

    fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port + self.offset))
    }

    /// Replaces a file of the example by rename.
    fn write(&self, name: &str, text: &str) {
        let partial = self.folder.path().join(".partial");
        std::fs::write(&partial, text).unwrap();
        std::fs::rename(partial, self.path(name)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    async fn https(&self, host: &str) -> Client {
        Client::connect_tls(self.address(8443), &TlsOptions::sni(host))
            .await
            .unwrap()
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(status.success());
    }
}

/// Asks until the answer is as wanted; a change on disk needs a moment, and there is no event.
async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !ask().await {
        assert!(
            std::time::Instant::now() < deadline,
            "not within 20 s: {what}"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn front_proxy_answers_rotate() {
    let demo = Demo::start("front-proxy");
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        let mut client = Client::connect(demo.address(8080)).await.unwrap();
        let answer = client.get("any.test", "/service/1").await.unwrap();
        assert_eq!(answer.status, 200);
        *counts
            .entry(answer.json()["address"].to_string())
            .or_insert(0) += 1;
    }
    assert_eq!(
        counts.values().copied().collect::<Vec<_>>(),
        [10, 10, 10],
        "{counts:?}"
    );
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    let answer = client.get("any.test", "/service/2").await.unwrap();
    assert_eq!(answer.json()["name"], "service-2.default");
}

/// The mistakes of the check's test folder, served: what is good answers, nothing else suffers.
#[test]
fn a_folder_with_mistakes_still_serves() {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/twelve-mistakes");
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let offset = free_offset();
    let mut child = Command::new(env!("CARGO_BIN_EXE_legate"))
        .arg("run")
        .arg(folder.path())
        .args(["--demo", "--port-offset", &offset.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("Ctrl-C ends it.") {
        line.clear();
        assert!(errors.read_line(&mut line).unwrap() > 0, "ended at start");
    }
    for (path, wanted) in [
        ("/sentinel/", "200"),
        ("/before/", "200"),
        ("/after/", "200"),
        ("/unknown-resolver/", "500"),
    ] {
        let mut stream =
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, 8080 + offset)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {wanted} ")),
            "{path}: {text}"
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
