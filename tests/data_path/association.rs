//! AS: Listeners, Hosts, Mappings (spec/routing §8). Hosts have action Route unless stated.

use std::collections::BTreeSet;

use crate::harness::{Case, base, empty, manifest};

const ROUTE: &str = "requestPolicy: {insecure: {action: Route}}";

fn host(hostname: &str, more: &str) -> String {
    format!("hostname: \"{hostname}\"\n{ROUTE}\n{more}")
}

fn labelled(namespace: &str, name: &str, labels: &str, spec: &str) -> String {
    manifest("Mapping", namespace, name, spec).replacen(
        &format!("namespace: {namespace}}}"),
        &format!("namespace: {namespace}, labels: {{{labels}}}}}"),
        1,
    )
}

/// A Mapping with labels and a backend of its own name.
trait Labelled {
    fn labelled(self, name: &str, labels: &str, spec: &str) -> Self;
    fn labelled_host(self, namespace: &str, name: &str, labels: &str, spec: &str) -> Self;
}

impl Labelled for Case {
    fn labelled(self, name: &str, labels: &str, spec: &str) -> Self {
        let spec = format!("service: {name}.default\n{spec}");
        self.backend("default", name)
            .raw(&labelled("default", name, labels, &spec))
    }

    fn labelled_host(self, namespace: &str, name: &str, labels: &str, spec: &str) -> Self {
        self.raw(&labelled(namespace, name, labels, spec).replace("kind: Mapping", "kind: Host"))
    }
}

#[tokio::test]
async fn as_01() {
    let gate = empty()
        .host("any", &host("*", ""))
        .map("a", "prefix: /")
        .diagnoses(&["W-NO-LISTENER"])
        .await;
    assert_eq!(gate.running.bound(8080), None);
}

#[tokio::test]
async fn as_02() {
    let gate = empty()
        .l8080()
        .map("a", "prefix: /")
        .check(&[("/", "a:/")])
        .await;
    gate.diagnoses(&["W-NO-HOST"]);
}

#[tokio::test]
async fn as_03() {
    empty()
        .l8080()
        .host("h", &host("a.test", ""))
        .map("a", "prefix: /")
        .check(&[("/ host=a.test", "a:/"), ("/ host=b.test", "404")])
        .await;
}

#[tokio::test]
async fn as_04() {
    let gate = empty()
        .l8080()
        .host("h", &host("a.test", ""))
        .bare("a", "prefix: /")
        .check(&[("/ host=a.test", "404")])
        .await;
    gate.diagnoses(&["E-MAP-UNATTACHED"]);
}

#[tokio::test]
async fn as_05() {
    empty()
        .l8080()
        .host(
            "h",
            &host("a.test", "mappingSelector: {matchLabels: {team: x}}"),
        )
        .labelled("a", "team: x", "prefix: /x/")
        .bare("b", "prefix: /y/\nhostname: a.test")
        .labelled("c", "team: x", "prefix: /z/\nhostname: a.test")
        .check(&[
            ("/x/1 host=a.test", "a:/1"),
            ("/y/1 host=a.test", "404"),
            ("/z/1 host=a.test", "c:/1"),
        ])
        .await;
}

#[tokio::test]
async fn as_06() {
    let case = || {
        empty()
            .l8080()
            .host(
                "h",
                &host(
                    "a.test",
                    "mappingSelector: {matchLabels: {team: x, tier: z}}",
                ),
            )
            .labelled("a", "team: x", "prefix: /x/")
    };
    case().check(&[("/x/ host=a.test", "404")]).await;
    case()
        .with(|options| options.strict_label_selectors = false)
        .check(&[("/x/ host=a.test", "a:/")])
        .await;
}

#[tokio::test]
async fn as_07() {
    empty()
        .l8080()
        .host("h", &host("a.test", ""))
        .host("any", &host("*", ""))
        .map("a", "prefix: /a/\nhostname: a.test")
        .map("s", "prefix: /s/")
        .check(&[
            ("/s/ host=a.test", "s:/"),
            ("/a/ host=b.test", "404"),
            ("/s/ host=b.test", "s:/"),
        ])
        .await;
}

#[tokio::test]
async fn as_08() {
    empty()
        .l8080()
        .host(
            "h",
            &host("a.test", "mappingSelector: {matchLabels: {team: x}}"),
        )
        .host("any", &host("*", ""))
        .map("s", "prefix: /s/")
        .check(&[("/s/ host=a.test", "404"), ("/s/ host=b.test", "s:/")])
        .await;
}

#[tokio::test]
async fn as_09() {
    empty()
        .l8080()
        .host("wild", &host("*.test", ""))
        .host("exact", &host("a.test", ""))
        .map("s", "prefix: /\nhostname: \"*.test\"")
        .check(&[
            ("/ host=a.test", "s:/"),
            ("/ host=x.y.test", "s:/"),
            ("/ host=test", "404"),
        ])
        .await;
}

#[tokio::test]
async fn as_10() {
    let case = || {
        empty()
            .l8080()
            .host("h", &host("a.test", ""))
            .map("s", "prefix: /")
    };
    case().check(&[("/ host=a.test:8080", "404")]).await;
    let gate = case()
        .module("strip_matching_host_port: true")
        .start()
        .await;
    let bound = gate.address(8080).port();
    gate.rows(
        8080,
        &[
            ("/ host=a.test:8080", "s:/"),
            (&format!("/ host=a.test:{bound}"), "s:/"),
            ("/ host=a.test:81", "404"),
        ],
    )
    .await;
}

#[tokio::test]
async fn as_11() {
    empty()
        .l8080()
        .host("h", &host("a.test:8080", ""))
        .map("s", "prefix: /")
        .check(&[("/ host=a.test:8080", "s:/"), ("/ host=a.test", "404")])
        .await;
}

#[tokio::test]
async fn as_12() {
    let gate = empty()
        .raw(&manifest(
            "Listener",
            "gw",
            "http",
            "port: 8080\nprotocol: HTTP\nsecurityModel: XFP\nhostBinding: {namespace: {from: SELF}}",
        ))
        .raw(&manifest("Host", "app", "h", &host("*", "")))
        .map("a", "prefix: /")
        .diagnoses(&["E-LISTENER-UNUSED", "E-HOST-UNBOUND"])
        .await;
    assert_eq!(gate.running.bound(8080), None);
}

#[tokio::test]
async fn as_13() {
    let gate = empty()
        .map("a", "prefix: /")
        .object(
            "Listener",
            "http",
            "port: 8080\nprotocol: HTTP\nsecurityModel: XFP\nhostBinding: {selector: {matchLabels: {env: prod}}}",
        )
        .labelled_host("default", "p", "env: prod", &host("p.test", ""))
        .host("q", &host("q.test", ""))
        .labelled_host("other", "r", "env: prod", &host("r.test", ""))
        .check(&[
            ("/ host=p.test", "a:/"),
            ("/ host=q.test", "404"),
            ("/ host=r.test", "404"),
        ])
        .await;
    gate.diagnoses(&["E-HOST-UNBOUND"]);
}

#[tokio::test]
async fn as_14() {
    let gate = empty()
        .listener(
            "l",
            8080,
            "protocol: HTTP\nprotocolStack: [TLS, HTTP, TCP]\nsecurityModel: XFP",
        )
        .host("any", &host("*", ""))
        .map("a", "prefix: /")
        .check(&[("/", "a:/")])
        .await;
    gate.diagnoses(&["E-LISTENER-STACK"]);
}

#[tokio::test]
async fn as_15() {
    let gate = empty()
        .listener("l", 8080, "securityModel: XFP")
        .host("any", &host("*", ""))
        .map("a", "prefix: /")
        .diagnoses(&["E-LISTENER-STACK"])
        .await;
    assert_eq!(gate.running.bound(8080), None);
}

#[tokio::test]
async fn as_16() {
    empty()
        .bare_in("x", "a", "prefix: /\nhostname: \"*\"")
        .raw(&manifest("Host", "w", "h", &host("*", "")))
        .raw(&manifest(
            "Listener",
            "z",
            "l",
            "port: 8080\nprotocol: HTTP\nsecurityModel: XFP\nhostBinding: {namespace: {from: ALL}}",
        ))
        .check(&[("/", "a:/")])
        .await;
}

#[tokio::test]
async fn as_17() {
    let gate = empty()
        .l8080()
        .host("h1", &host("a.test", ""))
        .host(
            "h2",
            "hostname: a.test\nrequestPolicy: {insecure: {action: Reject}}",
        )
        .map("a", "prefix: /")
        .check(&[("/ host=a.test", "a:/")])
        .await;
    gate.diagnoses(&["E-HOST-DUPLICATE"]);
}

#[tokio::test]
async fn as_18() {
    let selector = "mappingSelector: {matchExpressions: [{key: team, operator: In, values: [x]}]}";
    empty()
        .l8080()
        .host("h", &host("a.test", selector))
        .labelled("a", "team: y", "prefix: /")
        .labelled("b", "team: x", "prefix: /b/")
        .check(&[("/ host=a.test", "404"), ("/b/ host=a.test", "b:/")])
        .await;
}

#[tokio::test]
async fn as_19() {
    let gate = empty()
        .object(
            "Listener",
            "l",
            "port: 8080\nprotocol: HTTP\nsecurityModel: XFP\nhostBinding: {namespace: {from: SELECTOR, selector: {matchLabels: {a: b}}}}",
        )
        .host("here", &host("here.test", ""))
        .raw(&manifest("Host", "other", "there", &host("there.test", "")))
        .map("a", "prefix: /")
        .check(&[("/ host=here.test", "a:/"), ("/ host=there.test", "404")])
        .await;
    let all = gate.running.diagnostics();
    assert!(
        all.iter().any(|item| item.code.as_str().starts_with("E-")
            && item.path.starts_with("spec.hostBinding.namespace")),
        "{all:#?}"
    );
}

#[tokio::test]
async fn as_20() {
    empty()
        .l8080()
        .host(
            "h1",
            &host("foo.test", "mappingSelector: {matchLabels: {h: h1}}"),
        )
        .host(
            "h2",
            &host("foo.*", "mappingSelector: {matchLabels: {h: h2}}"),
        )
        .host(
            "h3",
            &host("*.test", "mappingSelector: {matchLabels: {h: h3}}"),
        )
        .host("h4", &host("*", "mappingSelector: {matchLabels: {h: h4}}"))
        .labelled("a", "h: h1", "prefix: /")
        .labelled("b", "h: h2", "prefix: /")
        .labelled("c", "h: h3", "prefix: /")
        .labelled("d", "h: h4", "prefix: /")
        .check(&[
            ("/ host=foo.test", "a:/"),
            ("/ host=foo.dev", "b:/"),
            ("/ host=x.test", "c:/"),
            ("/ host=z", "d:/"),
        ])
        .await;
}

#[tokio::test]
async fn as_21() {
    let probe = "/ambassador/v0/check_ready host=a.test";
    let gate = empty().l8080().host("h", &host("a.test", "")).start().await;
    let answer = gate.send(8080, probe).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text(), "Ambassador is ready and waiting\n");
    empty()
        .l8080()
        .host("h", "hostname: a.test")
        .check(&[(probe, "301 https://a.test/ambassador/v0/check_ready")])
        .await;
}

/// Not a row of the table: whatever order the objects come in, the same is served.
#[tokio::test]
async fn order_of_arrival_does_not_matter() {
    let gate = base()
        .map("b", "prefix: /b/")
        .map("a", "prefix: /")
        .start()
        .await;
    let names: BTreeSet<String> = gate.origins.keys().cloned().collect();
    assert_eq!(names.len(), 2);
    gate.rows(8080, &[("/b/1", "b:/1"), ("/c", "a:/c")]).await;
}
