//! SE: secure, insecure, redirect to https (spec/routing §8). a{/a/}, hostname `*`.

use legate_testkit::{Client, Pair, TlsOptions};

use crate::harness::{Case, Gate, Request, empty, short};

fn with_a(case: Case) -> Case {
    case.map("a", "prefix: /a/")
}

async fn https(gate: &Gate, sni: &str, request: &str) -> String {
    let mut client = Client::connect_tls(gate.address(8443), &TlsOptions::sni(sni))
        .await
        .expect("handshake");
    short(&gate.send_on(&mut client, &Request::parse(request)).await)
}

#[tokio::test]
async fn se_01() {
    with_a(empty().l8080().host("h", "hostname: a.test"))
        .check(&[
            ("/a/x?y=1 host=a.test", "301 https://a.test/a/x?y=1"),
            ("/zz host=a.test", "404"),
            ("/a/x host=a.test:8080", "404"),
        ])
        .await;
}

#[tokio::test]
async fn se_02() {
    with_a(empty().l8080().host("h", "hostname: \"*\""))
        .check(&[
            ("/a/ host=a.test:8080", "301 https://a.test:8080/a/"),
            ("/a/ host=a.test:80", "301 https://a.test/a/"),
            (
                "/a/ host=a.test x-forwarded-proto:https",
                "301 https://a.test/a/",
            ),
        ])
        .await;
}

#[tokio::test]
async fn se_03() {
    with_a(
        empty()
            .listener("l", 8080, "protocol: HTTP\nsecurityModel: XFP\nl7Depth: 1")
            .host("h", "hostname: \"*\""),
    )
    .check(&[
        ("/a/x x-forwarded-proto:https", "a:/x"),
        ("/a/x x-forwarded-proto:HTTPS", "301 https://t/a/x"),
        ("/a/x x-forwarded-proto:https,_http", "301 https://t/a/x"),
    ])
    .await;
}

#[tokio::test]
async fn se_04() {
    let gate = with_a(empty().l8443().tls_host("h", "a.test", ""))
        .start()
        .await;
    assert_eq!(https(&gate, "a.test", "/a/x host=a.test").await, "a:/x");
    gate.rows(
        8443,
        &[
            ("/a/x host=a.test:8443", "404"),
            ("/a/x host=a.test", "301 https://a.test/a/x"),
        ],
    )
    .await;
}

#[tokio::test]
async fn se_05() {
    let action = "requestPolicy: {insecure: {action: Reject}}";
    let gate = with_a(empty().l8443().tls_host("h", "a.test", action))
        .start()
        .await;
    assert_eq!(https(&gate, "a.test", "/a/x host=a.test").await, "a:/x");
    gate.rows(8443, &[("/a/x host=a.test", "404")]).await;
}

#[tokio::test]
async fn se_06() {
    let host = "hostname: a.test\nrequestPolicy: {insecure: {action: Reject}}";
    with_a(
        empty()
            .listener("l", 8080, "protocol: HTTP\nsecurityModel: SECURE")
            .host("h", host),
    )
    .check(&[("/a/x host=a.test", "a:/x")])
    .await;
}

#[tokio::test]
async fn se_07() {
    let listener = "protocol: HTTPS\nsecurityModel: INSECURE";
    let gate = with_a(
        empty()
            .listener("l", 8443, listener)
            .tls_host("h", "a.test", ""),
    )
    .start()
    .await;
    assert_eq!(
        https(&gate, "a.test", "/a/x host=a.test").await,
        "301 https://a.test/a/x"
    );
}

#[tokio::test]
async fn se_08() {
    with_a(
        empty()
            .listener("l", 8080, "protocol: HTTP\nsecurityModel: INSECURE")
            .host(
                "r",
                "hostname: r.test\nrequestPolicy: {insecure: {action: Reject}}",
            )
            .host(
                "o",
                "hostname: o.test\nrequestPolicy: {insecure: {action: Route}}",
            ),
    )
    .check(&[("/a/x host=r.test", "404"), ("/a/x host=o.test", "a:/x")])
    .await;
}

#[tokio::test]
async fn se_09() {
    let host = "hostname: a.test\nrequestPolicy: {insecure: {action: Reject}}";
    with_a(empty().l8080().host("h", host))
        .map(
            "acme",
            "prefix: /.well-known/acme-challenge/\nrewrite: \"\"",
        )
        .check(&[
            (
                "/.well-known/acme-challenge/tok host=a.test",
                "acme:/.well-known/acme-challenge/tok",
            ),
            ("/a/ host=a.test", "404"),
        ])
        .await;
}

#[tokio::test]
async fn se_10() {
    with_a(empty().l8080().host("h", "hostname: a.test"))
        .map(
            "acme",
            "prefix: /.well-known/acme-challenge/tok\nrewrite: \"\"",
        )
        .check(&[(
            "/.well-known/acme-challenge/tok host=a.test",
            "acme:/.well-known/acme-challenge/tok",
        )])
        .await;
}

#[tokio::test]
async fn se_11() {
    with_a(empty().l8080().host("ha", "hostname: a.test").host(
        "hb",
        "hostname: b.test\nrequestPolicy: {insecure: {action: Route}}",
    ))
    .check(&[
        ("/a/ host=a.test", "301 https://a.test/a/"),
        ("/a/ host=b.test", "a:/"),
    ])
    .await;
}

#[tokio::test]
async fn se_12() {
    let pair = Pair::self_signed(&["fallback.test"]);
    let gate = with_a(
        empty()
            .l8080()
            .l8443()
            .raw(&pair.secret("default", "fallback-self-signed-cert")),
    )
    .start()
    .await;
    gate.rows(8080, &[("/a/ host=x.test", "301 https://x.test/a/")])
        .await;
    assert_eq!(https(&gate, "any.test", "/a/ host=any.test").await, "a:/");
}

#[tokio::test]
async fn se_13() {
    with_a(
        empty()
            .l8080()
            .host("h", "hostname: \"*\"")
            .module("use_remote_address: false"),
    )
    .check(&[
        ("/a/ x-forwarded-proto:https", "a:/"),
        ("/a/ x-forwarded-proto:http", "301 https://t/a/"),
    ])
    .await;
}

#[tokio::test]
async fn se_14() {
    let host = "requestPolicy: {insecure: {additionalPort: 8080}}";
    let gate = with_a(empty().l8443().tls_host("h", "a.test", host))
        .start()
        .await;
    assert_eq!(gate.running.bound(8080), None);
    gate.diagnoses(&["W-IGNORED"]);
}
