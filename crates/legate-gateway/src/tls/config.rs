//! rustls configurations from resolved settings and material.

use std::sync::{Arc, LazyLock};

use legate_config::listener::{ClientAuth, DownstreamTls, TlsVersion};
use legate_config::secret::{CaBundle, Certificate, KeyForm, PrivateKey, RevocationList};
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suites, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs1KeyDer,
    PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

/// Sessions that TLS 1.2 clients without tickets may resume, per configuration. Few: such clients
/// are rare, and there may be thousands of configurations.
const SESSIONS: usize = 32;

/// Why a configuration cannot be built. The compiler checks all of these; a gateway checks again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsConfigError {
    /// The snapshot does not hold what the settings name.
    #[error("{kind} `{key}` is not in the configuration")]
    Missing {
        /// What is missing.
        kind: &'static str,
        /// Its key.
        key: String,
    },
    /// rustls refuses the certificate or key.
    #[error("certificate `{key}` is unusable: {reason}")]
    Certificate {
        /// Its key.
        key: String,
        /// Why.
        reason: String,
    },
    /// The client certificate check cannot be set up.
    #[error("client certificates cannot be checked: {0}")]
    ClientAuth(String),
    /// Nothing is left to offer.
    #[error("no usable {0} left")]
    NothingToOffer(&'static str),
}

/// Key material of a configuration.
pub(super) struct Material<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) ca: Option<&'a CaBundle>,
    pub(super) crl: Option<&'a RevocationList>,
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// Builds a configuration. Each has a ticket key and a session store of its own, so that a session
/// is only ever resumed under the policy and certificate that it was made under.
pub(super) fn build(
    settings: &DownstreamTls,
    material: &Material<'_>,
) -> Result<ServerConfig, TlsConfigError> {
    let provider = provider(&settings.cipher_suites, &settings.ecdh_curves)?;
    let versions = versions(settings.min_version, settings.max_version)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|_| TlsConfigError::NothingToOffer("cipher suite"))?;
    let builder = match &settings.client_auth {
        None => builder.with_no_client_auth(),
        Some(auth) => {
            builder.with_client_cert_verifier(verifier(auth, material, Arc::clone(&provider))?)
        }
    };
    let chain = material
        .certificate
        .chain
        .iter()
        .map(|der| CertificateDer::from(der.clone()))
        .collect();
    let unusable = |error: rustls::Error| TlsConfigError::Certificate {
        key: settings.certificate.to_string(),
        reason: error.to_string(),
    };
    let mut config = builder
        .with_single_cert(chain, key_der(&material.certificate.key))
        .map_err(unusable)?;
    config.alpn_protocols = settings
        .alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
    // A list of suites is an order of preference; without one the client knows best.
    config.ignore_client_order = !settings.cipher_suites.is_empty();
    Ok(config)
}

static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

fn versions(
    min: TlsVersion,
    max: TlsVersion,
) -> Result<&'static [&'static SupportedProtocolVersion], TlsConfigError> {
    let [newest, oldest] = BOTH.each_ref();
    match (min, max) {
        (TlsVersion::V12, TlsVersion::V13) => Ok(&BOTH),
        (TlsVersion::V12, TlsVersion::V12) => Ok(std::slice::from_ref(oldest)),
        (TlsVersion::V13, TlsVersion::V13) => Ok(std::slice::from_ref(newest)),
        (TlsVersion::V13, TlsVersion::V12) => Err(TlsConfigError::NothingToOffer("TLS version")),
    }
}

fn key_der(key: &PrivateKey) -> PrivateKeyDer<'static> {
    let der = key.der().to_vec();
    match key.form() {
        KeyForm::Pkcs8 => PrivatePkcs8KeyDer::from(der).into(),
        KeyForm::Pkcs1 => PrivatePkcs1KeyDer::from(der).into(),
        KeyForm::Sec1 => PrivateSec1KeyDer::from(der).into(),
    }
}

fn verifier(
    auth: &ClientAuth,
    material: &Material<'_>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    let failed = |reason: String| TlsConfigError::ClientAuth(reason);
    let bundle = material
        .ca
        .ok_or_else(|| failed(format!("`{}` is missing", auth.ca)))?;
    let mut roots = RootCertStore::empty();
    for der in &bundle.certificates {
        roots
            .add(CertificateDer::from(der.as_slice()))
            .map_err(|error| failed(format!("`{}`: {error}", auth.ca)))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(list) = material.crl {
        builder = builder.with_crls(
            list.lists
                .iter()
                .map(|der| CertificateRevocationListDer::from(der.clone())),
        );
    }
    if !auth.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| failed(error.to_string()))
}

/// The provider for these lists; the shared one when both are empty.
fn provider(ciphers: &[String], curves: &[String]) -> Result<Arc<CryptoProvider>, TlsConfigError> {
    if ciphers.is_empty() && curves.is_empty() {
        return Ok(Arc::clone(&PROVIDER));
    }
    let mut provider = CryptoProvider::clone(&PROVIDER);
    if !ciphers.is_empty() {
        // The lists are about TLS 1.2; TLS 1.3 suites are all fine.
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some());
        let chosen = ciphers.iter().filter_map(|name| cipher_suite(name));
        provider.cipher_suites.extend(chosen);
    }
    if !curves.is_empty() {
        provider.kx_groups = curves.iter().filter_map(|name| group(name)).collect();
        if provider.kx_groups.is_empty() {
            return Err(TlsConfigError::NothingToOffer("key-exchange group"));
        }
    }
    Ok(Arc::new(provider))
}

const TLS12_SUITES: [(&str, SupportedCipherSuite); 6] = [
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// The TLS 1.2 suite with this OpenSSL name.
fn cipher_suite(name: &str) -> Option<SupportedCipherSuite> {
    let known = TLS12_SUITES.iter().find(|(known, _)| *known == name);
    known.map(|(_, suite)| *suite)
}

/// How logs call a suite: OpenSSL's name for TLS 1.2, the standard's for TLS 1.3.
pub(super) fn cipher_name(suite: SupportedCipherSuite) -> &'static str {
    if let Some((name, _)) = TLS12_SUITES.iter().find(|(_, known)| *known == suite) {
        return name;
    }
    match suite.suite() {
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    Some(match name {
        "X25519" => kx_group::X25519,
        "P-256" => kx_group::SECP256R1,
        "P-384" => kx_group::SECP384R1,
        "X25519MLKEM768" => kx_group::X25519MLKEM768,
        // P-521 is accepted by the compiler, but our provider has no key exchange for it.
        _ => return None,
    })
}
