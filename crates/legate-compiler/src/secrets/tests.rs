//! What Secrets hold, and which Secret a name means.

use std::collections::BTreeMap;
use std::sync::Arc;

use legate_api::{Body, Kind, Meta, Object, ObjectKey, SecretBody, WrittenAs};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use super::{Found, Material, SecretCache, SecretReader};
use crate::codes;
use crate::options::Options;
use crate::resources::Resources;

fn secret(namespace: &str, name: &str, data: &[(&str, &str)]) -> Object {
    Object {
        meta: Meta {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Meta::default()
        },
        written_as: WrittenAs::Core,
        body: Body::Secret(SecretBody {
            type_: None,
            data: data
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                .collect::<BTreeMap<_, _>>(),
        }),
        issues: Vec::new(),
        raw: None,
    }
}

fn material(data: &[(&str, &str)]) -> Material {
    Material::new(Arc::new(secret("default", "s", data)), [7; 32])
}

/// A self-signed certificate and its key, as PEM.
fn pair(names: &[&str], ca: bool) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_pair_is_parsed_and_named() {
    let (crt, key) = pair(&["A.test", "*.test", "10.0.0.1"], false);
    let material = material(&[("tls.crt", &crt), ("tls.key", &key)]);
    let entry = material.certificate().as_ref().expect("a pair");
    assert_eq!(entry.value.names, ["*.test", "10.0.0.1", "a.test"]);
    assert_eq!(entry.value.chain.len(), 1);
    assert!(entry.value.not_before < entry.value.not_after);
    assert_eq!(entry.origins.len(), 1);
}

#[test]
fn istio_names_count_and_bring_their_own_ca() {
    let (crt, key) = pair(&["a.test"], false);
    let (root, _) = pair(&["root"], true);
    let material = material(&[
        ("cert-chain.pem", &crt),
        ("key.pem", &key),
        ("root-cert.pem", &root),
    ]);
    assert!(material.certificate().is_ok());
    assert!(matches!(material.own_ca(), Some(Ok(_))));
}

#[test]
fn faults_are_told_apart() {
    let (crt, key) = pair(&["a.test"], false);
    let (_, other) = pair(&["a.test"], false);
    for (data, code, path) in [
        (vec![], codes::E_SECRET_INVALID, "data"),
        (
            vec![("tls.crt", crt.as_str())],
            codes::E_SECRET_INVALID,
            "data",
        ),
        (
            vec![("tls.crt", "garbage"), ("tls.key", key.as_str())],
            codes::E_SECRET_INVALID,
            "data.tls.crt",
        ),
        (
            vec![("tls.crt", key.as_str()), ("tls.key", key.as_str())],
            codes::E_SECRET_INVALID,
            "data.tls.crt",
        ),
        (
            vec![("tls.crt", crt.as_str()), ("tls.key", crt.as_str())],
            codes::E_SECRET_INVALID,
            "data.tls.key",
        ),
        (
            vec![("tls.crt", crt.as_str()), ("tls.key", other.as_str())],
            codes::E_CERT_MISMATCH,
            "data.tls.key",
        ),
    ] {
        let error = material(&data).certificate().clone().expect_err("a fault");
        assert_eq!((error.code, error.path.as_str()), (code, path), "{data:?}");
    }
}

#[test]
fn broken_der_never_panics() {
    let (crt, key) = pair(&["a.test"], false);
    for at in (0..crt.len()).step_by(3) {
        let mut broken = crt.clone().into_bytes();
        if let Some(byte) = broken.get_mut(at) {
            *byte = byte.wrapping_add(1);
        }
        let broken = String::from_utf8_lossy(&broken).into_owned();
        let _ = material(&[("tls.crt", &broken), ("tls.key", &key)]).certificate();
        let _ = material(&[("tls.crt", &broken)]).ca_bundle();
        let _ = material(&[("crl.pem", &broken)]).revocation_list();
    }
}

#[test]
fn authorities_come_from_tls_crt_or_else_ca_crt() {
    let (leaf, key) = pair(&["a.test"], false);
    let (ca, _) = pair(&["ca"], true);
    let both = material(&[("tls.crt", &leaf), ("tls.key", &key), ("ca.crt", &ca)]);
    assert!(both.ca_is_beside_leaf());
    let wanted = material(&[("tls.crt", &ca)]);
    assert!(!wanted.ca_is_beside_leaf());
    let der = |material: &Material| material.ca_bundle().clone().expect("a bundle").value;
    assert_eq!(der(&both), der(&wanted));
    assert_eq!(der(&material(&[("ca.crt", &ca)])), der(&wanted));
    assert!(material(&[("tls.key", &key)]).ca_bundle().is_err());
    assert!(material(&[("ca.crt", &ca), ("cert_required", "true")]).cert_required());
}

#[test]
fn names_of_secrets() {
    let resources: Resources = [
        secret("default", "s", &[]),
        secret("certs", "s", &[]),
        secret("default", "s.lit", &[]),
    ]
    .into_iter()
    .collect();
    let options = Options::default();
    let cache = SecretCache::default();
    let mut reader = SecretReader::new(&resources, &options, &cache);
    let key = |namespace: &str, name: &str| ObjectKey {
        kind: Kind::Secret,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    assert_eq!(reader.of_host("s", None, "default"), key("default", "s"));
    assert_eq!(
        reader.of_host("s", Some("certs"), "default"),
        key("certs", "s")
    );
    assert_eq!(
        reader.of_host("s.certs", None, "default"),
        key("certs", "s")
    );
    assert_eq!(
        reader.of_host("s.lit", None, "default"),
        key("default", "s.lit")
    );
    // The literal name is what a message should name when neither exists.
    assert_eq!(
        reader.of_host("x.y", None, "default"),
        key("default", "x.y")
    );
    assert_eq!(
        reader.of_context("s.certs", "default", true),
        key("certs", "s")
    );
    assert_eq!(
        reader.of_context("s.lit", "default", true),
        key("default", "s.lit")
    );
    assert_eq!(
        reader.of_context("s.certs", "default", false),
        key("default", "s.certs")
    );
    assert_eq!(
        reader.of_context("a.b.certs", "default", true),
        key("certs", "a.b")
    );
    assert!(reader.reads.contains(&key("default", "x.y")));
}

#[test]
fn single_namespace_mode_hides_other_secrets() {
    let (crt, key) = pair(&["a.test"], false);
    let resources: Resources = [secret(
        "certs",
        "s",
        &[("tls.crt", &crt), ("tls.key", &key)],
    )]
    .into_iter()
    .collect();
    let cache = SecretCache::default();
    for (single_namespace, found) in [(false, true), (true, false)] {
        let options = Options {
            single_namespace,
            ..Options::default()
        };
        let mut reader = SecretReader::new(&resources, &options, &cache);
        let key = reader.of_host("s", Some("certs"), "default");
        let read = reader.read(&key, |material| material.certificate());
        assert_eq!(matches!(read, Found::Good(_)), found);
    }
}

#[test]
fn a_last_good_version_stands_in() {
    let (crt, key) = pair(&["a.test"], false);
    let mut resources = Resources::new();
    resources.insert(secret(
        "default",
        "s",
        &[("tls.crt", &crt), ("tls.key", &key)],
    ));
    resources.replace(secret("default", "s", &[("tls.crt", "garbage")]), true);
    let options = Options::default();
    let cache = SecretCache::default();
    let mut reader = SecretReader::new(&resources, &options, &cache);
    let key = reader.of_host("s", None, "default");
    let read = reader.read(&key, |material| material.certificate());
    assert!(matches!(read, Found::LastGood(_, _)), "{read:?}");
}

#[test]
fn a_secret_is_parsed_once() {
    let (crt, key) = pair(&["a.test"], false);
    let mut resources = Resources::new();
    resources.insert(secret(
        "default",
        "s",
        &[("tls.crt", &crt), ("tls.key", &key)],
    ));
    let options = Options::default();
    let cache = SecretCache::default();
    let read = |resources: &Resources| {
        let mut reader = SecretReader::new(resources, &options, &cache);
        let key = reader.of_host("s", None, "default");
        match reader.read(&key, |material| material.certificate()) {
            Found::Good(entry) => entry.value,
            other => panic!("{other:?}"),
        }
    };
    let first = read(&resources);
    assert!(Arc::ptr_eq(&first, &read(&resources)));
    resources.insert(secret(
        "default",
        "s",
        &[("tls.crt", &crt), ("tls.key", &key)],
    ));
    let second = read(&resources);
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(first, second);
}
