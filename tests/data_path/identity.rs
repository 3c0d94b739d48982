//! ID: ambassador_id (spec/routing §8). The process's id is `edge` unless stated.

use crate::harness::{Case, base, empty};

fn edge(case: Case) -> Case {
    case.with(|options| options.ambassador_id = "edge".to_owned())
}

/// Listener and Host of id `edge`.
fn edge_base() -> Case {
    edge(empty())
        .listener(
            "l",
            8080,
            "ambassador_id: [edge]\nprotocol: HTTP\nsecurityModel: XFP",
        )
        .host(
            "any",
            "ambassador_id: [edge]\nhostname: \"*\"\nrequestPolicy: {insecure: {action: Route}}",
        )
}

#[tokio::test]
async fn id_01() {
    base().map("a", "prefix: /").check(&[("/", "a:/")]).await;
}

#[tokio::test]
async fn id_02() {
    let gate = edge_base()
        .map("a", "prefix: /")
        .check(&[("/", "404")])
        .await;
    gate.diagnoses(&["I-ID-SKIPPED"]);
}

#[tokio::test]
async fn id_03() {
    edge_base()
        .map("a", "prefix: /\nambassador_id: [edge, other]")
        .check(&[("/", "a:/")])
        .await;
}

#[tokio::test]
async fn id_04() {
    edge_base()
        .backend("default", "a")
        .raw(
            "apiVersion: getambassador.io/v2\nkind: Mapping\nmetadata: {name: a}\nspec: {ambassador_id: edge, prefix: /, service: a}",
        )
        .check(&[("/", "a:/")])
        .await;
}

#[tokio::test]
async fn id_05() {
    base()
        .map("a", "prefix: /\nambassador_id: []")
        .check(&[("/", "a:/")])
        .await;
}

#[tokio::test]
async fn id_06() {
    let gate = edge_base()
        .module("server_name: other")
        .map("a", "prefix: /\nambassador_id: [edge]")
        .check(&[("/", "a:/")])
        .await;
    assert_eq!(gate.send(8080, "/").await.header("server"), Some("envoy"));
    gate.diagnoses(&["I-ID-SKIPPED"]);
}

#[tokio::test]
async fn id_07() {
    edge_base()
        .map("a", "prefix: /\nambassador_id: [_automatic_]")
        .check(&[("/", "a:/")])
        .await;
    base()
        .map("a", "prefix: /\nambassador_id: [x, _automatic_]")
        .check(&[("/", "a:/")])
        .await;
}

#[tokio::test]
async fn id_08() {
    let gate = edge_base()
        .listener(
            "s",
            8443,
            "ambassador_id: [edge]\nprotocol: HTTPS\nsecurityModel: XFP",
        )
        .tls_host(
            "h",
            "a.test",
            "ambassador_id: [edge]\ntlsContext: {name: c}",
        )
        .object(
            "TLSContext",
            "c",
            "ambassador_id: [other]\nmin_tls_version: v1.3",
        )
        .map("a", "prefix: /\nambassador_id: [edge]")
        .start()
        .await;
    let refused = legate_testkit::client::tls(
        gate.address(8443),
        &legate_testkit::TlsOptions::sni("a.test"),
    )
    .await
    .err()
    .map(|error| error.to_string());
    assert!(
        refused.as_deref().is_some_and(
            |text| text.contains("UnrecognisedName") || text.contains("UnrecognizedName")
        ),
        "{refused:?}"
    );
    gate.diagnoses(&["E-TLS-CONTEXT"]);
}

#[tokio::test]
async fn id_09() {
    edge_base()
        .backend("default", "a")
        .raw(
            "apiVersion: getambassador.io/v2\nkind: Mapping\nmetadata: {name: a}\nspec: {ambassador_id: [\"--apiVersion-v3alpha1-only--edge\"], hostname: \"*\", prefix: /, service: a}",
        )
        .check(&[("/", "a:/")])
        .await;
}

#[tokio::test]
async fn id_11() {
    edge_base()
        .map("a", "prefix: /\nambassador_id: [Edge]")
        .check(&[("/", "404")])
        .await;
}
