//! TLS towards origins.

use std::sync::Arc;

use legate_config::cluster::{Cluster, UpstreamTls};
use legate_config::listener::TlsVersion;
use legate_config::secret::{CaBundle, Certificate, KeyForm, PrivateKey};
use legate_config::table::Entry;
use legate_config::{CaKey, CertificateKey, Snapshot};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::origin::{Does, Origin};
use super::{World, fixed, ok, plain, text};
use crate::error::ErrorKind;

/// TLS without verification.
pub(super) fn unverified() -> UpstreamTls {
    UpstreamTls {
        sni: None,
        ca: None,
        client_certificate: None,
        alpn: Vec::new(),
        min_version: TlsVersion::V12,
        max_version: TlsVersion::V13,
        cipher_suites: Vec::new(),
        ecdh_curves: Vec::new(),
    }
}

pub(super) struct Pair {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(authority: Option<&Authority>) -> Pair {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["origin.test".to_owned()]).unwrap();
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, authority).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    Pair {
        certificate: certificate.der().clone(),
        key: key.serialize_der(),
    }
}

pub(super) fn server(pair: &Pair, clients: Option<&Authority>, alpn: &[&str]) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::Pkcs8(pair.key.clone().into());
    let mut config = builder
        .with_single_cert(vec![pair.certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(super) fn self_signed() -> Pair {
    issue(None)
}

fn with(tls: UpstreamTls) -> Cluster {
    Cluster {
        tls: Some(tls),
        ..plain()
    }
}

/// A snapshot whose cluster trusts these certificates.
fn trusting(mut tls: UpstreamTls, origin: &Origin, ca: &[&CertificateDer<'_>]) -> Snapshot {
    tls.ca = Some("ns/ca".into());
    let mut snapshot = super::snapshot(with(tls), fixed(&[origin.address]));
    let bundle = CaBundle {
        certificates: ca.iter().map(|der| der.to_vec()).collect(),
    };
    snapshot
        .ca_bundles
        .insert(CaKey::from("ns/ca"), Entry::new(bundle, Vec::new()));
    snapshot
}

#[test]
fn without_a_ca_any_certificate_will_do() {
    World::run(|world| async move {
        let origin =
            Origin::start_tls("a", Does::Answer, Some(server(&issue(None), None, &[]))).await;
        for version in [TlsVersion::V12, TlsVersion::V13] {
            let mut tls = unverified();
            (tls.min_version, tls.max_version) = (version, version);
            let cluster = world.cluster(with(tls), &[origin.address]);
            for _ in 0..3 {
                assert_eq!(text(world.get(&cluster).await), ok("a"));
            }
        }
        assert_eq!(origin.connections(), 2, "one for each version, reused");
    });
}

#[test]
fn with_a_ca_the_chain_counts_and_the_name_does_not() {
    World::run(|world| async move {
        let (ours, other) = (authority("ours"), authority("other"));
        let config = server(&issue(Some(&ours)), None, &[]);
        let origin = Origin::start_tls("a", Does::Answer, Some(config)).await;

        let mut tls = unverified();
        tls.sni = Some("another.test".to_owned());
        let cluster = world.apply(trusting(tls.clone(), &origin, &[ours.der()]));
        assert_eq!(text(world.get(&cluster).await), ok("a"));

        // The bundle changes under the same key: connections it vouched for are not used on.
        let again = world.apply(trusting(tls.clone(), &origin, &[other.der()]));
        assert!(Arc::ptr_eq(&cluster, &again));
        let error = world.get(&cluster).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsFailed);
        assert_eq!(error.flag(), "UF");
        let body = error.body();
        assert!(
            body.contains("transport failure reason: TLS_error:"),
            "{body}"
        );
        assert!(body.contains("UnknownIssuer"), "{body}");

        let cluster = world.apply(trusting(tls, &origin, &[other.der(), ours.der()]));
        assert_eq!(text(world.get(&cluster).await), ok("a"));
    });
}

#[test]
fn a_self_signed_certificate_can_be_its_own_ca() {
    World::run(|world| async move {
        let pair = issue(None);
        let config = server(&pair, None, &[]);
        let origin = Origin::start_tls("a", Does::Answer, Some(config)).await;
        let cluster = world.apply(trusting(unverified(), &origin, &[&pair.certificate]));
        assert_eq!(text(world.get(&cluster).await), ok("a"));
    });
}

#[test]
fn a_client_certificate_is_presented() {
    World::run(|world| async move {
        let clients = authority("clients");
        let config = server(&issue(None), Some(&clients), &[]);
        let origin = Origin::start_tls("a", Does::Answer, Some(config)).await;

        let bare = world.cluster(with(unverified()), &[origin.address]);
        assert!(world.get(&bare).await.is_err());

        let pair = issue(Some(&clients));
        let mut tls = unverified();
        tls.client_certificate = Some("ns/client".into());
        let mut snapshot = super::snapshot(with(tls), fixed(&[origin.address]));
        let certificate = Certificate {
            chain: vec![pair.certificate.to_vec()],
            key: PrivateKey::new(pair.key, KeyForm::Pkcs8, &[0; 32]),
            names: Vec::new(),
            not_before: 0,
            not_after: i64::MAX,
        };
        snapshot.certificates.insert(
            CertificateKey::from("ns/client"),
            Entry::new(certificate, Vec::new()),
        );
        let cluster = world.apply(snapshot);
        assert_eq!(text(world.get(&cluster).await), ok("a"));
    });
}

#[test]
fn a_plain_origin_is_a_tls_failure() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let cluster = world.cluster(with(unverified()), &[origin.address]);
        // The origin waits for a request head that never comes; its end of the wait is ours.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400\r\n").await;
            }
        });
        drop(cluster);
        let cluster = world.cluster(with(unverified()), &[address]);
        let error = world.get(&cluster).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsFailed);
    });
}

#[test]
fn missing_material_and_bad_settings_are_told() {
    World::run(|world| async move {
        let mut tls = unverified();
        tls.ca = Some("ns/none".into());
        let failed = world
            .upstreams
            .update(&super::snapshot(with(tls), fixed(&[])));
        assert_eq!(
            failed,
            [("c".into(), "CA bundle `ns/none` is missing".to_owned())]
        );
        assert!(
            world.upstreams.cluster(&"c".into()).is_none(),
            "never a downgrade"
        );

        let mut tls = unverified();
        tls.max_version = TlsVersion::V12;
        tls.cipher_suites = vec!["AES128-SHA".to_owned()];
        let failed = world
            .upstreams
            .update(&super::snapshot(with(tls), fixed(&[])));
        assert_eq!(failed.len(), 1);

        let mut tls = unverified();
        tls.sni = Some("not a name".to_owned());
        let failed = world
            .upstreams
            .update(&super::snapshot(with(tls), fixed(&[])));
        assert_eq!(failed.len(), 1);
    });
}

#[test]
fn suites_and_curves_are_restricted() {
    World::run(|world| async move {
        let config = server(&issue(None), None, &[]);
        let origin = Origin::start_tls("a", Does::Answer, Some(config)).await;
        let mut tls = unverified();
        tls.max_version = TlsVersion::V12;
        tls.cipher_suites = vec!["ECDHE-ECDSA-AES256-GCM-SHA384".to_owned()];
        tls.ecdh_curves = vec!["P-384".to_owned()];
        let cluster = world.cluster(with(tls.clone()), &[origin.address]);
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        // The origin's key is ECDSA, so RSA suites cannot agree.
        tls.cipher_suites = vec!["ECDHE-RSA-AES256-GCM-SHA384".to_owned()];
        let cluster = world.cluster(with(tls), &[origin.address]);
        let error = world.get(&cluster).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsFailed);
    });
}
