//! Endpoints that come and go under load, as a Deployment rolls: no request fails.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use legate_testkit::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::harness::{Gate, base, service};

const REPLACEMENTS: usize = 100;
const PODS: usize = 4;
const CLIENTS: usize = 8;
/// What a request takes, so that some always run when their backend is told to end.
const WORK: Duration = Duration::from_millis(2);

/// A backend that ends as a polite server does on SIGTERM: it stops to listen, closes idle connections
/// and finishes running requests.
struct Pod {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Pod {
    async fn start(speaks: Speaks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(speaks, listener, Arc::clone(&served), stopped));
        Self {
            address,
            served,
            stop,
            task,
        }
    }

    /// SIGTERM.
    fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until it has ended, all its connections with it.
    async fn ended(self) {
        tokio::time::timeout(Duration::from_secs(20), self.task)
            .await
            .expect("a removed endpoint is let go")
            .unwrap();
    }
}

/// What a backend speaks.
#[derive(Clone, Copy)]
enum Speaks {
    Http1,
    Http2,
}

async fn run(
    speaks: Speaks,
    listener: TcpListener,
    served: Arc<AtomicUsize>,
    stop: watch::Receiver<bool>,
) {
    let serve = |stream, served, stop| match speaks {
        Speaks::Http1 => Either::Left(serve_http1(stream, served, stop)),
        Speaks::Http2 => Either::Right(serve_http2(stream, served, stop)),
    };
    let mut connections = JoinSet::new();
    let mut stopped = stop.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                connections.spawn(serve(stream, Arc::clone(&served), stop.clone()));
            }
            _ = stopped.wait_for(|it| *it) => break,
        }
    }
    // Who has connected already is served.
    let listener = listener.into_std().unwrap();
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        connections.spawn(serve(stream, Arc::clone(&served), stop.clone()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection, which is told to end by GOAWAY.
async fn serve_http2(stream: TcpStream, served: Arc<AtomicUsize>, mut stop: watch::Receiver<bool>) {
    let answer = service_fn(move |_: Request<Incoming>| {
        let served = Arc::clone(&served);
        async move {
            tokio::time::sleep(WORK).await;
            served.fetch_add(1, Ordering::SeqCst);
            let body = Full::new(Bytes::from_static(b"ok"));
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let builder = http2::Builder::new(TokioExecutor::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|it| *it) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn serve_http1(mut stream: TcpStream, served: Arc<AtomicUsize>, stop: watch::Receiver<bool>) {
    let mut buffer = Vec::new();
    let mut fresh = true;
    loop {
        let head = async {
            while !buffer.windows(4).any(|it| it == b"\r\n\r\n") {
                if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    return false;
                }
            }
            true
        };
        let mut stopped = stop.clone();
        let idle_and_stopped = async {
            // A new connection is about to bring a request.
            if fresh {
                std::future::pending::<()>().await;
            }
            let _ = stopped.wait_for(|it| *it).await;
        };
        tokio::select! {
            biased;
            whole = head => {
                if !whole {
                    return;
                }
            }
            () = idle_and_stopped => return,
        }
        fresh = false;
        buffer.clear();
        tokio::time::sleep(WORK).await;
        let close = if *stop.borrow() {
            "connection: close\r\n"
        } else {
            ""
        };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{close}\r\nok");
        if stream.write_all(answer.as_bytes()).await.is_err() || !close.is_empty() {
            return;
        }
        served.fetch_add(1, Ordering::SeqCst);
    }
}

/// Tells the gateway which endpoints there are, and waits for nothing.
fn publish(gate: &Gate, pods: &VecDeque<Pod>) {
    let addresses: Vec<_> = pods.iter().map(|pod| pod.address).collect();
    let partial = gate.folder.path().join(".partial");
    std::fs::write(&partial, service("default", "s", 80, &addresses)).unwrap();
    std::fs::rename(partial, gate.folder.path().join("s.yaml")).unwrap();
}

/// Sends requests until it is told to end, and counts those that failed.
async fn load(address: SocketAddr, end: Arc<AtomicBool>) -> (usize, Vec<String>) {
    let mut client = Client::connect(address).await.unwrap();
    let (mut sent, mut failed) = (0, Vec::new());
    while !end.load(Ordering::SeqCst) {
        sent += 1;
        match client.get("t", "/").await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => failed.push(format!("{} {}", answer.status, answer.text())),
            Err(error) => {
                failed.push(error.to_string());
                client = Client::connect(address).await.unwrap();
            }
        }
    }
    (sent, failed)
}

async fn roll(speaks: Speaks, fields: &str) {
    let spec = format!("hostname: \"*\"\nprefix: /\nservice: s\nresolver: endpoint\n{fields}");
    let gate = base().bare("m", &spec).workers(2).start().await;
    let mut pods = VecDeque::new();
    for _ in 0..PODS {
        pods.push_back(Pod::start(speaks).await);
    }
    let mut changes = gate.running.changes();
    changes.mark_unchanged();
    publish(&gate, &pods);
    changes.changed().await.unwrap();

    let end = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(load(gate.address(8080), Arc::clone(&end)));
    }
    let mut ending = JoinSet::new();
    for _ in 0..REPLACEMENTS {
        pods.push_back(Pod::start(speaks).await);
        let old = pods.pop_front().unwrap();
        // The signal and the news of it race, as they do in a cluster.
        publish(&gate, &pods);
        old.stop();
        ending.spawn(old.ended());
        let new = &pods.back().unwrap().served;
        while new.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    while let Some(ended) = ending.join_next().await {
        ended.unwrap();
    }
    end.store(true, Ordering::SeqCst);
    let (mut sent, mut failed) = (0, Vec::new());
    for (count, failures) in clients.join_all().await {
        sent += count;
        failed.extend(failures);
    }
    assert!(sent > REPLACEMENTS, "{sent}");
    assert_eq!(failed, [""; 0], "of {sent}");
}

async fn rolls(speaks: Speaks, fields: &str) {
    tokio::time::timeout(Duration::from_secs(240), roll(speaks, fields))
        .await
        .expect("every new endpoint gets requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_replacements() {
    rolls(Speaks::Http1, "load_balancer: {policy: round_robin}").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_replacements_of_the_less_busy() {
    rolls(Speaks::Http1, "load_balancer: {policy: least_request}").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_replacements_over_http2() {
    rolls(Speaks::Http2, "grpc: true").await;
}
