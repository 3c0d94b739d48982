//! Replies that the gateway makes itself (spec/services §3.19): status, body, headers, and what the
//! access log says about them; and the access log's own lines (spec/services §4.4).

use bytes::Bytes;
use http::StatusCode;
use legate_testkit::{Answer, Client, Fault, Pair, Step, TlsOptions};
use tokio::net::TcpListener;

use crate::harness::{Gate, base, empty, short};
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
    Expected { status, body, flags, details }
}

/// Checks a local reply and its line.
async fn verify(what: &str, answer: &Answer, log: &mut Log, expected: &Expected) {
    assert_eq!(answer.status.as_u16(), expected.status, "{what}: {answer:?}");
    assert_eq!(answer.text(), expected.body, "{what}");
    let content_type = (!expected.body.is_empty()).then_some("text/plain");
    assert_eq!(answer.header("content-type"), content_type, "{what}");
    let length = expected.body.len().to_string();
    assert_eq!(answer.header("content-length"), Some(length.as_str()), "{what}");
    assert_eq!(answer.header("server"), Some("envoy"), "{what}");
    assert!(answer.header("date").is_some(), "{what}");
    assert_eq!(answer.header("x-envoy-upstream-service-time"), None, "{what}");
    let reasons = log.reasons().await;
    let wanted =
        (u64::from(expected.status), expected.flags.to_owned(), expected.details.to_owned());
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
    let module = format!("{}\nip_deny: [{{peer: 192.0.2.0/24}}]\nreject_requests_with_escaped_slashes: true", log.json());
    let gate = empty()
        .l8080()
        .host("t", "hostname: t\nrequestPolicy: {insecure: {action: Route}}")
        .host("r", "hostname: r")
        .module(&module)
        .map("a", "prefix: /a/")
        .map("ws", "prefix: /ws/\nuse_websocket: true")
        .start()
        .await;
    for (request, expected) in [
        ("/none", expected(404, "", "NR", "route_not_found")),
        ("/a/ host=other", expected(404, "", "NR", "route_not_found")),
        ("/a/%00", expected(400, "", "-", "path_normalization_failed")),
        ("/a/x%2fy", expected(400, "", "-", "path_normalization_failed")),
        ("/a/x%5Cy", expected(400, "", "-", "path_normalization_failed")),
        ("/a/ connection:upgrade upgrade:websocket", expected(403, "", "-", "upgrade_failed")),
        ("/ws/ connection:upgrade upgrade:spdy", expected(403, "", "-", "upgrade_failed")),
        ("/none connection:upgrade upgrade:websocket", expected(404, "", "NR", "route_not_found")),
        (
            "/a/ peer=192.0.2.9",
            expected(403, "RBAC: access denied", "-", "rbac_access_denied_matched_policy[none]"),
        ),
        (
            "/none peer=192.0.2.9",
            expected(403, "RBAC: access denied", "-", "rbac_access_denied_matched_policy[none]"),
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
    let gate = base().module(&log.json()).map("a", "prefix: /a/").start().await;
    for (request, status, flags, details, closes) in [
        ("GET /a/ HTTP/1.1\r\n\r\n", 400, "-", "missing_host_header", false),
        ("GET /a/ HTTP/1.1\r\nhost:\r\n\r\n", 400, "-", "missing_host_header", false),
        ("GET /a/ HTTP/1.0\r\nhost: t\r\n\r\n", 426, "DPE", "low_version", true),
        ("GET /a/ HTTP/1.0\r\n\r\n", 426, "DPE", "low_version", true),
        ("GET * HTTP/1.1\r\nhost: t\r\n\r\n", 400, "-", "path_normalization_failed", false),
        ("OPTIONS * HTTP/1.1\r\nhost: t\r\n\r\n", 404, "NR", "route_not_found", false),
    ] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(request).await;
        let response = wire.response().await;
        assert_eq!(response.status, status, "{request}");
        assert_eq!(response.body, b"", "{request}");
        assert_eq!(response.header("content-length"), Some("0"), "{request}");
        let reasons = log.reasons().await;
        assert_eq!(reasons, (u64::from(status), flags.into(), details.into()), "{request}");
        if closes {
            assert_eq!(wire.rest_text().await, "", "{request}");
        }
    }
    // Nothing is tunnelled.
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("CONNECT t:443 HTTP/1.1\r\nhost: t:443\r\n\r\n").await;
    assert!(matches!(wire.response().await.status, 400 | 404));
    log.line().await;
    // What hyper refuses by itself has its line as well.
    let answer = exchange(gate.address(8080), "GET / HTTP/1.1\r\nbad header\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(log.reasons().await, (400, "DPE".into(), "http1.codec_error".into()));
}

const RESET: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

#[tokio::test]
async fn what_upstreams_cause() {
    let mut log = Log::new();
    let mute = Fault::start(vec![Step::Head, Step::Hold]).await;
    let closing = Fault::answers("").await;
    let garbage = Fault::answers("what?\r\n\r\n").await;
    let refused = nobody().await;
    let gate = base()
        .module(&log.json())
        .map("uh", "prefix: /uh/\nservice: nowhere.invalid\nresolver: kubernetes-endpoint")
        .map("uf", &format!("prefix: /uf/\nservice: {refused}"))
        .map("uc", &format!("prefix: /uc/\nservice: {}", closing.address()))
        .map("upe", &format!("prefix: /upe/\nservice: {}", garbage.address()))
        .map("ut", &format!("prefix: /ut/\ntimeout_ms: 200\nservice: {}", mute.address()))
        .map(
            "si",
            &format!("prefix: /si/\ntimeout_ms: 0\nidle_timeout_ms: 200\nservice: {}", mute.address()),
        )
        .raw(
            "apiVersion: getambassador.io/v3alpha1\nkind: KubernetesEndpointResolver\n\
             metadata: {name: kubernetes-endpoint, namespace: default}\nspec: {}\n",
        )
        .raw(
            "apiVersion: v1\nkind: Service\nmetadata: {name: nowhere, namespace: invalid}\n\
             spec: {ports: [{name: http, port: 80}]}\n",
        )
        .start()
        .await;
    let texts = [
        format!("{RESET}remote connection failure, transport failure reason: delayed connect error: Connection refused"),
        format!("{RESET}connection termination"),
        format!("{RESET}protocol error"),
    ];
    for (path, status, body, flags, details) in [
        ("/uh/", 503, "no healthy upstream", "UH", "no_healthy_upstream"),
        (
            "/uf/",
            503,
            &texts[0],
            "UF",
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
        ),
        ("/uc/", 503, &texts[1], "UC", "upstream_reset_before_response_started{connection_termination}"),
        ("/upe/", 502, &texts[2], "UPE", "upstream_reset_before_response_started{protocol_error}"),
        ("/ut/", 504, "upstream request timeout", "UT", "upstream_response_timeout"),
        ("/si/", 504, "stream timeout", "SI", "stream_idle_timeout"),
    ] {
        let answer = within(gate.send(8080, path)).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (status, body), "{path}");
        assert_eq!(answer.header("content-type"), Some("text/plain"), "{path}");
        let reasons = log.reasons().await;
        assert_eq!(reasons, (u64::from(status), flags.into(), details.into()), "{path}");
    }
    // 408 while the request is still coming in; the connection closes then.
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST /si/ HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhalf").await;
    let response = wire.response().await;
    assert_eq!((response.status, &*response.body), (408, &b"stream timeout"[..]));
    assert_eq!(wire.rest_text().await, "");
    assert_eq!(log.reasons().await, (408, "SI".into(), "stream_idle_timeout".into()));
    // And what is no local reply.
    let ok = Fault::answers("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    drop(gate);
    let gate = base()
        .module(&log.json())
        .map("ok", &format!("prefix: /\nservice: {}", ok.address()))
        .start()
        .await;
    assert_eq!(gate.send(8080, "/").await.status, 503);
    assert_eq!(log.reasons().await, (503, "-".into(), "via_upstream".into()));
}

#[tokio::test]
async fn an_upstream_whose_tls_fails() {
    let mut log = Log::new();
    let not_tls = "HTTP/1.1 400 Not TLS\r\ncontent-length: 0\r\n\r\n";
    let plain = Fault::start(vec![Step::Read(1), Step::say(not_tls)]).await;
    let gate = base()
        .module(&log.json())
        .map("x", &format!("prefix: /\nservice: https://{}", plain.address()))
        .start()
        .await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(answer.status, 503);
    let text = answer.text();
    let prefix = format!("{RESET}remote connection failure, transport failure reason: TLS_error:");
    assert!(text.starts_with(&prefix), "{text}");
    let (_, flags, details) = log.reasons().await;
    assert_eq!(flags, "UF");
    assert!(details.starts_with("upstream_reset_before_response_started{remote_connection_failure|TLS_error:"), "{details}");
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
    let h2 = TlsOptions { alpn: vec!["h2".into()], ..TlsOptions::sni("a.test") };
    let mut client = Client::connect_tls(gate.address(8443), &h2).await.unwrap();
    let answer = client.get("b.test", "/a/").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (421, ""));
    assert_eq!(log.reasons().await, (421, "NR".into(), "misdirected_request".into()));
    assert_eq!(short(&client.get("a.test", "/a/").await.unwrap()), "a:/");
}

/// spec/services §3.13: 200, trailers-only, the body as percent-encoded message.
#[tokio::test]
async fn grpc_requests_get_grpc_replies() {
    let mut log = Log::new();
    let refused = nobody().await;
    let mute = Fault::start(vec![Step::Head, Step::Hold]).await;
    let gate = base()
        .module(&format!("{}\nip_deny: [{{peer: 192.0.2.0/24}}]", log.json()))
        .map("a", "prefix: /a/")
        .map("uf", &format!("prefix: /uf/\nservice: {refused}"))
        .map("ut", &format!("prefix: /ut/\ntimeout_ms: 200\nservice: {}", mute.address()))
        .start()
        .await;
    for (request, status, message) in [
        ("POST /none", "12", None),
        ("POST /a/%00", "13", None),
        ("POST /none peer=192.0.2.1", "7", Some("RBAC: access denied")),
        ("POST /uf/", "14", Some("upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused")),
        ("POST /ut/", "14", Some("upstream request timeout")),
    ] {
        for kind in ["application/grpc", "application/grpc+proto"] {
            let answer = gate.send(8080, &format!("{request} content-type:{kind}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{request}");
            assert_eq!(answer.header("content-type"), Some("application/grpc"), "{request}");
            assert_eq!(answer.header("grpc-status"), Some(status), "{request}");
            assert_eq!(answer.header("grpc-message"), message, "{request}");
            assert_eq!(answer.text(), "", "{request}");
            log.line().await;
        }
        // gRPC-Web is none as long as it is off, and neither is what only looks like it.
        for kind in ["application/grpc-web", "application/grpcish", "application/json"] {
            let answer = gate.send(8080, &format!("{request} content-type:{kind}")).await;
            assert_ne!(answer.status, StatusCode::OK, "{request} {kind}");
            log.line().await;
        }
    }
    // The same on HTTP/2: one HEADERS frame.
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let answer = client.request("POST", "t", "/none", &headers, Bytes::new()).await.unwrap();
    assert_eq!((answer.status, answer.header("grpc-status")), (StatusCode::OK, Some("12")));
}

async fn logged(settings: &str) -> (Gate, Log) {
    let log = Log::new();
    let gate = base()
        .module(&log.with(settings))
        .map("a", "prefix: /a/\nrewrite: /b/")
        .map("s", "prefix: /s/\nrewrite: \"\"")
        .start()
        .await;
    (gate, log)
}

/// The default line, field by field.
#[tokio::test]
async fn the_default_text_line() {
    let (gate, mut log) = logged("").await;
    let upstream = gate.origins["a"].address();
    let answer = gate
        .send(8080, "POST /a/x?q=1 host=h.test peer=192.0.2.5 user-agent:curl/8 x-forwarded-for:10.0.0.9")
        .await;
    let id = answer.json()["headers"]["x-request-id"][0].as_str().unwrap().to_owned();
    let line = log.line().await;
    let rest = line.strip_prefix("ACCESS [").expect(&line);
    let (time, rest) = rest.split_once("] ").expect(&line);
    // 2025-01-02T03:04:05.678Z
    assert_eq!(time.len(), 24, "{line}");
    assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T' && time.as_bytes()[19] == b'.', "{line}");
    // The path is the one before the rewrite.
    let rest = rest.strip_prefix("\"POST /a/x?q=1 HTTP/1.1\" 200 - 0 ").expect(&line);
    let (numbers, rest) = rest.split_once(" \"").expect(&line);
    let numbers: Vec<u64> = numbers.split(' ').map(|number| number.parse().expect(&line)).collect();
    assert_eq!(numbers.len(), 3, "bytes sent, duration, service time: {line}");
    assert_eq!(numbers[0], answer.body.len() as u64, "{line}");
    let wanted = format!("10.0.0.9,192.0.2.5\" \"curl/8\" \"{id}\" \"h.test\" \"{upstream}\"");
    assert_eq!(rest, wanted, "{line}");
    // What is missing is `-`.
    gate.send(8080, "/none").await;
    let line = log.line().await;
    assert!(line.contains("] \"GET /none HTTP/1.1\" 404 NR 0 0 "), "{line}");
    assert!(line.ends_with(" \"t\" \"-\""), "{line}");
    // HTTP/2 is named as such.
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    client.get("t", "/s/").await.unwrap();
    let line = log.line().await;
    assert!(line.contains("\"GET /s/ HTTP/2\" 200 - "), "{line}");
}

/// A value that tries to break out of its line.
const EVIL: &[u8] = b"a\" 200 \\ \xff\xc3\xa9\t";

async fn evil(gate: &Gate) {
    let mut wire = Wire::connect(gate.address(8080)).await;
    let request =
        [b"GET /s/\"x HTTP/1.1\r\nhost: t\r\nuser-agent: ", EVIL, b"x\r\n\r\n"].concat();
    wire.say(request).await;
    assert_eq!(wire.response().await.status, 200);
}

#[tokio::test]
async fn text_lines_are_escaped() {
    let (gate, mut log) = logged("").await;
    evil(&gate).await;
    let line = log.line().await;
    assert!(line.contains(r#" "a\" 200 \\ \xff\xc3\xa9\x09x" "#), "{line}");
    assert!(line.contains(r#""GET /s/%22x HTTP/1.1" 200 "#), "{line}");
    // It is one line: the next one follows at once.
    gate.send(8080, "/s/next").await;
    assert!(log.line().await.contains("/s/next"));
}

#[tokio::test]
async fn json_lines_are_escaped_and_typed() {
    let settings = "envoy_log_type: json\nenvoy_log_format: {agent: \"%REQ(USER-AGENT)%\", code: \"%RESPONSE_CODE%\", none: \"%REQ(X-NONE)%\", mixed: \"<%REQ(USER-AGENT)%>\", nested: {method: \"%REQ(:METHOD)%\"}, at: \"%START_TIME(%Y)%\"}";
    let (gate, mut log) = logged(settings).await;
    evil(&gate).await;
    let line = log.line().await;
    let json: serde_json::Value = serde_json::from_str(&line).expect(&line);
    let agent = "a\" 200 \\ \u{fffd}\u{e9}\tx";
    assert_eq!(json["agent"], agent, "{line}");
    assert_eq!(json["mixed"], format!("<{agent}>"), "{line}");
    assert_eq!(json["code"], 200, "{line}");
    assert_eq!(json["none"], serde_json::Value::Null, "{line}");
    assert_eq!(json["nested"]["method"], "GET", "{line}");
    assert_eq!(json["at"].as_str().map(str::len), Some(4), "{line}");
    let keys: Vec<_> = line.match_indices("\":").map(|(at, _)| line[..at].rsplit('"').next()).collect();
    assert!(keys.is_sorted() || line.find("\"agent\"") < line.find("\"code\""), "{line}");
}

/// The default keys of the JSON kinds.
#[tokio::test]
async fn the_default_json_line() {
    let (gate, mut log) = logged("envoy_log_type: typed_json").await;
    gate.send(8080, "/a/x host=h.test").await;
    let line = log.line().await;
    let json: serde_json::Value = serde_json::from_str(&line).expect(&line);
    for key in [
        "start_time", "method", "path", "protocol", "response_code", "response_flags",
        "bytes_received", "bytes_sent", "duration", "upstream_service_time", "x_forwarded_for",
        "user_agent", "request_id", "authority", "upstream_host", "upstream_cluster",
        "upstream_local_address", "downstream_local_address", "downstream_remote_address",
        "requested_server_name", "istio_policy_status", "upstream_transport_failure_reason",
    ] {
        assert!(json.get(key).is_some(), "{key}: {line}");
    }
    assert_eq!(json["path"], "/a/x");
    assert_eq!(json["response_code"], 200);
    assert_eq!(json["response_flags"], "-");
    assert_eq!(json["bytes_received"], 0);
    assert_eq!(json["user_agent"], serde_json::Value::Null);
    assert_eq!(json["authority"], "h.test");
}

#[tokio::test]
async fn tls_facts_are_logged() {
    let log = Log::new();
    let pair = Pair::self_signed(&["a.test"]);
    let settings = log.with("envoy_log_format: \"%REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION% %PROTOCOL% %RESPONSE_FLAGS%\"");
    let gate = empty()
        .l8443()
        .raw(&pair.secret("default", "s"))
        .host("h", "hostname: a.test\ntlsSecret: {name: s}")
        .module(&settings)
        .map("a", "prefix: /")
        .start()
        .await;
    let mut log = log;
    let mut client =
        Client::connect_tls(gate.address(8443), &TlsOptions::sni("A.Test")).await.unwrap();
    assert_eq!(client.get("a.test", "/").await.unwrap().status, 200);
    assert_eq!(log.line().await, "a.test TLSv1.3 HTTP/1.1 -");
}
