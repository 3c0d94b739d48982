//! H: cross-origin resource sharing (spec/services §3.9).

use legate_testkit::{Answer, Behaviour, Client};

use crate::harness::{Case, Request, base, short, upstream_header};

const SPEC: &str = "prefix: /\ncors: {origins: [\"https://a.example\"], methods: [GET, PUT], credentials: true, max_age: \"60\"}";
const PREFLIGHT: &str = "OPTIONS / origin:https://a.example access-control-request-method:PUT";

/// The values of all CORS headers of an answer, in a fixed order.
fn cors(answer: &Answer) -> Vec<(&'static str, String)> {
    [
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-expose-headers",
        "access-control-allow-credentials",
        "access-control-max-age",
    ]
    .into_iter()
    .flat_map(|name| {
        answer.headers.get_all(name).iter().map(move |value| {
            (
                &name["access-control-".len()..],
                value.to_str().unwrap().to_owned(),
            )
        })
    })
    .collect()
}

fn said<'a>(of: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    of.iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

fn case() -> Case {
    base().map("a", SPEC)
}

#[tokio::test]
async fn h_01() {
    let gate = case().start().await;
    let answer = gate.send(8080, PREFLIGHT).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.is_empty());
    assert_eq!(
        said(&cors(&answer)),
        [
            ("allow-origin", "https://a.example"),
            ("allow-methods", "GET, PUT"),
            ("allow-credentials", "true"),
            ("max-age", "60"),
        ]
    );
    let seen = gate.origins["a"].seen();
    assert_eq!(seen.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
    gate.diagnoses(&[]);
}

/// The same on HTTP/2.
#[tokio::test]
async fn h_01_http2() {
    let gate = case().start().await;
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let answer = gate.send_on(&mut client, &Request::parse(PREFLIGHT)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.is_empty());
    assert_eq!(
        said(&cors(&answer)).first(),
        Some(&("allow-origin", "https://a.example"))
    );
}

#[tokio::test]
async fn h_02() {
    let gate = case().start().await;
    let answer = gate.send(8080, "/ origin:https://a.example").await;
    assert_eq!(short(&answer), "a:/");
    assert_eq!(
        said(&cors(&answer)),
        [
            ("allow-origin", "https://a.example"),
            ("allow-credentials", "true"),
        ]
    );
    // The upstream may want to know it too.
    assert_eq!(upstream_header(&answer, "origin"), ["https://a.example"]);
}

#[tokio::test]
async fn h_03() {
    let gate = case().start().await;
    // Compared as it is: neither case nor a port is forgiven.
    for request in [
        "/ origin:https://b.example",
        "/ origin:https://A.example",
        "/ origin:https://a.example:443",
        "/",
    ] {
        let answer = gate.send(8080, request).await;
        assert_eq!(short(&answer), "a:/", "{request}");
        assert_eq!(said(&cors(&answer)), [], "{request}");
    }
}

#[tokio::test]
async fn h_04() {
    let gate = case().start().await;
    for request in [
        "OPTIONS / origin:https://b.example access-control-request-method:PUT",
        // No preflight: it asks for nothing.
        "OPTIONS /",
    ] {
        let answer = gate.send(8080, request).await;
        assert_eq!(short(&answer), "a:/", "{request}");
        assert_eq!(said(&cors(&answer)), [], "{request}");
    }
    // Allowed, but no preflight either.
    let answer = gate.send(8080, "OPTIONS / origin:https://a.example").await;
    assert_eq!(short(&answer), "a:/");
    assert_eq!(cors(&answer).len(), 2);
}

#[tokio::test]
async fn hd_11() {
    let spec =
        "prefix: /a/\ncors: {origins: [\"https://ok.test\"], methods: [GET, PUT], max_age: \"60\"}";
    let gate = base().map("a", spec).start().await;
    let ask =
        |origin: &str| format!("OPTIONS /a/ origin:{origin} access-control-request-method:PUT");
    let answer = gate.send(8080, &ask("https://ok.test")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        said(&cors(&answer)),
        [
            ("allow-origin", "https://ok.test"),
            ("allow-methods", "GET, PUT"),
            ("max-age", "60"),
        ]
    );
    let answer = gate.send(8080, &ask("https://no.test")).await;
    assert_eq!(short(&answer), "a:/");
    assert_eq!(said(&cors(&answer)), []);
}

/// A Mapping that does not match OPTIONS answers no preflight.
#[tokio::test]
async fn a_preflight_needs_a_route_for_options() {
    let gate = base()
        .map("a", &format!("{SPEC}\nmethod: GET"))
        .start()
        .await;
    let answer = gate.send(8080, PREFLIGHT).await;
    assert_eq!(answer.status, 404);
    assert_eq!(said(&cors(&answer)), []);
}

/// What the upstream says is overwritten, but only for an allowed origin; a reply of ours says it
/// too, after the route's own header edits.
#[tokio::test]
async fn what_the_upstream_says() {
    let own = Behaviour {
        headers: vec![("access-control-allow-origin".into(), "*".into())],
        ..Behaviour::default()
    };
    let gate = base()
        .backend_with("default", "a", own)
        .map(
            "a",
            "prefix: /a/\ncors: {origins: [\"*\"], exposed_headers: [x-a, x-b]}\nadd_response_headers: {access-control-allow-origin: edit}",
        )
        .map("b", "prefix: /b/\ncors: {origins: \"*\"}\nservice: absent.default")
        .start()
        .await;
    let answer = gate.send(8080, "/a/ origin:null").await;
    assert_eq!(
        said(&cors(&answer)),
        [("allow-origin", "null"), ("expose-headers", "x-a, x-b")]
    );
    let answer = gate.send(8080, "/a/").await;
    assert_eq!(
        said(&cors(&answer)),
        [("allow-origin", "*"), ("allow-origin", "edit")]
    );
    // The edits are for what the upstream answers.
    let answer = gate
        .send(
            8080,
            "OPTIONS /a/ origin:https://x access-control-request-method:GET",
        )
        .await;
    assert_eq!(said(&cors(&answer)), [("allow-origin", "https://x")]);
    let answer = gate.send(8080, "/b/ origin:https://x").await;
    assert!(answer.status.is_server_error(), "{}", answer.status);
    assert_eq!(said(&cors(&answer)), [("allow-origin", "https://x")]);
}

/// The Module's settings, comma texts included, hold where a Mapping has none of its own.
#[tokio::test]
async fn the_modules_settings() {
    let gate = base()
        .module("cors: {origins: \"https://a.test, https://b.test\", methods: \"GET,PUT\", headers: \"x-a , x-b\", max_age: 5}")
        .map("a", "prefix: /a/")
        .map("b", "prefix: /b/\ncors: {origins: [\"https://c.test\"]}")
        .map("c", "prefix: /c/\ncors: {}")
        .start()
        .await;
    gate.diagnoses(&[]);
    let ask = |path: &str, origin: &str| {
        format!("OPTIONS {path} origin:{origin} access-control-request-method:PUT")
    };
    let answer = gate.send(8080, &ask("/a/", "https://b.test")).await;
    assert_eq!(
        said(&cors(&answer)),
        [
            ("allow-origin", "https://b.test"),
            ("allow-methods", "GET, PUT"),
            ("allow-headers", "x-a, x-b"),
            ("max-age", "5"),
        ]
    );
    let answer = gate.send(8080, &ask("/b/", "https://c.test")).await;
    assert_eq!(said(&cors(&answer)), [("allow-origin", "https://c.test")]);
    for (path, expected) in [("/b/", "b:/"), ("/c/", "c:/")] {
        let answer = gate.send(8080, &ask(path, "https://b.test")).await;
        assert_eq!(short(&answer), expected);
        assert_eq!(said(&cors(&answer)), []);
    }
}

/// v2 writes its lists as text.
#[tokio::test]
async fn cv_10() {
    let gate = base()
        .backend("default", "a")
        .raw(
            "apiVersion: getambassador.io/v2\nkind: Mapping\nmetadata: {name: a, namespace: default}\nspec:\n  prefix: /\n  service: a\n  \
             cors: {origins: \"https://a.test, https://b.test\", exposed_headers: \"x-a, x-b\"}\n",
        )
        .start()
        .await;
    gate.diagnoses(&[]);
    let answer = gate.send(8080, "/ origin:https://b.test").await;
    assert_eq!(
        said(&cors(&answer)),
        [
            ("allow-origin", "https://b.test"),
            ("expose-headers", "x-a, x-b")
        ]
    );
}
