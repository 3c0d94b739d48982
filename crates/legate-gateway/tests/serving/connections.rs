//! Slow, silent and departing clients.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::snapshot::Build;
use crate::{origin, serve};

#[test]
fn slow_headers_and_silence_are_closed_in_time_and_idleness_is_not() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let start = Instant::now();
    let mut silent = Client::connect(served.address());
    let mut slow = Client::connect(served.address());
    let mut idle = Client::connect(served.address());
    assert_eq!(idle.get("/").status, 200);
    slow.send("GET / HTTP/1.1\r\nhos");
    assert!(silent.is_closed());
    assert!(slow.try_answer(false).is_none());
    assert!(
        start.elapsed() >= Duration::from_millis(280),
        "{:?}",
        start.elapsed()
    );
    assert!(start.elapsed() < Duration::from_secs(3));
    // A second request's headers have the same time, from its first byte.
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(idle.get("/").status, 200);
    let began = Instant::now();
    idle.send("GET /");
    assert!(idle.try_answer(false).is_none());
    assert!(began.elapsed() >= Duration::from_millis(280));
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_connection_comes_back_after_a_rest() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let mut client = Client::connect(served.address());
    assert_eq!(client.get("/").status, 200);
    // Longer than a connection stays inside hyper.
    std::thread::sleep(Duration::from_millis(2600));
    assert_eq!(client.get("/").status, 200);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
    assert!(client.answer().body.ends_with("abc"));
}

#[test]
fn the_idle_timeout_closes() {
    let origin = origin::start("one");
    let build = Build::new(1).route("/", origin);
    let served = serve(build.http(|http| http.idle_timeout_ms = 200).build());
    let mut client = Client::connect(served.address());
    assert_eq!(client.get("/").status, 200);
    let start = Instant::now();
    assert!(client.is_closed());
    assert!(
        start.elapsed() >= Duration::from_millis(190),
        "{:?}",
        start.elapsed()
    );
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn an_unread_request_body_does_not_corrupt_the_connection() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/api/", origin).build());
    let mut client = Client::connect(served.address());
    // More than hyper reads at once, for a path that nobody serves.
    let _ = client.stream.write_all(
        format!(
            "POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{}",
            1_000_000,
            "GET /api/ HTTP/1.1\r\n".repeat(1000)
        )
        .as_bytes(),
    );
    assert_eq!(client.answer().status, 404);
    assert!(client.is_closed());
}
