//! Upstreams against real origins on loopback sockets, one worker in one thread.

mod failure;
mod http2;
mod names;
mod origin;
mod pooling;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use legate_config::cluster::{
    Balancer, Breakers, Cluster, Endpoint, EndpointSet, UpstreamProtocol,
};
use legate_config::table::Entry;
use legate_config::{ClusterKey, EndpointSetKey, Snapshot};

use super::{Call, ClusterHandle, UpstreamBody, Upstreams, WorkerPool};
use crate::error::ProxyError;

/// A worker with its pool, and the process's upstreams.
struct World {
    upstreams: Arc<Upstreams>,
    pool: Rc<WorkerPool>,
}

/// A response that was read to its end.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
}

impl World {
    /// Runs a test as a worker would: one thread, local tasks.
    fn run<F: Future<Output = ()>>(test: impl FnOnce(Self) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let world = Self {
                upstreams: Upstreams::new(tokio::runtime::Handle::current()),
                pool: WorkerPool::new(),
            };
            // By the real clock: tests move tokio's.
            let start = std::time::Instant::now();
            let mut test = std::pin::pin!(test(world));
            let tick = Duration::from_millis(100);
            while tokio::time::timeout(tick, &mut test).await.is_err() {
                assert!(start.elapsed() < Duration::from_secs(20), "the test hangs");
            }
        });
    }

    /// Serves one cluster with static endpoints and returns its handle.
    fn cluster(&self, cluster: Cluster, endpoints: &[SocketAddr]) -> Arc<ClusterHandle> {
        self.apply(snapshot(cluster, fixed(endpoints)))
    }

    fn apply(&self, snapshot: Snapshot) -> Arc<ClusterHandle> {
        let failed = self.upstreams.update(&snapshot);
        assert_eq!(failed, []);
        self.upstreams.cluster(&"c".into()).unwrap()
    }

    async fn send(
        &self,
        cluster: &Arc<ClusterHandle>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<UpstreamBody>, ProxyError> {
        let mut call = Call {
            bodyless: request.method() == Method::GET,
            ..Call::default()
        };
        self.pool.send(cluster, request, &mut call).await
    }

    async fn get(&self, cluster: &Arc<ClusterHandle>) -> Result<Answer, ProxyError> {
        Ok(read(self.send(cluster, request(Method::GET, "")).await?).await)
    }

    async fn post(&self, cluster: &Arc<ClusterHandle>, body: &str) -> Result<Answer, ProxyError> {
        Ok(read(self.send(cluster, request(Method::POST, body)).await?).await)
    }
}

async fn read(response: Response<UpstreamBody>) -> Answer {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answer { status, body }
}

fn ok(body: &str) -> Result<Answer, ProxyErrorText> {
    Ok(Answer {
        status: 200,
        body: body.to_owned(),
    })
}

/// `ProxyError` by its text, so that results can be compared.
#[derive(Debug, PartialEq, Eq)]
struct ProxyErrorText(String);

fn text(result: Result<Answer, ProxyError>) -> Result<Answer, ProxyErrorText> {
    result.map_err(|error| ProxyErrorText(format!("{} {error}", error.flag())))
}

fn request(method: Method, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(body.to_owned())));
    *request.method_mut() = method;
    *request.uri_mut() = "/path?query".parse().unwrap();
    let host = "up.test:81".parse().unwrap();
    request.headers_mut().insert(http::header::HOST, host);
    request
}

fn plain() -> Cluster {
    Cluster {
        stats_name: "c".to_owned(),
        endpoints: "set".into(),
        protocol: UpstreamProtocol::Http1,
        tls: None,
        balancer: Balancer::RoundRobin,
        connect_timeout_ms: 3000,
        idle_timeout_ms: 60_000,
        max_lifetime_ms: 0,
        keepalive: None,
        tag: String::new(),
        shadow: false,
        host_name: None,
        breakers: Breakers::default(),
        health_checks: Vec::new(),
        never_eject: false,
    }
}

fn fixed(addresses: &[SocketAddr]) -> EndpointSet {
    let endpoints = addresses
        .iter()
        .map(|address| Endpoint { address: *address });
    EndpointSet::Static {
        endpoints: endpoints.collect(),
    }
}

fn snapshot(cluster: Cluster, endpoints: EndpointSet) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot
        .clusters
        .insert(ClusterKey::from("c"), Entry::new(cluster, Vec::new()));
    snapshot.endpoint_sets.insert(
        EndpointSetKey::from("set"),
        Entry::new(endpoints, Vec::new()),
    );
    snapshot
}

/// Lets time pass for the pool, without waiting.
async fn later(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// Lets tasks run until the condition holds.
async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
