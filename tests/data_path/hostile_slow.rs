//! Clients that take their time, or go away: closed within their limits, and others are not
//! bothered (design §5, spec/services §5.6).

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use legate_testkit::client::tls;
use legate_testkit::{Client, Fault, Step, TlsOptions};

use crate::wire::{Log, Sentinel, Wire, guarded, stalled, within};

/// Clients that begin something and do not go on are closed when their time is over; connections
/// that idle between requests are not.
#[tokio::test]
async fn half_open_clients_are_closed_in_time() {
    let gate = guarded().patience(Duration::from_millis(300)).start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03only the beginning";
    let h2 = b"PRI * HTTP/2.0\r\n";
    for (what, port, bytes) in [
        ("says nothing", 8080, &b""[..]),
        ("says nothing to TLS", 8443, b""),
        ("half a request line", 8080, b"GET /sent"),
        (
            "half a head",
            8080,
            b"GET /sentinel/ HTTP/1.1\r\nhost: a.test\r\nx-",
        ),
        ("half a ClientHello", 8443, hello),
        ("a record head", 8443, b"\x16\x03"),
        ("half an HTTP/2 preface", 8080, h2),
    ] {
        let mut wire = Wire::connect(gate.address(port)).await;
        wire.say(bytes).await;
        let answer = wire.rest_text().await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
            "{what}: {answer}"
        );
    }
    // A second request on a connection is held to the same.
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("GET /sentinel/ HTTP/1.1\r\nhost: a.test\r\n\r\nGET /senti")
        .await;
    assert_eq!(wire.response().await.status, 200);
    let answer = wire.rest_text().await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
        "{answer}"
    );
    // The sentinels idled all the while, for longer than that.
    sentinel.check("after half-open clients").await;
}

#[tokio::test]
async fn drips_do_not_extend_the_deadline() {
    let gate = guarded().patience(Duration::from_millis(400)).start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    for (port, start, drip) in [
        (
            8080,
            &b"GET /sentinel/ HTTP/1.1\r\nhost: a.test\r\n"[..],
            &b"x: y\r\n"[..],
        ),
        (8080, b"GET /", b"a"),
        (8443, b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03", b"\0"),
    ] {
        let mut wire = Wire::connect(gate.address(port)).await;
        wire.say(start).await;
        // As long as it is open, one more drip.
        within(async {
            while tokio::time::timeout(Duration::from_millis(20), wire.rest())
                .await
                .is_err()
            {
                if wire.try_say(drip).await.is_err() {
                    break;
                }
            }
        })
        .await;
    }
    sentinel.check("after slow clients").await;
}

/// A handshake that is under way and goes no further.
#[tokio::test]
async fn a_client_that_stops_within_the_handshake() {
    let gate = guarded().patience(Duration::from_millis(300)).start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    // What a real client says first, taken from one.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = tokio::spawn(async move {
        let _ = tls(address, &TlsOptions::sni("a.test")).await;
    });
    let (mut taken, _) = listener.accept().await.unwrap();
    let mut hello = vec![0; 16 * 1024];
    let n = tokio::io::AsyncReadExt::read(&mut taken, &mut hello)
        .await
        .unwrap();
    drop(taken);
    client.await.unwrap();
    let mut wire = Wire::connect(gate.address(8443)).await;
    wire.say(&hello[..n]).await;
    let answer = wire.rest().await;
    assert_eq!(
        answer.first(),
        Some(&0x16),
        "the gateway's half of the handshake: {answer:?}"
    );
    sentinel
        .check("after a handshake that went no further")
        .await;
}

#[tokio::test]
async fn a_client_that_goes_away_within_its_body() {
    let mut log = Log::new();
    let fault = Fault::start(vec![Step::Head, Step::Drain]).await;
    let gate = guarded()
        .module(&log.json())
        .map(
            "gone",
            &format!("prefix: /gone/\nservice: {}", fault.address()),
        )
        .start()
        .await;
    let mut sentinel = Sentinel::open(&gate).await;
    for _ in 0..4 {
        log.line().await;
    }
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST /gone/ HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\nten bytes!")
        .await;
    within(fault.until(|tally| tally.heads == 1)).await;
    drop(wire);
    // The origin learns that nothing follows.
    assert_eq!(
        log.reasons().await,
        (0, "DC".into(), "downstream_remote_disconnect".into())
    );
    sentinel.check("after a client that went away").await;
    // The same while the answer is awaited.
    let mute = Fault::start(vec![Step::Head, Step::Hold]).await;
    let gate = guarded()
        .map(
            "mute",
            &format!("prefix: /mute/\ntimeout_ms: 0\nservice: {}", mute.address()),
        )
        .start()
        .await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("GET /mute/ HTTP/1.1\r\nhost: t\r\n\r\n").await;
    within(mute.until(|tally| tally.heads == 1)).await;
    drop(wire);
    within(mute.until(|tally| tally.lost == 1)).await;
}

/// A client that does not read its response is cut when nothing moved for too long, and the origin
/// is let go.
#[tokio::test]
async fn a_client_that_does_not_read() {
    const FLOOD: u64 = 256 * 1024 * 1024;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {FLOOD}\r\n\r\n");
    let fault = Fault::start(vec![Step::Head, Step::say(&head), Step::Pour(FLOOD)]).await;
    let spec = format!(
        "prefix: /f/\ntimeout_ms: 0\nidle_timeout_ms: 400\nservice: {}",
        fault.address()
    );
    let gate = guarded().map("f", &spec).start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let mut wire = Wire::connect_narrow(gate.address(8080)).await;
    wire.say("GET /f/ HTTP/1.1\r\nhost: t\r\n\r\n").await;
    within(fault.until(|tally| tally.lost == 1)).await;
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let body = Empty::new().map_err(|never: std::convert::Infallible| match never {});
    let request = http::Request::get("http://t/f/")
        .body(body.boxed_unsync())
        .unwrap();
    let _unread = within(client.open(request)).await.unwrap();
    within(fault.until(|tally| tally.lost == 2)).await;
    // The stream is gone, not its connection.
    assert_eq!(
        within(client.get("t", "/sentinel/x")).await.unwrap().status,
        200
    );
    sentinel.check("after clients that do not read").await;
}

/// Requests without number whose responses nobody reads: no more are taken when the responses have
/// nowhere to go.
#[tokio::test]
async fn pipelined_requests_are_not_taken_without_bound() {
    let gate = guarded().map("a", "prefix: /a/").start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let mut wire = Wire::connect_narrow(gate.address(8080)).await;
    // 300 MB of responses.
    let request = "GET /a/ HTTP/1.1\r\nhost: t\r\nx-test-bytes: 100000\r\n\r\n";
    wire.say(request.repeat(3000)).await;
    let seen = &gate.origins["a"].seen().requests;
    let count = || seen.load(std::sync::atomic::Ordering::SeqCst) as u64;
    let taken = within(stalled(&mut sentinel, count)).await;
    assert!(taken < 1000, "{taken}");
    assert_eq!(wire.response().await.status, 200);
}
