//! Lines of the access log (spec/services §4.4): shape, escaping, types.

use legate_testkit::{Client, Pair, TlsOptions};

use crate::harness::{Gate, base, empty};
use crate::wire::{Log, Wire};

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
        .send(
            8080,
            "POST /a/x?q=1 host=h.test peer=192.0.2.5 user-agent:curl/8 x-forwarded-for:10.0.0.9",
        )
        .await;
    let id = answer.json()["headers"]["x-request-id"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let line = log.line().await;
    let rest = line.strip_prefix("ACCESS [").expect(&line);
    let (time, rest) = rest.split_once("] ").expect(&line);
    // 2025-01-02T03:04:05.678Z
    assert_eq!(time.len(), 24, "{line}");
    assert!(
        time.ends_with('Z') && time.as_bytes()[10] == b'T' && time.as_bytes()[19] == b'.',
        "{line}"
    );
    // The path is the one before the rewrite.
    let rest = rest
        .strip_prefix("\"POST /a/x?q=1 HTTP/1.1\" 200 - 0 ")
        .expect(&line);
    let (numbers, rest) = rest.split_once(" \"").expect(&line);
    let numbers: Vec<u64> = numbers
        .split(' ')
        .map(|number| number.parse().expect(&line))
        .collect();
    assert_eq!(
        numbers.len(),
        3,
        "bytes sent, duration, service time: {line}"
    );
    assert_eq!(numbers[0], answer.body.len() as u64, "{line}");
    let wanted = format!("10.0.0.9,192.0.2.5\" \"curl/8\" \"{id}\" \"h.test\" \"{upstream}\"");
    assert_eq!(rest, wanted, "{line}");
    // What is missing is `-`.
    gate.send(8080, "/none").await;
    let line = log.line().await;
    assert!(
        line.contains("] \"GET /none HTTP/1.1\" 404 NR 0 0 "),
        "{line}"
    );
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
    let request = [
        b"GET /s/\"x HTTP/1.1\r\nhost: t\r\nuser-agent: ",
        EVIL,
        b"x\r\n\r\n",
    ]
    .concat();
    wire.say(request).await;
    assert_eq!(wire.response().await.status, 200);
}

#[tokio::test]
async fn text_lines_are_escaped() {
    let (gate, mut log) = logged("").await;
    evil(&gate).await;
    let line = log.line().await;
    assert!(
        line.contains(r#" "a\" 200 \\ \xff\xc3\xa9\x09x" "#),
        "{line}"
    );
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
    let keys: Vec<_> = line
        .match_indices("\":")
        .map(|(at, _)| line[..at].rsplit('"').next())
        .collect();
    assert!(
        keys.is_sorted() || line.find("\"agent\"") < line.find("\"code\""),
        "{line}"
    );
}

/// The default keys of the JSON kinds.
#[tokio::test]
async fn the_default_json_line() {
    let (gate, mut log) = logged("envoy_log_type: typed_json").await;
    gate.send(8080, "/a/x host=h.test").await;
    let line = log.line().await;
    let json: serde_json::Value = serde_json::from_str(&line).expect(&line);
    for key in [
        "start_time",
        "method",
        "path",
        "protocol",
        "response_code",
        "response_flags",
        "bytes_received",
        "bytes_sent",
        "duration",
        "upstream_service_time",
        "x_forwarded_for",
        "user_agent",
        "request_id",
        "authority",
        "upstream_host",
        "upstream_cluster",
        "upstream_local_address",
        "downstream_local_address",
        "downstream_remote_address",
        "requested_server_name",
        "istio_policy_status",
        "upstream_transport_failure_reason",
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
    let mut client = Client::connect_tls(gate.address(8443), &TlsOptions::sni("A.Test"))
        .await
        .unwrap();
    assert_eq!(client.get("a.test", "/").await.unwrap().status, 200);
    assert_eq!(log.line().await, "a.test TLSv1.3 HTTP/1.1 -");
}
