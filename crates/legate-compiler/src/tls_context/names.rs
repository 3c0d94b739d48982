//! Names of TLS versions, cipher suites, key-exchange groups and ALPN protocols: what users write
//! and what rustls with aws-lc-rs offers.

use legate_config::listener::TlsVersion;

/// A TLS version as users write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WrittenVersion {
    /// `v1.0` or `v1.1`, which no modern TLS library speaks.
    Old,
    /// One that we can speak.
    Known(TlsVersion),
}

/// Reads `v1.0` … `v1.3`.
pub(super) fn version(text: &str) -> Option<WrittenVersion> {
    match text {
        "v1.0" | "v1.1" => Some(WrittenVersion::Old),
        "v1.2" => Some(WrittenVersion::Known(TlsVersion::V12)),
        "v1.3" => Some(WrittenVersion::Known(TlsVersion::V13)),
        _ => None,
    }
}

/// The OpenSSL name of a TLS 1.2 suite that we can offer, from its OpenSSL or IANA name.
pub(super) fn cipher_suite(text: &str) -> Option<&'static str> {
    Some(match text.trim().to_ascii_uppercase().as_str() {
        "ECDHE-ECDSA-AES128-GCM-SHA256" | "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {
            "ECDHE-ECDSA-AES128-GCM-SHA256"
        }
        "ECDHE-RSA-AES128-GCM-SHA256" | "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => {
            "ECDHE-RSA-AES128-GCM-SHA256"
        }
        "ECDHE-ECDSA-AES256-GCM-SHA384" | "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {
            "ECDHE-ECDSA-AES256-GCM-SHA384"
        }
        "ECDHE-RSA-AES256-GCM-SHA384" | "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => {
            "ECDHE-RSA-AES256-GCM-SHA384"
        }
        "ECDHE-ECDSA-CHACHA20-POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        "ECDHE-RSA-CHACHA20-POLY1305" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
            "ECDHE-RSA-CHACHA20-POLY1305"
        }
        _ => return None,
    })
}

/// Whether this names a TLS 1.3 suite, which `cipher_suites` has no say about.
pub(super) fn is_tls13_suite(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_uppercase().as_str(),
        "TLS_AES_128_GCM_SHA256" | "TLS_AES_256_GCM_SHA384" | "TLS_CHACHA20_POLY1305_SHA256"
    )
}

/// The name of a key-exchange group that we can offer.
pub(super) fn curve(text: &str) -> Option<&'static str> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "x25519" => "X25519",
        "p-256" | "prime256v1" | "secp256r1" => "P-256",
        "p-384" | "secp384r1" => "P-384",
        "x25519mlkem768" => "X25519MLKEM768",
        _ => return None,
    })
}

/// The members of a suite list, with `[A|B]` groups of equal preference taken apart.
pub(super) fn suite_members(entries: &[String]) -> impl Iterator<Item = &str> {
    entries
        .iter()
        .flat_map(|entry| entry.split(['[', ']', '|', ',', ':']))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}
