use legate_config::policy::PathRewrite;
use legate_config::route::{Destination, PathMatch};
use serde_json::json;

use super::{failure, find, order, row, shares, split, target};
use crate::testing::{about, crd, mapping, problems, with_base};

fn named(shares: Vec<(String, u32)>) -> Vec<String> {
    shares
        .into_iter()
        .map(|(name, share)| format!("{name}={share}"))
        .collect()
}

#[test]
fn cw_01_02_09_canaries_share_one_row() {
    let c = with_base([
        mapping("a", "/a/", json!({})),
        mapping("b", "/a/", json!({"weight": 10})),
    ]);
    assert_eq!(named(shares(row(&c, "a"))), ["b=10", "a=90"]);
    assert_eq!(order(&c), ["a"]);
    let c = with_base([
        mapping("a", "/a/", json!({"weight": 10})),
        mapping("b", "/a/", json!({"weight": 20})),
        mapping("c", "/a/", json!({})),
        mapping("d", "/a/", json!({})),
    ]);
    assert_eq!(
        named(shares(row(&c, "a"))),
        ["a=10", "b=20", "c=35", "d=35"]
    );
    assert_eq!(problems(&c), [""; 0]);
}

#[test]
fn cw_06_unserved_shares_are_warned_of() {
    let c = with_base([
        mapping("a", "/a/", json!({"weight": 30})),
        mapping("b", "/a/", json!({"weight": 30})),
        mapping("c", "/", json!({})),
    ]);
    assert_eq!(named(shares(row(&c, "a"))), ["a=30", "b=30"]);
    assert_eq!(split(row(&c, "a")).of, 100);
    assert_eq!(problems(&c), ["W-MAP-WEIGHT a spec.weight"]);
}

#[test]
fn cw_07_08_too_much_weight_is_refused() {
    let c = with_base([
        mapping("a", "/a/", json!({"weight": 60})),
        mapping("b", "/a/", json!({"weight": 60})),
    ]);
    assert_eq!(named(shares(row(&c, "a"))), ["a=100"]);
    assert_eq!(problems(&c), ["E-MAP-WEIGHT b spec.weight"]);
    let c = with_base([
        mapping("a", "/a/", json!({"weight": 150})),
        mapping("b", "/a/", json!({"weight": 10})),
    ]);
    assert_eq!(named(shares(row(&c, "b"))), ["b=100"]);
    assert_eq!(problems(&c), ["E-MAP-WEIGHT a spec.weight"]);
    let c = with_base([mapping("a", "/a/", json!({"weight": 150}))]);
    assert_eq!(failure(&c, "a").0, 500);
}

#[test]
fn all_zero_weights_answer_500() {
    let c = with_base([
        mapping("a", "/a/", json!({"weight": 0})),
        mapping("b", "/a/", json!({"weight": 0})),
    ]);
    assert_eq!(failure(&c, "a"), (500, "E-MAP-WEIGHT".into()));
    assert_eq!(problems(&c), ["E-MAP-WEIGHT a spec.weight"]);
}

#[test]
fn cw_10_11_mismatches_are_one_way() {
    let c = with_base([
        mapping("a", "/a/", json!({})),
        mapping(
            "b",
            "/a/",
            json!({"weight": 10, "connect_timeout_ms": 2000}),
        ),
    ]);
    assert_eq!(named(shares(row(&c, "a"))), ["a=100"]);
    assert_eq!(
        problems(&c),
        [
            "E-MAP-GROUP a spec.connect_timeout_ms",
            "E-MAP-GROUP b spec.connect_timeout_ms"
        ]
    );
    let c = with_base([
        mapping("a", "/a/", json!({"connect_timeout_ms": 2000})),
        mapping("b", "/a/", json!({"weight": 10})),
    ]);
    assert_eq!(named(shares(row(&c, "a"))), ["b=10", "a=90"]);
    assert_eq!(problems(&c), [""; 0]);
    let route = row(&c, "a");
    assert_eq!(target(&c, route, "a").0.connect_timeout_ms, 2000);
    assert_eq!(target(&c, route, "b").0.connect_timeout_ms, 3000);
}

#[test]
fn cw_12_the_founder_says_how_to_match() {
    let c = with_base([
        mapping("a", "/a/", json!({"prefix_exact": true, "rewrite": ""})),
        mapping("b", "/a/", json!({"weight": 10, "rewrite": ""})),
    ]);
    assert!(matches!(row(&c, "a").matches.path, PathMatch::Exact { .. }));
    assert_eq!(named(shares(row(&c, "a"))), ["b=10", "a=90"]);
    assert!(about(&c, "b").contains(&"I-MAP-DISAGREE spec.prefix".to_owned()));
}

#[test]
fn cw_13_14_different_matches_are_different_groups() {
    let c = with_base([
        mapping("a", "/a/", json!({"hostname": "a.test"})),
        mapping("b", "/a/", json!({"weight": 10})),
        mapping("c", "/a/", json!({"headers": {"x-c": "always"}})),
    ]);
    // A longer hostname before a header condition before `*`.
    assert_eq!(order(&c).len(), 3);
    assert_eq!(named(shares(row(&c, "b"))), ["b=100"]);
}

#[test]
fn cw_15_16_rewrites_are_per_member() {
    let c = with_base([
        mapping("a", "/a/", json!({"rewrite": ""})),
        mapping("b", "/a/", json!({"weight": 10})),
    ]);
    let route = row(&c, "a");
    assert_eq!(target(&c, route, "a").1.rewrite, PathRewrite::Keep);
    assert_eq!(
        target(&c, route, "b").1.rewrite,
        PathRewrite::Prefix {
            matched: 3,
            with: "/".into()
        }
    );
    let c = with_base([
        mapping(
            "a",
            "/a/",
            json!({"regex_rewrite": {"pattern": "/a/(.*)", "substitution": "/z/\\1"}}),
        ),
        mapping("b", "/a/", json!({"weight": 10})),
    ]);
    let route = row(&c, "a");
    assert!(matches!(
        target(&c, route, "a").1.rewrite,
        PathRewrite::Regex(_)
    ));
    assert!(matches!(
        target(&c, route, "b").1.rewrite,
        PathRewrite::Prefix { .. }
    ));
}

#[test]
fn cw_17_18_shadows_get_copies() {
    let c = with_base([
        mapping("a", "/a/", json!({"service": "10.0.0.1"})),
        mapping(
            "b",
            "/a/",
            json!({"service": "10.0.0.2", "shadow": true, "weight": 20}),
        ),
        mapping("c", "/a/", json!({"service": "10.0.0.2", "shadow": true})),
    ]);
    let split = super::split(row(&c, "a"));
    assert_eq!(named(shares(row(&c, "a"))), ["a=100"]);
    let mirror = split.mirror.as_ref().unwrap();
    assert_eq!((&*mirror.name, mirror.percent), ("default/b", 20));
    assert!(
        c.snapshot
            .clusters
            .get(mirror.cluster.as_str())
            .unwrap()
            .shadow
    );
    assert_eq!(about(&c, "b"), ["E-MAP-GROUP spec.shadow"]);
    assert_eq!(about(&c, "c"), ["E-MAP-GROUP spec.shadow"]);
    let c = with_base([mapping(
        "b",
        "/a/",
        json!({"service": "10.0.0.2", "shadow": true}),
    )]);
    assert!(find(&c, "b").is_none());
    assert_eq!(about(&c, "b"), ["E-MAP-GROUP spec.shadow"]);
}

/// Kept even where all settings agree: not the same cluster as the main one's.
#[test]
fn a_shadow_never_shares_a_cluster() {
    let c = with_base([
        mapping("a", "/a/", json!({"service": "10.0.0.1"})),
        mapping("b", "/a/", json!({"service": "10.0.0.1", "shadow": true})),
    ]);
    assert_eq!(c.snapshot.clusters.iter().count(), 2);
    assert_eq!(about(&c, "b"), [""; 0]);
}

#[test]
fn cw_19_added_headers_are_merged() {
    let c = with_base([
        mapping("a", "/a/", json!({})),
        mapping(
            "b",
            "/a/",
            json!({"weight": 10, "add_response_headers": {"x-c": {"value": "1"}}}),
        ),
    ]);
    let (_, policies) = target(&c, row(&c, "a"), "a");
    assert_eq!(policies.response_headers.add[0].name, "x-c");
    for name in ["a", "b"] {
        let found = about(&c, name);
        assert!(
            found.contains(&"I-MAP-DISAGREE spec.add_response_headers".to_owned()),
            "{found:?}"
        );
    }
}

#[test]
fn cw_20_timeouts_are_per_member() {
    let c = with_base([
        mapping("a", "/a/", json!({"timeout_ms": 1000})),
        mapping("b", "/a/", json!({"weight": 10})),
    ]);
    let route = row(&c, "a");
    assert_eq!(target(&c, route, "a").1.timeout_ms, 1000);
    assert_eq!(target(&c, route, "b").1.timeout_ms, 3000);
}

#[test]
fn a_faulty_member_keeps_its_share_and_founds_nothing() {
    let c = with_base([
        mapping("a", "/a/", json!({"service": "ftp://x", "weight": 10})),
        mapping("b", "/a/", json!({})),
    ]);
    let route = row(&c, "b");
    assert_eq!(named(shares(route)), ["a=10", "b=90"]);
    let Destination::Fail(fail) = &split(route).targets[0].to else {
        panic!("{route:?}");
    };
    assert_eq!((fail.status, fail.reason.as_str()), (500, "E-MAP-SERVICE"));
}

#[test]
fn rw_18_redirects_do_not_mix() {
    let c = with_base([
        mapping("a", "/a/", json!({})),
        mapping(
            "b",
            "/a/",
            json!({"service": "n.test", "host_redirect": true}),
        ),
    ]);
    assert_eq!(named(shares(row(&c, "a"))), ["a=100"]);
    assert_eq!(
        problems(&c),
        [
            "E-MAP-GROUP a spec.host_redirect",
            "E-MAP-GROUP b spec.host_redirect"
        ]
    );
}

#[test]
fn a_member_that_omits_bypass_auth_is_checked() {
    let c = with_base([
        mapping("a", "/a/", json!({"bypass_auth": true, "weight": 10})),
        mapping("b", "/a/", json!({})),
        crd("AuthService", "auth", json!({"auth_service": "auth"})),
    ]);
    let route = row(&c, "a");
    assert!(target(&c, route, "a").1.auth.is_none());
    assert!(target(&c, route, "b").1.auth.is_some());
    for name in ["a", "b"] {
        let said = about(&c, name);
        let notice = said.iter().any(|it| it.starts_with("I-MAP-DISAGREE"));
        assert!(notice, "{name}: {said:?}");
    }
}
