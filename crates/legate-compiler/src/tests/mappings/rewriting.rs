use legate_config::policy::{HostRewrite, PathRewrite, Replacement};
use legate_config::route::{Action, Redirect, RedirectPath};
use serde_json::{Value, json};

use super::{only, row};
use crate::testing::{about, crd, mapping, problems, with_base};

fn rewrite(prefix: &str, extra: Value) -> PathRewrite {
    let c = with_base([mapping("a", prefix, extra)]);
    only(&c, "a").1.rewrite.clone()
}

#[test]
fn rw_01_to_05_plain_rewrites() {
    let prefix = |matched, with: &str| PathRewrite::Prefix {
        matched,
        with: with.into(),
    };
    assert_eq!(
        rewrite("/api/", json!({"rewrite": "/v1/"})),
        prefix(5, "/v1/")
    );
    assert_eq!(rewrite("/api", json!({"rewrite": "/v1"})), prefix(4, "/v1"));
    assert_eq!(rewrite("/api/", json!({"rewrite": ""})), PathRewrite::Keep);
    assert_eq!(rewrite("/api/", json!({})), prefix(5, "/"));
    assert_eq!(
        rewrite("/e", json!({"prefix_exact": true})),
        PathRewrite::Full("/".into())
    );
    assert_eq!(
        rewrite("/r/.*", json!({"prefix_regex": true})),
        PathRewrite::Full("/".into())
    );
}

#[test]
fn rw_06_08_regex_rewrites() {
    let replace = json!({"pattern": "^/u/([0-9]+)$", "substitution": "/user/\\1"});
    let PathRewrite::Regex(replace) = rewrite("/u/", json!({"regex_rewrite": replace})) else {
        panic!("a regex rewrite");
    };
    assert_eq!(
        replace.substitution,
        [Replacement::Text("/user/".into()), Replacement::Group(1)]
    );
    let c = with_base([mapping(
        "a",
        "/x/",
        json!({"rewrite": "/y/", "regex_rewrite": {"pattern": "x", "substitution": "y"}}),
    )]);
    assert_eq!(problems(&c), ["W-IGNORED a spec.rewrite"]);
}

fn redirect(extra: Value) -> (Redirect, Vec<String>) {
    let mut all = json!({"host_redirect": true, "service": "n.test"});
    all.as_object_mut()
        .expect("object")
        .extend(extra.as_object().expect("object").clone());
    let c = with_base([mapping("a", "/a/", all)]);
    match &row(&c, "a").action {
        Action::Redirect(redirect) => (redirect.clone(), problems(&c)),
        other => panic!("no redirect: {other:?}"),
    }
}

#[test]
fn rw_09_to_14_16_redirects() {
    let (plain, problems) = redirect(json!({"service": "new.example.com"}));
    assert_eq!(
        plain,
        Redirect {
            scheme: None,
            host: Some("new.example.com".into()),
            path: RedirectPath::Keep,
            status: 301
        }
    );
    assert_eq!(problems, [""; 0]);
    let (full, _) = redirect(
        json!({"service": "n.test:8443", "path_redirect": "/zz", "redirect_response_code": 308}),
    );
    assert_eq!(full.host.as_deref(), Some("n.test:8443"));
    assert_eq!(
        (full.path, full.status),
        (RedirectPath::Full("/zz".into()), 308)
    );
    let (prefix, _) = redirect(json!({"prefix_redirect": "/b/"}));
    assert_eq!(
        prefix.path,
        RedirectPath::Prefix {
            matched: 3,
            with: "/b/".into()
        }
    );
    let (regex, _) =
        redirect(json!({"regex_redirect": {"pattern": "/a/(.*)", "substitution": "/c/\\1"}}));
    assert!(matches!(regex.path, RedirectPath::Regex(_)));
    let (both, problems) = redirect(json!({"path_redirect": "/p", "prefix_redirect": "/b/"}));
    assert_eq!(both.path, RedirectPath::Full("/p".into()));
    assert_eq!(problems, ["E-MAP-REDIRECT a spec.prefix_redirect"]);
    let (https, _) = redirect(json!({"service": "https://n.test"}));
    assert_eq!(
        (https.scheme.as_deref(), https.host.as_deref()),
        (Some("https"), Some("n.test"))
    );
}

#[test]
fn rw_15_redirect_fields_need_host_redirect() {
    let c = with_base([mapping("a", "/a/", json!({"path_redirect": "/p"}))]);
    assert_eq!(problems(&c), ["W-IGNORED a spec.path_redirect"]);
    assert!(matches!(row(&c, "a").action, Action::Forward(_)));
}

#[test]
fn rw_21_22_hosts() {
    let host = |extra| {
        let c = with_base([mapping("a", "/a/", extra)]);
        (only(&c, "a").1.host.clone(), problems(&c))
    };
    assert_eq!(
        host(json!({"host_rewrite": "in.test"})),
        (HostRewrite::Literal("in.test".into()), vec![])
    );
    let up = json!({"auto_host_rewrite": true, "service": "up.example.com"});
    let c = with_base([mapping("b", "/b/", up)]);
    let (cluster, policies) = only(&c, "b");
    assert_eq!(policies.host, HostRewrite::Auto);
    assert_eq!(cluster.host_name.as_deref(), Some("up.example.com"));
    let (host, problems) = host(json!({"host_rewrite": "x", "auto_host_rewrite": true}));
    assert_eq!(host, HostRewrite::Literal("x".into()));
    assert_eq!(problems, ["E-MAP-HEADER a spec.auto_host_rewrite"]);
}

#[test]
fn hd_01_to_06_10_added_headers() {
    let c = with_base([mapping(
        "a",
        "/",
        json!({
            "add_request_headers": {
                "X-A": {"value": "1"}, "x-b": {"value": "2", "append": false},
                "x-p": {"value": "100%"}, "Host": {"value": "x"},
                "x-ip": {"value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"},
            },
            "remove_request_headers": ["X-A"],
            "add_response_headers": {"x-r": {"value": ""}},
        }),
    )]);
    let (_, policies) = only(&c, "a");
    let names: Vec<(&str, bool)> = policies
        .request_headers
        .add
        .iter()
        .map(|add| (add.name.as_str(), add.append))
        .collect();
    assert_eq!(names, [("x-a", true), ("x-b", false), ("x-ip", true)]);
    assert_eq!(policies.request_headers.remove, ["x-a"]);
    assert!(policies.response_headers.is_empty());
    assert_eq!(
        problems(&c),
        [
            "E-MAP-HEADER a spec.add_request_headers.Host",
            "E-MAP-HEADER a spec.add_request_headers.x-p"
        ]
    );
}

fn response_headers(module: Value, extra: Value) -> Vec<String> {
    let c = with_base([
        crd("Module", "ambassador", json!({"config": module})),
        mapping("a", "/", extra),
    ]);
    only(&c, "a")
        .1
        .response_headers
        .add
        .iter()
        .map(|add| add.name.clone())
        .collect()
}

#[test]
fn hd_07_08_module_defaults() {
    let module =
        || json!({"defaults": {"httpmapping": {"add_response_headers": {"x-d": {"value": "d"}}}}});
    assert_eq!(response_headers(module(), json!({})), ["x-d"]);
    let own = json!({"add_response_headers": {"x-b": {"value": "b"}}});
    assert_eq!(response_headers(module(), own), ["x-b"]);
    assert_eq!(
        response_headers(module(), json!({"add_response_headers": {}})),
        [""; 0]
    );
}

#[test]
fn hd_09_12_13_linkerd_and_upgrades() {
    let c = with_base([
        mapping(
            "a",
            "/a/",
            json!({"add_linkerd_headers": true, "service": "quote.apps:8080"}),
        ),
        mapping("b", "/b/", json!({"use_websocket": false})),
        mapping("c", "/c/", json!({"allow_upgrade": ["WebSocket"]})),
    ]);
    assert_eq!(
        only(&c, "a").1.linkerd_dst.as_deref(),
        Some("quote.apps:8080")
    );
    assert_eq!(only(&c, "b").1.upgrades, [""; 0]);
    assert_eq!(only(&c, "c").1.upgrades, ["websocket"]);
}

#[test]
fn md_08_15_module_timeouts_and_long_regexes() {
    let c = with_base([
        crd(
            "Module",
            "ambassador",
            json!({"config": {"cluster_request_timeout_ms": 1000, "regex_max_size": 200}}),
        ),
        mapping("a", "/a/", json!({})),
        mapping("b", "/b/", json!({"timeout_ms": 0})),
        mapping(
            "c",
            &"(abc|def)?".repeat(60),
            json!({"prefix_regex": true, "rewrite": ""}),
        ),
    ]);
    assert_eq!(only(&c, "a").1.timeout_ms, 1000);
    assert_eq!(only(&c, "b").1.timeout_ms, 0);
    assert_eq!(about(&c, "c"), ["I-NOT-IN-FOLDER spec.service"]);
}
