//! The examples, run for real: the binary, `--demo`, and what the README promises.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise; the helpers are not marked as tests"
)]

#[path = "examples/policies.rs"]
mod policies;
#[path = "examples/protocols.rs"]
mod protocols;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::{SinkExt, StreamExt};
use legate_testkit::client::{raw, tls};
use legate_testkit::{Client, Pair, TlsOptions};
use rustls::version::TLS12;
use tokio_tungstenite::tungstenite::Message;

const SHOP: &str = "shop.example.com";
const VAULT: &str = "vault.example.com";

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

async fn team(client: &mut Client, path: &str) -> String {
    let answer = client.get(SHOP, path).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn quickstart_serves_the_right_team() {
    let demo = Demo::start("quickstart");
    let mut client = demo.https(SHOP).await;
    assert_eq!(team(&mut client, "/cart/1").await, "cart.cart");
    assert_eq!(team(&mut client, "/about").await, "web.web");
    assert!(
        ["catalog.catalog", "catalog-canary.catalog"]
            .contains(&team(&mut client, "/catalog/x").await.as_str())
    );
    // The port that curl puts into the Host is taken off, declared or bound.
    for port in [8443, 8443 + demo.offset] {
        let answer = client
            .get(&format!("{SHOP}:{port}"), "/cart/1")
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{port}");
    }
    // Cleartext is sent to https, and the location names no port.
    let mut plain = Client::connect(demo.address(8080)).await.unwrap();
    for host in [
        SHOP.to_owned(),
        format!("{SHOP}:{}", 8080 + demo.offset),
        format!("{SHOP}:8080"),
    ] {
        let answer = plain.get(&host, "/cart/1?a=b").await.unwrap();
        assert_eq!(answer.status, 301, "{host}");
        assert_eq!(
            answer.header("location"),
            Some("https://shop.example.com/cart/1?a=b")
        );
    }
}

#[tokio::test]
async fn quickstart_keeps_minimum_tls_versions_apart() {
    let demo = Demo::start("quickstart");
    let old = |host: &str| TlsOptions {
        versions: vec![&TLS12],
        ..TlsOptions::sni(host)
    };
    tls(demo.address(8443), &old(SHOP))
        .await
        .expect("TLS 1.2 is enough for the shop");
    let refused = tls(demo.address(8443), &old(VAULT))
        .await
        .err()
        .map(|error| error.to_string());
    assert!(refused.is_some_and(|text| text.contains("ProtocolVersion")));
    tls(demo.address(8443), &TlsOptions::sni(VAULT))
        .await
        .expect("TLS 1.3");
    // A ClientHello of version 0x0302 (TLS 1.1) with the shop's name: alert 70.
    let answer = raw(demo.address(8443), &tls11_hello(SHOP)).await.unwrap();
    assert_eq!(answer.first(), Some(&0x15));
    assert_eq!(answer.get(5..7), Some(&[2, 70][..]), "{answer:?}");
}

/// A TLS 1.1 ClientHello with one cipher suite and a server name.
fn tls11_hello(name: &str) -> Vec<u8> {
    let length = |n: usize| u16::try_from(n).unwrap().to_be_bytes();
    let mut sni = length(name.len() + 3).to_vec();
    sni.push(0);
    sni.extend(length(name.len()));
    sni.extend(name.as_bytes());
    let mut extensions = vec![0, 0];
    extensions.extend(length(sni.len()));
    extensions.extend(sni);
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    body.extend(length(extensions.len()));
    body.extend(extensions);
    let mut hello = vec![1, 0];
    hello.extend(length(body.len()));
    hello.extend(body);
    let mut record = vec![0x16, 3, 1];
    record.extend(length(hello.len()));
    record.extend(hello);
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart_canary_takes_a_tenth() {
    let demo = Demo::start("quickstart");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = demo.https(SHOP).await;
        tasks.spawn(async move {
            let mut canary = 0;
            for _ in 0..1250 {
                canary +=
                    u32::from(team(&mut client, "/catalog/").await == "catalog-canary.catalog");
            }
            canary
        });
    }
    let canary: u32 = tasks.join_all().await.into_iter().sum();
    assert!((850..=1150).contains(&canary), "{canary} of 10,000");
}

/// Clients that keep asking on their own connections until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    tasks: tokio::task::JoinSet<Result<(), String>>,
}

impl Load {
    async fn start(demo: &Demo, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..clients {
            let mut client = demo.https(SHOP).await;
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client
                        .get(SHOP, "/cart/load")
                        .await
                        .map_err(|error| format!("request failed: {error}"))?;
                    if answer.status != 200 {
                        return Err(format!("{}: {}", answer.status, answer.text()));
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                    if !client.is_open() {
                        return Err("the gateway closed the connection".to_owned());
                    }
                }
                Ok(())
            });
        }
        Self {
            stop,
            served,
            tasks,
        }
    }

    /// Waits until so many more requests were served.
    async fn pass(&self, more: u64) {
        let goal = self.served.load(Ordering::Relaxed) + more;
        eventually("the load goes on", async || {
            self.served.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for result in self.tasks.join_all().await {
            result.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart_changes_disturb_nobody() {
    let demo = Demo::start("quickstart");
    let load = Load::start(&demo, 64).await;
    let (stream, _) = tls(demo.address(8443), &TlsOptions::sni(SHOP))
        .await
        .unwrap();
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("wss://{SHOP}/cart/live"), stream)
            .await
            .unwrap();
    let mut ping = async |text: &str| {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    };
    ping("before").await;
    let mut client = demo.https(SHOP).await;

    // An edited Mapping changes the answer.
    let web = demo.read("team-web.yaml");
    for round in 0..5 {
        demo.write(
            "team-web.yaml",
            &web.replace("x-team: web", &format!("x-team: web-{round}")),
        );
        eventually("the edit is served", async || {
            let answer = client.get(SHOP, "/about").await.unwrap();
            answer.header("x-team") == Some(format!("web-{round}").as_str())
        })
        .await;
        ping(&format!("round {round}")).await;
    }

    // A Host, a Listener and a Secret come and go.
    let pair = Pair::self_signed(&["new.example.com"]);
    let extra = format!(
        "{}---\napiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {{name: new, namespace: gateway}}\n\
         spec: {{hostname: new.example.com, tlsSecret: {{name: new-cert}}}}\n---\n\
         apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {{name: late, namespace: gateway}}\n\
         spec: {{port: 8444, protocol: HTTPS, securityModel: XFP, hostBinding: {{namespace: {{from: ALL}}}}}}\n",
        pair.secret("gateway", "new-cert")
    );
    let open = async || {
        tls(demo.address(8444), &TlsOptions::sni("new.example.com"))
            .await
            .is_ok()
    };
    demo.write("extra.yaml", &extra);
    eventually("the new Listener is open", open).await;
    std::fs::remove_file(demo.path("extra.yaml")).unwrap();
    eventually("the Listener is closed again", async || !open().await).await;
    ping("still here").await;

    // A broken file keeps what it had; mended, it counts again.
    demo.write("team-web.yaml", &format!("{web}\n---\nkind: [\n"));
    load.pass(200).await;
    assert_eq!(team(&mut client, "/about").await, "web.web");
    demo.write(
        "team-web.yaml",
        &web.replace("x-team: web", "x-team: mended"),
    );
    eventually("the mended file is served", async || {
        client.get(SHOP, "/about").await.unwrap().header("x-team") == Some("mended")
    })
    .await;
    ping("after").await;
    load.pass(200).await;
    load.finish().await;
}

/// SIGTERM under load: every request that was sent is answered; a connection ends only with
/// `connection: close` on an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_no_request() {
    let mut demo = Demo::start("quickstart");
    let started = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let mut client = demo.https(SHOP).await;
        let started = Arc::clone(&started);
        tasks.spawn(async move {
            loop {
                let answer = match client.get(SHOP, "/cart/delay/5").await {
                    Ok(answer) => answer,
                    Err(error) => return Err(error.to_string()),
                };
                started.fetch_add(1, Ordering::Relaxed);
                if answer.status != 200 {
                    return Err(format!("{}: {}", answer.status, answer.text()));
                }
                let closing = answer.header("connection") == Some("close");
                if closing {
                    return Ok(());
                }
            }
        });
    }
    eventually("the load runs", async || {
        started.load(Ordering::Relaxed) > 500
    })
    .await;
    demo.terminate();
    for result in tasks.join_all().await {
        result.unwrap();
    }
    let status = tokio::task::spawn_blocking(move || demo.child.wait().unwrap())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
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

#[tokio::test]
async fn auth_http_lets_users_pass() {
    let demo = Demo::start("auth-http");
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    let answer = client.get("any.test", "/").await.unwrap();
    assert_eq!(answer.json()["name"], "front-page.shop");
    let answer = client.get("any.test", "/orders/1").await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let headers = [("authorization", "Bearer ann"), ("x-user", "admin")];
    let answer = client
        .request(
            "GET",
            "any.test",
            "/orders/1",
            &headers,
            bytes::Bytes::new(),
        )
        .await
        .unwrap();
    let json = answer.json();
    assert_eq!(
        (json["name"].as_str(), &json["headers"]["x-user"]),
        (Some("orders.shop"), &serde_json::json!(["ann"]))
    );
}

#[tokio::test]
async fn the_admin_server_answers() {
    let demo = Demo::start("quickstart");
    let mut client = Client::connect(demo.address(8877)).await.unwrap();
    for (path, wanted) in [
        (
            "/ambassador/v0/check_alive",
            "Ambassador is alive and well\n",
        ),
        (
            "/ambassador/v0/check_ready",
            "Ambassador is ready and waiting\n",
        ),
    ] {
        let answer = client.get("localhost", path).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, wanted)
        );
    }
    for path in [
        "/metrics",
        "/config_dump",
        "/clusters",
        "/listeners",
        "/server_info",
        "/logging",
    ] {
        let answer = client.get("localhost", path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.text().contains("PRIVATE KEY"), "{path}");
        assert!(!answer.body.is_empty(), "{path}");
    }
    let level = client
        .request(
            "POST",
            "localhost",
            "/logging?level=debug",
            &[],
            bytes::Bytes::new(),
        )
        .await
        .unwrap();
    assert_eq!(level.status, 200);
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
