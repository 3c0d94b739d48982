//! Bad input of clients in HTTP/2 (spec/services §§5.4, 5.6): a stream or the connection is closed;
//! other connections are not bothered.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use legate_testkit::{Client, Fault, Step};

use crate::wire::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
    SETTINGS, block, frame, get, opening,
};
use crate::wire::{Sentinel, Wire, guarded, within};

const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

#[tokio::test]
async fn garbage_after_the_preface_closes() {
    let gate = guarded().start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let settings = opening();
    for (what, bytes) in [
        (
            "text",
            [PREFACE, b"GET / HTTP/1.1\r\nhost: t\r\n\r\n"].concat(),
        ),
        ("zeros", [PREFACE, &[0; 200]].concat()),
        (
            "a frame that is too long",
            [&settings[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat(),
        ),
        (
            "data on stream 0",
            [settings.clone(), frame(DATA, 0, 0, b"x")].concat(),
        ),
        (
            "headers on stream 0",
            [settings.clone(), frame(HEADERS, END_HEADERS, 0, &[])].concat(),
        ),
        ("an even stream", [settings.clone(), get(2, &[])].concat()),
        (
            "settings of odd length",
            [PREFACE, &frame(SETTINGS, 0, 0, &[0; 5])].concat(),
        ),
        (
            "a ping of odd length",
            [settings.clone(), frame(PING, 0, 0, &[0; 5])].concat(),
        ),
        (
            "compression that is broken",
            [
                settings.clone(),
                frame(HEADERS, END_HEADERS, 1, &[0xff; 20]),
            ]
            .concat(),
        ),
        (
            "a continuation of nothing",
            [settings.clone(), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
        ),
        (
            "headers that are interrupted",
            [
                settings.clone(),
                frame(HEADERS, 0, 1, &[]),
                frame(PING, 0, 0, &[0; 8]),
            ]
            .concat(),
        ),
        (
            "data of a stream that never was",
            [settings.clone(), frame(DATA, 0, 5, b"x")].concat(),
        ),
    ] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(bytes).await;
        let mut last = None;
        while let Some(frame) = wire.frame().await {
            last = Some(frame);
        }
        if let Some(frame) = last {
            assert_eq!(frame.kind, GOAWAY, "{what}: {frame:?}");
        }
    }
    sentinel.check("after garbage").await;
}

/// What is wrong with one request costs that request; the connection goes on.
#[tokio::test]
async fn malformed_requests_cost_their_stream() {
    let gate = guarded().start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let seen = &gate.origins["sentinel"].seen().requests;
    let before = seen.load(Ordering::SeqCst);
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say(opening()).await;
    let mut stream = 1;
    for more in [
        &[("connection", "close")][..],
        &[("connection", "x-a"), ("x-a", "1")],
        &[("keep-alive", "5")],
        &[("proxy-connection", "close")],
        &[("transfer-encoding", "chunked")],
        &[("upgrade", "websocket")],
        &[("te", "gzip")],
    ] {
        wire.say(get(stream, more)).await;
        let reset = wire
            .until(|frame| frame.stream == stream || frame.kind == GOAWAY)
            .await;
        assert_eq!(reset.kind, RST_STREAM, "{more:?}: {reset:?}");
        assert_eq!(reset.payload, PROTOCOL_ERROR, "{more:?}");
        stream += 2;
    }
    assert_eq!(
        seen.load(Ordering::SeqCst),
        before,
        "none of them reached the origin"
    );
    wire.say(get(stream, &[])).await;
    let answer = wire.until(|frame| frame.stream == stream).await;
    assert_eq!(answer.kind, HEADERS, "{answer:?}");
    sentinel.check("after malformed requests").await;
}

/// Upper-case names and misplaced pseudo-headers are an error, of the stream or of the connection.
#[tokio::test]
async fn bad_names_are_refused() {
    let gate = guarded().start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    for name in [
        "X-Upper", "hosT", "x y", "x\0", "", ":path", ":unknown", ":status",
    ] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say([opening(), get(1, &[("x-a", "1"), (name, "/x")])].concat())
            .await;
        let end = wire
            .until(|frame| frame.stream == 1 || frame.kind == GOAWAY)
            .await;
        assert!(matches!(end.kind, RST_STREAM | GOAWAY), "{name:?}: {end:?}");
    }
    sentinel.check("after bad names").await;
}

/// Lengths that do not agree with the data.
#[tokio::test]
async fn lengths_that_lie_cost_their_stream() {
    let gate = guarded().start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say(opening()).await;
    let post = |stream, length| {
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a.test"),
            (":path", "/sentinel/x"),
            ("content-length", length),
        ];
        frame(HEADERS, END_HEADERS, stream, &block(&headers))
    };
    for (stream, length) in [(1, "3"), (3, "10"), (5, "many")] {
        wire.say(
            [
                post(stream, length),
                frame(DATA, END_STREAM, stream, b"hello"),
            ]
            .concat(),
        )
        .await;
        let end = wire
            .until(|frame| frame.stream == stream && frame.kind != 8)
            .await;
        assert_eq!(end.kind, RST_STREAM, "{length}: {end:?}");
    }
    wire.say(get(7, &[])).await;
    assert_eq!(wire.until(|frame| frame.stream == 7).await.kind, HEADERS);
    sentinel.check("after lengths that lie").await;
}

/// 431 for too many bytes or headers, and the connection goes on.
#[tokio::test]
async fn too_large_heads_are_refused() {
    let gate = guarded().start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let seen = &gate.origins["sentinel"].seen().requests;
    let before = seen.load(Ordering::SeqCst);
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let long = "x".repeat(61 * 1024);
    let names: Vec<String> = (0..101).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    for headers in [&[("x", long.as_str())][..], &many] {
        let answer = client.request("GET", "a.test", "/sentinel/x", headers, Bytes::new());
        let answer = within(answer).await.unwrap();
        assert_eq!(answer.status, 431, "{} headers", headers.len());
    }
    assert_eq!(seen.load(Ordering::SeqCst), before);
    assert_eq!(
        within(client.get("a.test", "/sentinel/x"))
            .await
            .unwrap()
            .status,
        200
    );
    sentinel.check("after too large heads").await;
}

/// A client that resets what it asks for, all the time, loses its connection.
#[tokio::test]
async fn rapid_resets_close_the_connection() {
    let gate = guarded().start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let seen = &gate.origins["sentinel"].seen().requests;
    let before = seen.load(Ordering::SeqCst);
    let mut wire = Wire::connect(gate.address(8080)).await;
    let mut flood = opening();
    for n in 0..2000 {
        flood.extend(get(2 * n + 1, &[]));
        flood.extend(frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]));
    }
    // The gateway may close before all of it is written.
    let _ = wire.try_say(flood).await;
    within(async { while wire.frame().await.is_some() {} }).await;
    sentinel.check("after a reset flood").await;
    let cost = seen.load(Ordering::SeqCst) - before;
    assert!(cost < 1000, "{cost} requests reached the origin");
}

/// The same by a client that lets each request get to the origin first, and ignores every hint.
#[tokio::test]
async fn resets_of_requests_under_way_close_the_connection() {
    let mute = Fault::start(vec![Step::Head, Step::Hold]).await;
    let gate = guarded()
        .map(
            "mute",
            &format!("prefix: /mute/\ntimeout_ms: 0\nservice: {}", mute.address()),
        )
        .start()
        .await;
    let mut sentinel = Sentinel::open(&gate).await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say(opening()).await;
    let headers = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/mute/"),
    ]);
    for wave in 0..2_u32 {
        let streams = (0..90).map(|n| 2 * (90 * wave + n) + 1);
        let requests = streams
            .clone()
            .flat_map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &headers));
        wire.say(requests.collect::<Vec<u8>>()).await;
        let sent = 90 * (u64::from(wave) + 1);
        within(mute.until(|tally| tally.heads == sent)).await;
        let resets = streams.flat_map(|stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        wire.say(resets.collect::<Vec<u8>>()).await;
        within(mute.until(|tally| tally.lost == sent)).await;
    }
    within(async { while wire.frame().await.is_some() {} }).await;
    sentinel.check("after resets").await;
}

/// Header blocks that never end, pings and settings without number: bounded, and nobody else's
/// business.
#[tokio::test]
async fn floods_of_frames_are_bounded() {
    let gate = guarded().patience(Duration::from_millis(500)).start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    let headers = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/"),
    ]);
    let start = frame(HEADERS, 0, 1, &headers);
    let name = "x".repeat(100);
    let more = frame(CONTINUATION, 0, 1, &block(&[(&name, &name)]).repeat(50));
    let _ = wire
        .try_say([opening(), start, more.repeat(1000)].concat())
        .await;
    within(async { while wire.frame().await.is_some() {} }).await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    let empty = frame(CONTINUATION, 0, 1, &[]);
    let start = frame(HEADERS, 0, 1, &headers);
    let _ = wire
        .try_say([opening(), start, empty.repeat(10_000)].concat())
        .await;
    within(async { while wire.frame().await.is_some() {} }).await;
    sentinel.check("after endless headers").await;
    // Answered or refused, and read or not.
    for kind in [
        frame(PING, 0, 0, &[7; 8]),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]),
    ] {
        let mut wire = Wire::connect_narrow(gate.address(8080)).await;
        let flood = [opening(), kind.repeat(50_000)].concat();
        let _ = tokio::time::timeout(Duration::from_secs(2), wire.try_say(flood)).await;
        sentinel.check("during a flood of control frames").await;
    }
}

/// A request's headers must be complete in time here too; a connection without requests may idle.
#[tokio::test]
async fn half_open_clients_are_closed_in_time() {
    let gate = guarded().patience(Duration::from_millis(300)).start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let whole = get(1, &[]);
    let block = &whole[9..];
    let open = frame(HEADERS, END_STREAM, 1, block);
    for (what, bytes) in [
        ("half a frame head", &whole[..5]),
        ("half a header block", &whole[..20]),
        ("a header block without its end", &open[..]),
    ] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say([&opening(), bytes].concat()).await;
        let closed = within(async { while wire.frame().await.is_some() {} });
        tokio::time::timeout(Duration::from_secs(20), closed)
            .await
            .expect(what);
    }
    sentinel.check("after half-open clients").await;
}
