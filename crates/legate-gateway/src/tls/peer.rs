//! What logs say about a client's certificate.

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::X509Name;

/// The parts of a certificate that templates can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerCertificate {
    /// Subject, RFC 2253.
    pub(crate) subject: String,
    /// Issuer, RFC 2253.
    pub(crate) issuer: String,
    /// SHA-256 of the DER certificate in lower-case hexadecimal.
    pub(crate) fingerprint_256: String,
    /// Who it is for external authorisation.
    pub(crate) principal: String,
}

impl PeerCertificate {
    /// Reads a certificate. What cannot be read is empty: the handshake has already verified it.
    pub(super) fn read(der: &[u8]) -> Self {
        let parsed = X509Certificate::from_der(der).ok();
        let name = |pick: fn(&X509Certificate<'_>) -> String| {
            parsed
                .as_ref()
                .map_or_else(String::new, |(_, certificate)| pick(certificate))
        };
        Self {
            subject: name(|certificate| rfc2253(certificate.subject())),
            issuer: name(|certificate| rfc2253(certificate.issuer())),
            fingerprint_256: sha256(der),
            principal: parsed
                .as_ref()
                .map_or_else(String::new, |(_, certificate)| principal(certificate)),
        }
    }
}

/// Who a certificate speaks for; empty where that cannot be read.
pub(super) fn principal_of(der: &[u8]) -> String {
    X509Certificate::from_der(der).map_or_else(
        |_| String::new(),
        |(_, certificate)| principal(&certificate),
    )
}

/// The first URI, else the first DNS name, else the subject.
fn principal(certificate: &X509Certificate<'_>) -> String {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let uri = names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let dns = names.iter().find_map(|name| match name {
        GeneralName::DNSName(dns) => Some(*dns),
        _ => None,
    });
    uri.or(dns)
        .map_or_else(|| rfc2253(certificate.subject()), str::to_owned)
}

/// rustls has the hash already; no other crate is needed for it.
fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(64);
    if let Some(suite) = TLS13_AES_128_GCM_SHA256.tls13() {
        for byte in suite.common.hash_provider.hash(bytes).as_ref() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

/// Most specific part first, `,` between parts, `+` within one.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| {
            let attributes: Vec<String> = rdn
                .iter()
                .map(|attribute| {
                    let key = x509_parser::objects::oid2abbrev(
                        attribute.attr_type(),
                        x509_parser::objects::oid_registry(),
                    )
                    .map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
                    let value = attribute.as_str().unwrap_or("");
                    format!("{key}={}", escaped(value))
                })
                .collect();
            attributes.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_most_specific_first() {
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "Acme, Inc.");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "client");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let peer = PeerCertificate::read(certificate.der());
        assert_eq!(peer.subject, "CN=client,O=Acme\\, Inc.");
        assert_eq!(peer.issuer, peer.subject);
        assert_eq!(peer.fingerprint_256.len(), 64);
        assert_eq!(peer.principal, "a.test");
        let uri = "spiffe://a.test/x".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(principal_of(certificate.der()), "spiffe://a.test/x");
        params.subject_alt_names.clear();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(principal_of(certificate.der()), peer.subject);
    }

    #[test]
    fn garbage_has_a_fingerprint_only() {
        let peer = PeerCertificate::read(b"abc");
        assert_eq!(peer.subject, "");
        assert_eq!(
            peer.fingerprint_256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
