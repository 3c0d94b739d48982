//! What TLS has in common on both sides: the one provider, versions, suites and groups by name, keys.

use std::sync::{Arc, LazyLock};

use legate_config::listener::TlsVersion;
use legate_config::secret::{KeyForm, PrivateKey};
use rustls::crypto::aws_lc_rs::{self, cipher_suite as suites, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

/// Settings that leave nothing of a kind to offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no usable {0} left")]
pub(crate) struct NothingToOffer(pub(crate) &'static str);

static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// The versions from the lowest to the highest, newest first.
pub(crate) fn versions(
    min: TlsVersion,
    max: TlsVersion,
) -> Result<&'static [&'static SupportedProtocolVersion], NothingToOffer> {
    let [newest, oldest] = BOTH.each_ref();
    match (min, max) {
        (TlsVersion::V12, TlsVersion::V13) => Ok(&BOTH),
        (TlsVersion::V12, TlsVersion::V12) => Ok(std::slice::from_ref(oldest)),
        (TlsVersion::V13, TlsVersion::V13) => Ok(std::slice::from_ref(newest)),
        (TlsVersion::V13, TlsVersion::V12) => Err(NothingToOffer("TLS version")),
    }
}

/// A private key as rustls takes it.
pub(crate) fn key_der(key: &PrivateKey) -> PrivateKeyDer<'static> {
    let der = key.der().to_vec();
    match key.form() {
        KeyForm::Pkcs8 => PrivatePkcs8KeyDer::from(der).into(),
        KeyForm::Pkcs1 => PrivatePkcs1KeyDer::from(der).into(),
        KeyForm::Sec1 => PrivateSec1KeyDer::from(der).into(),
    }
}

/// The provider for these lists; the shared one when both are empty.
pub(crate) fn provider(
    ciphers: &[String],
    curves: &[String],
) -> Result<Arc<CryptoProvider>, NothingToOffer> {
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
            return Err(NothingToOffer("key-exchange group"));
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
pub(crate) fn cipher_name(suite: SupportedCipherSuite) -> &'static str {
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
