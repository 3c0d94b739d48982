//! MA: matching and order (spec/routing §8). Base: Listener 8080 HTTP XFP, Host `*` with Route.

use crate::harness::base;

#[tokio::test]
async fn ma_01() {
    base()
        .map("a", "prefix: /api/")
        .map("b", "prefix: /api/v2/")
        .check(&[
            ("/api/v2/x", "b:/x"),
            ("/api/x?y=1", "a:/x?y=1"),
            ("/api", "404"),
        ])
        .await;
}

#[tokio::test]
async fn ma_02() {
    base()
        .map("a", "prefix: /api")
        .check(&[
            ("/apiary", "a:/ary"),
            ("/api/x", "a://x"),
            ("/api", "a:/"),
            ("/API", "404"),
        ])
        .await;
}

#[tokio::test]
async fn ma_03() {
    base()
        .map("a", "prefix: /api/\ncase_sensitive: false")
        .check(&[("/API/x", "a:/x")])
        .await;
}

#[tokio::test]
async fn ma_04() {
    base()
        .map("a", "prefix: /foo\nprefix_exact: true\nrewrite: \"\"")
        .map("b", "prefix: /")
        .check(&[
            ("/foo?z", "a:/foo?z"),
            ("/foo/", "b:/foo/"),
            ("/foobar", "b:/foobar"),
        ])
        .await;
}

#[tokio::test]
async fn ma_05() {
    base()
        .map(
            "a",
            "prefix: \"/v[0-9]+/.*\"\nprefix_regex: true\nrewrite: \"\"",
        )
        .check(&[("/v12/x", "a:/v12/x"), ("/v12", "404"), ("/x/v1/y", "404")])
        .await;
}

#[tokio::test]
async fn ma_06() {
    base()
        .map("a", "prefix: /o/.*\nprefix_regex: true\nrewrite: \"\"")
        .map("b", "prefix: /o/exact\nrewrite: \"\"")
        .map("c", "prefix: /o/\nrewrite: \"\"")
        .check(&[("/o/exact", "b:/o/exact"), ("/o/x", "a:/o/x")])
        .await;
}

#[tokio::test]
async fn ma_07() {
    base()
        .map("a", "prefix: /x/\nhostname: a.example.com")
        .map("b", "prefix: /x/y/")
        .check(&[
            ("/x/y/1 host=a.example.com", "b:/1"),
            ("/x/1 host=a.example.com", "a:/1"),
            ("/x/1 host=other", "404"),
        ])
        .await;
}

#[tokio::test]
async fn ma_08() {
    base()
        .map("a", "prefix: /\nprecedence: 10")
        .map("b", "prefix: /long/path/")
        .check(&[("/long/path/x", "a:/long/path/x")])
        .await;
}

#[tokio::test]
async fn ma_09() {
    base()
        .map("a", "prefix: /\nprecedence: -1")
        .map("b", "prefix: /\nheaders: {x-v: \"2\"}")
        .check(&[("/ x-v:2", "b:/"), ("/ x-v:3", "a:/"), ("/", "a:/")])
        .await;
}

#[tokio::test]
async fn ma_10() {
    base()
        .map("a", "prefix: /")
        .map("b", "prefix: /\nheaders: {x-a: \"1\"}")
        .map("c", "prefix: /\nheaders: {x-a: \"1\", x-b: \"1\"}")
        .check(&[
            ("/ x-a:1 x-b:1", "c:/"),
            ("/ x-a:1", "b:/"),
            ("/ x-b:1", "a:/"),
        ])
        .await;
}

#[tokio::test]
async fn ma_11() {
    base()
        .map("a", "prefix: /\nregex_headers: {x-u: \".*\"}")
        .map("b", "prefix: /")
        .check(&[("/ x-u:", "a:/"), ("/", "b:/")])
        .await;
}

#[tokio::test]
async fn ma_12() {
    base()
        .map("a", "prefix: /\nregex_headers: {x-v: \"[0-9]+\"}")
        .map("b", "prefix: /")
        .check(&[("/ x-v:12a", "b:/"), ("/ x-v:12", "a:/")])
        .await;
}

#[tokio::test]
async fn ma_13() {
    base()
        .map("a", "prefix: /\nquery_parameters: {debug: \"1\"}")
        .map("b", "prefix: /\nregex_query_parameters: {debug: \".*\"}")
        .map("c", "prefix: /")
        .check(&[
            ("/?debug=1", "b:/?debug=1"),
            ("/?debug", "b:/?debug"),
            ("/?xdebug=1", "c:/?xdebug=1"),
        ])
        .await;
}

#[tokio::test]
async fn ma_14() {
    let gate = base()
        .map("a", "prefix: /\nmethod: GET")
        .map("b", "prefix: /\nmethod: GET|HEAD\nmethod_regex: true")
        .map("c", "prefix: /")
        .check(&[("GET /", "b:/"), ("POST /", "c:/")])
        .await;
    // A HEAD answer has no body to read the backend's name from; its count tells.
    assert_eq!(gate.send(8080, "HEAD /").await.status, 200);
    let requests = &gate.origins["b"].seen().requests;
    assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn ma_15() {
    base()
        .map("a", "prefix: /\nmethod: get")
        .check(&[("GET /", "404")])
        .await;
}

#[tokio::test]
async fn ma_16() {
    base()
        .map("a", "prefix: /b/")
        .map("b", "prefix: /z/")
        .check(&[("/b/1", "a:/1"), ("/z/1", "b:/1")])
        .await;
}

#[tokio::test]
async fn ma_17() {
    base()
        .map("a", "prefix: /\nhostname: \"*.example.com\"")
        .map("b", "prefix: /\nhostname: a.co")
        .check(&[
            ("/ host=x.y.example.com", "a:/"),
            ("/ host=a.co", "b:/"),
            ("/ host=example.com", "404"),
        ])
        .await;
}

#[tokio::test]
async fn ma_18() {
    base()
        .map("a", "prefix: /\nhostname: app.*")
        .check(&[("/ host=app.example.com:81", "a:/"), ("/ host=app", "404")])
        .await;
}

#[tokio::test]
async fn ma_19() {
    base()
        .bare("a", "prefix: /\nhost: '(a|b)\\.test'\nhost_regex: true")
        .check(&[("/ host=b.test", "a:/"), ("/ host=b.test:8080", "404")])
        .await;
}

#[tokio::test]
async fn ma_20() {
    base()
        .bare("a", "prefix: /\nheaders: {\":authority\": a.test}")
        .check(&[("/ host=a.test", "a:/"), ("/ host=b.test", "404")])
        .await;
}

#[tokio::test]
async fn ma_21() {
    let gate = base()
        .bare("a", "prefix: /\nhost: \"*.test\"")
        .check(&[("/ host=x.test", "404")])
        .await;
    let all = gate.running.diagnostics();
    assert!(
        all.iter()
            .any(|item| item.code.as_str().starts_with("E-") && item.path == "spec.host"),
        "{all:#?}"
    );
}

#[tokio::test]
async fn ma_22() {
    base()
        .map("a", "prefix: /\nhostname: A.Test")
        .check(&[("/ host=a.test", "a:/")])
        .await;
}

#[tokio::test]
async fn ma_23() {
    let gate = base()
        .map("a", "prefix: api/")
        .check(&[("/api/x", "404")])
        .await;
    gate.diagnoses(&["W-MAP-PREFIX"]);
}

#[tokio::test]
async fn ma_24() {
    let gate = base()
        .map("a", "prefix: /x/\nhost: one.test\nhostname: two.test")
        .check(&[("/x/ host=two.test", "a:/"), ("/x/ host=one.test", "404")])
        .await;
    gate.diagnoses(&["W-IGNORED"]);
}

#[tokio::test]
async fn ma_25() {
    base()
        .map("a", "prefix: /a/")
        .check(&[("/x/../a/%62?k=%2e%2e", "a:/b?k=%2e%2e")])
        .await;
}

#[tokio::test]
async fn ma_26() {
    base()
        .map("a", "prefix: /a/")
        .check(&[("/a%2Fb", "404")])
        .await;
    base()
        .map("a", "prefix: /a/")
        .module("reject_requests_with_escaped_slashes: true")
        .check(&[("/a%2Fb", "400"), ("/a%5cb", "400"), ("/a/x", "a:/x")])
        .await;
}

#[tokio::test]
async fn ma_27() {
    base()
        .map("a", "prefix: /a/")
        .module("merge_slashes: true")
        .check(&[("//a///b", "a:/b")])
        .await;
    base()
        .map("a", "prefix: /a/")
        .check(&[("//a///b", "404")])
        .await;
}

#[tokio::test]
async fn ma_28() {
    base()
        .map("a", "prefix: /a.b")
        .check(&[("/a%2Eb", "a:/")])
        .await;
}
