//! Upstreams that misbehave (spec/services §3.19): a clear status while nothing was sent yet, a
//! broken-off response afterwards; others are not bothered.

use bytes::Bytes;
use http_body_util::BodyExt;
use legate_testkit::{Client, Fault, Step};

use crate::harness::Gate;
use crate::wire::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame, get, opening,
};
use crate::wire::{Log, Sentinel, Wire, guarded, within};

const PREFIX: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

/// What an upstream says, and what becomes of it.
const ANSWERS: &[(&str, u16, &str, &str)] = &[
    // Closes without a word.
    ("", 503, "UC", "connection termination"),
    // Half a head.
    (
        "HTTP/1.1 200 OK\r\ncontent-le",
        503,
        "UC",
        "connection termination",
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n",
        503,
        "UC",
        "connection termination",
    ),
    // Garbage.
    ("SSH-2.0-OpenSSH_9.9\r\n\r\n", 502, "UPE", "protocol error"),
    ("HTTP/1.1 2000 OK\r\n\r\n", 502, "UPE", "protocol error"),
    ("HTTP/9.1 200 OK\r\n\r\n", 502, "UPE", "protocol error"),
    (
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        502,
        "UPE",
        "protocol error",
    ),
    (
        "HTTP/1.1 200 OK\r\nx\0: 1\r\n\r\n",
        502,
        "UPE",
        "protocol error",
    ),
    (
        "HTTP/1.1 200 OK\r\nx: 1\r\n folded\r\n\r\n",
        502,
        "UPE",
        "protocol error",
    ),
    // Lengths that cannot be told apart.
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        502,
        "UPE",
        "protocol error",
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        502,
        "UPE",
        "protocol error",
    ),
    (
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        502,
        "UPE",
        "protocol error",
    ),
    // A change of protocol that nobody asked for.
    (
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        502,
        "UPE",
        "protocol error",
    ),
];

#[tokio::test]
async fn answers_that_are_none() {
    let mut log = Log::new();
    let mut case = guarded().module(&log.json());
    let mut faults = Vec::new();
    for (n, (text, ..)) in ANSWERS.iter().enumerate() {
        let fault = Fault::answers(text).await;
        let spec = format!("prefix: /{n}/\nservice: {}", fault.address());
        case = case.map(&format!("f{n}"), &spec);
        faults.push(fault);
    }
    let gate = case.start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    for _ in 0..4 {
        log.line().await;
    }
    for (n, (text, status, flag, reason)) in ANSWERS.iter().enumerate() {
        let answer = gate.send(8080, &format!("/{n}/")).await;
        assert_eq!(answer.status, *status, "{text:?}");
        assert_eq!(answer.text(), format!("{PREFIX}{reason}"), "{text:?}");
        let (code, flags, details) = log.reasons().await;
        assert_eq!(
            (code, flags.as_str()),
            (u64::from(*status), *flag),
            "{text:?}"
        );
        let details_want = format!(
            "upstream_reset_before_response_started{{{}}}",
            reason.replace(' ', "_")
        );
        assert_eq!(details, details_want, "{text:?}");
        // A fresh connection proves nothing about stale ones: there is no second try.
        assert_eq!(faults[n].tally().connections, 1, "{text:?}");
    }
    sentinel.check("after upstreams that misbehaved").await;
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let long = "x".repeat(700 * 1024);
    let many: String = (0..300).map(|n| format!("x-{n}: 1\r\n")).collect();
    for text in [
        format!("HTTP/1.1 200 OK\r\nx: {long}\r\ncontent-length: 0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n"),
    ] {
        let mut log = Log::new();
        let fault = Fault::answers(&text).await;
        let gate = guarded()
            .module(&log.json())
            .map("f", &format!("prefix: /f/\nservice: {}", fault.address()))
            .start()
            .await;
        let answer = gate.send(8080, "/f/").await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.text(), format!("{PREFIX}protocol error"));
        assert_eq!(log.reasons().await.1, "UPE");
    }
}

#[tokio::test]
async fn a_reset_before_headers() {
    let fault = Fault::start(vec![Step::Head, Step::Reset]).await;
    let gate = guarded()
        .map("f", &format!("prefix: /f/\nservice: {}", fault.address()))
        .start()
        .await;
    let answer = gate.send(8080, "/f/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.text(), format!("{PREFIX}connection termination"));
}

/// The two ways in which a body can break off.
fn broken_bodies() -> [&'static str; 2] {
    [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    ]
}

async fn serving(fault: &Fault, log: &Log, more: &str) -> Gate {
    guarded()
        .module(&log.json())
        .map(
            "f",
            &format!("prefix: /f/\nservice: {}\n{more}", fault.address()),
        )
        .start()
        .await
}

#[tokio::test]
async fn bodies_that_break_off_are_not_completed() {
    for text in broken_bodies() {
        let mut log = Log::new();
        let fault = Fault::answers(text).await;
        let gate = serving(&fault, &log, "").await;
        // HTTP/1.1: closed without the rest and without a last chunk.
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say("GET /f/ HTTP/1.1\r\nhost: t\r\n\r\n").await;
        let answer = wire.rest_text().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.contains("\r\n0\r\n"), "{answer}");
        let (code, flags, details) = log.reasons().await;
        assert_eq!((code, flags.as_str()), (200, "UC"), "{text}");
        assert!(
            details.starts_with("upstream_reset_after_response_started"),
            "{details}"
        );
        // HTTP/2: the stream is reset, the connection goes on.
        let mut wire = Wire::connect(gate.address(8080)).await;
        let request = String::from_utf8(get(1, &[]))
            .unwrap()
            .replace("/sentinel/x", "/f/aaaaaaaa");
        wire.say([opening(), request.into_bytes()].concat()).await;
        assert_eq!(wire.until(|frame| frame.stream == 1).await.kind, HEADERS);
        let end = wire
            .until(|frame| {
                frame.stream == 1
                    && (frame.kind == RST_STREAM
                        || frame.kind == DATA && frame.flags & END_STREAM != 0)
            })
            .await;
        assert_eq!(end.kind, RST_STREAM, "{text}: {end:?}");
        assert_eq!(
            end.payload,
            [0, 0, 0, 2],
            "INTERNAL_ERROR, as spec/services §3.19 has it"
        );
        wire.say(get(3, &[])).await;
        assert_eq!(wire.until(|frame| frame.stream == 3).await.kind, HEADERS);
    }
}

#[tokio::test]
async fn bad_chunks_are_not_passed_on() {
    let log = Log::new();
    let text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\nGARBAGE";
    let fault = Fault::answers(text).await;
    let gate = serving(&fault, &log, "").await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("GET /f/ HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let answer = wire.rest_text().await;
    assert!(
        !answer.contains("GARBAGE") && !answer.contains("\r\n0\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let mut log = Log::new();
    let fault = Fault::start(vec![Step::Head, Step::Hold]).await;
    let gate = serving(&fault, &log, "timeout_ms: 300").await;
    let mut sentinel = Sentinel::open(&gate).await;
    for _ in 0..4 {
        log.line().await;
    }
    let answer = within(gate.send(8080, "/f/")).await;
    assert_eq!(answer.status, 504);
    assert_eq!(
        log.reasons().await,
        (504, "UT".into(), "upstream_response_timeout".into())
    );
    // The origin is let go.
    within(fault.until(|tally| tally.lost == 1)).await;
    sentinel.check("after silence").await;
}

/// Bytes beyond a response are nobody's answer.
#[tokio::test]
async fn surplus_bytes_are_not_the_next_response() {
    let surplus = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let fault = Fault::start(vec![Step::Head, Step::say(surplus), Step::Head, Step::Hold]).await;
    let gate = guarded()
        .map(
            "f",
            &format!(
                "prefix: /f/\nservice: {}\ntimeout_ms: 2000",
                fault.address()
            ),
        )
        .start()
        .await;
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    for _ in 0..3 {
        let answer = within(client.get("t", "/f/")).await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "ok")
        );
    }
}

/// Interim responses are skipped, however many there are.
#[tokio::test]
async fn interim_responses_are_skipped() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(50);
    let fault = Fault::answers(&format!(
        "{interim}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    ))
    .await;
    let log = Log::new();
    let gate = serving(&fault, &log, "").await;
    let answer = gate.send(8080, "/f/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "ok")
    );
}

/// A reused connection that dies before a byte came is tried again, once, and only where that is
/// safe (spec/services §3.4).
#[tokio::test]
async fn stale_connections_are_no_failures_of_requests() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let fault = Fault::start(vec![Step::Head, Step::say(ok), Step::Head]).await;
    let gate = guarded()
        .map("f", &format!("prefix: /f/\nservice: {}", fault.address()))
        .start()
        .await;
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(within(client.get("t", "/f/")).await.unwrap().text(), "ok");
    }
    let answer = client
        .request("POST", "t", "/f/", &[], Bytes::from_static(b"x"))
        .await
        .unwrap();
    assert_eq!(answer.status, 503);
}

/// The response's head goes to the client before the body is there.
#[tokio::test]
async fn heads_do_not_wait_for_bodies() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    let fault = Fault::start(vec![
        Step::Head,
        Step::say(head),
        Step::Hold,
        Step::say("ok"),
    ])
    .await;
    let log = Log::new();
    let gate = serving(&fault, &log, "timeout_ms: 0").await;
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let request = http::Request::get("/f/").header("host", "t");
    let body = http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let response = within(client.open(request.body(body).unwrap()))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    fault.release();
    assert_eq!(
        within(response.into_body().collect())
            .await
            .unwrap()
            .to_bytes(),
        "ok"
    );
}

/// The head of the HEADERS frame of a first request without body.
const FIRST_REQUEST: &[u8] = &[1, 5, 0, 0, 0, 1];

/// The same for upstreams that speak HTTP/2.
#[tokio::test]
async fn http2_upstreams_that_misbehave() {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let reset = |code| frame(RST_STREAM, 0, 1, &[0, 0, 0, code]);
    // `:status: 200` is one byte.
    let headers = frame(HEADERS, END_HEADERS, 1, &[0x88]);
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]);
    for (what, says, status, flag, reason) in [
        ("resets the stream", reset(2), 503, "UR", "remote reset"),
        (
            "says nothing",
            Vec::new(),
            503,
            "UC",
            "connection termination",
        ),
        ("goes away", goaway, 503, "UC", "connection termination"),
        (
            "sends data first",
            frame(DATA, 0, 1, b"x"),
            502,
            "UPE",
            "protocol error",
        ),
        (
            "answers in HTTP/1.1",
            b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            502,
            "UPE",
            "protocol error",
        ),
        (
            "breaks compression",
            frame(HEADERS, END_HEADERS, 1, &[0xff; 9]),
            502,
            "UPE",
            "protocol error",
        ),
    ] {
        let mut log = Log::new();
        let fault = http2(&settings, says, None).await;
        let gate = serving(&fault, &log, "grpc: true").await;
        let answer = within(gate.send(8080, "/f/")).await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(answer.text(), format!("{PREFIX}{reason}"), "{what}");
        assert_eq!(log.reasons().await.1, flag, "{what}");
    }
    // After response headers the response breaks off.
    let begun = [&headers[..], &frame(DATA, 0, 1, b"begun")].concat();
    for (what, then, flag, reason) in [
        ("resets the stream", reset(2), "UR", "remote_reset"),
        ("closes", Vec::new(), "UC", "connection_termination"),
    ] {
        let mut log = Log::new();
        let fault = http2(&settings, begun.clone(), Some(then)).await;
        let gate = serving(&fault, &log, "grpc: true").await;
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say("GET /f/ HTTP/1.1\r\nhost: t\r\n\r\n").await;
        assert!(wire.head().await.starts_with("HTTP/1.1 200 "), "{what}");
        assert_eq!(wire.take(10).await, b"5\r\nbegun\r\n", "{what}");
        fault.release();
        assert_eq!(wire.rest_text().await, "", "{what}: no last chunk");
        let (_, flags, details) = log.reasons().await;
        assert_eq!(flags, flag, "{what}");
        assert_eq!(
            details,
            format!("upstream_reset_after_response_started{{{reason}}}")
        );
    }
}

/// An upstream that takes a request and says something, then waits and says something more.
async fn http2(settings: &[u8], says: Vec<u8>, then: Option<Vec<u8>>) -> Fault {
    let mut script = vec![Step::Read(24), Step::Say(settings.to_vec())];
    script.extend([Step::Until(FIRST_REQUEST.to_vec()), Step::Say(says)]);
    if let Some(then) = then {
        script.extend([Step::Hold, Step::Say(then)]);
    }
    Fault::start(script).await
}
