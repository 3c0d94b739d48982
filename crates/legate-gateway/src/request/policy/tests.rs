use legate_config::policy::{HeaderAdd, PathRewrite};
use legate_config::template::Template;

use super::*;
use crate::request::client::ClientAddress;
use crate::request::tests_support::{headers, settings, values};

fn add(name: &str, value: &str, append: bool) -> HeaderAdd {
    HeaderAdd {
        name: name.into(),
        value: Template::parse(value).unwrap(),
        append,
    }
}

fn edits(remove: &[&str], add: Vec<HeaderAdd>) -> HeaderEdits {
    HeaderEdits {
        remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        add,
    }
}

fn edited(edits: HeaderEdits, before: &[(&str, &str)], name: &str) -> Vec<String> {
    let policy = CompiledPolicy::build(&PolicySet {
        request_headers: edits.clone(),
        response_headers: edits,
        ..PolicySet::default()
    })
    .unwrap();
    let client = ClientAddress {
        peer: "192.0.2.7:1".parse().unwrap(),
        trusted: "192.0.2.7".parse().unwrap(),
    };
    let facts = Facts {
        client: Some(&client),
        ..Facts::default()
    };
    let mut request = headers(before);
    let computed = policy.request_values(&request, || facts);
    policy.apply_request(&mut request, computed);
    let mut response = headers(before);
    let captured = policy.capture(&headers(before));
    let computed = policy.response_values(&response, &captured, || facts);
    policy.apply_response(&mut response, computed);
    let result = values(&request, name);
    assert_eq!(values(&response, name), result);
    result
}

/// Edits, headers before, a name, its values after.
type Row = (
    HeaderEdits,
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static [&'static str],
);

// HD-01 to HD-05 of the specification first.
#[rustfmt::skip] // One row per line.
fn rows() -> Vec<Row> { vec![
    (edits(&[], vec![add("x-a", "1", true)]), &[("x-a", "0")], "x-a", &["0", "1"]),
    (edits(&[], vec![add("x-a", "1", false)]), &[("x-a", "0"), ("x-a", "9")], "x-a", &["1"]),
    (edits(&["x-a"], vec![add("x-a", "1", true)]), &[("x-a", "0")], "x-a", &["1"]),
    (edits(&[], vec![add("x-r", "", true)]), &[], "x-r", &[]),
    (edits(&[], vec![add("x-r", "", false)]), &[("x-r", "0")], "x-r", &["0"]),
    (edits(&[], vec![add("x-ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", true)]), &[], "x-ip", &["192.0.2.7"]),
    (edits(&[], vec![add("x-n", "%ROUTE_NAME%", false)]), &[("x-n", "0")], "x-n", &["0"]),
    (edits(&["x-a"], vec![add("x-b", "%REQ(x-a)%!", true)]), &[("x-a", "0")], "x-b", &["0!"]),
    (edits(&[], vec![add("x-a", "1", false), add("x-b", "%REQ(x-a)%", true)]), &[("x-a", "0")], "x-b", &["0"]),
    (edits(&[], vec![add("user-agent", "b", true)]), &[("user-agent", "a")], "user-agent", &["a,b"]),
    (edits(&[], vec![add("user-agent", "b", true)]), &[], "user-agent", &["b"]),
    (edits(&["host"], vec![add("host", "x", false)]), &[("host", "a")], "host", &["a"]),
    (edits(&["te"], vec![]), &[("te", "trailers")], "te", &["trailers"]),
    (edits(&["content-length"], vec![add("content-length", "9", false)]), &[("content-length", "1")], "content-length", &["1"]),
    (edits(&[":path", "b d"], vec![add(":path", "x", false)]), &[("x-a", "0")], "x-a", &["0"]),
    (edits(&["x-a"], vec![]), &[("x-a", "0"), ("x-a", "1")], "x-a", &[]),
] }

#[test]
fn headers_are_removed_then_added() {
    for (edits, before, name, expected) in rows() {
        let text = format!("{edits:?}");
        assert_eq!(edited(edits, before, name), expected, "{text}");
    }
}

#[test]
fn generated_headers_follow_the_policy_and_the_settings() {
    let set = PolicySet {
        timeout_ms: 3000,
        rewrite: PathRewrite::Full("/b".into()),
        linkerd_dst: Some("quote.apps:8080".into()),
        host: HostRewrite::Literal("in.test".into()),
        upgrades: vec!["websocket".into(), "spdy/3.1".into()],
        ..PolicySet::default()
    };
    let policy = CompiledPolicy::build(&set).unwrap();
    assert_eq!(policy.timeout, Some(Duration::from_secs(3)));
    assert_eq!(policy.idle_timeout, None);
    assert_eq!(
        policy.host,
        CompiledHost::Literal(HeaderValue::from_static("in.test"))
    );
    assert!(policy.allows_upgrade("WebSocket"));
    assert!(policy.allows_upgrade("SPDY/3.1"));
    assert!(!policy.allows_upgrade("h2c"));
    assert_eq!(
        policy.rewrite_path("/a/x", Some("q=1")).as_deref(),
        Some("/b?q=1")
    );
    assert_eq!(policy.rewrite_path("/b", Some("q=1")), None);
    for (suppress, expected) in [
        (false, "3000|/a/x?q=1|quote.apps:8080"),
        (true, "||quote.apps:8080"),
    ] {
        let mut settings = settings();
        settings.suppress_envoy_headers = suppress;
        let mut map = HeaderMap::new();
        policy.apply_generated(&mut map, Some("/a/x?q=1"), &settings);
        let found: Vec<_> = [
            "x-envoy-expected-rq-timeout-ms",
            "x-envoy-original-path",
            "l5d-dst-override",
        ]
        .iter()
        .map(|name| values(&map, name).join(","))
        .collect();
        assert_eq!(found.join("|"), expected);
    }
    let mut map = HeaderMap::new();
    let plain = CompiledPolicy::build(&PolicySet::default()).unwrap();
    plain.apply_generated(&mut map, None, &settings());
    assert!(map.is_empty());
    assert_eq!(plain.rewrite_path("/a", None), None);
}

#[test]
fn an_empty_rewrite_result_is_the_root() {
    let policy = CompiledPolicy::build(&PolicySet {
        rewrite: PathRewrite::Prefix {
            matched: 2,
            with: String::new(),
        },
        ..PolicySet::default()
    })
    .unwrap();
    assert_eq!(policy.rewrite_path("/a", Some("q")).as_deref(), Some("/?q"));
}
