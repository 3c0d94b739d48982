use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use legate_config::http::{AccessLogFormat, JsonValue};
use legate_config::template::Template;
use parking_lot::Mutex;

use super::*;
use crate::reply::{Flag, Flags};
use crate::request::client::ClientAddress;
use crate::request::tests_support::{headers, lasting};

/// The default text format.
const DEFAULT: &str = "ACCESS [%START_TIME%] \"%REQ(:METHOD)% \
    %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
    \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \
    \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"";

fn facts() -> Facts<'static> {
    Facts {
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_735_787_045_678),
        method: "GET",
        path: "/b",
        authority: "h.example",
        status: 200,
        bytes_sent: 13,
        duration: Some(Duration::from_micros(4900)),
        upstream: Some(lasting("10.8.1.7:8080".parse().unwrap())),
        client: Some(lasting(ClientAddress {
            peer: "10.0.0.9:1".parse().unwrap(),
            trusted: "10.0.0.9".parse().unwrap(),
        })),
        ..Facts::default()
    }
}

fn line(format: &AccessLogFormat, facts: &Facts<'_>, pairs: &[(&str, &str)]) -> String {
    let format = Format::build(format);
    let request = format.captures.request.capture(&headers(pairs));
    let response = format
        .captures
        .response
        .capture(&headers(&[("x-envoy-upstream-service-time", "3")]));
    let mut out = Vec::new();
    let values = Values {
        facts,
        request: Headers::Captured(&request),
        response: Headers::Captured(&response),
        trailers: Headers::None,
    };
    format.line(&mut out, &values);
    String::from_utf8(out).unwrap()
}

fn text(format: &str) -> AccessLogFormat {
    AccessLogFormat::Text(Template::parse(format).unwrap())
}

fn template(text: &str) -> JsonValue {
    JsonValue::Template(Template::parse(text).unwrap())
}

#[test]
fn the_default_line_looks_like_emissarys() {
    let pairs = &[
        ("x-envoy-original-path", "/a"),
        ("x-forwarded-for", "10.0.0.9"),
        ("user-agent", "curl/8"),
        ("x-request-id", "6f1c"),
    ];
    assert_eq!(
        line(&text(DEFAULT), &facts(), pairs),
        "ACCESS [2025-01-02T03:04:05.678Z] \"GET /a HTTP/1.1\" 200 - 0 13 4 3 \"10.0.0.9\" \
         \"curl/8\" \"6f1c\" \"h.example\" \"10.8.1.7:8080\"\n"
    );
    assert_eq!(
        line(&text(DEFAULT), &Facts::default(), &[]),
        "ACCESS [1970-01-01T00:00:00.000Z] \"- - HTTP/1.1\" 0 - 0 0 - 3 \"-\" \"-\" \"-\" \"-\" \
         \"-\"\n"
    );
}

#[test]
fn client_bytes_never_break_a_line() {
    let evil = &[("user-agent", "a\" 200 \\ \u{e9}\tb")];
    assert_eq!(
        line(
            &text("\"%REQ(user-agent)%\" %REQ(user-agent):3%\n"),
            &facts(),
            evil
        ),
        "\"a\\\" 200 \\\\ \\xc3\\xa9\\x09b\" a\\\" \n"
    );
    let fields = BTreeMap::from([
        ("ua".to_owned(), template("%REQ(user-agent)%")),
        ("mixed".to_owned(), template("<%REQ(user-agent)%>")),
    ]);
    let line = line(&AccessLogFormat::Json(fields), &facts(), evil);
    let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(parsed["ua"], "a\" 200 \\ \u{e9}\tb");
    assert_eq!(parsed["mixed"], "<a\" 200 \\ \u{e9}\tb>");
}

#[test]
fn json_keeps_types_and_sorts_keys() {
    let nested = BTreeMap::from([
        ("b".to_owned(), template("%RESPONSE_CODE%")),
        ("a".to_owned(), template("%REQ(x-none)%")),
    ]);
    let fields = BTreeMap::from([
        ("z".to_owned(), template("%BYTES_SENT%")),
        ("status".to_owned(), template("%RESPONSE_CODE%")),
        ("duration".to_owned(), template("%DURATION%")),
        ("none".to_owned(), template("%RESPONSE_DURATION%")),
        ("flags".to_owned(), template("%RESPONSE_FLAGS%")),
        (
            "service".to_owned(),
            template("%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
        ),
        ("both".to_owned(), template("%RESPONSE_CODE% %REQ(x-none)%")),
        ("from".to_owned(), template("%DOWNSTREAM_REMOTE_ADDRESS%")),
        ("time".to_owned(), template("%START_TIME(\"%s\")%")),
        ("empty".to_owned(), template("")),
        ("k\"\n".to_owned(), template("v\"")),
        ("nested".to_owned(), JsonValue::Object(nested)),
        (
            "list".to_owned(),
            JsonValue::List(vec![
                template("%PROTOCOL%"),
                JsonValue::Literal(serde_json::json!(1.5)),
                JsonValue::Literal(serde_json::json!(null)),
            ]),
        ),
    ]);
    let mut facts = facts();
    facts.flags = Flags::from(Flag::UpstreamTimeout);
    assert_eq!(
        line(&AccessLogFormat::Json(fields), &facts, &[]),
        "{\"both\":\"200 -\",\"duration\":4,\"empty\":\"\",\"flags\":\"UT\",\
         \"from\":\"10.0.0.9:1\",\"k\\\"\\n\":\"v\\\"\",\"list\":[\"HTTP/1.1\",1.5,null],\
         \"nested\":{\"a\":null,\"b\":200},\"none\":null,\"service\":\"3\",\"status\":200,\
         \"time\":\"\\\"1735787045\\\"\",\"z\":13}\n"
    );
    let empty = AccessLogFormat::Json(BTreeMap::new());
    assert_eq!(line(&empty, &facts, &[]), "{}\n");
}

fn config(path: &str, format: &str) -> legate_config::http::AccessLog {
    legate_config::http::AccessLog {
        path: path.to_owned(),
        format: text(format),
    }
}

#[test]
fn lines_of_all_listeners_and_threads_reach_the_file_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::fs::write(&path, "before\n").unwrap();
    let path = path.to_str().unwrap();
    let metrics = Metrics::new(2);
    let logs = AccessLogs::new(metrics, 2);
    let first = logs.open(&config(path, "one %REQ(x-a)%"));
    let second = logs.open(&config(path, "two %RESP(x-b)%"));
    assert!(first.is_on());
    let threads: Vec<_> = [first.clone(), second.clone(), first, second]
        .into_iter()
        .map(|log| {
            std::thread::spawn(move || {
                for _ in 0..500 {
                    let mut copies = LogHeaders::default();
                    log.capture_request(&headers(&[("x-a", "1")]), &mut copies);
                    log.capture_response(&headers(&[("x-b", "2")]), &mut copies);
                    log.record(&facts(), &copies);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    logs.flush(Duration::from_secs(20));
    let written = std::fs::read_to_string(path).unwrap();
    let count = |wanted: &str| written.lines().filter(|line| *line == wanted).count();
    assert_eq!(count("before"), 1);
    assert_eq!(count("one 1"), 1000);
    assert_eq!(count("two 2"), 1000);
    assert_eq!(written.lines().count(), 2001);
}

#[test]
fn a_dropped_log_writes_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let logs = AccessLogs::new(Metrics::new(1), 1);
    let log = logs.open(&config(path.to_str().unwrap(), "x"));
    log.record(&facts(), &LogHeaders::default());
    drop(log);
    logs.flush(Duration::from_secs(20));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "x\n");
}

#[test]
fn the_null_device_switches_the_log_off() {
    let logs = AccessLogs::new(Metrics::new(1), 1);
    let log = logs.open(&config("/dev/null", "%REQ(x)%"));
    assert!(!log.is_on());
    let mut copies = LogHeaders::default();
    log.capture_request(&headers(&[("x", "1")]), &mut copies);
    log.record(&facts(), &copies);
    logs.flush(Duration::from_secs(1));
}

/// A file that does not take anything while its gate is shut.
#[derive(Clone)]
struct Slow {
    gate: Arc<Mutex<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _open = self.gate.lock();
        self.written.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_file_costs_lines_and_never_time() {
    let slow = Slow {
        gate: Arc::default(),
        written: Arc::default(),
    };
    let metrics = Metrics::new(1);
    let shut = slow.gate.lock();
    let writer = Writer::start("slow", Some(slow.clone()), 1, Arc::clone(&metrics));
    let line = [b'x'; 1023];
    let sent = 5000;
    for _ in 0..sent {
        writer.append(|out| {
            out.extend_from_slice(&line);
            out.push(b'\n');
        });
    }
    drop(shut);
    let shared = writer.shared().upgrade().unwrap();
    shared.flush(Instant::now() + Duration::from_secs(20));
    let written = slow
        .written
        .lock()
        .iter()
        .filter(|byte| **byte == b'\n')
        .count() as u64;
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut scraped = String::new();
    prometheus_client::encoding::text::encode(&mut scraped, &registry).unwrap();
    let dropped: u64 = scraped
        .lines()
        .find_map(|line| line.strip_prefix("legate_access_log_dropped_total "))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(written + dropped, sent);
    assert!((1000..=3000).contains(&written), "{written}");
}

#[test]
fn a_file_that_cannot_be_opened_drops_and_counts() {
    let metrics = Metrics::new(1);
    let logs = AccessLogs::new(Arc::clone(&metrics), 1);
    let log = logs.open(&config("/nonexistent/folder/access.log", "x"));
    log.record(&facts(), &LogHeaders::default());
    logs.flush(Duration::from_secs(20));
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut scraped = String::new();
    prometheus_client::encoding::text::encode(&mut scraped, &registry).unwrap();
    assert!(
        scraped.contains("legate_access_log_dropped_total 1\n"),
        "{scraped}"
    );
}
