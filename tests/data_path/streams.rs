//! Streams: many at a time, trailers, large bodies under back-pressure, responses without bodies,
//! interim and early responses (spec/services §§3.13, 3.14, 5.4).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use legate_testkit::client::Body;
use legate_testkit::{Client, Fault, Step, TlsOptions};

use crate::harness::{Gate, base, empty, short, upstream_header};
use crate::wire::{Sentinel, Wire, guarded, stalled, within};

/// Many requests at a time on one connection, more than may be open at once.
async fn in_parallel(client: Client) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..300 {
        let mut client = client.share().expect("HTTP/2");
        tasks.spawn(async move {
            let body = Bytes::from(n.to_string());
            let path = format!("/{n}");
            let answer = client
                .request("POST", "a.test", &path, &[], body)
                .await
                .unwrap();
            assert_eq!(short(&answer), format!("a:/{n}"));
            assert_eq!(answer.json()["body"], n.to_string());
        });
    }
    while let Some(done) = within(tasks.join_next()).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn many_streams_in_cleartext() {
    let gate = base().map("a", "prefix: /").start().await;
    in_parallel(Client::connect_h2c(gate.address(8080)).await.unwrap()).await;
}

#[tokio::test]
async fn many_streams_over_tls() {
    let gate = empty()
        .l8443()
        .tls_host("h", "a.test", "")
        .map("a", "prefix: /")
        .start()
        .await;
    let h2 = TlsOptions {
        alpn: vec!["h2".into()],
        ..TlsOptions::sni("a.test")
    };
    in_parallel(Client::connect_tls(gate.address(8443), &h2).await.unwrap()).await;
}

/// `grpc: true`: HTTP/2 to the upstream, trailers both ways; a large message as well as none.
#[tokio::test]
async fn trailers_pass() {
    let gate = base()
        .map("g", "prefix: /\ngrpc: true\nrewrite: \"\"")
        .start()
        .await;
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    for size in [0, 5, 300_000] {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("17"));
        let body: Body = Full::new(Bytes::from(vec![b'm'; size]))
            .with_trailers(async move { Some(Ok(trailers)) })
            .map_err(|never: std::convert::Infallible| match never {})
            .boxed_unsync();
        let request = Request::post("http://t/pkg.Service/Method")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        let response = within(client.open(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(
            response.headers().get("grpc-status"),
            None,
            "it is a trailer"
        );
        let body = within(response.into_body().collect()).await.unwrap();
        let trailers = body.trailers().cloned().expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["x-checksum"], "17");
        assert_eq!(body.to_bytes().len(), size);
    }
    // What is no gRPC goes there by HTTP/2 all the same.
    let answer = gate.send(8080, "/x").await;
    assert_eq!(answer.json()["protocol"], "HTTP/2.0");
    assert_eq!(
        gate.origins["g"]
            .seen()
            .connections
            .load(std::sync::atomic::Ordering::SeqCst),
        1
    );
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let gate = guarded().map("a", "prefix: /\ntimeout_ms: 0").start().await;
    let tls = |alpn: &str| TlsOptions {
        alpn: vec![alpn.into()],
        ..TlsOptions::sni("a.test")
    };
    let size = 8_000_000;
    for mut client in [
        Client::connect(gate.address(8080)).await.unwrap(),
        Client::connect_h2c(gate.address(8080)).await.unwrap(),
        Client::connect_tls(gate.address(8443), &tls("http/1.1"))
            .await
            .unwrap(),
        Client::connect_tls(gate.address(8443), &tls("h2"))
            .await
            .unwrap(),
    ] {
        let up = client.request("POST", "a.test", "/up", &[], Bytes::from(vec![b'u'; size]));
        assert_eq!(within(up).await.unwrap().json()["body_bytes"], size);
        let bytes = size.to_string();
        let headers = [("x-test-bytes", bytes.as_str())];
        let down = client.request("GET", "a.test", "/down", &headers, Bytes::new());
        assert_eq!(within(down).await.unwrap().body.len(), size);
    }
}

/// More than all buffers on the way may hold, ours and the system's.
const FLOOD: u64 = 96 * 1024 * 1024;

/// What they may hold: the bound is generous because of the system's.
const BOUND: u64 = 32 * 1024 * 1024;

/// A client that does not read blocks its origin; when it reads, everything is there.
#[tokio::test]
async fn slow_readers_block_their_origin() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {FLOOD}\r\n\r\n");
    let fault = Fault::start(vec![Step::Head, Step::say(&head), Step::Pour(FLOOD)]).await;
    let spec = format!("prefix: /f/\ntimeout_ms: 0\nservice: {}", fault.address());
    let gate = guarded().map("f", &spec).start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let mut wire = Wire::connect_narrow(gate.address(8080)).await;
    wire.say("GET /f/ HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
        .await;
    wire.head().await;
    let written = within(stalled(&mut sentinel, || fault.tally().written)).await;
    assert!(
        written < BOUND,
        "{written} bytes were taken from the origin"
    );
    assert_eq!(within(wire.count_rest()).await, FLOOD);
}

/// The same on an HTTP/2 stream, whose window is its own.
#[tokio::test]
async fn slow_readers_of_a_stream_block_their_origin() {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {FLOOD}\r\n\r\n");
    let fault = Fault::start(vec![Step::Head, Step::say(&head), Step::Pour(FLOOD)]).await;
    let spec = format!("prefix: /f/\ntimeout_ms: 0\nservice: {}", fault.address());
    let gate = guarded().map("f", &spec).start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let request = Request::get("http://t/f/").body(nothing()).unwrap();
    let response = within(client.open(request)).await.unwrap();
    let written = within(stalled(&mut sentinel, || fault.tally().written)).await;
    assert!(
        written < BOUND,
        "{written} bytes were taken from the origin"
    );
    // Other streams of the connection go on, and giving up frees the origin.
    assert_eq!(
        within(client.get("t", "/sentinel/x")).await.unwrap().status,
        200
    );
    drop(response);
    within(fault.until(|tally| tally.lost == 1)).await;
}

/// An origin that does not read blocks its client.
#[tokio::test]
async fn slow_origins_block_their_client() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let script = vec![Step::Head, Step::Hold, Step::Read(FLOOD), Step::say(ok)];
    let fault = Fault::start(script).await;
    let spec = format!("prefix: /f/\ntimeout_ms: 0\nservice: {}", fault.address());
    let gate = guarded().map("f", &spec).start().await;
    let mut sentinel = Sentinel::open(&gate).await;
    let address = gate.address(8080);
    let (sent, written) = tokio::sync::watch::channel(0_u64);
    let upload = tokio::spawn(async move {
        let mut wire = Wire::connect_narrow(address).await;
        wire.say(format!(
            "POST /f/ HTTP/1.1\r\nhost: t\r\ncontent-length: {FLOOD}\r\n\r\n"
        ))
        .await;
        let chunk = vec![b'u'; 64 * 1024];
        for _ in 0..FLOOD / chunk.len() as u64 {
            wire.say_slowly(&chunk).await;
            sent.send_modify(|sent| *sent += chunk.len() as u64);
        }
        wire.response().await
    });
    let taken = within(stalled(&mut sentinel, || *written.borrow())).await;
    assert!(taken < BOUND, "{taken} bytes were taken from the client");
    fault.release();
    let response = within(upload).await.unwrap();
    assert_eq!((response.status, &*response.body), (200, &b"ok"[..]));
}

fn nothing() -> Body {
    http_body_util::Empty::new()
        .map_err(|never: std::convert::Infallible| match never {})
        .boxed_unsync()
}

async fn answered(answer: &str) -> (Fault, Gate) {
    let fault = Fault::keeps_answering(answer).await;
    let gate = base()
        .map("f", &format!("prefix: /\nservice: {}", fault.address()))
        .start()
        .await;
    (fault, gate)
}

/// HEAD: the length of what GET would give, no body; the connections on both sides go on.
#[tokio::test]
async fn head_has_a_length_and_no_body() {
    let (fault, gate) = answered("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    for _ in 0..3 {
        wire.say("HEAD / HTTP/1.1\r\nhost: t\r\n\r\n").await;
        let response = wire.response_to("HEAD").await;
        assert_eq!(
            (response.status, response.header("content-length")),
            (200, Some("5"))
        );
    }
    assert_eq!(fault.tally().connections, 1);
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let answer = client
        .request("HEAD", "t", "/", &[], Bytes::new())
        .await
        .unwrap();
    assert_eq!(
        (answer.header("content-length"), answer.body.len()),
        (Some("5"), 0)
    );
    // A local reply to HEAD has none either.
    let gate = base().map("a", "prefix: /a/").start().await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("HEAD /none HTTP/1.1\r\nhost: t\r\n\r\nGET /a/ HTTP/1.1\r\nhost: t\r\n\r\n")
        .await;
    assert_eq!(wire.response_to("HEAD").await.status, 404);
    assert_eq!(wire.response().await.status, 200);
}

/// 204 and 304 have no body, whatever their headers say.
#[tokio::test]
async fn statuses_without_a_body() {
    for (answer, status) in [
        ("HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n", 204),
        (
            "HTTP/1.1 304 Not Modified\r\nx-a: 1\r\netag: \"e\"\r\ncontent-length: 5\r\n\r\n",
            304,
        ),
        ("HTTP/1.1 304 Not Modified\r\nx-a: 1\r\n\r\n", 304),
    ] {
        let (fault, gate) = answered(answer).await;
        let mut wire = Wire::connect(gate.address(8080)).await;
        for _ in 0..2 {
            wire.say("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
            let head = wire.head().await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(head.contains("x-a: 1\r\n"), "{head}");
            assert!(!head.contains("transfer-encoding"), "{head}");
            assert!(status == 304 || !head.contains("content-length"), "{head}");
        }
        assert_eq!(fault.tally().connections, 1, "{answer}");
        let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
        let answer = within(client.get("t", "/")).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (status, 0));
    }
}

/// A response without a length ends with its connection, and reaches the client as a whole one.
#[tokio::test]
async fn bodies_that_end_with_the_connection() {
    let fault = Fault::answers("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    let gate = base()
        .map("f", &format!("prefix: /\nservice: {}", fault.address()))
        .start()
        .await;
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(
            within(client.get("t", "/")).await.unwrap().text(),
            "until the end"
        );
    }
    assert_eq!(fault.tally().connections, 2);
}

/// `expect: 100-continue` is answered here and not passed on.
#[tokio::test]
async fn hundred_continue() {
    let gate = base().map("a", "prefix: /a/").start().await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    for _ in 0..2 {
        wire.say(
            "POST /a/ HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
        )
        .await;
        assert!(wire.head().await.starts_with("HTTP/1.1 100 "));
        wire.say("hello").await;
        let seen = wire.response().await.json();
        assert_eq!(seen["body"], "hello");
        assert_eq!(seen["headers"]["expect"], serde_json::Value::Null);
    }
    // Nobody is asked to send what nobody wants.
    wire.say("POST /none HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .await;
    assert_eq!(wire.response().await.status, 404);
}

/// A response before the request's body was read reaches the client; then the connection serves
/// further requests, or it closes and nothing of the body is taken for a request.
#[tokio::test]
async fn early_responses_reach_the_client() {
    let early = "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
    let fault = Fault::start(vec![Step::Head, Step::say(early)]).await;
    let gate = guarded()
        .map("f", &format!("prefix: /f/\nservice: {}", fault.address()))
        .start()
        .await;
    let mut sentinel = Sentinel::open(&gate).await;
    for path in ["/f/", "/none"] {
        for size in [100, 5_000_000] {
            let mut wire = Wire::connect(gate.address(8080)).await;
            wire.say(format!(
                "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-length: {size}\r\n\r\n"
            ))
            .await;
            let response = wire.response().await;
            assert!(matches!(response.status, 413 | 404), "{path}");
            // The body, which looks like requests, and a request.
            let smuggled = "GET /sentinel/ HTTP/1.1\r\nhost: t\r\n\r\n".repeat(size / 36 + 1);
            let rest = format!(
                "{}GET /sentinel/last HTTP/1.1\r\nhost: t\r\n\r\n",
                &smuggled[..size]
            );
            let _ = wire.try_say(rest).await;
            let _ = wire.try_finish().await;
            let answers = wire.rest_text().await;
            let count = answers.matches("HTTP/1.1 ").count();
            assert!(
                count == 0 || count == 1 && answers.contains("/last"),
                "{path} {size}: {answers}"
            );
        }
    }
    // On HTTP/2 only the stream is over.
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let (_sender, body) =
        http_body_util::channel::Channel::<Bytes, legate_testkit::client::Error>::new(1);
    let request = Request::post("http://t/f/")
        .body(body.boxed_unsync())
        .unwrap();
    let response = within(client.open(request)).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(
        within(response.into_body().collect())
            .await
            .unwrap()
            .to_bytes(),
        "no"
    );
    assert_eq!(
        within(client.get("t", "/sentinel/x")).await.unwrap().status,
        200
    );
    sentinel.check("after early responses").await;
}

/// Requests may come before the answers to those before them: they are answered in order.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let gate = base().map("a", "prefix: /").start().await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    let request = |n: usize| {
        format!(
            "POST /{n} HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\nx-test-delay-ms: {}\r\n\r\nab",
            40 - 10 * n
        )
    };
    wire.say((0..4).map(request).collect::<String>()).await;
    for n in 0..4 {
        assert_eq!(wire.response().await.json()["path"], format!("/{n}"));
    }
}

/// HTTP/2 cookies in pieces are one header upstream; trailers of HTTP/1.1 are dropped.
#[tokio::test]
async fn cookies_and_trailers() {
    let gate = base().map("a", "prefix: /").start().await;
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
    let answer = client
        .request("GET", "t", "/", &crumbs, Bytes::new())
        .await
        .unwrap();
    assert_eq!(upstream_header(&answer, "cookie"), ["a=1; b=2; c=3"]);
    let (_fault, gate) = answered(
        "HTTP/1.1 200 OK\r\ntrailer: x-t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n",
    )
    .await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("GET / HTTP/1.1\r\nhost: t\r\nte: trailers\r\nconnection: te, close\r\n\r\n")
        .await;
    let answer = wire.rest_text().await;
    assert!(
        answer.ends_with("\r\n0\r\n\r\n") && !answer.contains("x-t"),
        "{answer}"
    );
}
