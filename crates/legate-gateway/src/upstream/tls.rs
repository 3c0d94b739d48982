//! TLS towards upstreams (spec/routing §4.13).
//!
//! Without a CA nothing about the peer is verified; with one its chain is, but never its name. The
//! handshake's signatures are checked in both cases.

use std::net::SocketAddr;
use std::sync::Arc;

use legate_config::cluster::UpstreamTls;
use legate_config::secret::{CaBundle, Certificate};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use crate::crypto::{key_der, provider, versions};

/// How one cluster (or several with equal settings) speaks TLS.
pub(crate) struct ClientTls {
    http1: TlsConnector,
    http2: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

/// Checks the chain against a CA bundle, and no name.
#[derive(Debug)]
struct ChainOnly {
    roots: RootCertStore,
    /// The bundle as given: a certificate in it is trusted itself, as OpenSSL does.
    pinned: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Checks nothing about the peer.
#[derive(Debug)]
struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
}

// === impl ClientTls ===

impl ClientTls {
    /// Builds the settings, or says in words for a user why it cannot.
    pub(super) fn build(
        tls: &UpstreamTls,
        ca: Option<&CaBundle>,
        certificate: Option<&Certificate>,
    ) -> Result<Self, String> {
        let provider =
            provider(&tls.cipher_suites, &tls.ecdh_curves).map_err(|error| error.to_string())?;
        let algorithms = provider.signature_verification_algorithms;
        let verifier: Arc<dyn ServerCertVerifier> = match ca {
            Some(bundle) => Arc::new(ChainOnly::new(bundle, algorithms)?),
            None => Arc::new(Unverified { algorithms }),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(
                versions(tls.min_version, tls.max_version).map_err(|error| error.to_string())?,
            )
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match certificate {
            Some(pair) => {
                let chain = pair
                    .chain
                    .iter()
                    .cloned()
                    .map(CertificateDer::from)
                    .collect();
                builder
                    .with_client_auth_cert(chain, key_der(&pair.key))
                    .map_err(|error| format!("client certificate: {error}"))?
            }
            None => builder.with_no_client_auth(),
        };
        let server_name = match &tls.sni {
            Some(sni) => Some(
                ServerName::try_from(sni.clone())
                    .map_err(|_| format!("`{sni}` cannot be sent as server name"))?,
            ),
            None => None,
        };
        config.enable_sni = server_name.is_some();

        // Never offer what we would not speak on that connection if the peer chose it.
        let other = |not: &'static str| {
            let offered = tls.alpn.iter().filter(move |name| name.as_str() != not);
            offered.map(|name| name.as_bytes().to_vec())
        };
        let mut http2 = config.clone();
        http2.alpn_protocols = vec![b"h2".to_vec()];
        config.alpn_protocols = other("h2").collect();
        Ok(Self {
            http1: TlsConnector::from(Arc::new(config)),
            http2: TlsConnector::from(Arc::new(http2)),
            server_name,
        })
    }

    /// The connector for a protocol.
    pub(super) fn connector(&self, http2: bool) -> &TlsConnector {
        if http2 { &self.http2 } else { &self.http1 }
    }

    /// What the TLS library calls the peer. Without an SNI to send it is the address, under which
    /// sessions are remembered.
    pub(super) fn server_name(&self, address: SocketAddr) -> ServerName<'static> {
        match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::IpAddress(address.ip().into()),
        }
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

// === impl ChainOnly ===

impl ChainOnly {
    fn new(bundle: &CaBundle, algorithms: WebPkiSupportedAlgorithms) -> Result<Self, String> {
        let pinned: Vec<CertificateDer<'static>> = bundle
            .certificates
            .iter()
            .cloned()
            .map(CertificateDer::from)
            .collect();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(pinned.iter().cloned());
        if added == 0 {
            return Err("the CA bundle holds no usable certificate".to_owned());
        }
        Ok(Self {
            roots,
            pinned,
            algorithms,
        })
    }

    /// Whether the peer presents a certificate that the bundle holds itself, in its validity.
    fn is_pinned(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
        self.pinned.iter().any(|it| it == certificate)
            && x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| {
                i64::try_from(now.as_secs())
                    .ok()
                    .and_then(|now| x509_parser::time::ASN1Time::from_timestamp(now).ok())
                    .is_some_and(|now| parsed.validity().is_valid_at(now))
            })
    }
}

impl ServerCertVerifier for ChainOnly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let verified = rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        match verified {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(_) if self.is_pinned(end_entity, now) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

// === impl Unverified ===

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
