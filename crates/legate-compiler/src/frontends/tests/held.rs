//! Secrets that are gone, in a cluster (operator.md §6).

use legate_config::listener::ChainTls;
use serde_json::json;

use super::{Case, listener, names, pair_secret, resource, tls_host};
use crate::options::Mode;

fn cluster(documents: impl IntoIterator<Item = serde_json::Value>) -> Case {
    let mut case = Case::new(documents);
    case.options.mode = Mode::Cluster;
    case
}

#[test]
fn a_secret_that_is_gone_holds_its_chain() {
    let out = cluster([listener(8443, "HTTPS"), tls_host("h", "a.test", json!({}))]).run();
    assert!(matches!(
        out.tls(8443, "sni:a.test"),
        Some(ChainTls::Hold(_))
    ));
    // It goes on serving what it served, so the chain has its virtual host.
    let chain = out.chain(8443, "sni:a.test").expect("a chain");
    assert_eq!(names(chain), ["a.test"]);
    assert_eq!(out.said(), ["E-SECRET-MISSING Host/h spec.tlsSecret.name"]);
}

#[test]
fn authorities_that_are_gone_hold_the_chain_with_its_check() {
    let out = cluster([
        listener(8443, "HTTPS"),
        pair_secret("s"),
        resource("TLSContext", "c", json!({"ca_secret": "gone"})),
        tls_host("h", "a.test", json!({"tlsContext": {"name": "c"}})),
    ])
    .run();
    assert!(matches!(
        out.tls(8443, "sni:a.test"),
        Some(ChainTls::Hold(_))
    ));
}

#[test]
fn garbage_without_a_last_good_version_holds_the_chain() {
    let out = cluster([
        listener(8443, "HTTPS"),
        super::secret("s", &[("tls.crt", "x"), ("tls.key", "x")]),
        tls_host("h", "a.test", json!({})),
    ])
    .run();
    assert!(matches!(
        out.tls(8443, "sni:a.test"),
        Some(ChainTls::Hold(_))
    ));
}

#[test]
fn settings_that_are_wrong_refuse_whatever_the_secret() {
    let out = cluster([
        listener(8443, "HTTPS"),
        pair_secret("s"),
        tls_host("h", "a.test", json!({"tlsContext": {"name": "gone"}})),
    ])
    .run();
    assert!(out.is_refused(8443, "sni:a.test"));
}

#[test]
fn a_host_that_has_its_secret_wins_over_one_that_has_not() {
    let out = cluster([
        listener(8443, "HTTPS"),
        pair_secret("s"),
        tls_host("h1", "a.test:8443", json!({"tlsSecret": {"name": "gone"}})),
        tls_host("h2", "a.test", json!({})),
    ])
    .run();
    assert!(matches!(
        out.tls(8443, "sni:a.test"),
        Some(ChainTls::Terminate(_))
    ));
}
