//! The examples of gRPC and WebSocket, of canaries and circuit breakers: what their pages promise.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use legate_testkit::client::raw;
use legate_testkit::{Answer, Client};
use tokio_tungstenite::tungstenite::Message;

use crate::{Demo, eventually};

async fn call(client: &mut Client, method: &str, kind: &str, body: &'static [u8]) -> Answer {
    let path = format!("/demo.Echo/{method}");
    let headers = [("content-type", kind)];
    client
        .request(
            "POST",
            "localhost",
            &path,
            &headers,
            Bytes::from_static(body),
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn grpc() {
    let demo = Demo::start("grpc");
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    let web = "application/grpc-web-text";
    let answer = call(&mut client, "Say", web, b"AAAAAAA=").await;
    assert_eq!(answer.text(), "AAAAAAA=gAAAAA9ncnBjLXN0YXR1czowDQo=");
    let answer = call(&mut client, "Say", "application/grpc", &[0; 5]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("grpc-status"), Some("0"));
    let answer = call(&mut client, "Fail", "application/grpc", &[0; 5]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("grpc-status"), Some("9"));
    assert_eq!(answer.header("grpc-message"), Some("it always fails"));
    let mut admin = Client::connect(demo.address(8877)).await.unwrap();
    let text = admin.get("localhost", "/metrics").await.unwrap().text();
    for (method, count) in [("Say", 2), ("Fail", 1)] {
        let line = format!(
            "envoy_cluster_grpc_total{{envoy_cluster_name=\"echo\",envoy_grpc_bridge_service=\"demo.Echo\",\
             envoy_grpc_bridge_method=\"{method}\"}} {count}\n"
        );
        assert!(text.contains(&line), "no {line} in {text}");
    }
    let mut native = Client::connect_h2c(demo.address(8080)).await.unwrap();
    let answer = call(&mut native, "Say", "application/grpc", &[0; 5]).await;
    assert_eq!(answer.body, vec![0; 5]);
    let headers = [
        ("origin", "https://shop.example.com"),
        ("access-control-request-method", "POST"),
    ];
    let asked = client.request(
        "OPTIONS",
        "localhost",
        "/demo.Echo/Say",
        &headers,
        Bytes::new(),
    );
    let answer = asked.await.unwrap();
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
}

#[tokio::test]
async fn websocket() {
    let demo = Demo::start("websocket");
    let url = format!("ws://{}/chat/", demo.address(8080));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::text("hello")
    );
    socket.close(None).await.unwrap();
    let asked = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = raw(demo.address(8080), asked).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 403 Forbidden\r\n"));
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    let answer = client.get("localhost", "/chat/").await.unwrap();
    assert_eq!(answer.json()["name"], "chat.default");
}

#[tokio::test]
async fn canary() {
    let demo = Demo::start("canary");
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..1000 {
        let answer = client.get("localhost", "/").await.unwrap();
        let name = answer.json()["name"].as_str().unwrap().to_owned();
        *shares.entry(name).or_default() += 1;
    }
    let new = shares["web-next.default"];
    assert_eq!(shares["web.default"] + new, 1000);
    // One in 10^9 runs has fewer or more.
    assert!((45..165).contains(&new), "{shares:?}");
    let text = demo.read("canary.yaml");
    demo.write("canary.yaml", &text.replace("weight: 10", "weight: 100"));
    eventually("all requests go to the new version", async || {
        let mut new = 0;
        for _ in 0..20 {
            let mut client = Client::connect(demo.address(8080)).await.unwrap();
            let answer = client.get("localhost", "/").await.unwrap();
            new += u32::from(answer.json()["name"] == "web-next.default");
        }
        new == 20
    })
    .await;
}

#[tokio::test]
async fn circuit_breaker() {
    let demo = Demo::start("circuit-breaker");
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let address = demo.address(8080);
        asked.spawn(async move {
            let mut client = Client::connect(address).await.unwrap();
            client
                .get("localhost", "/reports/delay/2000")
                .await
                .unwrap()
        });
    }
    let mut order = Vec::new();
    while let Some(answer) = asked.join_next().await {
        let answer = answer.unwrap();
        let refused = answer.status == 503;
        assert_eq!(
            answer.header("x-envoy-overloaded"),
            refused.then_some("true")
        );
        order.push(answer.status.as_u16());
    }
    assert_eq!(order, [503, 503, 503, 200, 200]);
    let mut admin = Client::connect(demo.address(8877)).await.unwrap();
    let text = admin.get("localhost", "/metrics").await.unwrap().text();
    let line = "legate_upstream_overflow_total{cluster=\"reports\",breaker=\"requests\"} 3\n";
    assert!(text.contains(line), "{text}");
}
