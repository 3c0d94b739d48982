//! RW: rewriting and redirects (spec/routing §8). Base as MA.

use crate::harness::{base, empty, short, upstream_header};

#[tokio::test]
async fn rw_01() {
    base()
        .map("a", "prefix: /api/\nrewrite: /v1/")
        .check(&[("/api/x?q=1", "a:/v1/x?q=1")])
        .await;
}

#[tokio::test]
async fn rw_02() {
    base()
        .map("a", "prefix: /api\nrewrite: /v1")
        .check(&[("/api/x", "a:/v1/x"), ("/apix", "a:/v1x")])
        .await;
}

#[tokio::test]
async fn rw_03() {
    base()
        .map("a", "prefix: /api/\nrewrite: \"\"")
        .check(&[("/api/x", "a:/api/x")])
        .await;
}

#[tokio::test]
async fn rw_04() {
    base()
        .map("a", "prefix: /e\nprefix_exact: true")
        .check(&[("/e?x", "a:/?x")])
        .await;
}

#[tokio::test]
async fn rw_05() {
    base()
        .map("a", "prefix: /r/.*\nprefix_regex: true")
        .check(&[("/r/long/path", "a:/")])
        .await;
}

#[tokio::test]
async fn rw_06() {
    base()
        .map(
            "a",
            "prefix: /u/\nregex_rewrite: {pattern: '^/u/([0-9]+)$', substitution: '/user/\\1'}",
        )
        .check(&[("/u/42", "a:/user/42"), ("/u/x", "a:/u/x")])
        .await;
}

#[tokio::test]
async fn rw_07() {
    base()
        .map(
            "a",
            "prefix: /\nregex_rewrite: {pattern: a, substitution: b}",
        )
        .check(&[("/aXa", "a:/bXb")])
        .await;
}

#[tokio::test]
async fn rw_08() {
    let gate = base()
        .map(
            "a",
            "prefix: /x/\nrewrite: /y/\nregex_rewrite: {pattern: '/x/(.*)', substitution: '/z/\\1'}",
        )
        .check(&[("/x/1", "a:/z/1")])
        .await;
    gate.diagnoses(&["W-IGNORED"]);
}

#[tokio::test]
async fn rw_09() {
    base()
        .map(
            "a",
            "prefix: /a/\nservice: new.example.com\nhost_redirect: true",
        )
        .check(&[("/a/x?q=1", "301 http://new.example.com/a/x?q=1")])
        .await;
}

#[tokio::test]
async fn rw_10() {
    base()
        .map(
            "a",
            "prefix: /a/\nservice: n.test:8443\nhost_redirect: true\npath_redirect: /zz\nredirect_response_code: 308",
        )
        .check(&[("/a/x?q=1", "308 http://n.test:8443/zz?q=1")])
        .await;
}

#[tokio::test]
async fn rw_11() {
    base()
        .map(
            "a",
            "prefix: /a/\nservice: n.test\nhost_redirect: true\npath_redirect: \"/zz?k=v\"",
        )
        .check(&[("/a/x?q=1", "301 http://n.test/zz?k=v")])
        .await;
}

#[tokio::test]
async fn rw_12() {
    base()
        .map(
            "a",
            "prefix: /a/\nservice: n.test\nhost_redirect: true\nprefix_redirect: /b/",
        )
        .check(&[("/a/x/y", "301 http://n.test/b/x/y")])
        .await;
}

#[tokio::test]
async fn rw_13() {
    base()
        .map(
            "a",
            "prefix: /a/\nservice: n.test\nhost_redirect: true\nregex_redirect: {pattern: '/a/(.*)', substitution: '/c/\\1'}",
        )
        .check(&[("/a/x", "301 http://n.test/c/x")])
        .await;
}

#[tokio::test]
async fn rw_14() {
    let gate = base()
        .map(
            "a",
            "prefix: /a/\nservice: n.test\nhost_redirect: true\npath_redirect: /p\nprefix_redirect: /b/",
        )
        .check(&[("/a/x", "301 http://n.test/p")])
        .await;
    let all = gate.running.diagnostics();
    assert!(
        all.iter().any(|item| item.code.as_str().starts_with("E-")
            && item.path == "spec.prefix_redirect"),
        "{all:#?}"
    );
}

#[tokio::test]
async fn rw_15() {
    let gate = base()
        .map("a", "prefix: /a/\npath_redirect: /p")
        .check(&[("/a/x", "a:/x")])
        .await;
    gate.diagnoses(&["W-IGNORED"]);
}

#[tokio::test]
async fn rw_16() {
    base()
        .map(
            "a",
            "prefix: /a/\nservice: https://n.test\nhost_redirect: true",
        )
        .check(&[("/a/x", "301 https://n.test/a/x")])
        .await;
}

#[tokio::test]
async fn rw_17() {
    empty()
        .listener("l", 8080, "protocol: HTTP\nsecurityModel: XFP\nl7Depth: 1")
        .host("any", "hostname: \"*\"")
        .map("a", "prefix: /a/\nservice: n.test\nhost_redirect: true")
        .check(&[
            ("/a/ host=o.test", "301 https://o.test/a/"),
            (
                "/a/ host=o.test x-forwarded-proto:https",
                "301 https://n.test/a/",
            ),
        ])
        .await;
}

#[tokio::test]
async fn rw_18() {
    let gate = base()
        .map("a", "prefix: /a/")
        .map(
            "b",
            "prefix: /a/\nservice: n.test\nhost_redirect: true\nweight: 10",
        )
        .check(&[("/a/ draw=0", "a:/")])
        .await;
    gate.diagnoses(&["E-MAP-GROUP"]);
    let all = gate.running.diagnostics();
    assert_eq!(
        all.iter()
            .filter(|item| item.code.as_str() == "E-MAP-GROUP")
            .count(),
        2
    );
}

#[tokio::test]
async fn rw_20() {
    let gate = base().map("a", "prefix: /a/\nrewrite: /b/").start().await;
    let answer = gate.send(8080, "/a/x").await;
    assert_eq!(short(&answer), "a:/b/x");
    assert_eq!(upstream_header(&answer, "x-envoy-original-path"), ["/a/x"]);
}

#[tokio::test]
async fn rw_21() {
    let gate = base()
        .map("a", "prefix: /a/\nhost_rewrite: in.test")
        .backend("default", "b")
        .start()
        .await;
    let answer = gate.send(8080, "/a/ host=o.test").await;
    assert_eq!(answer.json()["host"], "in.test");
    // `localhost` is a DNS name that resolves to the backend.
    let port = gate.origins["b"].address().port();
    let gate2 = base()
        .map(
            "b",
            &format!("prefix: /b/\nservice: localhost:{port}\nauto_host_rewrite: true"),
        )
        .start()
        .await;
    let answer = gate2.send(8080, "/b/ host=o.test").await;
    assert_eq!(answer.json()["host"], "localhost", "{answer:?}");
}

#[tokio::test]
async fn rw_22() {
    let gate = base()
        .map("a", "prefix: /a/\nhost_rewrite: x\nauto_host_rewrite: true")
        .start()
        .await;
    let answer = gate.send(8080, "/a/ host=o.test").await;
    assert_eq!(answer.json()["host"], "x");
    let all = gate.running.diagnostics();
    assert!(
        all.iter()
            .any(|item| item.code.as_str().starts_with("E-")
                && item.path == "spec.auto_host_rewrite"),
        "{all:#?}"
    );
}
