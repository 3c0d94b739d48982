//! MD: Module (spec/routing §8).

use std::time::Duration;

use bytes::Bytes;
use legate_testkit::{Behaviour, Client};

use crate::harness::{base, empty, manifest, short, upstream_header};

#[tokio::test]
async fn md_01() {
    let gate = base().map("a", "prefix: /").start().await;
    assert_eq!(gate.send(8080, "/").await.header("server"), Some("envoy"));
    assert_eq!(gate.send(8080, "/a").await.header("server"), Some("envoy"));
}

#[tokio::test]
async fn md_02() {
    let nginx = Behaviour {
        headers: vec![("server".into(), "nginx".into())],
        ..Behaviour::default()
    };
    let gate = base()
        .module("server_name: edge")
        .backend_with("default", "a", nginx)
        .map("a", "prefix: /a/")
        .start()
        .await;
    let answer = gate.send(8080, "/a/").await;
    let servers: Vec<_> = answer.headers.get_all("server").iter().collect();
    assert_eq!(servers, ["edge"]);
    assert_eq!(
        gate.send(8080, "/none").await.header("server"),
        Some("edge")
    );
}

#[tokio::test]
async fn md_04() {
    let gate = base()
        .module("max_request_headers_kb: 8")
        .map("a", "prefix: /")
        .start()
        .await;
    let big = "x".repeat(9 * 1024);
    let answer = gate.send(8080, &format!("/ x-big:{big}")).await;
    assert_eq!(answer.status, 431);
    let fine = "x".repeat(4 * 1024);
    assert_eq!(
        gate.send(8080, &format!("/ x-big:{fine}")).await.status,
        200
    );
}

#[tokio::test]
async fn md_05() {
    empty()
        .listener("l", 8080, "protocol: HTTP\nsecurityModel: XFP\nl7Depth: 1")
        .host(
            "any",
            "hostname: \"*\"\nrequestPolicy: {insecure: {action: Route}}",
        )
        .module("ip_deny: [{remote: 192.0.2.0/24}]")
        .map("a", "prefix: /")
        .check(&[
            ("/ x-forwarded-for:192.0.2.9", "403"),
            ("/ x-forwarded-for:198.51.100.9", "a:/"),
            (
                "/ambassador/v0/check_ready x-forwarded-for:192.0.2.9",
                "403",
            ),
        ])
        .await;
}

#[tokio::test]
async fn md_06() {
    let gate = base()
        .module("ip_allow: [{peer: 10.0.0.0/8}]\nip_deny: [{peer: 10.1.0.0/16}]")
        .map("a", "prefix: /")
        .check(&[("/ peer=10.1.2.3", "a:/"), ("/ peer=192.0.2.1", "403")])
        .await;
    gate.diagnoses(&["E-MODULE-VALUE"]);
    assert_eq!(
        gate.send(8080, "/ peer=192.0.2.1").await.text(),
        "RBAC: access denied"
    );
}

#[tokio::test]
async fn md_07() {
    let gate = base()
        .module("ip_allow: [{peer: nonsense}]")
        .map("a", "prefix: /")
        .check(&[
            ("/ peer=10.1.2.3", "403"),
            ("/nothing peer=10.1.2.3", "403"),
        ])
        .await;
    gate.diagnoses(&["E-MODULE-VALUE"]);
}

#[tokio::test]
async fn md_08() {
    let slow = Behaviour {
        delay: Duration::from_secs(2),
        ..Behaviour::default()
    };
    let gate = base()
        .module("cluster_request_timeout_ms: 1000")
        .backend_with("default", "s", slow)
        .map("a", "prefix: /a/\nservice: s")
        .map("b", "prefix: /b/\nservice: s\ntimeout_ms: 0")
        .start()
        .await;
    let answer = gate.send(8080, "/a/").await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.text(), "upstream request timeout");
    assert_eq!(short(&gate.send(8080, "/b/").await), "s:/");
}

#[tokio::test]
async fn md_11() {
    let gate = base()
        .raw(&manifest(
            "Module",
            "alpha",
            "ambassador",
            "config: {server_name: alpha}",
        ))
        .module("server_name: mine")
        .map("a", "prefix: /")
        .start()
        .await;
    assert_eq!(gate.send(8080, "/").await.header("server"), Some("mine"));
    gate.diagnoses(&["E-MODULE-DUPLICATE"]);
}

#[tokio::test]
async fn md_12() {
    let gate = base()
        .module("suppress_envoy_headers: \"yes\"")
        .map("a", "prefix: /a/\nrewrite: /b/")
        .start()
        .await;
    let answer = gate.send(8080, "/a/").await;
    assert_eq!(short(&answer), "a:/b/");
    assert_eq!(upstream_header(&answer, "x-envoy-original-path"), [""; 0]);
    assert_eq!(
        upstream_header(&answer, "x-envoy-expected-rq-timeout-ms"),
        [""; 0]
    );
    assert!(
        answer
            .headers
            .keys()
            .all(|name| !name.as_str().starts_with("x-envoy-")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn md_14() {
    let gate = empty()
        .l8080()
        .host("any", "hostname: \"*\"")
        .module("xff_num_trusted_hops: 1")
        .map("a", "prefix: /")
        .check(&[("/ x-forwarded-proto:https", "a:/")])
        .await;
    assert!(
        gate.running
            .diagnostics()
            .iter()
            .any(|item| item.path.contains("xff_num_trusted_hops"))
    );
}

#[tokio::test]
async fn md_15() {
    let long = format!(
        "/({})/.*",
        (0..60)
            .map(|n| format!("a{n}"))
            .collect::<Vec<_>>()
            .join("|")
    );
    assert!(long.len() > 200);
    base()
        .module("regex_max_size: 200")
        .map(
            "a",
            &format!("prefix: \"{long}\"\nprefix_regex: true\nrewrite: \"\""),
        )
        .check(&[("/a59/x", "a:/a59/x")])
        .await;
    let gate = base()
        .map("x", "prefix: \"/([a-z]{1000}){1000}\"\nprefix_regex: true")
        .map("g", "prefix: /g/")
        .check(&[("/g/", "g:/")])
        .await;
    gate.diagnoses(&["E-MAP-REGEX"]);
}

/// Header names with underscores (spec/services §5.6), which the harness cannot write.
#[tokio::test]
async fn headers_with_underscores() {
    for (action, status, seen) in [
        ("ALLOW", 200, true),
        ("DROP_HEADER", 200, false),
        ("REJECT_REQUEST", 400, false),
    ] {
        let gate = base()
            .module(&format!("headers_with_underscores_action: {action}"))
            .map("a", "prefix: /")
            .start()
            .await;
        gate.diagnoses(&[]);
        for mut client in [
            Client::connect(gate.address(8080)).await.unwrap(),
            Client::connect_h2c(gate.address(8080)).await.unwrap(),
        ] {
            let headers = [("x_user", "admin"), ("x-user", "ann")];
            let asked = client.request("GET", "t", "/", &headers, Bytes::new());
            let answer = asked.await.unwrap();
            assert_eq!(answer.status, status, "{action}");
            if status == 200 {
                assert_eq!(upstream_header(&answer, "x-user"), ["ann"]);
                assert_eq!(upstream_header(&answer, "x_user").len(), usize::from(seen));
            } else {
                assert!(answer.body.is_empty());
            }
        }
    }
}
