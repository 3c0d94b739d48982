//! Health checks by gRPC (spec/services §3.3), asked of a real gRPC server.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_prost::ProstCodec;

use crate::harness::{Gate, base, service};
use crate::moody::{Mood, Moody};
use crate::wire::within;

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Reply {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `grpc.health.v1.Health`
#[derive(Clone, Default)]
struct Health {
    statuses: Arc<Mutex<HashMap<String, i32>>>,
    /// Authority and user agent of each question.
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl NamedService for Health {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl Service<http::Request<tonic::body::Body>> for Health {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let authority = request.uri().authority().map(ToString::to_string);
        let agent = request.headers()["user-agent"].to_str().unwrap().to_owned();
        self.asked
            .lock()
            .unwrap()
            .push((authority.unwrap_or_default(), agent));
        let method = self.clone();
        Box::pin(async move {
            Ok(Grpc::new(ProstCodec::default())
                .unary(method, request)
                .await)
        })
    }
}

impl UnaryService<Question> for Health {
    type Response = Reply;
    type Future = Ready<Result<tonic::Response<Reply>, tonic::Status>>;

    fn call(&mut self, question: tonic::Request<Question>) -> Self::Future {
        let statuses = self.statuses.lock().unwrap();
        let known = statuses.get(&question.get_ref().service);
        ready(match known {
            Some(status) => Ok(tonic::Response::new(Reply { status: *status })),
            None => Err(tonic::Status::not_found("no such service")),
        })
    }
}

impl Health {
    async fn start() -> (Self, SocketAddr) {
        let health = Self::default();
        health.set(SERVING);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(health.clone());
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (health, address)
    }

    fn set(&self, status: i32) {
        let mut statuses = self.statuses.lock().unwrap();
        statuses.insert("shop.Cart".to_owned(), status);
    }
}

async fn until_healthy(gate: &Gate, count: u64) {
    let wait = async {
        let name = "envoy_cluster_membership_healthy";
        while gate.cluster_metric(name, "up").await != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(wait).await;
}

/// Sends requests, and says which servers got some.
async fn used(gate: &Gate, servers: [&Health; 2]) -> [bool; 2] {
    let requests = |it: &Health| {
        let asked = it.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(authority, _)| authority == "t")
            .count()
    };
    let before = servers.map(requests);
    let request = "POST /grpc.health.v1.Health/Check content-type:application/grpc user-agent:me";
    for _ in 0..12 {
        within(gate.send(8080, request)).await;
    }
    let now = servers.map(requests);
    [now[0] > before[0], now[1] > before[1]]
}

#[tokio::test]
async fn serving_is_healthy_and_nothing_else() {
    let (one, first) = Health::start().await;
    let (two, second) = Health::start().await;
    let gate = base()
        .raw(&service("default", "up", 80, &[first, second]))
        .map(
            "m",
            "prefix: /\nservice: up\nresolver: endpoint\ngrpc: true\n\
             health_checks:\n\
             - health_check: {grpc: {upstream_name: shop.Cart, authority: cart.test}}\n  interval: 20ms",
        )
        .start()
        .await;
    gate.diagnoses(&[]);
    until_healthy(&gate, 2).await;
    assert_eq!(used(&gate, [&one, &two]).await, [true, true]);
    one.set(NOT_SERVING);
    until_healthy(&gate, 1).await;
    assert_eq!(used(&gate, [&one, &two]).await, [false, true]);
    one.set(SERVING);
    until_healthy(&gate, 2).await;
    // An error of the call is no better than another status.
    one.statuses.lock().unwrap().clear();
    until_healthy(&gate, 1).await;
    let asked = one.asked.lock().unwrap();
    let expected = ("cart.test".to_owned(), "legate/health-check".to_owned());
    let mut checks = asked.iter().filter(|(authority, _)| authority != "t");
    assert!(checks.all(|it| *it == expected), "{asked:?}");
}

/// A server that speaks no HTTP/2, and one that says nothing, are unhealthy.
#[tokio::test]
async fn others_are_unhealthy() {
    let (_health, good) = Health::start().await;
    let http1 = Moody::start(Mood::Answer(200)).await;
    let gate = base()
        .raw(&service("default", "up", 80, &[good, http1.address]))
        .map(
            "m",
            "prefix: /\nservice: up\nresolver: endpoint\ngrpc: true\nhealth_checks:\n\
             - health_check: {grpc: {upstream_name: shop.Cart}}\n  interval: 20ms\n  timeout: 2s",
        )
        .start()
        .await;
    let unhealthy = format!("{}::health_flags::/failed_active_hc", http1.address);
    let wait = async {
        while !gate.page("/clusters").await.contains(&unhealthy) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(wait).await;
    until_healthy(&gate, 1).await;
}
