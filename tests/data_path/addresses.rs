//! Addresses and headers of trust (spec/services §§3.17, 5.2–5.4): each row named after its id.

use std::time::Duration;

use legate_testkit::{Behaviour, Client, Fault, Step};
use std::sync::atomic::Ordering;

use crate::harness::{Case, Request, base, empty, short, upstream_header};
use crate::wire::Wire;

/// Listener 8080 with so many trusted proxies in front, Host `*` with Route.
fn depth(hops: u32) -> Case {
    empty()
        .listener(
            "l",
            8080,
            &format!("protocol: HTTP\nsecurityModel: XFP\nl7Depth: {hops}"),
        )
        .host(
            "any",
            "hostname: \"*\"\nrequestPolicy: {insecure: {action: Route}}",
        )
}

/// One row of spec/services §5.2: what is trusted, and what goes upstream.
async fn row(case: Case, peer: &str, xff: Option<&str>, trusted: &str, upstream: &str) {
    let gate = case
        .map("a", "prefix: /\nadd_request_headers: {x-remote: {value: \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\"}, x-direct: {value: \"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%\"}}")
        .start()
        .await;
    let mut request = Request::parse(&format!("/ peer={peer}"));
    if let Some(xff) = xff {
        request.headers.push(("x-forwarded-for".into(), xff.into()));
    }
    gate.set_peer(&request);
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let answer = gate.send_on(&mut client, &request).await;
    assert_eq!(upstream_header(&answer, "x-forwarded-for"), [upstream]);
    assert_eq!(
        upstream_header(&answer, "x-envoy-external-address"),
        [trusted]
    );
    assert_eq!(upstream_header(&answer, "x-remote"), [trusted]);
    assert_eq!(upstream_header(&answer, "x-direct"), [peer]);
    assert_eq!(upstream_header(&answer, "x-envoy-internal"), [""; 0]);
}

#[tokio::test]
async fn h_10() {
    row(depth(0), "192.0.2.5", None, "192.0.2.5", "192.0.2.5").await;
}

#[tokio::test]
async fn h_11() {
    let xff = "203.0.113.128, 203.0.113.10";
    row(
        depth(0),
        "192.0.2.5",
        Some(xff),
        "192.0.2.5",
        "203.0.113.128, 203.0.113.10,192.0.2.5",
    )
    .await;
}

#[tokio::test]
async fn h_12() {
    let xff = "203.0.113.128, 203.0.113.10, 203.0.113.1";
    let all = "203.0.113.128, 203.0.113.10, 203.0.113.1,192.0.2.11";
    row(depth(1), "192.0.2.11", Some(xff), "203.0.113.1", all).await;
}

#[tokio::test]
async fn h_13() {
    row(
        depth(2),
        "192.0.2.11",
        Some("203.0.113.10"),
        "192.0.2.11",
        "203.0.113.10,192.0.2.11",
    )
    .await;
}

#[tokio::test]
async fn h_14() {
    row(
        depth(1),
        "192.0.2.5",
        Some("garbage"),
        "192.0.2.5",
        "garbage,192.0.2.5",
    )
    .await;
}

/// With `use_remote_address: false` the header is not modified, and its right end is trusted.
#[tokio::test]
async fn without_the_peer() {
    let xff = "203.0.113.128, 203.0.113.10";
    for (hops, trusted) in [(0, "203.0.113.10"), (1, "203.0.113.128"), (2, "192.0.2.5")] {
        let case = depth(hops).module("use_remote_address: false");
        row(case, "192.0.2.5", Some(xff), trusted, xff).await;
    }
}

/// IPv6, and several header lines, which are one list.
#[tokio::test]
async fn other_forms() {
    row(depth(0), "2001:db8::5", None, "2001:db8::5", "2001:db8::5").await;
    row(
        depth(1),
        "192.0.2.5",
        Some("2001:db8::7"),
        "2001:db8::7",
        "2001:db8::7,192.0.2.5",
    )
    .await;
    let gate = depth(2).map("a", "prefix: /").start().await;
    let answer = gate
        .send(
            8080,
            "/ peer=192.0.2.5 x-forwarded-for:203.0.113.1 x-forwarded-for:203.0.113.2",
        )
        .await;
    assert_eq!(
        upstream_header(&answer, "x-envoy-external-address"),
        ["203.0.113.1"]
    );
    let all = upstream_header(&answer, "x-forwarded-for")
        .join(",")
        .replace(' ', "");
    assert_eq!(all, "203.0.113.1,203.0.113.2,192.0.2.5");
}

/// A client cannot fake https.
#[tokio::test]
async fn h_15() {
    let redirecting = || {
        empty()
            .host(
                "any",
                "hostname: \"*\"\nrequestPolicy: {insecure: {action: Redirect}}",
            )
            .map("a", "prefix: /")
    };
    let listener = "protocol: HTTP\nsecurityModel: XFP";
    let fake = "/x host=a.test x-forwarded-proto:https";
    redirecting()
        .listener("l", 8080, listener)
        .check(&[
            (fake, "301 https://a.test/x"),
            ("/x host=a.test", "301 https://a.test/x"),
        ])
        .await;
    // Behind a proxy that is trusted it is not faked.
    redirecting()
        .listener("l", 8080, &format!("{listener}\nl7Depth: 1"))
        .check(&[(fake, "a:/x"), ("/x host=a.test", "301 https://a.test/x")])
        .await;
    // What goes upstream is the real scheme, or the trusted one.
    let gate = depth(0).map("a", "prefix: /").start().await;
    let answer = gate.send(8080, "/ x-forwarded-proto:https").await;
    assert_eq!(upstream_header(&answer, "x-forwarded-proto"), ["http"]);
    let gate = depth(1).map("a", "prefix: /").start().await;
    let answer = gate.send(8080, "/ x-forwarded-proto:https").await;
    assert_eq!(upstream_header(&answer, "x-forwarded-proto"), ["https"]);
}

/// The headers of spec/services §5.3.
const FROM_PROXIES_ONLY: &[&str] = &[
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-decorator-operation",
    "x-envoy-ip-tags",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-internal",
    "x-envoy-external-address",
    "x-forwarded-client-cert",
];

#[tokio::test]
async fn h_16() {
    let slow = Behaviour {
        delay: Duration::from_millis(300),
        ..Behaviour::default()
    };
    let failing = Behaviour {
        status: Some(503),
        ..Behaviour::default()
    };
    let gate = base()
        .backend_with("default", "slow", slow)
        .backend_with("default", "failing", failing)
        .map("a", "prefix: /a/\ntimeout_ms: 0\nrewrite: \"\"")
        .map("s", "prefix: /s/\nservice: slow")
        .map("f", "prefix: /f/\nservice: failing")
        .start()
        .await;
    // They do not get through, whoever sends them, ...
    for peer in ["192.0.2.5", "10.0.0.5", "127.0.0.1"] {
        let headers: String = FROM_PROXIES_ONLY
            .iter()
            .map(|name| format!(" {name}:fake"))
            .collect();
        let answer = gate.send(8080, &format!("/a/ peer={peer}{headers}")).await;
        assert_eq!(short(&answer), "a:/a/");
        for name in FROM_PROXIES_ONLY {
            let seen = upstream_header(&answer, name);
            assert!(
                !seen.iter().any(|value| value == "fake"),
                "{name}: {seen:?}"
            );
        }
    }
    // ... and are not obeyed.
    let answer = gate
        .send(
            8080,
            "/s/ x-envoy-upstream-rq-timeout-ms:1 x-envoy-upstream-rq-per-try-timeout-ms:1",
        )
        .await;
    assert_eq!(short(&answer), "slow:/");
    let answer = gate
        .send(
            8080,
            "/f/ x-envoy-retry-on:5xx x-envoy-max-retries:3 x-envoy-retriable-status-codes:503",
        )
        .await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        gate.origins["failing"]
            .seen()
            .requests
            .load(Ordering::SeqCst),
        1
    );
}

#[tokio::test]
async fn h_20() {
    let gate = depth(1)
        .module("ip_allow: [{remote: 10.0.0.0/8}]")
        .map("a", "prefix: /")
        .check(&[
            ("/ x-forwarded-for:10.1.1.1", "a:/"),
            ("/ x-forwarded-for:8.8.8.8", "403"),
            // The peer counts where the header says nothing.
            ("/ peer=10.2.2.2", "a:/"),
            ("/ peer=8.8.8.8", "403"),
            ("/ x-forwarded-for:10.1.1.1,_8.8.8.8", "403"),
            ("/ x-forwarded-for:8.8.8.8,_10.1.1.1", "a:/"),
        ])
        .await;
    assert_eq!(
        gate.send(8080, "/ x-forwarded-for:8.8.8.8").await.text(),
        "RBAC: access denied"
    );
}

#[tokio::test]
async fn h_21() {
    depth(1)
        .module("ip_allow: [{peer: 10.0.0.0/8}]")
        .map("a", "prefix: /")
        .check(&[
            ("/ peer=10.9.9.9 x-forwarded-for:8.8.8.8", "a:/"),
            ("/ peer=8.8.8.8 x-forwarded-for:10.1.1.1", "403"),
            ("/ peer=::ffff:10.9.9.9", "a:/"),
        ])
        .await;
}

#[tokio::test]
async fn h_22() {
    let gate = base()
        .module("ip_allow: [{remote: 10.0.0.0/99}]")
        .map("a", "prefix: /")
        .check(&[
            ("/ peer=10.1.1.1", "403"),
            ("/ peer=8.8.8.8", "403"),
            ("/none peer=10.1.1.1", "403"),
            ("/ambassador/v0/check_ready peer=10.1.1.1", "403"),
        ])
        .await;
    gate.diagnoses(&["E-MODULE-VALUE"]);
}

#[tokio::test]
async fn h_30() {
    let gate = base().map("a", "prefix: /").start().await;
    let nine = "a,b,c,d,e,f,g,h,i";
    let long = "t".repeat(256);
    let fits = "t".repeat(255);
    for (headers, status) in [
        ("connection: x-forwarded-for\r\n".to_owned(), 400),
        ("connection: X-Forwarded-Host\r\n".to_owned(), 400),
        (
            "connection: keep-alive, x-forwarded-proto\r\n".to_owned(),
            400,
        ),
        (
            "connection: keep-alive\r\nconnection: x-forwarded-proto\r\n".to_owned(),
            400,
        ),
        ("connection: :path\r\n".to_owned(), 400),
        (format!("connection: {nine}\r\n"), 200),
        (format!("connection: {nine},j\r\n"), 400),
        (format!("connection: {nine}\r\nconnection: j\r\n"), 400),
        (format!("connection: te\r\nte: {long}\r\n"), 400),
        (format!("connection: te\r\nte: {fits}\r\n"), 200),
        (format!("te: {long}\r\n"), 200),
    ] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(format!("GET / HTTP/1.1\r\nhost: t\r\n{headers}\r\n"))
            .await;
        assert_eq!(wire.response().await.status, status, "{headers}");
    }
    // What is named there goes no further.
    let answer = gate
        .send(
            8080,
            "/ connection:x-secret,_te x-secret:1 te:trailers keep-alive:5 proxy-connection:x",
        )
        .await;
    for name in ["x-secret", "connection", "keep-alive", "proxy-connection"] {
        assert_eq!(upstream_header(&answer, name), [""; 0], "{name}");
    }
    // Headers that frame or address the message cannot be named away.
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST / HTTP/1.1\r\nhost: t\r\nconnection: host, content-length\r\ncontent-length: 5\r\n\r\nhello").await;
    let seen = wire.response().await.json();
    assert_eq!(
        (&seen["host"], &seen["body"]),
        (&"t".into(), &"hello".into())
    );
}

/// The same set is removed from responses.
#[tokio::test]
async fn hop_by_hop_headers_of_responses() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nkeep-alive: 5\r\n\
                  proxy-connection: x\r\nupgrade: h2c\r\nte: gzip\r\nx-end: 1\r\ncontent-length: 2\r\n\r\nok";
    let fault = Fault::start(vec![Step::Head, Step::say(answer), Step::Again]).await;
    let gate = base()
        .map("a", &format!("prefix: /\nservice: {}", fault.address()))
        .start()
        .await;
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    for answer in [
        gate.send(8080, "/").await,
        client.get("t", "/").await.unwrap(),
    ] {
        assert_eq!(answer.text(), "ok");
        assert_eq!(answer.header("x-end"), Some("1"));
        for name in [
            "x-hop",
            "connection",
            "keep-alive",
            "proxy-connection",
            "upgrade",
            "te",
        ] {
            assert_eq!(answer.header(name), None, "{name}");
        }
    }
}
