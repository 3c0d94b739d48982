//! Timeouts of requests (spec/services §3.5): lower bounds and order only.

use std::time::{Duration, Instant};

use legate_testkit::{Client, Fault, Step};

use crate::harness::{base, short};
use crate::wire::{Wire, within};

/// The route's timeout starts when the request is complete, and does not come early.
#[tokio::test]
async fn the_route_timeout() {
    let mute = Fault::start(vec![Step::Head, Step::Hold]).await;
    let gate = base()
        .map(
            "mute",
            &format!(
                "prefix: /mute/\ntimeout_ms: 300\nservice: {}",
                mute.address()
            ),
        )
        .map("a", "prefix: /a/\ntimeout_ms: 300")
        .map("never", "prefix: /never/\ntimeout_ms: 0")
        .start()
        .await;
    let start = Instant::now();
    let answer = within(gate.send(8080, "/mute/")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (504, "upstream request timeout")
    );
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "{:?}",
        start.elapsed()
    );
    // A request that takes longer than that to come in is not late.
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST /a/ HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\nab")
        .await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    wire.say("cd").await;
    assert_eq!(wire.response().await.json()["body"], "abcd");
    // An upstream that takes longer than the default of 3 s, with none.
    let answer = within(gate.send(8080, "/never/ x-test-delay-ms:3200")).await;
    assert_eq!(short(&answer), "never:/");
}

/// `grpc-timeout` shortens the route's timeout, and never lengthens it; which of the two it was is
/// told.
#[tokio::test]
async fn the_deadline_of_grpc_clients() {
    let mute = Fault::start(vec![Step::Head, Step::Hold]).await;
    let spec = |path: &str, ms: u32| {
        let address = mute.address();
        format!("prefix: {path}\ntimeout_ms: {ms}\nservice: {address}")
    };
    let gate = base()
        .map("never", &spec("/never/", 0))
        .map("short", &spec("/short/", 300))
        .map("long", &spec("/long/", 60_000))
        .start()
        .await;
    for (path, timeout, status) in [
        ("/never/", "300m", "4"),
        ("/long/", "300000u", "4"),
        ("/short/", "100S", "14"),
        ("/short/", "1x", "14"),
        ("/short/", "123456789n", "14"),
    ] {
        let start = Instant::now();
        let request = format!("{path} content-type:application/grpc grpc-timeout:{timeout}");
        let answer = within(gate.send(8080, &request)).await;
        assert_eq!(answer.header("grpc-status"), Some(status), "{request}");
        assert!(start.elapsed() >= Duration::from_millis(300), "{request}");
    }
    // It is gRPC's: elsewhere it means nothing.
    let answer = within(gate.send(8080, "/short/ grpc-timeout:1m")).await;
    assert_eq!(answer.text(), "upstream request timeout");
}

/// After response headers the timeout breaks the response off.
#[tokio::test]
async fn the_route_timeout_within_a_response() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    let fault = Fault::start(vec![Step::Head, Step::say(head), Step::Hold]).await;
    let gate = base()
        .map(
            "t",
            &format!("prefix: /t/\ntimeout_ms: 300\nservice: {}", fault.address()),
        )
        .map(
            "i",
            &format!(
                "prefix: /i/\ntimeout_ms: 0\nidle_timeout_ms: 300\nservice: {}",
                fault.address()
            ),
        )
        .start()
        .await;
    for path in ["/t/", "/i/"] {
        let start = Instant::now();
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n"))
            .await;
        let answer = wire.rest_text().await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhalf"),
            "{answer}"
        );
        assert!(
            start.elapsed() >= Duration::from_millis(300),
            "{path} {:?}",
            start.elapsed()
        );
        let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
        assert!(
            within(client.get("t", path)).await.is_err(),
            "{path}: the stream is reset"
        );
        assert_eq!(
            within(client.get("t", "/none")).await.unwrap().status,
            404,
            "{path}"
        );
    }
}

/// The idle timeout counts from the last byte, of either direction.
#[tokio::test]
async fn the_idle_timeout() {
    let drip = |text: &str| vec![Step::say(text), Step::Hold];
    let mut script = vec![Step::Head];
    script.extend(drip("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"));
    script.extend(drip("a"));
    script.extend(drip("b"));
    script.extend(drip("c"));
    let fault = Fault::start(script).await;
    let spec = format!(
        "prefix: /\ntimeout_ms: 0\nidle_timeout_ms: 600\nservice: {}",
        fault.address()
    );
    let gate = base().map("f", &spec).start().await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    let start = Instant::now();
    wire.say("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    wire.head().await;
    for byte in ["a", "b", "c"] {
        tokio::time::sleep(Duration::from_millis(250)).await;
        fault.release();
        assert_eq!(wire.take(1).await, byte.as_bytes());
    }
    assert!(
        start.elapsed() > Duration::from_millis(600),
        "longer than the timeout altogether"
    );
}

/// A connection without requests is closed in its time, one with a request is not.
#[tokio::test]
async fn the_idle_timeout_of_connections() {
    let gate = base()
        .module("listener_idle_timeout_ms: 300")
        .map("a", "prefix: /")
        .start()
        .await;
    let start = Instant::now();
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("GET / HTTP/1.1\r\nhost: t\r\nx-test-delay-ms: 700\r\n\r\n")
        .await;
    assert_eq!(wire.response().await.status, 200);
    let answered = start.elapsed();
    assert_eq!(wire.rest_text().await, "");
    assert!(start.elapsed() - answered >= Duration::from_millis(250));
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let slow = [("x-test-delay-ms", "700")];
    let answer = client.request("GET", "t", "/", &slow, bytes::Bytes::new());
    assert_eq!(within(answer).await.unwrap().status, 200);
    within(async {
        while client.is_open() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
