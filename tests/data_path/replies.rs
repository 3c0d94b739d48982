//! Replies that the gateway makes itself (spec/services §3.19): status, body, headers, and what the
//! access log says about them.

use bytes::Bytes;
use http::StatusCode;
use legate_testkit::{Answer, Client, Fault, Step, TlsOptions};
use tokio::net::TcpListener;

use crate::harness::{base, empty, short};
use crate::wire::{Log, Wire, exchange, within};

/// What a local reply must look like.
struct Expected {
    status: u16,
    body: &'static str,
    flags: &'static str,
    details: &'static str,
}

const fn expected(
    status: u16,
    body: &'static str,
    flags: &'static str,
    details: &'static str,
) -> Expected {
    Expected {
        status,
        body,
        flags,
        details,
    }
}

/// Checks a local reply and its line.
async fn verify(what: &str, answer: &Answer, log: &mut Log, expected: &Expected) {
    assert_eq!(
        answer.status.as_u16(),
        expected.status,
        "{what}: {answer:?}"
    );
    assert_eq!(answer.text(), expected.body, "{what}");
    let content_type = (!expected.body.is_empty()).then_some("text/plain");
    assert_eq!(answer.header("content-type"), content_type, "{what}");
    let length = expected.body.len().to_string();
    assert_eq!(
        answer.header("content-length"),
        Some(length.as_str()),
        "{what}"
    );
    assert_eq!(answer.header("server"), Some("envoy"), "{what}");
    assert!(answer.header("date").is_some(), "{what}");
    assert_eq!(
        answer.header("x-envoy-upstream-service-time"),
        None,
        "{what}"
    );
    let reasons = log.reasons().await;
    let wanted = (
        u64::from(expected.status),
        expected.flags.to_owned(),
        expected.details.to_owned(),
    );
    assert_eq!(reasons, wanted, "{what}");
}

/// An address where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn what_needs_no_upstream() {
    let mut log = Log::new();
    let module = format!(
        "{}\nip_deny: [{{peer: 192.0.2.0/24}}]\nreject_requests_with_escaped_slashes: true",
        log.json()
    );
    let gate = empty()
        .l8080()
        .host(
            "t",
            "hostname: t\nrequestPolicy: {insecure: {action: Route}}",
        )
        .host("r", "hostname: r")
        .module(&module)
        .map("a", "prefix: /a/")
        .map("ws", "prefix: /ws/\nuse_websocket: true")
        .start()
        .await;
    for (request, expected) in [
        ("/none", expected(404, "", "NR", "route_not_found")),
        ("/a/ host=other", expected(404, "", "NR", "route_not_found")),
        (
            "/a/%00",
            expected(400, "", "-", "path_normalization_failed"),
        ),
        (
            "/a/x%2fy",
            expected(400, "", "-", "path_normalization_failed"),
        ),
        (
            "/a/x%5Cy",
            expected(400, "", "-", "path_normalization_failed"),
        ),
        (
            "/a/ connection:upgrade upgrade:websocket",
            expected(403, "", "-", "upgrade_failed"),
        ),
        (
            "/ws/ connection:upgrade upgrade:spdy",
            expected(403, "", "-", "upgrade_failed"),
        ),
        (
            "/none connection:upgrade upgrade:websocket",
            expected(404, "", "NR", "route_not_found"),
        ),
        (
            "/a/ peer=192.0.2.9",
            expected(
                403,
                "RBAC: access denied",
                "-",
                "rbac_access_denied_matched_policy[none]",
            ),
        ),
        (
            "/none peer=192.0.2.9",
            expected(
                403,
                "RBAC: access denied",
                "-",
                "rbac_access_denied_matched_policy[none]",
            ),
        ),
        ("/a/ host=r", expected(301, "", "-", "direct_response")),
    ] {
        let answer = gate.send(8080, request).await;
        verify(request, &answer, &mut log, &expected).await;
        assert_eq!(answer.header("connection"), None, "{request}");
    }
}

/// A local reply keeps an HTTP/1.1 connection unless the table says otherwise.
#[tokio::test]
async fn connections_go_on_after_local_replies() {
    let gate = base().map("a", "prefix: /a/").start().await;
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    for path in ["/none", "/a/%00", "/none"] {
        let answer = client.get("t", path).await.unwrap();
        assert!(answer.status.is_client_error(), "{path}");
    }
    assert_eq!(short(&client.get("t", "/a/x").await.unwrap()), "a:/x");
}

#[tokio::test]
async fn what_only_bytes_can_ask_for() {
    let mut log = Log::new();
    let gate = base()
        .module(&log.json())
        .map("a", "prefix: /a/")
        .start()
        .await;
    for (request, status, flags, details, closes) in [
        (
            "GET /a/ HTTP/1.1\r\n\r\n",
            400,
            "-",
            "missing_host_header",
            false,
        ),
        (
            "GET /a/ HTTP/1.1\r\nhost:\r\n\r\n",
            400,
            "-",
            "missing_host_header",
            false,
        ),
        (
            "GET /a/ HTTP/1.0\r\nhost: t\r\n\r\n",
            426,
            "DPE",
            "low_version",
            true,
        ),
        ("GET /a/ HTTP/1.0\r\n\r\n", 426, "DPE", "low_version", true),
        (
            "GET * HTTP/1.1\r\nhost: t\r\n\r\n",
            400,
            "-",
            "path_normalization_failed",
            false,
        ),
        (
            "OPTIONS * HTTP/1.1\r\nhost: t\r\n\r\n",
            404,
            "NR",
            "route_not_found",
            false,
        ),
    ] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(request).await;
        let response = wire.response().await;
        assert_eq!(response.status, status, "{request}");
        assert_eq!(response.body, b"", "{request}");
        assert_eq!(response.header("content-length"), Some("0"), "{request}");
        let reasons = log.reasons().await;
        assert_eq!(
            reasons,
            (u64::from(status), flags.into(), details.into()),
            "{request}"
        );
        if closes {
            assert_eq!(wire.rest_text().await, "", "{request}");
        }
    }
    // Nothing is tunnelled.
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("CONNECT t:443 HTTP/1.1\r\nhost: t:443\r\n\r\n")
        .await;
    assert!(matches!(wire.response().await.status, 400 | 404));
    log.line().await;
    // What hyper refuses by itself has its line as well.
    let answer = exchange(gate.address(8080), "GET / HTTP/1.1\r\nbad header\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(
        log.reasons().await,
        (400, "DPE".into(), "http1.codec_error".into())
    );
}

const RESET: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

/// A reset before response headers; the second text is the first with underscores.
macro_rules! reset {
    ($status:literal, $flag:literal, $reason:literal, $details:literal) => {
        expected(
            $status,
            concat!(
                "upstream connect error or disconnect/reset before headers. reset reason: ",
                $reason
            ),
            $flag,
            concat!("upstream_reset_before_response_started{", $details, "}"),
        )
    };
}

#[rustfmt::skip] // One row per line, or as few as fit.
const BY_UPSTREAMS: &[(&str, Expected)] = &[
    ("/uh/", expected(503, "no healthy upstream", "UH", "no_healthy_upstream")),
    ("/dns/", expected(503, "no healthy upstream", "UH", "no_healthy_upstream")),
    ("/uf/", reset!(503, "UF",
        "remote connection failure, transport failure reason: delayed connect error: Connection refused",
        "remote_connection_failure|delayed_connect_error:_Connection_refused")),
    ("/uc/", reset!(503, "UC", "connection termination", "connection_termination")),
    ("/upe/", reset!(502, "UPE", "protocol error", "protocol_error")),
    ("/ut/", expected(504, "upstream request timeout", "UT", "upstream_response_timeout")),
    ("/si/", expected(504, "stream timeout", "SI", "stream_idle_timeout")),
];

#[tokio::test]
async fn what_upstreams_cause() {
    let mut log = Log::new();
    let mute = Fault::start(vec![Step::Head, Step::Hold]).await;
    let closing = Fault::answers("").await;
    let garbage = Fault::answers("what?\r\n\r\n").await;
    let to = |prefix: &str, service: &dyn std::fmt::Display, more: &str| {
        format!("prefix: /{prefix}/\nservice: \"{service}\"\n{more}")
    };
    let idle = "timeout_ms: 0\nidle_timeout_ms: 200";
    let gate = base()
        .module(&log.json())
        .raw(&crate::harness::service("default", "empty", 80, &[]))
        .map("uh", &to("uh", &"empty", "resolver: ends"))
        .object("KubernetesEndpointResolver", "ends", "")
        .map("dns", &to("dns", &"nowhere.invalid", ""))
        .map("uf", &to("uf", &nobody().await, ""))
        .map("uc", &to("uc", &closing.address(), ""))
        .map("upe", &to("upe", &garbage.address(), ""))
        .map("ut", &to("ut", &mute.address(), "timeout_ms: 200"))
        .map("si", &to("si", &mute.address(), idle))
        .start()
        .await;
    for (path, expected) in BY_UPSTREAMS {
        let answer = within(gate.send(8080, path)).await;
        verify(path, &answer, &mut log, expected).await;
    }
    // 408 while the request is still coming in; the connection closes then.
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST /si/ HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhalf")
        .await;
    let response = wire.response().await;
    assert_eq!(
        (response.status, &*response.body),
        (408, &b"stream timeout"[..])
    );
    assert_eq!(wire.rest_text().await, "");
    let reasons = log.reasons().await;
    assert_eq!(reasons, (408, "SI".into(), "stream_idle_timeout".into()));
}

/// An upstream's own failure is not ours.
#[tokio::test]
async fn what_upstreams_say_themselves() {
    let mut log = Log::new();
    let busy = Fault::answers("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    let gate = base()
        .module(&log.json())
        .map("a", &format!("prefix: /\nservice: {}", busy.address()))
        .start()
        .await;
    assert_eq!(gate.send(8080, "/").await.status, 503);
    let reasons = log.reasons().await;
    assert_eq!(reasons, (503, "-".into(), "via_upstream".into()));
}

#[tokio::test]
async fn an_upstream_whose_tls_fails() {
    let mut log = Log::new();
    let not_tls = "HTTP/1.1 400 Not TLS\r\ncontent-length: 0\r\n\r\n";
    let plain = Fault::start(vec![Step::Read(1), Step::say(not_tls)]).await;
    let gate = base()
        .module(&log.json())
        .map(
            "x",
            &format!("prefix: /\nservice: https://{}", plain.address()),
        )
        .start()
        .await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(answer.status, 503);
    let text = answer.text();
    let prefix = format!("{RESET}remote connection failure, transport failure reason: TLS_error:");
    assert!(text.starts_with(&prefix), "{text}");
    let (_, flags, details) = log.reasons().await;
    assert_eq!(flags, "UF");
    assert!(
        details.starts_with(
            "upstream_reset_before_response_started{remote_connection_failure|TLS_error:"
        ),
        "{details}"
    );
    assert!(!details.contains(' '), "{details}");
}

#[tokio::test]
async fn misdirected_requests() {
    let mut log = Log::new();
    let gate = empty()
        .l8443()
        .tls_host("ha", "a.test", "")
        .tls_host("hb", "b.test", "")
        .module(&log.json())
        .map("a", "prefix: /a/")
        .start()
        .await;
    let h2 = TlsOptions {
        alpn: vec!["h2".into()],
        ..TlsOptions::sni("a.test")
    };
    let mut client = Client::connect_tls(gate.address(8443), &h2).await.unwrap();
    let answer = client.get("b.test", "/a/").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (421, ""));
    assert_eq!(
        log.reasons().await,
        (421, "NR".into(), "misdirected_request".into())
    );
    assert_eq!(short(&client.get("a.test", "/a/").await.unwrap()), "a:/");
}

/// spec/services §3.13: 200, trailers-only, the body as percent-encoded message.
#[tokio::test]
async fn grpc_requests_get_grpc_replies() {
    let mut log = Log::new();
    let refused = nobody().await;
    let mute = Fault::start(vec![Step::Head, Step::Hold]).await;
    let gate = base()
        .module(&format!(
            "{}\nip_deny: [{{peer: 192.0.2.0/24}}]",
            log.json()
        ))
        .map("a", "prefix: /a/")
        .map("uf", &format!("prefix: /uf/\nservice: {refused}"))
        .map(
            "ut",
            &format!("prefix: /ut/\ntimeout_ms: 200\nservice: {}", mute.address()),
        )
        .start()
        .await;
    for (request, status, message) in [
        ("POST /none", "12", None),
        ("POST /a/%00", "13", None),
        (
            "POST /none peer=192.0.2.1",
            "7",
            Some("RBAC: access denied"),
        ),
        (
            "POST /uf/",
            "14",
            Some(
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused",
            ),
        ),
        ("POST /ut/", "14", Some("upstream request timeout")),
    ] {
        for kind in ["application/grpc", "application/grpc+proto"] {
            let answer = gate
                .send(8080, &format!("{request} content-type:{kind}"))
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{request}");
            assert_eq!(
                answer.header("content-type"),
                Some("application/grpc"),
                "{request}"
            );
            assert_eq!(answer.header("grpc-status"), Some(status), "{request}");
            assert_eq!(answer.header("grpc-message"), message, "{request}");
            assert_eq!(answer.text(), "", "{request}");
            log.line().await;
        }
        // gRPC-Web is none as long as it is off, and neither is what only looks like it.
        for kind in [
            "application/grpc-web",
            "application/grpcish",
            "application/json",
        ] {
            let answer = gate
                .send(8080, &format!("{request} content-type:{kind}"))
                .await;
            assert_ne!(answer.status, StatusCode::OK, "{request} {kind}");
            log.line().await;
        }
    }
    // The same on HTTP/2: one HEADERS frame.
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let answer = client
        .request("POST", "t", "/none", &headers, Bytes::new())
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.header("grpc-status")),
        (StatusCode::OK, Some("12"))
    );
}
