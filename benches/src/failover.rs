//! One of four endpoints reads each request and resets, half of the time: how many requests fail, and
//! how soon the endpoint has its share again.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use legate_testkit::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::process::{self, Pinned};
use crate::table::print;

/// Options of `failover`.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for all cycles; in each the endpoint is broken for the first half
    #[arg(long, default_value_t = 200)]
    seconds: u32,
    /// Cycles
    #[arg(long, default_value_t = 5)]
    cycles: u32,
    /// Requests per second, open loop
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Routes, each with a cluster of its own
    #[arg(long, default_value_t = 256)]
    routes: usize,
}

const HEALTHY: usize = 3;
/// How much longer the endpoint is broken from cycle to cycle.
const STEP: Duration = Duration::from_millis(190);
const RETRY: &str = "  retry_policy: {retry_on: gateway-error, num_retries: 2}\n";
/// What may fail before the endpoint is left out, in each cycle: five in a row and what is under way.
const FIRST: f64 = 10.0;
/// What may fail later, for each second: one trial, and a little.
const LATER: f64 = 1.5;

/// One endpoint; `broken` is whether it resets.
struct Endpoint {
    address: SocketAddr,
    broken: AtomicBool,
    served: AtomicUsize,
}

/// What a run found.
#[derive(Default)]
struct Figures {
    sent: usize,
    failed: usize,
    /// Seconds from recovery to the first answer, one for each cycle.
    back: Vec<f64>,
    /// Share of the requests after that, in percent.
    shares: Vec<f64>,
}

/// Runs with and without a retry policy side by side, and prints both.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (plain, retried) = runtime.block_on(async {
        let (plain, retried) = tokio::join!(measure(options, ""), measure(options, RETRY));
        Ok::<_, anyhow::Error>((plain?, retried?))
    })?;
    print(&format!(
        "{HEALTHY} healthy endpoints and one that resets for half of each of {} cycles of {} s; {} requests/s over {} \
         routes",
        options.cycles,
        options.seconds / options.cycles.max(1),
        options.rate,
        options.routes
    ));
    print("");
    print("| retry_policy | sent | failed | back after, s | share then, % |");
    print("|---|---|---|---|---|");
    let list = |figures: &[f64], digits: usize| {
        let texts = figures.iter().map(|it| format!("{it:.digits$}"));
        texts.collect::<Vec<_>>().join(" ")
    };
    for (name, figures) in [("none", &plain), ("gateway-error, 2", &retried)] {
        print(&format!(
            "| {name} | {} | {} | {} | {} |",
            figures.sent,
            figures.failed,
            list(&figures.back, 2),
            list(&figures.shares, 0)
        ));
    }
    let broken = f64::from(options.seconds) / 2.0;
    let most = f64::from(options.cycles) * FIRST + broken * LATER;
    if f64::from(u32::try_from(plain.failed)?) > most {
        bail!("{} requests failed, more than {most}", plain.failed);
    }
    if retried.failed > 0 {
        bail!("{} requests failed in spite of retries", retried.failed);
    }
    let cycles = usize::try_from(options.cycles)?;
    if plain.back.len() < cycles || retried.back.len() < cycles {
        bail!("the endpoint did not come back in each cycle");
    }
    Ok(())
}

async fn measure(options: &Options, policy: &str) -> Result<Figures> {
    let mut tasks = JoinSet::new();
    let mut endpoints = Vec::new();
    for _ in 0..=HEALTHY {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = Arc::new(Endpoint {
            address: listener.local_addr()?,
            broken: AtomicBool::new(false),
            served: AtomicUsize::new(0),
        });
        tasks.spawn(serve(listener, Arc::clone(&endpoint)));
        endpoints.push(endpoint);
    }
    let faulty = endpoints.last().map(Arc::clone).context("no endpoint")?;
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let gateway = SocketAddr::from(([127, 0, 0, 1], port));
    write_config(folder.path(), port, options.routes, policy, &endpoints)?;
    let path = folder.path().to_owned();
    let _legate = tokio::task::spawn_blocking(move || start(&path, gateway)).await??;

    let load = Load::new(gateway, options.routes);
    // Connections and clusters as they are after a while.
    load.run(options.rate, Duration::from_secs(1)).await;
    let warm = load.counts();
    let cycle = Duration::from_secs(options.seconds.into()) / options.cycles.max(1);
    let mut figures = Figures::default();
    for index in 0..options.cycles {
        // Half of it, and each time at another moment between two trials.
        let broken = (cycle / 2 + STEP * index).saturating_sub(STEP * (options.cycles / 2));
        let healthy = cycle.saturating_sub(broken);
        faulty.broken.store(true, Ordering::SeqCst);
        load.run(options.rate, broken).await;
        let served = faulty.served.load(Ordering::SeqCst);
        faulty.broken.store(false, Ordering::SeqCst);
        let recovered = Instant::now();
        let back = async {
            while faulty.served.load(Ordering::SeqCst) == served {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let (at, sent) = (Instant::now(), load.counts().0);
            // Its share of what comes from now on.
            let from = faulty.served.load(Ordering::SeqCst);
            sleep_until(recovered + healthy).await;
            let got = faulty.served.load(Ordering::SeqCst).saturating_sub(from);
            (at, percent(got, load.counts().0.saturating_sub(sent)))
        };
        let (back, ()) = tokio::join!(
            tokio::time::timeout(healthy + Duration::from_millis(100), back),
            load.run(options.rate, healthy)
        );
        if let Ok((at, share)) = back {
            figures
                .back
                .push(at.duration_since(recovered).as_secs_f64());
            figures.shares.push(share);
        }
    }
    let (sent, failed) = load.counts();
    figures.sent = sent - warm.0;
    figures.failed = failed - warm.1;
    Ok(figures)
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
fn percent(part: usize, whole: usize) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

fn free_port() -> Result<u16> {
    Ok(StdListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn start(folder: &Path, gateway: SocketAddr) -> Result<Pinned> {
    let admin = format!("127.0.0.1:{}", free_port()?);
    let folder = folder.to_string_lossy();
    let arguments = [
        "run",
        &folder,
        "--workers",
        "2",
        "--bind",
        "127.0.0.1",
        "--admin-addr",
        &admin,
    ];
    let legate = process::sibling("legate")?;
    let mut process = Pinned::anywhere("legate", &legate, &arguments)?;
    process.wait_for(gateway)?;
    Ok(process)
}

fn write_config(
    folder: &Path,
    port: u16,
    routes: usize,
    policy: &str,
    endpoints: &[Arc<Endpoint>],
) -> Result<()> {
    let mut text = format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {{name: bench}}\nspec:\n  \
         port: {port}\n  protocol: HTTP\n  securityModel: SECURE\n  \
         hostBinding: {{namespace: {{from: ALL}}}}\n---\n\
         apiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {{name: any}}\nspec:\n  hostname: \"*\"\n---\n\
         apiVersion: getambassador.io/v3alpha1\nkind: Module\nmetadata: {{name: ambassador}}\nspec:\n  \
         config:\n    envoy_log_path: /dev/null\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: up}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n"
    );
    for (index, endpoint) in endpoints.iter().enumerate() {
        write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: up-{index}\n  \
             labels: {{kubernetes.io/service-name: up}}\naddressType: IPv4\n\
             ports: [{{name: http, port: {}}}]\n\
             endpoints: [{{addresses: [\"127.0.0.1\"], conditions: {{ready: true}}}}]\n",
            endpoint.address.port()
        )?;
    }
    for index in 0..routes {
        write!(
            text,
            "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: m{index}}}\nspec:\n  \
             hostname: \"*\"\n  prefix: /r/{index}/\n  service: up\n  resolver: endpoint\n  cluster_tag: t{index}\n{policy}"
        )?;
    }
    std::fs::write(folder.join("all.yaml"), text)?;
    Ok(())
}

/// Answers requests, or reads each and resets.
async fn serve(listener: TcpListener, endpoint: Arc<Endpoint>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let endpoint = Arc::clone(&endpoint);
        connections.spawn(async move {
            // A connection that breaks is what this is about.
            let _ = connection(stream, &endpoint).await;
        });
    }
}

async fn connection(mut stream: TcpStream, endpoint: &Endpoint) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        while !buffer.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        buffer.clear();
        if endpoint.broken.load(Ordering::SeqCst) {
            return stream.set_zero_linger();
        }
        endpoint.served.fetch_add(1, Ordering::SeqCst);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await?;
    }
}

/// Requests at a rate, whether or not the former ones were answered.
#[derive(Clone)]
struct Load(Arc<Shared>);

struct Shared {
    gateway: SocketAddr,
    routes: usize,
    idle: Mutex<Vec<Client>>,
    sent: AtomicUsize,
    failed: AtomicUsize,
}

impl Load {
    fn new(gateway: SocketAddr, routes: usize) -> Self {
        Self(Arc::new(Shared {
            gateway,
            routes,
            idle: Mutex::default(),
            sent: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
        }))
    }

    /// Requests sent, and those that failed.
    fn counts(&self) -> (usize, usize) {
        let read = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (read(&self.0.sent), read(&self.0.failed))
    }

    async fn run(&self, rate: u32, time: Duration) {
        let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = Instant::now() + time;
        let mut requests = JoinSet::new();
        while Instant::now() < end {
            ticks.tick().await;
            let load = self.clone();
            requests.spawn(async move { load.request().await });
            while requests.try_join_next().is_some() {}
        }
        while requests.join_next().await.is_some() {}
    }

    async fn request(&self) {
        let Shared {
            gateway,
            routes,
            idle,
            sent,
            failed,
        } = &*self.0;
        let index = sent.fetch_add(1, Ordering::SeqCst) % routes.max(&1);
        let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let client = match kept {
            Some(client) => Ok(client),
            None => Client::connect(*gateway).await,
        };
        let answer = async {
            let mut client = client?;
            let answer = client.get("bench.test", &format!("/r/{index}/")).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((client, answer.status))
        };
        match answer.await {
            Ok((client, status)) => {
                if status != 200 {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
                idle.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(client);
            }
            Err(_) => {
                failed.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}
