//! Parameters and origination.

use legate_api::{Decoded, decode};
use legate_config::listener::TlsVersion;
use serde_json::{Value, json};

use super::{Origination, OriginationError, Purpose, TlsInput, origination, parameters};
use crate::module::ModuleSettings;
use crate::options::{MissingRefs, Options};
use crate::resources::Resources;
use crate::secrets::SecretCache;

fn document(kind: &str, name: &str, spec: Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    json!({
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

fn pair_secret(name: &str) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()])
        .expect("names")
        .self_signed(&key)
        .expect("a certificate");
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "stringData": {"tls.crt": certificate.pem(), "tls.key": key.serialize_pem()},
    })
}

fn resources(documents: impl IntoIterator<Item = Value>) -> Resources {
    documents
        .into_iter()
        .map(|document| match decode(document, "default") {
            Decoded::Object(object) => object,
            other => panic!("no object: {other:?}"),
        })
        .collect()
}

fn originate(documents: impl IntoIterator<Item = Value>) -> Result<Origination, OriginationError> {
    let options = Options {
        missing: MissingRefs::Error,
        ..Options::default()
    };
    origination(
        &resources(documents),
        &options,
        &ModuleSettings::default(),
        &SecretCache::default(),
        "c",
        "default",
    )
}

fn error(documents: impl IntoIterator<Item = Value>) -> String {
    originate(documents)
        .expect_err("an error")
        .code
        .as_str()
        .to_owned()
}

#[test]
fn suites_and_curves() {
    let found = |ciphers: &[&str], curves: &[&str], max: Option<&str>| {
        let own = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let (ciphers, curves) = (own(ciphers), own(curves));
        let input = TlsInput {
            cipher_suites: &ciphers,
            ecdh_curves: &curves,
            max_tls_version: max,
            ..TlsInput::default()
        };
        let (parameters, findings) = parameters(&input, Purpose::Termination);
        let faults = findings.iter().filter(|finding| finding.is_fault()).count();
        (parameters, findings.len(), faults)
    };
    let (tls, findings, faults) = found(
        &[
            "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
            "AES128-SHA",
            "TLS_AES_128_GCM_SHA256",
        ],
        &["X25519", "prime256v1", "P-521"],
        None,
    );
    assert_eq!(
        tls.cipher_suites,
        [
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        ]
    );
    assert_eq!(tls.ecdh_curves, ["X25519", "P-256"]);
    assert_eq!((findings, faults), (2, 0));
    // Nothing left for 1.2 must not come to mean everything.
    let (tls, _, faults) = found(&["AES128-SHA"], &[], None);
    assert_eq!((tls.min_version, faults), (TlsVersion::V13, 0));
    assert!(tls.cipher_suites.is_empty());
    let (_, _, faults) = found(&["AES128-SHA"], &[], Some("v1.2"));
    assert_eq!(faults, 1);
    let (_, _, faults) = found(&[], &["P-521"], None);
    assert_eq!(faults, 1);
}

#[test]
fn origination_takes_what_the_context_gives() {
    let found = originate([
        document(
            "TLSContext",
            "c",
            json!({"secret": "s.certs", "ca_secret": "ca", "sni": "up.test",
                   "alpn_protocols": "h2", "max_tls_version": "v1.2", "cert_required": true}),
        ),
        pair_secret("certs/s"),
        pair_secret("ca"),
    ])
    .expect("origination");
    let tls = &found.tls;
    assert_eq!(tls.sni.as_deref(), Some("up.test"));
    assert_eq!(
        tls.client_certificate.as_ref().map(|key| key.as_str()),
        Some("certs/s")
    );
    assert_eq!(tls.ca.as_ref().map(|key| key.as_str()), Some("default/ca"));
    assert_eq!(tls.alpn, ["h2"]);
    assert_eq!(tls.max_version, TlsVersion::V12);
    assert!(found.certificate.is_some() && found.ca_bundle.is_some());
    let codes: Vec<&str> = found
        .notices
        .iter()
        .map(|(code, _)| code.as_str())
        .collect();
    assert_eq!(codes, ["W-IGNORED", "I-TLS-UNVERIFIED"]);
    assert!(found.dependencies.len() >= 3);
}

#[test]
fn origination_is_never_downgraded() {
    let context = |spec: Value| document("TLSContext", "c", spec);
    assert_eq!(error([]), "E-TLS-CONTEXT");
    assert_eq!(error([context(json!({}))]), "E-TLS-ORIGINATION");
    assert_eq!(
        error([context(json!({"secret": "missing"}))]),
        "E-SECRET-MISSING"
    );
    assert_eq!(
        error([context(json!({"ca_secret": "missing"}))]),
        "E-SECRET-MISSING"
    );
    assert_eq!(
        error([context(json!({"max_tls_version": "v1.0"}))]),
        "E-TLS-ORIGINATION"
    );
    assert_eq!(
        error([context(json!({"cacert_chain_file": "/x"}))]),
        "E-UNSUPPORTED"
    );
    assert_eq!(
        error([
            context(json!({"secret": "s", "cert_chain_file": "/x"})),
            pair_secret("s")
        ]),
        "E-TLS-ORIGINATION"
    );
}
