//! TL rows, and the table of spec/routing §3.12.

use legate_config::listener::{ChainMatch, ChainTls, DownstreamTls, HostPattern, TlsVersion};
use serde_json::{Value, json};

use super::{
    Case, Outcome, listener, names, object, pair_secret, resource, route_host, run, secret,
    tls_host,
};
use crate::options::MissingRefs;

fn settings<'a>(out: &'a Outcome, name: &str) -> &'a DownstreamTls {
    match out.tls(8443, name) {
        Some(ChainTls::Terminate(tls)) => tls,
        other => panic!("{name}: {other:?}"),
    }
}

/// Listener 8443, Secret s, a Host `h` for a.test with more fields, and further objects.
fn with_host(more: Value, others: impl IntoIterator<Item = Value>) -> Outcome {
    let mut documents = vec![
        listener(8443, "HTTPS"),
        pair_secret("s"),
        tls_host("h", "a.test", more),
    ];
    documents.extend(others);
    run(documents)
}

fn context(name: &str, spec: Value) -> Value {
    resource("TLSContext", name, spec)
}

#[test]
fn tl_01_one_chain_per_server_name() {
    let out = run([
        listener(8443, "HTTPS"),
        pair_secret("s"),
        tls_host("h1", "a.test", json!({})),
        tls_host("h2", "*.test", json!({})),
        tls_host("h3", "*", json!({})),
    ]);
    for (name, matches, hosts) in [
        (
            "sni:a.test",
            ChainMatch::Sni(HostPattern::Exact("a.test".into())),
            ["a.test"],
        ),
        (
            "sni:*.test",
            ChainMatch::Sni(HostPattern::Suffix(".test".into())),
            ["*.test"],
        ),
        ("default", ChainMatch::DefaultTls, ["*"]),
    ] {
        let chain = out.chain(8443, name).expect(name);
        assert_eq!(chain.matches, matches);
        assert_eq!(names(chain), hosts);
    }
    assert_eq!(out.plain(8443), ["*", "*.test", "a.test"]);
    assert_eq!(out.0.certificates.len(), 1);
    assert!(out.said().is_empty());
    assert_eq!(settings(&out, "default"), settings(&out, "sni:a.test"));
}

#[test]
fn tl_02_and_03_only_tls_hosts_have_tls_chains() {
    let out = run([
        listener(8443, "HTTPS"),
        pair_secret("s"),
        tls_host("h1", "a.test", json!({})),
        route_host("h2", "b.test"),
    ]);
    assert!(out.tls(8443, "sni:a.test").is_some());
    assert!(out.chain(8443, "sni:b.test").is_none());
    assert!(out.chain(8443, "default").is_none());
    assert_eq!(out.plain(8443), ["a.test", "b.test"]);
}

#[test]
fn tl_04_hosts_of_one_server_name_share_a_chain_if_their_settings_are_equal() {
    let second = |more| tls_host("h2", "a.test:9443", more);
    let out = with_host(json!({}), [second(json!({}))]);
    let chain = out.chain(8443, "sni:a.test").expect("a chain");
    assert_eq!(names(chain), ["a.test", "a.test:9443"]);
    assert!(out.said().is_empty());

    let out = with_host(
        json!({}),
        [second(json!({"tls": {"min_tls_version": "v1.3"}}))],
    );
    let chain = out.chain(8443, "sni:a.test").expect("a chain");
    assert_eq!(names(chain), ["a.test"]);
    assert_eq!(out.plain(8443), ["a.test", "a.test:9443"]);
    assert_eq!(out.said(), ["E-HOST-DUPLICATE Host/h2 spec.hostname"]);

    // Broken settings give way to good ones, in either order.
    for (first, second) in [("a.test", "a.test:9443"), ("a.test:9443", "a.test")] {
        let out = run([
            listener(8443, "HTTPS"),
            pair_secret("s"),
            tls_host("h1", first, json!({"tlsSecret": {"name": "missing"}})),
            tls_host("h2", second, json!({})),
        ]);
        let chain = out.chain(8443, "sni:a.test").expect("a chain");
        assert_eq!(names(chain), [second]);
        assert!(!out.is_refused(8443, "sni:a.test"));
    }
}

#[test]
fn tl_05_without_tls_secret_nothing_terminates() {
    let host = resource(
        "Host",
        "h",
        json!({"hostname": "a.test", "tlsContext": {"name": "c"}}),
    );
    let out = run([
        listener(8443, "HTTPS"),
        host,
        context("c", json!({"secret": "s"})),
        pair_secret("s"),
    ]);
    assert!(out.chain(8443, "sni:a.test").is_none());
    assert_eq!(out.said(), ["W-IGNORED Host/h spec.tlsContext"]);
}

#[test]
fn tl_06_and_07_a_missing_secret_refuses_and_keeps_cleartext() {
    let documents = [listener(8443, "HTTPS"), tls_host("h", "a.test", json!({}))];
    let out = run(documents.clone());
    assert!(out.is_refused(8443, "sni:a.test"));
    assert_eq!(out.plain(8443), ["a.test"]);
    assert_eq!(out.said(), ["E-SECRET-MISSING Host/h spec.tlsSecret.name"]);
    // In a folder the Secret may well live elsewhere.
    let mut case = Case::new(documents);
    case.options.missing = MissingRefs::Info;
    let out = case.run();
    assert!(out.is_refused(8443, "sni:a.test"));
    assert_eq!(out.said(), ["I-NOT-IN-FOLDER Host/h spec.tlsSecret.name"]);
}

#[test]
fn tl_08_a_context_with_another_secret_refuses() {
    let out = with_host(
        json!({"tlsContext": {"name": "c"}}),
        [
            context("c", json!({"hosts": ["a.test"], "secret": "s2"})),
            pair_secret("s2"),
        ],
    );
    assert!(out.is_refused(8443, "sni:a.test"));
    assert_eq!(out.said(), ["E-HOST-TLS Host/h spec.tlsContext.name"]);
}

#[test]
fn tl_09_the_secret_may_live_in_another_namespace() {
    for written in [
        json!({"name": "s", "namespace": "certs"}),
        json!({"name": "s.certs"}),
    ] {
        let out = run([
            listener(8443, "HTTPS"),
            pair_secret("certs/s"),
            tls_host("h", "a.test", json!({"tlsSecret": written})),
        ]);
        assert_eq!(out.certificate(8443, "sni:a.test"), Some("certs/s"));
    }
}

#[test]
fn tl_11_and_12_client_certificates() {
    for (required, expected) in [(json!(true), true), (Value::Null, false)] {
        let out = with_host(
            json!({"tls": {"ca_secret": "ca", "cert_required": required}}),
            [pair_secret("ca")],
        );
        let auth = settings(&out, "sni:a.test")
            .client_auth
            .as_ref()
            .expect("a check");
        assert_eq!((auth.required, auth.ca.as_str()), (expected, "default/ca"));
        assert_eq!(out.0.ca_bundles.len(), 1);
        assert!(out.said().is_empty(), "{:?}", out.said());
    }
    // A CA Secret may demand it by itself.
    let out = with_host(
        json!({"tls": {"ca_secret": "ca"}}),
        [{
            let mut ca = pair_secret("ca");
            ca["stringData"]["cert_required"] = json!("true");
            ca
        }],
    );
    assert!(
        settings(&out, "sni:a.test")
            .client_auth
            .as_ref()
            .is_some_and(|auth| auth.required)
    );
}

#[test]
fn tl_13_a_missing_ca_refuses() {
    let out = with_host(json!({"tls": {"ca_secret": "missing"}}), []);
    assert!(out.is_refused(8443, "sni:a.test"));
    assert_eq!(out.said(), ["E-SECRET-MISSING Host/h spec.tls.ca_secret"]);
}

#[test]
fn a_check_that_cannot_be_made_refuses() {
    for (tls, said) in [
        (
            json!({"cert_required": true}),
            "E-HOST-TLS Host/h spec.tls.cert_required",
        ),
        (
            json!({"cacert_chain_file": "/x"}),
            "E-UNSUPPORTED Host/h spec.tls.cacert_chain_file",
        ),
        (
            json!({"ca_secret": "s", "crl_secret": "missing"}),
            "E-SECRET-MISSING Host/h spec.tls.crl_secret",
        ),
        (
            json!({"cert_chain_file": "/x", "private_key_file": "/y"}),
            "E-HOST-TLS Host/h spec.tls.cert_chain_file",
        ),
    ] {
        let out = with_host(json!({ "tls": tls }), []);
        assert!(out.is_refused(8443, "sni:a.test"), "{said}");
        assert_eq!(out.said(), [said]);
    }
}

#[test]
fn tl_14_versions() {
    for (tls, min, max, said) in [
        (
            json!({"min_tls_version": "v1.3"}),
            TlsVersion::V13,
            TlsVersion::V13,
            None,
        ),
        (
            json!({"max_tls_version": "v1.2"}),
            TlsVersion::V12,
            TlsVersion::V12,
            None,
        ),
        (
            json!({"min_tls_version": "v1.0"}),
            TlsVersion::V12,
            TlsVersion::V13,
            Some("W-TLS-VERSION Host/h spec.tls.min_tls_version"),
        ),
    ] {
        let out = with_host(json!({ "tls": tls }), []);
        let found = settings(&out, "sni:a.test");
        assert_eq!((found.min_version, found.max_version), (min, max));
        assert_eq!(
            out.said(),
            said.map(str::to_owned).into_iter().collect::<Vec<_>>()
        );
    }
    for (tls, field) in [
        (json!({"max_tls_version": "v1.1"}), "max_tls_version"),
        (json!({"min_tls_version": "1.2"}), "min_tls_version"),
        (
            json!({"min_tls_version": "v1.3", "max_tls_version": "v1.2"}),
            "min_tls_version",
        ),
    ] {
        let out = with_host(json!({ "tls": tls }), []);
        assert!(out.is_refused(8443, "sni:a.test"));
        assert_eq!(out.said(), [format!("E-HOST-TLS Host/h spec.tls.{field}")]);
    }
}

#[test]
fn tl_15_alpn_has_a_default() {
    let out = with_host(json!({}), []);
    assert_eq!(settings(&out, "sni:a.test").alpn, ["h2", "http/1.1"]);
    let out = with_host(json!({"tls": {"alpn_protocols": "http/1.1"}}), []);
    assert_eq!(settings(&out, "sni:a.test").alpn, ["http/1.1"]);
}

#[test]
fn tl_17_any_glob_can_be_a_server_name() {
    let out = run([
        listener(8443, "HTTPS"),
        pair_secret("s"),
        tls_host("h1", "foo.*", json!({})),
        tls_host("h2", "*example.com", json!({})),
    ]);
    assert_eq!(
        out.chain(8443, "sni:foo.*").expect("a chain").matches,
        ChainMatch::Sni(HostPattern::Prefix("foo.".into()))
    );
    assert_eq!(
        out.chain(8443, "sni:*example.com")
            .expect("a chain")
            .matches,
        ChainMatch::Sni(HostPattern::Suffix("example.com".into()))
    );
}

#[test]
fn row_3_a_certificate_without_key_refuses() {
    let mut certificate = pair_secret("s");
    certificate["stringData"]
        .as_object_mut()
        .expect("data")
        .remove("tls.key");
    let out = run([
        listener(8443, "HTTPS"),
        certificate,
        tls_host("h", "a.test", json!({})),
    ]);
    assert!(out.is_refused(8443, "sni:a.test"));
    assert_eq!(
        out.said(),
        [
            "E-HOST-TLS Host/h spec.tlsSecret.name",
            "E-SECRET-INVALID Secret/s data"
        ]
    );
}

#[test]
fn row_4_tls_and_tls_context_exclude_each_other() {
    let out = with_host(
        json!({"tlsContext": {"name": "c"}, "tls": {"min_tls_version": "v1.3"}}),
        [context("c", json!({}))],
    );
    assert!(out.is_refused(8443, "sni:a.test"));
    assert_eq!(out.said(), ["E-HOST-TLS Host/h spec.tls"]);
}

#[test]
fn row_5_an_unknown_context_refuses_and_ids_count() {
    let out = with_host(json!({"tlsContext": {"name": "c"}}), []);
    assert!(out.is_refused(8443, "sni:a.test"));
    assert_eq!(out.said(), ["E-TLS-CONTEXT Host/h spec.tlsContext.name"]);
    // ID-08: a context of another id is not found.
    let out = with_host(
        json!({"tlsContext": {"name": "c"}}),
        [context(
            "c",
            json!({"ambassador_id": ["other"], "hosts": ["a.test"]}),
        )],
    );
    assert!(out.is_refused(8443, "sni:a.test"));
}

#[test]
fn rows_7_and_8_the_context_takes_the_hosts_secret() {
    let host = json!({"tlsContext": {"name": "c"}});
    let c = |hosts: Value| {
        context(
            "elsewhere/c",
            json!({"hosts": hosts, "min_tls_version": "v1.3"}),
        )
    };
    let out = with_host(host.clone(), [c(json!(["a.test"]))]);
    assert_eq!(out.certificate(8443, "sni:a.test"), Some("default/s"));
    assert_eq!(settings(&out, "sni:a.test").min_version, TlsVersion::V13);
    assert!(out.said().is_empty(), "{:?}", out.said());
    let out = with_host(host, [c(json!(["b.test"]))]);
    assert_eq!(settings(&out, "sni:a.test").min_version, TlsVersion::V13);
    assert_eq!(out.said(), ["W-TLS-HOSTS Host/h spec.tlsContext.name"]);
}

#[test]
fn row_10_a_context_of_the_right_name_is_used() {
    let out = with_host(
        json!({}),
        [context("h-context", json!({"min_tls_version": "v1.3"}))],
    );
    assert_eq!(settings(&out, "sni:a.test").min_version, TlsVersion::V13);
    assert_eq!(out.said(), ["I-TLS-CONTEXT Host/h spec.tlsSecret"]);
}

#[test]
fn a_context_is_looked_for_nearby_first() {
    let out = with_host(
        json!({"tlsContext": {"name": "c"}}),
        [
            context("a/c", json!({"min_tls_version": "v1.3"})),
            context("c", json!({"max_tls_version": "v1.2"})),
        ],
    );
    assert_eq!(settings(&out, "sni:a.test").max_version, TlsVersion::V12);
    let out = with_host(
        json!({"tlsContext": {"name": "c"}}),
        [
            context("b/c", json!({"max_tls_version": "v1.2"})),
            context("a/c", json!({"min_tls_version": "v1.3"})),
        ],
    );
    assert_eq!(settings(&out, "sni:a.test").min_version, TlsVersion::V13);
    assert_eq!(out.said(), ["W-REF-AMBIGUOUS Host/h spec.tlsContext.name"]);
}

#[test]
fn contexts_are_reported_once_and_on_themselves() {
    let c = context(
        "c",
        json!({"min_tls_version": "v1.1", "redirect_cleartext_from": 8080,
               "cipher_suites": ["[ECDHE-RSA-AES128-GCM-SHA256|AES128-SHA]"]}),
    );
    let out = with_host(
        json!({"tlsContext": {"name": "c"}}),
        [
            tls_host("h2", "b.test", json!({"tlsContext": {"name": "c"}})),
            c,
        ],
    );
    assert_eq!(
        out.said(),
        [
            "W-IGNORED TLSContext/c spec.redirect_cleartext_from",
            "W-TLS-CIPHER TLSContext/c spec.cipher_suites",
            "W-TLS-VERSION TLSContext/c spec.min_tls_version",
        ]
    );
    assert_eq!(
        settings(&out, "sni:b.test").cipher_suites,
        ["ECDHE-RSA-AES128-GCM-SHA256"]
    );
    let out = run([context(
        "lonely",
        json!({"hosts": ["a.test"], "secret": "s"}),
    )]);
    assert!(
        out.said()
            .contains(&"W-IGNORED TLSContext/lonely spec.hosts".to_owned())
    );
}

#[test]
fn er_09_the_last_good_certificate_keeps_serving() {
    let mut case = Case::new([
        listener(8443, "HTTPS"),
        pair_secret("s"),
        tls_host("h", "a.test", json!({})),
    ]);
    case.resources
        .replace(object(secret("s", &[("tls.crt", "garbage")])), true);
    let out = case.run();
    assert_eq!(out.certificate(8443, "sni:a.test"), Some("default/s"));
    assert_eq!(
        out.said(),
        [
            "E-SECRET-INVALID Secret/s data",
            "W-CERT-LAST-GOOD Host/h spec.tlsSecret.name"
        ]
    );
}

#[test]
fn the_last_good_settings_keep_serving_unless_that_drops_a_client_check() {
    for (edit, terminates) in [
        (json!({"tlsContext": {"name": "missing"}}), false),
        (json!({"tls": {"min_tls_version": "bad"}}), true),
        (json!({"tls": {"ca_secret": "missing"}}), false),
    ] {
        let mut case = Case::new([
            listener(8443, "HTTPS"),
            pair_secret("s"),
            tls_host("h", "a.test", json!({})),
        ]);
        case.resources
            .replace(object(tls_host("h", "a.test", edit.clone())), true);
        let out = case.run();
        assert_eq!(!out.is_refused(8443, "sni:a.test"), terminates, "{edit}");
    }
}

#[test]
fn an_expired_certificate_is_served_and_reported() {
    let mut case = Case::new([
        listener(8443, "HTTPS"),
        pair_secret("s"),
        tls_host("h", "a.test", json!({})),
    ]);
    case.options.now = Some(i64::MAX);
    let out = case.run();
    assert_eq!(out.certificate(8443, "sni:a.test"), Some("default/s"));
    assert_eq!(out.said(), ["E-CERT-EXPIRED Host/h spec.tlsSecret.name"]);
}
