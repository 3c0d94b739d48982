//! The worked examples CV of spec/routing §8, and what goes beyond them.

use serde_json::{Value, json};

use super::*;

fn run(kind: Kind, written_as: WrittenAs, mut spec: Value) -> (Value, Conversion) {
    let conversion = convert(kind, &mut spec, written_as);
    (spec, conversion)
}

fn v2(kind: Kind, spec: Value) -> Value {
    run(kind, WrittenAs::V2, spec).0
}

fn mapping(spec: Value) -> Value {
    v2(Kind::Mapping, spec)
}

fn issues(conversion: &Conversion) -> Vec<(&str, &str)> {
    conversion
        .issues
        .iter()
        .map(|issue| (issue.code, issue.path.as_str()))
        .collect()
}

#[test]
fn cv_01_no_host_means_every_host() {
    for spec in [
        json!({"prefix": "/", "service": "s"}),
        json!({"prefix": "/", "service": "s", "host": ""}),
        json!({"prefix": "/", "service": "s", "host": null, "host_regex": false}),
    ] {
        let expected = json!({"prefix": "/", "service": "s", "hostname": "*"});
        assert_eq!(mapping(spec), expected);
    }
    let v3 = json!({"prefix": "/", "service": "s"});
    assert_eq!(run(Kind::Mapping, WrittenAs::V3Alpha1, v3.clone()).0, v3);
}

#[test]
fn cv_02_host_becomes_hostname() {
    assert_eq!(
        mapping(json!({"host": "a.test"})),
        json!({"hostname": "a.test"})
    );
    let v3 = json!({"host": "a.test"});
    assert_eq!(run(Kind::Mapping, WrittenAs::V3Alpha1, v3.clone()).0, v3);
}

#[test]
fn cv_03_host_regex_is_kept() {
    let spec = json!({"host": "^a.*$", "host_regex": true});
    assert_eq!(mapping(spec.clone()), spec);
}

#[test]
fn cv_04_boolean_headers() {
    for (exact, regex, residue) in [
        ("headers", "regex_headers", "v2BoolHeaders"),
        (
            "query_parameters",
            "regex_query_parameters",
            "v2BoolQueryParameters",
        ),
    ] {
        let spec = json!({"hostname": "*", exact: {"x-a": true, "x-b": "1", "x-c": false}});
        let expected = json!({
            "hostname": "*", exact: {"x-b": "1"}, regex: {"x-a": ".*"}, residue: ["x-a"],
        });
        // The shape is read in a v3alpha1 document too.
        for written_as in [WrittenAs::V1, WrittenAs::V2, WrittenAs::V3Alpha1] {
            let (converted, conversion) = run(Kind::Mapping, written_as, spec.clone());
            assert_eq!(converted, expected);
            let lost = format!("spec.{exact}.x-c");
            assert!(issues(&conversion).contains(&("I-CONVERTED", lost.as_str())));
        }
    }
    let there = json!({"host": "a", "headers": {"a": true}, "regex_headers": {"a": "x.*"}});
    let (converted, conversion) = run(Kind::Mapping, WrittenAs::V2, there);
    let expected = json!({"hostname": "a", "headers": {}, "regex_headers": {"a": "x.*"}});
    assert_eq!(converted, expected);
    assert_eq!(issues(&conversion), [("I-CONVERTED", "spec.headers.a")]);
}

#[test]
fn cv_05_tls_true_replaces_the_scheme() {
    let spec = json!({"host": "a", "tls": true, "service": "http://s"});
    let expected = json!({
        "hostname": "a",
        "service": "https://s",
        "v2ExplicitTLS": {"tls": "bool:true", "serviceScheme": "http://"},
    });
    assert_eq!(mapping(spec), expected);
    let spec = json!({"port": 1, "tls": true, "service": "s:5432"});
    let expected =
        json!({"port": 1, "service": "https://s:5432", "v2ExplicitTLS": {"tls": "bool:true"}});
    assert_eq!(v2(Kind::TcpMapping, spec), expected);
    let spec = json!({"auth_service": "auth", "tls": true});
    let expected = json!({"auth_service": "https://auth", "v2ExplicitTLS": {"tls": "bool:true"}});
    assert_eq!(v2(Kind::AuthService, spec), expected);
}

#[test]
fn cv_06_tls_false_leaves_the_scheme() {
    let spec = json!({"host": "a", "tls": false, "service": "https://s"});
    let expected = json!({
        "hostname": "a", "service": "https://s", "v2ExplicitTLS": {"tls": "bool:false"},
    });
    assert_eq!(mapping(spec), expected);
}

#[test]
fn cv_07_tls_text_is_a_context() {
    let spec = json!({"host": "a", "tls": "upstream", "service": "s"});
    let expected = json!({"hostname": "a", "tls": "upstream", "service": "s"});
    assert_eq!(mapping(spec), expected);
}

#[test]
fn cv_08_added_headers() {
    let spec = json!({
        "host": "a",
        "add_request_headers": {"x-a": "v"},
        "add_response_headers": {"x-b": null, "x-c": {"value": "w", "append": false}},
    });
    let expected = json!({
        "hostname": "a",
        "add_request_headers": {"x-a": {"value": "v", "v2Representation": "string"}},
        "add_response_headers": {
            "x-b": {"value": "", "v2Representation": "null"},
            "x-c": {"value": "w", "append": false},
        },
    });
    assert_eq!(mapping(spec), expected);
}

#[test]
fn cv_09_removed_headers() {
    let spec = json!({
        "host": "a", "remove_request_headers": "x-a", "remove_response_headers": ["x-b"],
    });
    let expected = json!({
        "hostname": "a", "remove_request_headers": ["x-a"], "remove_response_headers": ["x-b"],
    });
    assert_eq!(mapping(spec), expected);
}

#[test]
fn cv_10_cors_origins() {
    let spec = json!({
        "host": "a",
        "cors": {"origins": "https://a.test, https://b.test", "methods": "GET, POST"},
    });
    let expected = json!({
        "hostname": "a",
        "cors": {
            "origins": ["https://a.test", "https://b.test"],
            "methods": ["GET", "POST"],
            "v2CommaSeparatedOrigins": true,
        },
    });
    assert_eq!(mapping(spec), expected);
}

#[test]
fn cv_12_selector_is_copied() {
    let selector = json!({"matchLabels": {"a": "b"}});
    let spec = json!({"selector": selector});
    let expected = json!({"selector": selector, "mappingSelector": selector});
    assert_eq!(v2(Kind::Host, spec), expected);
    let both = json!({"selector": selector, "mappingSelector": {"matchLabels": {"c": "d"}}});
    assert_eq!(v2(Kind::Host, both.clone()), both);
}

#[test]
fn cv_13_ambassador_id_under_its_old_name_follows() {
    for spec in [
        json!({"ambassadorId": ["x"], "ambassador_id": ["y"]}),
        json!({"ambassadorId": "x", "ambassador_id": "y"}),
    ] {
        assert_eq!(v2(Kind::Host, spec), json!({"ambassador_id": ["y", "x"]}));
    }
    assert_eq!(
        v2(Kind::Host, json!({"ambassadorId": "x"})),
        json!({"ambassador_id": ["x"]})
    );
}

#[test]
fn cv_15_labels() {
    let group = json!([
        "remote_address",
        {"k": {"header": "x-k"}},
        "tenant",
        {"user": {"header": "x-u", "omit_if_not_present": true}},
        {"generic_key": "v"},
        {"generic_key": "v", "v3Key": "k"},
        {"generic_key": {"value": "v", "key": "k"}},
        "source_cluster",
        {"request_headers": {"key": "k", "header_name": "x-k"}},
    ]);
    let expected = json!([
        {"remote_address": {"key": "remote_address"}},
        {"request_headers": {"key": "k", "header_name": "x-k"}},
        {"generic_key": {"value": "tenant"}},
        {"request_headers": {"key": "user", "header_name": "x-u", "omit_if_not_present": true}},
        {"generic_key": {"value": "v"}},
        {"generic_key": {"value": "v", "key": "k"}},
        {"generic_key": {"value": "v", "key": "k"}},
        {"source_cluster": {"key": "source_cluster"}},
        {"request_headers": {"key": "k", "header_name": "x-k"}},
    ]);
    let spec = json!({"host": "a", "labels": {"ambassador": [{"g": group}]}});
    let expected = json!({"hostname": "a", "labels": {"ambassador": [{"g": expected}]}});
    assert_eq!(mapping(spec), expected);
}

#[test]
fn fields_of_v2_get_their_names_of_v3alpha1() {
    for old in OLD_NAMES.iter().filter(|old| old.old != "ambassadorId") {
        let nest = |name: &str| {
            old.within
                .iter()
                .rev()
                .fold(json!({name: 7}), |inner, outer| json!({*outer: inner}))
        };
        let (converted, conversion) = run(old.kind, WrittenAs::V3Alpha1, nest(old.old));
        assert_eq!(converted, nest(old.new), "{} {}", old.kind, old.old);
        let mut path = std::iter::once("spec")
            .chain(old.within.iter().copied())
            .chain([old.new])
            .collect::<Vec<_>>()
            .join(".");
        restore_path(&conversion.renamed, &mut path);
        assert!(path.ends_with(old.old), "{path}");
    }
    let both = json!({"stats_name": "a", "v3StatsName": "b"});
    let (converted, conversion) = run(Kind::LogService, WrittenAs::V2, both);
    assert_eq!(converted, json!({"stats_name": "a"}));
    assert_eq!(issues(&conversion), [("I-CONVERTED", "spec.v3StatsName")]);
}

#[test]
fn objects_that_were_converted_back_mean_what_they_meant() {
    let id = json!(["--apiVersion-v3alpha1-only--edge"]);
    for (spec, expected) in [
        (
            json!({"ambassador_id": id}),
            json!({"ambassador_id": ["edge"], "hostname": "*"}),
        ),
        (
            json!({"ambassador_id": id, "host": "_skip_mapping_with_empty_host_"}),
            json!({"ambassador_id": ["edge"]}),
        ),
    ] {
        for written_as in [WrittenAs::V2, WrittenAs::V3Alpha1] {
            let (converted, conversion) = run(Kind::Mapping, written_as, spec.clone());
            assert_eq!(converted, expected);
            assert_eq!(conversion.written_as, WrittenAs::V3Alpha1);
        }
    }
}

#[test]
fn a_module_of_v2_may_have_no_config() {
    assert_eq!(v2(Kind::Module, json!({})), json!({"config": {}}));
    let v3 = run(Kind::Module, WrittenAs::V3Alpha1, json!({})).0;
    assert_eq!(v3, json!({}));
}

#[test]
fn idle_timeout_of_a_tcp_mapping_is_text_or_a_number() {
    let timeout = |value: Value| v2(Kind::TcpMapping, json!({"idle_timeout_ms": value}));
    assert_eq!(timeout(json!("5000")), json!({"idle_timeout_ms": 5000}));
    assert_eq!(timeout(json!(5000)), json!({"idle_timeout_ms": 5000}));
    let spec = json!({"idle_timeout_ms": "5s"});
    let (converted, conversion) = run(Kind::TcpMapping, WrittenAs::V3Alpha1, spec);
    assert_eq!(converted, json!({}));
    assert_eq!(issues(&conversion), [("W-IGNORED", "spec.idle_timeout_ms")]);
}

#[test]
fn off_is_off_however_yaml_is_read() {
    for headers in [json!("off"), json!(false)] {
        let document = json!({
            "apiVersion": "legate.dev/v1alpha1", "kind": "RateLimitPolicy",
            "metadata": {"name": "n"}, "spec": {"headers": headers},
        });
        let crate::Decoded::Object(object) = crate::decode(document, "d") else {
            panic!("no object");
        };
        assert_eq!(object.issues, []);
        let crate::Body::RateLimitPolicy(spec) = object.body else {
            panic!("another kind");
        };
        assert_eq!(spec.headers, Some(crate::RateLimitHeaders::Off));
    }
}
