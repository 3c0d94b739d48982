//! Real handshakes over in-memory streams.

mod refuse;
mod tables;
mod terminate;

use std::sync::Arc;

use legate_config::key::{CaKey, ChainKey, CrlKey, ListenerKey};
use legate_config::listener::{
    ChainMatch, ChainTls, ClientAuth, DownstreamTls, FilterChain, HostPattern, TlsVersion,
};
use legate_config::secret::{CaBundle, Certificate, KeyForm, PrivateKey, RevocationList};
use legate_config::snapshot::{Origin, Snapshot};
use legate_config::table::Entry;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

use super::handshake::Handshaken;
use super::table::TlsTables;
use super::*;

const LISTENER: &str = "tcp/*/8443";

/// A certificate authority.
struct Ca {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    der: CertificateDer<'static>,
}

/// A certificate with its key.
struct Leaf {
    der: CertificateDer<'static>,
    key: Vec<u8>,
    serial: rcgen::SerialNumber,
}

impl Ca {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            der,
        }
    }

    fn leaf(&self, name: &str, serial: u64) -> Leaf {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let serial = rcgen::SerialNumber::from(serial);
        params.serial_number = Some(serial.clone());
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        Leaf {
            der: params.signed_by(&key, &self.issuer).unwrap().der().clone(),
            key: key.serialize_der(),
            serial,
        }
    }

    fn revoke(&self, leaf: &Leaf) -> Vec<u8> {
        let params = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(2024, 2, 1),
            crl_number: rcgen::SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![rcgen::RevokedCertParams {
                serial_number: leaf.serial.clone(),
                revocation_time: rcgen::date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        roots
    }
}

fn settings(certificate: &str) -> DownstreamTls {
    DownstreamTls {
        certificate: certificate.into(),
        min_version: TlsVersion::V12,
        max_version: TlsVersion::V13,
        cipher_suites: Vec::new(),
        ecdh_curves: Vec::new(),
        alpn: vec!["h2".into(), "http/1.1".into()],
        client_auth: None,
    }
}

fn entry<T: serde::Serialize>(value: T) -> Entry<T> {
    Entry::new(value, Vec::<Origin>::new())
}

fn put_chain(snapshot: &mut Snapshot, name: &str, tls: Option<ChainTls>) -> ChainKey {
    let key = ChainKey::new(format!("{LISTENER}/sni:{name}"));
    let chain = FilterChain {
        listener: ListenerKey::from(LISTENER),
        matches: ChainMatch::Sni(HostPattern::Exact(name.to_owned())),
        tls,
        virtual_hosts: Vec::new(),
    };
    snapshot.chains.insert(key.clone(), entry(chain));
    key
}

fn put_certificate(snapshot: &mut Snapshot, key: &str, leaf: &Leaf, names: &[&str]) {
    let certificate = Certificate {
        chain: vec![leaf.der.to_vec()],
        key: PrivateKey::new(leaf.key.clone(), KeyForm::Pkcs8, &[0; 32]),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        not_before: 0,
        not_after: i64::MAX,
    };
    snapshot.certificates.insert(key.into(), entry(certificate));
}

fn chain(tables: &TlsTables, key: &ChainKey) -> TlsChain {
    tables.listeners[LISTENER].chain(key).unwrap().clone()
}

fn client(ca: &Ca, with: Option<&Leaf>, alpn: &[&str]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_root_certificates(ca.roots());
    let mut config = match with {
        None => builder.with_no_client_auth(),
        Some(leaf) => builder
            .with_client_auth_cert(
                vec![leaf.der.clone()],
                PrivateKeyDer::Pkcs8(leaf.key.clone().into()),
            )
            .unwrap(),
    };
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    config
}

type Outcome = Result<Handshaken<DuplexStream>, HandshakeError>;

/// A handshake between a real client and one chain; the client also reads a byte, since TLS 1.3
/// tells it about a bad client certificate only then.
async fn shake(config: Arc<ClientConfig>, name: &str, with: Option<TlsChain>) -> (Outcome, bool) {
    let (near, far) = duplex(64 * 1024);
    let connector = TlsConnector::from(config);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connect = async move {
        let mut stream = connector.connect(name, near).await.ok()?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        Some(())
    };
    let accept = async move {
        let mut outcome = handshake(far, |_| with).await;
        if let Ok(done) = &mut outcome {
            let _ = done.stream.write_all(b"x").await;
            let _ = done.stream.flush().await;
        }
        outcome
    };
    let (outcome, client) = tokio::join!(accept, connect);
    (outcome, client.is_some())
}
