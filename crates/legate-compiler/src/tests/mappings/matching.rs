use legate_config::HostPattern;
use legate_config::route::{PathMatch, StringMatch};
use serde_json::json;

use super::{find, order, row};
use crate::testing::{about, mapping, problems, with_base};

#[test]
fn ma_01_06_08_longer_prefixes_and_precedence_come_first() {
    let c = with_base([
        mapping("a", "/api/", json!({})),
        mapping("b", "/api/v2/", json!({})),
    ]);
    assert_eq!(order(&c), ["b", "a"]);
    assert_eq!(problems(&c), [""; 0]);
    let regex = json!({"prefix_regex": true, "rewrite": ""});
    let c = with_base([
        mapping("a", "/o/.*", regex),
        mapping("b", "/o/exact", json!({"rewrite": ""})),
        mapping("c", "/o/", json!({"rewrite": ""})),
    ]);
    assert_eq!(order(&c), ["b", "a", "c"]);
    let c = with_base([
        mapping("a", "/", json!({"precedence": 10})),
        mapping("b", "/long/path/", json!({})),
    ]);
    assert_eq!(order(&c), ["a", "b"]);
    assert!(about(&c, "b").contains(&"I-MAP-UNREACHABLE".to_owned()));
    assert!(!about(&c, "a").contains(&"I-MAP-UNREACHABLE".to_owned()));
}

#[test]
fn ma_03_04_05_the_kinds_of_path() {
    let c = with_base([
        mapping("a", "/api/", json!({"case_sensitive": false})),
        mapping("b", "/foo", json!({"prefix_exact": true, "rewrite": ""})),
        mapping(
            "c",
            "/v[0-9]+/.*",
            json!({"prefix_regex": true, "rewrite": ""}),
        ),
    ]);
    assert_eq!(
        row(&c, "a").matches.path,
        PathMatch::Prefix {
            value: "/api/".into(),
            ignore_case: true
        }
    );
    assert_eq!(
        row(&c, "b").matches.path,
        PathMatch::Exact {
            value: "/foo".into(),
            ignore_case: false
        }
    );
    assert_eq!(
        row(&c, "c").matches.path,
        PathMatch::Regex {
            value: "/v[0-9]+/.*".into()
        }
    );
    assert_eq!(problems(&c), [""; 0]);
}

#[test]
fn ma_07_17_hosts_count_by_their_length() {
    let c = with_base([
        mapping("a", "/x/", json!({"hostname": "a.example.com"})),
        mapping("b", "/x/y/", json!({})),
    ]);
    assert_eq!(order(&c), ["b", "a"]);
    let c = with_base([
        mapping("a", "/", json!({"hostname": "*.example.com"})),
        mapping("b", "/", json!({"hostname": "a.co"})),
    ]);
    assert_eq!(order(&c), ["a", "b"]);
    let set = c.snapshot.route_sets.get(&row(&c, "a").set).expect("set");
    assert_eq!(set.host, HostPattern::Suffix(".example.com".into()));
}

#[test]
fn ma_09_10_13_14_conditions_outrank_their_absence() {
    let c = with_base([
        mapping("a", "/", json!({"precedence": -1})),
        mapping("b", "/", json!({"headers": {"x-v": "2"}})),
    ]);
    assert_eq!(order(&c), ["b", "a"]);
    let c = with_base([
        mapping("a", "/", json!({})),
        mapping("b", "/", json!({"headers": {"x-a": "1"}})),
        mapping("c", "/", json!({"headers": {"x-a": "1", "x-b": "1"}})),
    ]);
    assert_eq!(order(&c), ["c", "b", "a"]);
    let c = with_base([
        mapping("a", "/", json!({"query_parameters": {"debug": "1"}})),
        mapping("b", "/", json!({"regex_query_parameters": {"debug": ".*"}})),
        mapping("c", "/", json!({})),
    ]);
    assert_eq!(order(&c), ["b", "a", "c"]);
    let c = with_base([
        mapping("a", "/", json!({"method": "GET"})),
        mapping(
            "b",
            "/",
            json!({"method": "GET|HEAD", "method_regex": true}),
        ),
        mapping("c", "/", json!({})),
    ]);
    assert_eq!(order(&c), ["b", "a", "c"]);
    assert_eq!(
        row(&c, "b").matches.method,
        Some(StringMatch::Regex("GET|HEAD".into()))
    );
}

#[test]
fn ma_11_12_regex_headers() {
    let c = with_base([
        mapping("a", "/", json!({"regex_headers": {"X-U": ".*"}})),
        mapping("b", "/", json!({"regex_headers": {"x-v": "[0-9]+"}})),
    ]);
    let header = &row(&c, "a").matches.headers[0];
    assert_eq!(
        (header.name.as_str(), &header.value),
        ("x-u", &StringMatch::Present(true))
    );
    assert_eq!(
        row(&c, "b").matches.headers[0].value,
        StringMatch::Regex("[0-9]+".into())
    );
}

#[test]
fn ma_16_equal_lengths_go_by_reverse_text() {
    let c = with_base([
        mapping("a", "/b/", json!({})),
        mapping("b", "/z/", json!({})),
    ]);
    assert_eq!(order(&c), ["b", "a"]);
}

#[test]
fn ma_18_19_20_22_forms_of_hosts() {
    let pattern = |extra| {
        let c = with_base([mapping("a", "/", extra)]);
        let set = c.snapshot.route_sets.get(&row(&c, "a").set).expect("set");
        (set.host.clone(), problems(&c))
    };
    assert_eq!(
        pattern(json!({"hostname": "app.*"})),
        (HostPattern::Prefix("app.".into()), vec![])
    );
    assert_eq!(
        pattern(json!({"hostname": null, "host": "(a|b)\\.test", "host_regex": true})),
        (HostPattern::Regex("(a|b)\\.test".into()), vec![])
    );
    assert_eq!(
        pattern(json!({"hostname": null, "headers": {":authority": "a.test"}})),
        (HostPattern::Exact("a.test".into()), vec![])
    );
    assert_eq!(
        pattern(json!({"hostname": "A.Test"})),
        (HostPattern::Exact("a.test".into()), vec![])
    );
}

#[test]
fn ma_21_a_star_in_host_is_an_error() {
    let c = with_base([mapping(
        "a",
        "/",
        json!({"hostname": null, "host": "*.test"}),
    )]);
    assert!(find(&c, "a").is_none());
    assert_eq!(about(&c, "a"), ["E-MAP-HOST spec.host"]);
}

#[test]
fn ma_23_24_warnings() {
    let c = with_base([mapping("a", "api/", json!({}))]);
    assert_eq!(problems(&c), ["W-MAP-PREFIX a spec.prefix"]);
    assert!(find(&c, "a").is_some());
    let c = with_base([mapping(
        "a",
        "/x/",
        json!({"host": "one.test", "hostname": "two.test"}),
    )]);
    assert_eq!(problems(&c), ["W-IGNORED a spec.host"]);
    let set = c.snapshot.route_sets.get(&row(&c, "a").set).expect("set");
    assert_eq!(set.host, HostPattern::Exact("two.test".into()));
}

#[test]
fn acme_prefixes_are_always_routed() {
    let challenge = "/.well-known/acme-challenge/";
    let c = with_base([
        mapping("a", challenge, json!({})),
        mapping("b", &format!("{challenge}token"), json!({})),
        mapping("c", &format!("{challenge}x"), json!({"prefix_exact": true})),
        mapping("d", "/", json!({})),
    ]);
    let routed = |name| row(&c, name).always_routed;
    assert_eq!(["a", "b", "c", "d"].map(routed), [true, true, false, false]);
}
