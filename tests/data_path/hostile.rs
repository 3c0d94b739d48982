//! Bad input of clients: HTTP/1.1, TLS, and clients that take their time (spec/services §§5.4,
//! 5.6). Each gets a clear status or a close; connections of others are not bothered.

use legate_testkit::client::tls;
use legate_testkit::{Client, TlsOptions};

use crate::harness::{empty, short};
use crate::wire::{Log, Sentinel, Wire, exchange, guarded, within};

/// Requests that are refused with 400 and a close.
const MALFORMED: &[(&str, &[u8])] = &[
    (
        "bare CR in a value",
        b"GET / HTTP/1.1\r\nhost: t\r\nx: a\rb\r\n\r\n",
    ),
    (
        "bare CR after the request line",
        b"GET / HTTP/1.1\rhost: t\r\n\r\n",
    ),
    (
        "NUL in a value",
        b"GET / HTTP/1.1\r\nhost: t\r\nx: a\0b\r\n\r\n",
    ),
    (
        "NUL in a name",
        b"GET / HTTP/1.1\r\nhost: t\r\nx\0y: a\r\n\r\n",
    ),
    ("NUL in the path", b"GET /a\0b HTTP/1.1\r\nhost: t\r\n\r\n"),
    ("space before colon", b"GET / HTTP/1.1\r\nhost : t\r\n\r\n"),
    (
        "tab before colon",
        b"GET / HTTP/1.1\r\nhost: t\r\nx\t: a\r\n\r\n",
    ),
    ("space before a name", b"GET / HTTP/1.1\r\n host: t\r\n\r\n"),
    (
        "line folding",
        b"GET / HTTP/1.1\r\nhost: t\r\nx: a\r\n b\r\n\r\n",
    ),
    (
        "line folding by tab",
        b"GET / HTTP/1.1\r\nhost: t\r\nx: a\r\n\tb\r\n\r\n",
    ),
    ("no colon", b"GET / HTTP/1.1\r\nhost: t\r\nnonsense\r\n\r\n"),
    ("empty name", b"GET / HTTP/1.1\r\nhost: t\r\n: a\r\n\r\n"),
    (
        "name that is no token",
        b"GET / HTTP/1.1\r\nhost: t\r\nx(y): a\r\n\r\n",
    ),
    (
        "differing lengths",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    ),
    (
        "list of lengths",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 1, 2\r\n\r\nab",
    ),
    (
        "signed length",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: +1\r\n\r\na",
    ),
    (
        "negative length",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: -1\r\n\r\na",
    ),
    (
        "hexadecimal length",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 0x1\r\n\r\na",
    ),
    (
        "length beyond 64 bits",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 99999999999999999999\r\n\r\na",
    ),
    (
        "empty length",
        b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length:\r\n\r\n",
    ),
    (
        "coding that is not chunked",
        b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: gzip\r\n\r\n",
    ),
    (
        "chunked that is not last",
        b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked, gzip\r\n\r\n",
    ),
    (
        "chunked in disguise",
        b"POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: xchunked\r\n\r\n",
    ),
    ("blank in the path", b"GET /a b HTTP/1.1\r\nhost: t\r\n\r\n"),
    (
        "blank before the method",
        b" GET / HTTP/1.1\r\nhost: t\r\n\r\n",
    ),
    (
        "method that is no token",
        b"G{T / HTTP/1.1\r\nhost: t\r\n\r\n",
    ),
    ("unknown version", b"GET / HTTP/3.7\r\nhost: t\r\n\r\n"),
    ("no version", b"GET /\r\nhost: t\r\n\r\n"),
    ("something binary", b"\x00\x01\x02\x03\xff\xfe\r\n\r\n"),
    (
        "several hosts",
        b"GET / HTTP/1.1\r\nhost: t\r\nhost: u\r\n\r\n",
    ),
    ("user in the host", b"GET / HTTP/1.1\r\nhost: me@t\r\n\r\n"),
    (
        "user in the target",
        b"GET http://me@t/ HTTP/1.1\r\nhost: t\r\n\r\n",
    ),
    ("path in the host", b"GET / HTTP/1.1\r\nhost: t/x\r\n\r\n"),
];

#[tokio::test]
async fn malformed_requests_are_refused_and_closed() {
    let gate = guarded().map("a", "prefix: /").start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    for (what, bytes) in MALFORMED {
        let answer = exchange(gate.address(8080), bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
    }
    sentinel.check("after malformed requests").await;
    assert_eq!(
        gate.origins["a"]
            .seen()
            .requests
            .load(std::sync::atomic::Ordering::SeqCst),
        0
    );
}

/// A body that breaks off its coding is not passed on as complete, and nothing after it is read as
/// a request.
#[tokio::test]
async fn bad_chunking_is_refused_and_closed() {
    let mut log = Log::new();
    let gate = guarded()
        .module(&log.json())
        .map("a", "prefix: /")
        .start()
        .await;
    let head = "POST /up HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000));
    let trailers = format!("0\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    for body in [
        extension.as_str(),
        trailers.as_str(),
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let answer = exchange(
            gate.address(8080),
            format!("{head}{body}GET /no HTTP/1.1\r\nhost: t\r\n\r\n"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:.99}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{body:.99}: {answer}"
        );
        let (code, flags, _) = log.reasons().await;
        assert_eq!((code, flags.as_str()), (400, "DPE"), "{body:.99}");
    }
}

/// spec/services §5.4: the length is dropped, the body forwarded chunked, the connection closed.
#[tokio::test]
async fn length_beside_chunked() {
    let gate = guarded().map("a", "prefix: /").start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    for lengths in [
        "content-length: 3\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 3\r\nconnection: keep-alive\r\n",
    ] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(format!("POST /up HTTP/1.1\r\nhost: t\r\n{lengths}\r\n"))
            .await;
        wire.say("5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: t\r\n\r\n")
            .await;
        let response = wire.response().await;
        let seen = response.json();
        assert_eq!(response.status, 200, "{lengths}");
        assert_eq!(response.header("connection"), Some("close"), "{lengths}");
        assert_eq!(seen["body"], "hello", "{lengths}");
        assert_eq!(
            seen["headers"]["content-length"],
            serde_json::Value::Null,
            "{lengths}"
        );
        assert_eq!(
            seen["headers"]["transfer-encoding"][0], "chunked",
            "{lengths}"
        );
        assert_eq!(wire.rest_text().await, "", "{lengths}");
    }
    sentinel.check("after ambiguous lengths").await;
}

#[tokio::test]
async fn equal_lengths_are_one() {
    let gate = guarded().map("a", "prefix: /").start().await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello")
        .await;
    let seen = wire.response().await.json();
    assert_eq!(seen["body"], "hello");
    assert_eq!(seen["headers"]["content-length"], serde_json::json!(["5"]));
}

#[tokio::test]
async fn too_large_heads_are_refused_and_closed() {
    let mut log = Log::new();
    let gate = guarded()
        .module(&log.json())
        .map("a", "prefix: /")
        .start()
        .await;
    let mut sentinel = Sentinel::open(&gate).await;
    for _ in 0..4 {
        log.line().await;
    }
    let long = "x".repeat(61 * 1024);
    let half = "x".repeat(31 * 1024);
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (what, head, status) in [
        (
            "one long header",
            format!("GET / HTTP/1.1\r\nhost: t\r\nx: {long}\r\n\r\n"),
            431,
        ),
        (
            "two that are long together",
            format!("GET / HTTP/1.1\r\nhost: t\r\nx: {half}\r\ny: {half}\r\n\r\n"),
            431,
        ),
        (
            "a long name",
            format!("GET / HTTP/1.1\r\nhost: t\r\n{long}: x\r\n\r\n"),
            431,
        ),
        (
            "too many headers",
            format!("GET / HTTP/1.1\r\nhost: t\r\n{many}\r\n"),
            431,
        ),
        (
            "no end at all",
            format!("GET / HTTP/1.1\r\nhost: t\r\nx: {long}{long}{long}"),
            431,
        ),
    ] {
        let answer = exchange(gate.address(8080), head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{what}: {answer:.200}"
        );
        let (code, flags, _) = log.reasons().await;
        assert_eq!((code, flags.as_str()), (status, "DPE"), "{what}");
    }
    for length in [62 * 1024, 200 * 1024] {
        let line = format!("GET /{} HTTP/1.1\r\nhost: t\r\n\r\n", "y".repeat(length));
        let answer = exchange(gate.address(8080), line).await;
        let refused = ["HTTP/1.1 414 ", "HTTP/1.1 431 "]
            .iter()
            .any(|it| answer.starts_with(it));
        assert!(refused, "{length}: {answer:.200}");
        assert_eq!(log.reasons().await.1, "DPE");
    }
    sentinel.check("after too large heads").await;
    // What is just within the limits passes.
    let ninety: String = (0..90).map(|n| format!("x-{n}: 1\r\n")).collect();
    let fits = "x".repeat(59 * 1024);
    for headers in [ninety, format!("x: {fits}\r\n")] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(format!("GET / HTTP/1.1\r\nhost: t\r\n{headers}\r\n"))
            .await;
        assert_eq!(wire.response().await.status, 200);
    }
}

#[tokio::test]
async fn bad_handshakes_bother_nobody() {
    let gate = guarded().start().await;
    let address = gate.address(8443);
    let mut sentinel = Sentinel::open(&gate).await;
    let refused = tls(address, &TlsOptions::sni("other.test"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("Recogni") || refused.contains("recogni"),
        "{refused}"
    );
    for garbage in [
        // A handshake record that holds no handshake.
        &b"\x16\x03\x01\x00\x10garbagegarbagexx"[..],
        // A record that is longer than records may be.
        b"\x16\x03\x01\xff\xff\x01\x00\xff\xfb\x03\x03",
        // A ClientHello that lies about its length.
        b"\x16\x03\x01\x00\x08\x01\x00\x00\x04\x03\x03\x00\x00",
        // A record of a version that never was.
        b"\x16\x09\x09\x00\x01\x00",
    ] {
        let mut wire = Wire::connect(address).await;
        wire.say(garbage).await;
        wire.finish().await;
        let answer = wire.rest().await;
        // An alert, if anything.
        assert!(
            matches!(answer.first(), None | Some(0x15)),
            "{garbage:?}: {answer:?}"
        );
    }
    sentinel.check("after bad handshakes").await;
}

#[tokio::test]
async fn plaintext_on_a_port_without_cleartext() {
    let gate = empty()
        .listener(
            "strict",
            8443,
            "protocolStack: [TLS, HTTP, TCP]\nsecurityModel: INSECURE",
        )
        .tls_host("h", "a.test", "requestPolicy: {insecure: {action: Reject}}")
        .map("a", "prefix: /")
        .start()
        .await;
    let mut sentinel = Client::connect_tls(gate.address(8443), &TlsOptions::sni("a.test"))
        .await
        .unwrap();
    let h2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"[..],
        h2,
        b"\0\0\0",
    ] {
        assert_eq!(exchange(gate.address(8443), bytes).await, "", "{bytes:?}");
    }
    // Over TLS it is 404: this Listener takes every request for insecure.
    assert_eq!(
        short(&within(sentinel.get("a.test", "/x")).await.unwrap()),
        "404"
    );
    // And TLS on a port without TLS.
    let plain = empty()
        .listener(
            "plain",
            8080,
            "protocolStack: [HTTP, TCP]\nsecurityModel: XFP",
        )
        .host(
            "any",
            "hostname: \"*\"\nrequestPolicy: {insecure: {action: Route}}",
        )
        .map("a", "prefix: /")
        .start()
        .await;
    assert!(
        within(tls(plain.address(8080), &TlsOptions::sni("a.test")))
            .await
            .is_err()
    );
    assert_eq!(short(&plain.send(8080, "/x").await), "a:/x");
}
