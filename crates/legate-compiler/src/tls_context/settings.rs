//! The part of TLS settings that names no other object: versions, suites, groups, ALPN.

use std::sync::Arc;

use legate_api::Object;
use legate_config::Code;
use legate_config::listener::TlsVersion;

use super::TlsInput;
use super::names::{self, WrittenVersion};
use crate::codes;
use crate::resources::Held;

/// What settings are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Towards clients.
    Termination,
    /// Towards upstreams.
    Origination,
}

/// Checked parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsParameters {
    pub(crate) min_version: TlsVersion,
    pub(crate) max_version: TlsVersion,
    /// By OpenSSL name; empty = all.
    pub(crate) cipher_suites: Vec<String>,
    /// Empty = all.
    pub(crate) ecdh_curves: Vec<String>,
    pub(crate) alpn: Vec<String>,
}

impl TlsParameters {
    /// What applies where nothing was written.
    pub(crate) fn defaults(purpose: Purpose) -> Self {
        Self {
            min_version: TlsVersion::V12,
            max_version: TlsVersion::V13,
            cipher_suites: Vec::new(),
            ecdh_curves: Vec::new(),
            alpn: match purpose {
                Purpose::Termination => vec!["h2".to_owned(), "http/1.1".to_owned()],
                Purpose::Origination => Vec::new(),
            },
        }
    }
}

/// Something to say about a field of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// `None`: the settings cannot be used, and the referrer's code for that applies.
    pub(crate) code: Option<Code>,
    /// Field below the settings.
    pub(crate) field: &'static str,
    /// What is wrong.
    pub(crate) message: String,
}

impl Finding {
    fn warning(code: Code, field: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: Some(code),
            field,
            message: message.into(),
        }
    }

    fn fault(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: None,
            field,
            message: message.into(),
        }
    }

    /// Whether the settings cannot be used because of this.
    pub(crate) fn is_fault(&self) -> bool {
        self.code.is_none()
    }
}

/// Reads the parameters. They may be used only if no finding is a fault.
pub(crate) fn parameters(input: &TlsInput<'_>, purpose: Purpose) -> (TlsParameters, Vec<Finding>) {
    let mut out = TlsParameters::defaults(purpose);
    let mut findings = Vec::new();
    versions(input, &mut out, &mut findings);
    suites(input, &mut out, &mut findings);
    curves(input, &mut out, &mut findings);
    if let Some(text) = input.alpn_protocols {
        out.alpn = alpn(text, purpose, &mut findings);
    }
    (out, findings)
}

/// The version of a TLSContext that can be used for `purpose`, current or last good, with its
/// parameters; else why there is none. Says nothing: `frontends` reports on the contexts.
pub(crate) fn effective_parameters(
    held: &Held,
    purpose: Purpose,
) -> Result<(Arc<Object>, TlsParameters), String> {
    match usable(&held.current, purpose) {
        Ok(parameters) => Ok((Arc::clone(&held.current), parameters)),
        Err(fault) => match &held.last_good {
            Some(object) => match usable(object, purpose) {
                Ok(parameters) => Ok((Arc::clone(object), parameters)),
                Err(_) => Err(fault),
            },
            None => Err(fault),
        },
    }
}

fn usable(object: &Object, purpose: Purpose) -> Result<TlsParameters, String> {
    if object.is_rejected() {
        return Err("it does not fit its schema".to_owned());
    }
    let input = TlsInput::of_context(object).ok_or("it is no TLSContext")?;
    if let Some(fault) = input.certificate_fault() {
        return Err(fault.message);
    }
    let (parameters, findings) = parameters(&input, purpose);
    match findings.into_iter().find(Finding::is_fault) {
        Some(fault) => Err(format!("`{}`: {}", fault.field, fault.message)),
        None => Ok(parameters),
    }
}

fn versions(input: &TlsInput<'_>, out: &mut TlsParameters, findings: &mut Vec<Finding>) {
    const KNOWN: &str = "is none of v1.0, v1.1, v1.2, v1.3";
    if let Some(text) = input.min_tls_version {
        match names::version(text) {
            Some(WrittenVersion::Known(version)) => out.min_version = version,
            Some(WrittenVersion::Old) => findings.push(Finding::warning(
                codes::W_TLS_VERSION,
                "min_tls_version",
                format!("TLS {text} is not spoken; the minimum is raised to v1.2"),
            )),
            None => findings.push(Finding::fault(
                "min_tls_version",
                format!("`{text}` {KNOWN}"),
            )),
        }
    }
    if let Some(text) = input.max_tls_version {
        match names::version(text) {
            Some(WrittenVersion::Known(version)) => out.max_version = version,
            Some(WrittenVersion::Old) => findings.push(Finding::fault(
                "max_tls_version",
                format!("a maximum of {text} leaves nothing: only v1.2 and v1.3 are spoken"),
            )),
            None => findings.push(Finding::fault(
                "max_tls_version",
                format!("`{text}` {KNOWN}"),
            )),
        }
    }
    if out.min_version > out.max_version {
        findings.push(Finding::fault(
            "min_tls_version",
            "the minimum is above the maximum",
        ));
    }
}

fn suites(input: &TlsInput<'_>, out: &mut TlsParameters, findings: &mut Vec<Finding>) {
    if input.cipher_suites.is_empty() {
        return;
    }
    let mut unknown = Vec::new();
    for name in names::suite_members(input.cipher_suites) {
        match names::cipher_suite(name) {
            Some(suite) if out.cipher_suites.iter().any(|known| known == suite) => {}
            Some(suite) => out.cipher_suites.push(suite.to_owned()),
            None if names::is_tls13_suite(name) => {}
            None => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        findings.push(Finding::warning(
            codes::W_TLS_CIPHER,
            "cipher_suites",
            format!("not offered: {}", unknown.join(", ")),
        ));
    }
    if !out.cipher_suites.is_empty() {
        return;
    }
    if out.max_version < TlsVersion::V13 {
        findings.push(Finding::fault(
            "cipher_suites",
            "none of the cipher suites can be offered, and v1.3 is excluded",
        ));
    } else if out.min_version < TlsVersion::V13 {
        // An empty list would mean "all": with none left, TLS 1.2 cannot be spoken at all.
        out.min_version = TlsVersion::V13;
        findings.push(Finding::warning(
            codes::W_TLS_CIPHER,
            "cipher_suites",
            "no cipher suite for v1.2 is left, so only v1.3 is spoken",
        ));
    }
}

fn curves(input: &TlsInput<'_>, out: &mut TlsParameters, findings: &mut Vec<Finding>) {
    if input.ecdh_curves.is_empty() {
        return;
    }
    let mut unknown = Vec::new();
    for name in names::suite_members(input.ecdh_curves) {
        match names::curve(name) {
            Some(curve) if out.ecdh_curves.iter().any(|known| known == curve) => {}
            Some(curve) => out.ecdh_curves.push(curve.to_owned()),
            None => unknown.push(name),
        }
    }
    if out.ecdh_curves.is_empty() {
        findings.push(Finding::fault(
            "ecdh_curves",
            "none of the curves can be offered (known are X25519, P-256, P-384)",
        ));
    } else if !unknown.is_empty() {
        findings.push(Finding::warning(
            codes::W_TLS_CIPHER,
            "ecdh_curves",
            format!("not offered: {}", unknown.join(", ")),
        ));
    }
}

fn alpn(text: &str, purpose: Purpose, findings: &mut Vec<Finding>) -> Vec<String> {
    let mut protocols: Vec<String> = Vec::new();
    let mut unknown = Vec::new();
    for name in text
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        // Whoever negotiates a protocol with us must be served it.
        let known = purpose == Purpose::Origination || matches!(name, "h2" | "http/1.1");
        if !known {
            unknown.push(name);
        } else if !protocols.iter().any(|protocol| protocol == name) {
            protocols.push(name.to_owned());
        }
    }
    if !unknown.is_empty() {
        findings.push(Finding::warning(
            codes::W_IGNORED,
            "alpn_protocols",
            format!("not served, so not offered: {}", unknown.join(", ")),
        ));
    }
    protocols
}
