//! rustls configurations from resolved settings and material.

use std::sync::Arc;

use legate_config::listener::{ClientAuth, DownstreamTls};
use legate_config::secret::{CaBundle, Certificate, RevocationList};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::crypto::{NothingToOffer, key_der, provider, versions};

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
    #[error(transparent)]
    NothingToOffer(#[from] NothingToOffer),
}

/// Key material of a configuration.
pub(super) struct Material<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) ca: Option<&'a CaBundle>,
    pub(super) crl: Option<&'a RevocationList>,
}

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
        .map_err(|_| NothingToOffer("cipher suite"))?;
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
