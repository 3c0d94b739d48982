//! HTTP/1.0 (Module `enable_http10`, spec/services §3.14, spec/routing §5.1).

use legate_testkit::{Fault, Step};

use crate::harness::{Case, base};
use crate::wire::{Wire, exchange};

fn on() -> Case {
    base().module("enable_http10: true")
}

#[tokio::test]
async fn md_03() {
    let gate = base().map("a", "prefix: /").start().await;
    let answer = exchange(gate.address(8080), "GET / HTTP/1.0\r\nhost: t\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 426 "), "{answer}");
    assert!(answer.contains("\r\ncontent-length: 0\r\n"), "{answer}");
    let gate = base()
        .module("enable_http10: false")
        .map("a", "prefix: /")
        .start()
        .await;
    gate.diagnoses(&[]);
    let answer = exchange(gate.address(8080), "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 426 "), "{answer}");
}

/// The upstream is asked by HTTP/1.1; the connection closes, unless the client wants to keep it and
/// the length is known.
#[tokio::test]
async fn connections() {
    let gate = on().map("a", "prefix: /").start().await;
    gate.diagnoses(&[]);
    let answer = exchange(gate.address(8080), "GET /x HTTP/1.0\r\nhost: t\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert!(answer.contains("\"protocol\":\"HTTP/1.1\""), "{answer}");
    assert!(!answer.contains("transfer-encoding"), "{answer}");
    let mut wire = Wire::connect(gate.address(8080)).await;
    for path in ["/1", "/2", "/3"] {
        wire.say(format!(
            "POST {path} HTTP/1.0\r\nhost: t\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi"
        ))
        .await;
        let response = wire.response().await;
        assert_eq!(response.status, 200);
        assert_eq!(response.header("connection"), Some("keep-alive"));
        assert_eq!(response.json()["path"], path);
        assert_eq!(response.json()["body"], "hi");
    }
    // One of HTTP/1.1 on the same port is not impressed.
    assert_eq!(gate.send(8080, "/y").await.json()["path"], "/y");
}

/// A response without length ends with the connection, whatever the client asked for.
#[tokio::test]
async fn responses_without_length() {
    let head =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let fault = Fault::start(vec![Step::Head, Step::say(head)]).await;
    let gate = on()
        .map("f", &format!("prefix: /\nservice: {}", fault.address()))
        .start()
        .await;
    let request = "GET / HTTP/1.0\r\nhost: t\r\nconnection: keep-alive\r\n\r\n";
    let answer = exchange(gate.address(8080), request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert!(!head.contains("connection: keep-alive"), "{head}");
    assert_eq!(body, "abcde");
}

/// Without a Host the request is for the address that it came to, which only a Host for all matches.
#[tokio::test]
async fn without_a_host() {
    let gate = on().map("a", "prefix: /").start().await;
    let address = gate.address(8080);
    let answer = exchange(address, "GET /x HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert!(
        answer.contains(&format!("\"host\":\"{address}\"")),
        "{answer}"
    );
    let answer = exchange(address, "GET /x HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let gate = on().map("b", "prefix: /\nhostname: b.test").start().await;
    let answer = exchange(gate.address(8080), "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 404 "), "{answer}");
}

/// What HTTP/1.0 has not, it does not get.
#[tokio::test]
async fn what_is_newer_than_that() {
    let gate = on()
        .map("a", "prefix: /\nallow_upgrade: [websocket]")
        .start()
        .await;
    let upgrade = "GET /x HTTP/1.0\r\nhost: t\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let answer = exchange(gate.address(8080), upgrade).await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert!(!answer.contains("\"upgrade\":"), "{answer}");
    let chunked = "POST /x HTTP/1.0\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = exchange(gate.address(8080), chunked).await;
    assert!(answer.contains(" 400 "), "{answer}");
    // Older than that nobody speaks.
    let answer = exchange(gate.address(8080), "GET /\r\n\r\n").await;
    assert!(answer.contains(" 400 "), "{answer}");
}
