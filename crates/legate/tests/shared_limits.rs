//! Rate limits that two processes share through a real Redis: the binary twice, and nothing between
//! them but the store.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise; the helpers are not marked as tests"
)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use legate_testkit::kube::{Metrics, Process, eventually};
use legate_testkit::{Client, Origin, Redis};

/// When a test gives up on what should have come long before.
const PATIENCE: Duration = Duration::from_secs(60);

/// One process of the gateway; killed when dropped.
struct Gateway {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    /// Serves that folder, and is ready.
    async fn start(name: &str, folder: &Path) -> Self {
        // Free now; that somebody else takes one before the process does is what the loop is for.
        for _ in 0..5 {
            let [address, admin] = free();
            let mut command = Command::new(env!("CARGO_BIN_EXE_legate"));
            command
                .args(["run", "--workers", "2", "--bind", "127.0.0.1"])
                .args(["--port-map", &format!("8080={}", address.port())])
                .args(["--admin-addr", &admin.to_string()])
                .arg(folder.join("manifests"));
            let log = folder.join(format!("{name}.log"));
            let mut process = Process::start(name, command, &log).unwrap();
            let ready = eventually("the gateway is ready", PATIENCE, async || {
                if process.ended().unwrap().is_some() {
                    return Some(false);
                }
                let mut client = Client::connect(admin).await.ok()?;
                let answer = client.get("admin", "/ambassador/v0/check_ready").await;
                (answer.ok()?.status == 200).then_some(true)
            });
            if ready.await.unwrap() {
                return Self {
                    process,
                    address,
                    admin,
                };
            }
            let status = process.ended().unwrap().unwrap();
            let log = process.log();
            assert_eq!(status.code(), Some(3), "only a busy port may end it: {log}");
        }
        panic!("no free ports");
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await.unwrap()
    }

    /// Fails if it ever decided without the store.
    async fn has_asked_the_store(&self) {
        let mut client = Client::connect(self.admin).await.unwrap();
        let text = client.get("admin", "/metrics").await.unwrap().text();
        let metrics = Metrics::parse(&text);
        for name in [
            "legate_ratelimit_store_errors_total",
            "legate_ratelimit_store_fallback_total",
        ] {
            assert_eq!(metrics.value(name, &[]), Some(0.0), "{name}");
        }
    }
}

fn free() -> [SocketAddr; 2] {
    // Both are held until both are known, so that they differ.
    let probes = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    probes.map(|probe| probe.local_addr().unwrap())
}

/// Two gateways of one folder, their origin and their store.
struct Shared {
    gateways: [Gateway; 2],
    _origin: Origin,
    _redis: Redis,
    _folder: tempfile::TempDir,
}

impl Shared {
    async fn start(unit: &str, requests: u32) -> Self {
        let origin = Origin::start("a").await;
        let redis = Redis::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        // The store is given time: what is tested is the count, not the machine.
        let text = format!(
            "apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {{name: l}}
spec: {{port: 8080, protocol: HTTP, securityModel: XFP, hostBinding: {{namespace: {{from: ALL}}}}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Host
metadata: {{name: h}}
spec: {{hostname: \"*\", requestPolicy: {{insecure: {{action: Route}}}}}}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {{name: m}}
spec:
  hostname: \"*\"
  prefix: /
  service: {origin}
  labels: {{ambassador: [{{g: [{{remote_address: {{key: remote_address}}}}]}}]}}
---
apiVersion: legate.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{name: p}}
spec:
  enforcement: shared
  store: {{service: \"{redis}\", timeout_ms: 30000}}
  descriptors:
  - key: remote_address
    rate_limit: {{unit: {unit}, requests_per_unit: {requests}}}
",
            origin = origin.address(),
            redis = redis.address(),
        );
        std::fs::write(manifests.join("all.yaml"), text).unwrap();
        let (one, two) = tokio::join!(
            Gateway::start("one", folder.path()),
            Gateway::start("two", folder.path())
        );
        Self {
            gateways: [one, two],
            _origin: origin,
            _redis: redis,
            _folder: folder,
        }
    }

    async fn has_asked_the_store(&self) {
        for gateway in &self.gateways {
            gateway.has_asked_the_store().await;
        }
    }
}

/// Kept connections to both gateways.
struct Load {
    /// Each with its gateway.
    clients: Vec<(usize, Client)>,
    /// What passed each gateway.
    passed: [u32; 2],
}

impl Load {
    async fn on(shared: &Shared) -> Self {
        let mut clients = Vec::new();
        for index in [0, 1, 0, 1] {
            clients.push((index, shared.gateways[index].client().await));
        }
        Self {
            clients,
            passed: [0, 0],
        }
    }

    /// One request on each connection, all at the same time. Whether none passed.
    async fn round(&mut self) -> bool {
        // Nobody is always the first to ask.
        self.clients.rotate_left(1);
        let asking = self
            .clients
            .iter_mut()
            .map(async |(index, client)| (*index, pass(client).await.unwrap()));
        let mut refused = true;
        for (index, passes) in join_all(asking).await {
            self.passed[index] += u32::from(passes);
            refused &= !passes;
        }
        refused
    }

    fn sum(&self) -> u32 {
        self.passed.iter().sum()
    }
}

/// Whether a request passes; an error is one of the connection.
async fn pass(client: &mut Client) -> Result<bool, legate_testkit::client::Error> {
    match client.get("any.test", "/").await?.status.as_u16() {
        200 => Ok(true),
        429 => Ok(false),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_full_count_lets_the_burst_pass_once() {
    let shared = Shared::start("day", 120).await;
    let mut load = Load::on(&shared).await;
    for _ in 0..50 {
        load.round().await;
    }
    assert_eq!(load.sum(), 120, "{:?}", load.passed);
    assert!(load.passed.iter().all(|passed| *passed > 0));
    shared.has_asked_the_store().await;
}

/// The unit is long, so that a machine that stands still for a while finds all of what came back
/// meanwhile.
#[tokio::test]
async fn an_empty_count_lets_the_rate_pass() {
    let shared = Shared::start("minute", 3000).await;
    let mut load = Load::on(&shared).await;
    let start = Instant::now();
    // It is empty when nobody gets through, and was or will be within that round.
    let until_empty = async |load: &mut Load, least: Duration| loop {
        let before = Instant::now();
        if load.round().await && start.elapsed() >= least {
            break (before, Instant::now());
        }
        assert!(start.elapsed() < least + PATIENCE, "never empty");
    };
    let (first, last) = until_empty(&mut load, Duration::ZERO).await;
    let emptied = load.passed;
    let end = last - start + Duration::from_secs(10);
    let (before, after) = until_empty(&mut load, end).await;
    let passed = [0, 1].map(|index| load.passed[index] - emptied[index]);
    let sum = f64::from(passed[0] + passed[1]);
    let least = (before - last).as_secs_f64() * 50.0;
    let most = (after - first).as_secs_f64() * 50.0;
    assert!(
        sum >= least * 0.98 - 1.0 && sum <= most * 1.02 + 1.0,
        "{passed:?} in {least} to {most}"
    );
    assert!(passed.iter().all(|passed| *passed > 0), "{passed:?}");
    shared.has_asked_the_store().await;
}

#[tokio::test]
async fn one_that_is_killed_takes_nothing_with_it() {
    let mut shared = Shared::start("day", 100).await;
    let [one, two] = &mut shared.gateways;
    let (mut first, mut second) = (one.client().await, two.client().await);
    for _ in 0..10 {
        assert!(pass(&mut first).await.unwrap());
        assert!(pass(&mut second).await.unwrap());
    }
    let until_it_ends = async {
        let mut passed = 0;
        while let Ok(passes) = pass(&mut first).await {
            passed += u32::from(passes);
        }
        passed
    };
    let to_the_end = async {
        let mut passed = 0;
        for _ in 0..10 {
            passed += u32::from(pass(&mut second).await.unwrap());
        }
        one.process.kill();
        while pass(&mut second).await.unwrap() {
            passed += 1;
        }
        passed
    };
    let sum = tokio::join!(until_it_ends, to_the_end);
    // One that was under way may be counted and have no answer.
    assert!((79..=80).contains(&(sum.0 + sum.1)), "{sum:?}");
    two.has_asked_the_store().await;
}
