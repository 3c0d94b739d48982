//! What a Secret holds: certificate pairs, authorities and revocation lists, parsed in full.
//!
//! Nothing is parsed before it is asked for, and nothing twice.

use std::sync::{Arc, OnceLock};

use legate_api::{Body, Object};
use legate_config::secret::{CaBundle, Certificate, KeyForm, PrivateKey, RevocationList};
use legate_config::{Code, Entry, Origin};
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::codes;
use crate::select::object_ref;

/// Why a Secret does not serve the purpose it is referred to for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretError {
    /// The code for the Secret.
    pub(crate) code: Code,
    /// The key of `data` at fault, as a field path.
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) message: String,
}

type Parsed<T> = Result<Entry<T>, SecretError>;

/// One Secret.
#[derive(Debug)]
pub(crate) struct Material {
    object: Arc<Object>,
    hash_key: [u8; 32],
    certificate: OnceLock<Parsed<Certificate>>,
    ca: OnceLock<Parsed<CaBundle>>,
    own_ca: OnceLock<Option<Parsed<CaBundle>>>,
    crl: OnceLock<Parsed<RevocationList>>,
}

impl Material {
    pub(crate) fn new(object: Arc<Object>, hash_key: [u8; 32]) -> Self {
        Self {
            object,
            hash_key,
            certificate: OnceLock::new(),
            ca: OnceLock::new(),
            own_ca: OnceLock::new(),
            crl: OnceLock::new(),
        }
    }

    /// The version that was parsed.
    pub(crate) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// Whether its fingerprints are made with this key.
    pub(crate) fn is_for(&self, hash_key: &[u8; 32]) -> bool {
        self.hash_key == *hash_key
    }

    /// The certificate chain with its key: `tls.crt` and `tls.key`, or Istio's names.
    pub(crate) fn certificate(&self) -> &Parsed<Certificate> {
        self.certificate.get_or_init(|| {
            let (chain_key, key_key) = if self.data("tls.crt").is_some() {
                ("tls.crt", "tls.key")
            } else if self.data("cert-chain.pem").is_some() {
                ("cert-chain.pem", "key.pem")
            } else {
                return Err(invalid("", "it holds no `tls.crt`"));
            };
            let chain = self.data(chain_key).unwrap_or_default();
            let key = self
                .data(key_key)
                .ok_or_else(|| invalid("", format!("it holds `{chain_key}` but no `{key_key}`")))?;
            let value = pair(chain_key, chain, key_key, key, &self.hash_key)?;
            Ok(self.entry(value))
        })
    }

    /// The authorities: `tls.crt`, else `ca.crt`, else Istio's `root-cert.pem`.
    pub(crate) fn ca_bundle(&self) -> &Parsed<CaBundle> {
        self.ca.get_or_init(|| {
            let key = self
                .ca_key()
                .ok_or_else(|| invalid("", "it holds neither `tls.crt` nor `ca.crt`"))?;
            self.bundle(key)
        })
    }

    /// The authorities that a certificate Secret brings along by itself (Istio's form).
    pub(crate) fn own_ca(&self) -> Option<&Parsed<CaBundle>> {
        self.own_ca
            .get_or_init(|| {
                let istio = self.data("tls.crt").is_none() && self.data("cert-chain.pem").is_some();
                (istio && self.data("root-cert.pem").is_some())
                    .then(|| self.bundle("root-cert.pem"))
            })
            .as_ref()
    }

    /// Whether authorities were taken from `ca.crt` although there is a `tls.crt`.
    pub(crate) fn ca_is_beside_leaf(&self) -> bool {
        self.data("tls.crt").is_some() && self.ca_key() == Some("ca.crt")
    }

    /// Whether the key `cert_required` says `true`.
    pub(crate) fn cert_required(&self) -> bool {
        self.data("cert_required")
            .is_some_and(|text| text.trim_ascii().eq_ignore_ascii_case(b"true"))
    }

    /// The revocation lists: `crl.pem`, else `user.key` as older releases had it.
    pub(crate) fn revocation_list(&self) -> &Parsed<RevocationList> {
        self.crl.get_or_init(|| {
            let key = ["crl.pem", "user.key"]
                .into_iter()
                .find(|key| self.data(key).is_some())
                .ok_or_else(|| invalid("", "it holds no `crl.pem`"))?;
            let lists = sections(key, self.data(key).unwrap_or_default(), |kind| {
                matches!(kind, SectionKind::Crl)
            })?;
            if lists.is_empty() {
                return Err(invalid(key, "there is no revocation list in it"));
            }
            for der in &lists {
                CertificateRevocationList::from_der(der).map_err(|error| {
                    invalid(key, format!("a revocation list cannot be read: {error}"))
                })?;
            }
            Ok(self.entry(RevocationList { lists }))
        })
    }

    fn ca_key(&self) -> Option<&'static str> {
        let has = |key: &str| self.data(key).is_some();
        if !has("tls.crt") {
            return ["ca.crt", "root-cert.pem"].into_iter().find(|key| has(key));
        }
        // Emissary reads `tls.crt` alone; a leaf there with the authority beside it is what
        // cert-manager writes, and the leaf is certainly not meant.
        if has("ca.crt") && !holds_ca(self.data("tls.crt").unwrap_or_default()) {
            return Some("ca.crt");
        }
        Some("tls.crt")
    }

    fn bundle(&self, key: &str) -> Parsed<CaBundle> {
        let certificates = certificates(key, self.data(key).unwrap_or_default())?;
        for der in &certificates {
            parse_certificate(key, der)?;
        }
        Ok(self.entry(CaBundle { certificates }))
    }

    fn data(&self, key: &str) -> Option<&[u8]> {
        match &self.object.body {
            Body::Secret(secret) => secret.data.get(key).map(Vec::as_slice),
            _ => None,
        }
    }

    fn entry<T: serde::Serialize>(&self, value: T) -> Entry<T> {
        let origin = Origin {
            object: object_ref(&self.object.key()),
            generation: self.object.meta.generation,
        };
        Entry::new(value, vec![origin])
    }
}

fn invalid(key: &str, message: impl Into<String>) -> SecretError {
    fault(codes::E_SECRET_INVALID, key, message)
}

fn fault(code: Code, key: &str, message: impl Into<String>) -> SecretError {
    let path = if key.is_empty() {
        "data".to_owned()
    } else {
        format!("data.{key}")
    };
    SecretError {
        code,
        path,
        message: message.into(),
    }
}

/// The DER of all PEM sections of the wanted kinds.
fn sections(
    key: &str,
    pem: &[u8],
    wanted: impl Fn(SectionKind) -> bool,
) -> Result<Vec<Vec<u8>>, SecretError> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) =
            section.map_err(|error| invalid(key, format!("it is no PEM: {error}")))?;
        if wanted(kind) {
            found.push(der);
        }
    }
    Ok(found)
}

fn certificates(key: &str, pem: &[u8]) -> Result<Vec<Vec<u8>>, SecretError> {
    let found = sections(key, pem, |kind| matches!(kind, SectionKind::Certificate))?;
    if found.is_empty() {
        return Err(invalid(key, "there is no certificate in it"));
    }
    Ok(found)
}

fn parse_certificate<'a>(key: &str, der: &'a [u8]) -> Result<X509Certificate<'a>, SecretError> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(invalid(
            key,
            format!("a certificate cannot be read: {error}"),
        )),
    }
}

fn holds_ca(pem: &[u8]) -> bool {
    certificates("tls.crt", pem).is_ok_and(|found| {
        found.iter().any(|der| {
            parse_certificate("tls.crt", der).is_ok_and(|certificate| certificate.is_ca())
        })
    })
}

/// Reads and checks a certificate chain and its key.
fn pair(
    chain_key: &str,
    chain_pem: &[u8],
    key_key: &str,
    key_pem: &[u8],
    hash_key: &[u8; 32],
) -> Result<Certificate, SecretError> {
    let chain = certificates(chain_key, chain_pem)?;
    let key = private_key(key_key, key_pem)?;
    let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| invalid(key_key, "the private key is of a kind that we cannot use"))?;
    for der in chain.iter().skip(1) {
        parse_certificate(chain_key, der)?;
    }
    let leaf = chain
        .first()
        .ok_or_else(|| invalid(chain_key, "there is no certificate in it"))?;
    let leaf = parse_certificate(chain_key, leaf)?;
    if let Some(public) = signer.public_key()
        && public.as_ref() != leaf.tbs_certificate.subject_pki.raw
    {
        return Err(fault(
            codes::E_CERT_MISMATCH,
            key_key,
            "the private key does not belong to the first certificate of the chain",
        ));
    }
    let validity = leaf.validity();
    let (not_before, not_after) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    let names = names(&leaf);
    let (form, der) = match &key {
        PrivateKeyDer::Pkcs1(der) => (KeyForm::Pkcs1, der.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(der) => (KeyForm::Sec1, der.secret_sec1_der()),
        other => (KeyForm::Pkcs8, other.secret_der()),
    };
    let key = PrivateKey::new(der.to_vec(), form, hash_key);
    Ok(Certificate {
        chain,
        key,
        names,
        not_before,
        not_after,
    })
}

fn private_key(key: &str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, SecretError> {
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) =
            section.map_err(|error| invalid(key, format!("it is no PEM: {error}")))?;
        match kind {
            SectionKind::PrivateKey => return Ok(PrivatePkcs8KeyDer::from(der).into()),
            SectionKind::RsaPrivateKey => return Ok(PrivatePkcs1KeyDer::from(der).into()),
            SectionKind::EcPrivateKey => return Ok(PrivateSec1KeyDer::from(der).into()),
            _ => {}
        }
    }
    Err(invalid(
        key,
        "there is no private key in it that we can read (encrypted ones cannot be used)",
    ))
}

/// The names that a certificate is good for. Without a SAN extension the common name counts, as
/// old tools expect; clients will not.
fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for extension in leaf.extensions() {
        let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() else {
            continue;
        };
        for name in &san.general_names {
            match name {
                GeneralName::DNSName(text) => names.push(text.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => names.extend(ip_text(bytes)),
                _ => {}
            }
        }
    }
    if names.is_empty() {
        names.extend(
            leaf.subject()
                .iter_common_name()
                .filter_map(|name| name.as_str().ok())
                .map(str::to_ascii_lowercase),
        );
    }
    names.sort();
    names.dedup();
    names
}

fn ip_text(bytes: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(octets).to_string());
    }
    let octets = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(octets).to_string())
}
