//! The quickstart: what its page promises, changes under load, and the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::{SinkExt, StreamExt};
use legate_testkit::client::{raw, tls};
use legate_testkit::{Client, Pair, TlsOptions};
use rustls::version::TLS12;
use tokio_tungstenite::tungstenite::Message;

use crate::{Demo, eventually};

const SHOP: &str = "shop.example.com";
const VAULT: &str = "vault.example.com";

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
