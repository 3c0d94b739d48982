//! Bodies that are collected, and how much of a body is kept (Module `buffer` and
//! `buffer_limit_bytes`, spec/services §§0.1, 3.11).

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use legate_testkit::{Client, Fault};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Case, base, upstream_header};
use crate::wire::{Wire, within};

fn limited(bytes: u64) -> Case {
    base().module(&format!("buffer: {{max_request_bytes: {bytes}}}"))
}

/// Nothing goes upstream before all is there, and then it has a length.
#[tokio::test]
async fn bodies_are_collected() {
    let gate = limited(1000).map("a", "prefix: /").start().await;
    gate.diagnoses(&[]);
    let origin = &gate.origins["a"];
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST /up HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..5 {
        wire.say("1\r\nx\r\n").await;
        assert_eq!(gate.send(8080, "/other").await.status, 200);
    }
    let seen = &origin.seen().requests;
    assert_eq!(seen.load(std::sync::atomic::Ordering::SeqCst), 5);
    wire.say("0\r\n\r\n").await;
    let answer = wire.response().await.json();
    assert_eq!(answer["body"], "xxxxx");
    assert_eq!(answer["headers"]["content-length"][0], "5");
    assert!(answer["headers"]["transfer-encoding"].is_null());
    // Up to the limit, and on HTTP/2 as well.
    for mut client in [
        Client::connect(gate.address(8080)).await.unwrap(),
        Client::connect_h2c(gate.address(8080)).await.unwrap(),
    ] {
        let body = Bytes::from(vec![b'x'; 1000]);
        let answer = within(client.request("POST", "t", "/", &[], body))
            .await
            .unwrap();
        assert_eq!(answer.json()["body_bytes"], 1000);
        let answer = within(client.get("t", "/")).await.unwrap();
        assert!(upstream_header(&answer, "content-length").is_empty());
    }
}

/// 413, whether the length was told or not.
#[tokio::test]
async fn too_large() {
    let gate = limited(1000).map("a", "prefix: /").start().await;
    for (head, body) in [
        ("content-length: 1001", String::new()),
        (
            "transfer-encoding: chunked",
            format!("3e9\r\n{}\r\n", "x".repeat(1001)),
        ),
    ] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(format!(
            "POST / HTTP/1.1\r\nhost: t\r\n{head}\r\n\r\n{body}"
        ))
        .await;
        let response = wire.response().await;
        assert_eq!(response.status, 413);
        assert_eq!(response.body, b"Payload Too Large");
        assert_eq!(response.header("connection"), Some("close"));
    }
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let body = Bytes::from(vec![b'x'; 1001]);
    let answer = within(client.request("POST", "t", "/", &[], body))
        .await
        .unwrap();
    assert_eq!(answer.status, 413);
    let headers = [("content-type", "application/grpc")];
    let body = Bytes::from(vec![b'x'; 1001]);
    let answer = within(client.request("POST", "t", "/", &headers, body))
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("grpc-status"), Some("2"));
    let seen = gate.origins["a"].seen();
    assert_eq!(seen.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// A stranger cannot make us collect anything: who is refused is refused first.
#[tokio::test]
async fn authorisation_comes_first() {
    let judge = Fault::keeps_answering("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n").await;
    let gate = limited(1000)
        .object(
            "AuthService",
            "auth",
            &format!("auth_service: {}\nproto: http", judge.address()),
        )
        .map("a", "prefix: /a/")
        .map("b", "prefix: /b/\nbypass_auth: true")
        .start()
        .await;
    for (path, status) in [("/a/", 401), ("/b/", 413), ("/c/", 404)] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: 5000\r\n\r\n"
        ))
        .await;
        assert_eq!(wire.response().await.status, status, "{path}");
    }
}

/// A client that stops within its body is held to the idle timeout.
#[tokio::test]
async fn unfinished_bodies() {
    let gate = limited(1000)
        .map("a", "prefix: /\nidle_timeout_ms: 200")
        .start()
        .await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\nhalf")
        .await;
    let response = wire.response().await;
    assert_eq!(response.status, 408);
    assert_eq!(response.body, b"stream timeout");
}

/// What is an upgrade has no body to wait for.
#[tokio::test]
async fn upgrades_are_not_collected() {
    let gate = limited(1)
        .map("ws", "prefix: /\nallow_upgrade: [websocket]")
        .start()
        .await;
    let url = format!("ws://{}/", gate.address(8080));
    let (mut socket, _) = within(tokio_tungstenite::connect_async(url)).await.unwrap();
    // The origin sends the bytes back as they came, and so masked: the other end sees an error, or
    // the close; that they come at all is what counts.
    socket
        .send(Message::text("longer than that"))
        .await
        .unwrap();
    assert!(within(socket.next()).await.is_some());
}

#[tokio::test]
async fn bad_limits() {
    for module in [
        "buffer: {}",
        "buffer: {max_request_bytes: 0}",
        "buffer: {max_request_bytes: many}",
        "buffer: 5",
        "buffer_limit_bytes: -1",
    ] {
        let gate = base().module(module).map("a", "prefix: /").start().await;
        gate.diagnoses(&["E-MODULE-VALUE"]);
        let mut client = Client::connect(gate.address(8080)).await.unwrap();
        let body = Bytes::from(vec![b'x'; 100_000]);
        let answer = within(client.request("POST", "t", "/", &[], body))
            .await
            .unwrap();
        assert_eq!(answer.json()["body_bytes"], 100_000, "{module}");
    }
}

/// A body that is too long to be kept is not sent again.
#[tokio::test]
async fn what_is_kept_for_retries() {
    let fault = Fault::keeps_answering("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
    let gate = base()
        .module("buffer_limit_bytes: 1000")
        .map(
            "f",
            &format!(
                "prefix: /\nretry_policy: {{retry_on: 5xx, num_retries: 2}}\nservice: {}",
                fault.address()
            ),
        )
        .start()
        .await;
    gate.diagnoses(&[]);
    let mut heads = 0;
    for (bytes, attempts) in [(1000, 3), (1001, 1), (0, 3)] {
        let mut client = Client::connect(gate.address(8080)).await.unwrap();
        let body = Bytes::from(vec![b'x'; bytes]);
        let answer = within(client.request("POST", "t", "/", &[], body))
            .await
            .unwrap();
        assert_eq!(answer.status, 503);
        heads += attempts;
        assert_eq!(fault.tally().heads, heads, "{bytes} bytes");
    }
}

/// A small limit makes back-pressure, and large bodies pass all the same.
#[tokio::test]
async fn small_buffers_pass_large_bodies() {
    let gate = base()
        .module("buffer_limit_bytes: 4096")
        .map("a", "prefix: /\ntimeout_ms: 0")
        .start()
        .await;
    let size = 2_000_000;
    for mut client in [
        Client::connect(gate.address(8080)).await.unwrap(),
        Client::connect_h2c(gate.address(8080)).await.unwrap(),
    ] {
        let up = client.request("POST", "t", "/", &[], Bytes::from(vec![b'u'; size]));
        assert_eq!(within(up).await.unwrap().json()["body_bytes"], size);
        let bytes = size.to_string();
        let headers = [("x-test-bytes", bytes.as_str())];
        let down = client.request("GET", "t", "/", &headers, Bytes::new());
        assert_eq!(within(down).await.unwrap().body.len(), size);
    }
}
