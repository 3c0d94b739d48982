//! TLS settings as written, in one form for TLSContexts and a Host's inline `tls`.

use legate_api::{Body, HostSpec, Object, TlsVersion};

use super::Finding;

/// TLS settings as written. Empty texts and lists count as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsInput<'a> {
    pub(crate) hosts: &'a [String],
    pub(crate) secret: Option<&'a str>,
    pub(crate) ca_secret: Option<&'a str>,
    pub(crate) crl_secret: Option<&'a str>,
    pub(crate) cert_chain_file: Option<&'a str>,
    pub(crate) private_key_file: Option<&'a str>,
    pub(crate) cacert_chain_file: Option<&'a str>,
    pub(crate) cert_required: Option<bool>,
    pub(crate) alpn_protocols: Option<&'a str>,
    pub(crate) min_tls_version: Option<&'a str>,
    pub(crate) max_tls_version: Option<&'a str>,
    pub(crate) cipher_suites: &'a [String],
    pub(crate) ecdh_curves: &'a [String],
    pub(crate) secret_namespacing: Option<bool>,
    pub(crate) redirect_cleartext_from: Option<i64>,
    pub(crate) sni: Option<&'a str>,
}

impl<'a> TlsInput<'a> {
    /// The settings of a TLSContext.
    pub(crate) fn of_context(object: &'a Object) -> Option<Self> {
        let Body::TlsContext(spec) = &object.body else {
            return None;
        };
        Some(Self {
            hosts: list(&spec.hosts),
            secret: text(&spec.secret),
            ca_secret: text(&spec.ca_secret),
            crl_secret: text(&spec.crl_secret),
            cert_chain_file: text(&spec.cert_chain_file),
            private_key_file: text(&spec.private_key_file),
            cacert_chain_file: text(&spec.cacert_chain_file),
            cert_required: spec.cert_required,
            alpn_protocols: text(&spec.alpn_protocols),
            min_tls_version: spec.min_tls_version.map(TlsVersion::as_str),
            max_tls_version: spec.max_tls_version.map(TlsVersion::as_str),
            cipher_suites: list(&spec.cipher_suites),
            ecdh_curves: list(&spec.ecdh_curves),
            secret_namespacing: spec.secret_namespacing,
            redirect_cleartext_from: spec.redirect_cleartext_from,
            sni: text(&spec.sni),
        })
    }

    /// The inline settings of a Host; `None` when there are none, `tls: {}` included.
    pub(crate) fn of_host(spec: &'a HostSpec) -> Option<Self> {
        let tls = spec.tls.as_ref()?;
        let input = Self {
            hosts: &[],
            secret: None,
            ca_secret: text(&tls.ca_secret),
            crl_secret: text(&tls.crl_secret),
            cert_chain_file: text(&tls.cert_chain_file),
            private_key_file: text(&tls.private_key_file),
            cacert_chain_file: text(&tls.cacert_chain_file),
            cert_required: tls.cert_required,
            alpn_protocols: text(&tls.alpn_protocols),
            min_tls_version: text(&tls.min_tls_version),
            max_tls_version: text(&tls.max_tls_version),
            cipher_suites: list(&tls.cipher_suites),
            ecdh_curves: list(&tls.ecdh_curves),
            secret_namespacing: None,
            redirect_cleartext_from: tls.redirect_cleartext_from,
            sni: text(&tls.sni),
        };
        (input != Self::default()).then_some(input)
    }

    /// The fields that name files. The compiler reads none.
    pub(crate) fn file_fields(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.cert_chain_file, "cert_chain_file"),
            (self.private_key_file, "private_key_file"),
            (self.cacert_chain_file, "cacert_chain_file"),
        ]
        .into_iter()
        .filter_map(|(value, field)| value.map(|_| field))
    }

    /// The first field that names a file.
    pub(crate) fn file_field(&self) -> Option<&'static str> {
        self.file_fields().next()
    }

    /// Whether clients are to be checked.
    pub(crate) fn asks_for_client_check(&self) -> bool {
        self.ca_secret.is_some()
            || self.cacert_chain_file.is_some()
            || self.cert_required == Some(true)
    }

    /// What is wrong with the ways in which a certificate is given (spec/routing §3.13).
    pub(crate) fn certificate_fault(&self) -> Option<Finding> {
        let fault = |field, message: &str| Finding {
            code: None,
            field,
            message: message.to_owned(),
        };
        match (self.secret, self.cert_chain_file, self.private_key_file) {
            (Some(_), Some(_), _) => Some(fault(
                "cert_chain_file",
                "a certificate from files excludes `secret`",
            )),
            (Some(_), None, Some(_)) => Some(fault(
                "private_key_file",
                "a certificate from files excludes `secret`",
            )),
            (None, Some(_), None) => Some(fault(
                "cert_chain_file",
                "it needs `private_key_file` beside it",
            )),
            (None, None, Some(_)) => Some(fault(
                "private_key_file",
                "it needs `cert_chain_file` beside it",
            )),
            _ => None,
        }
    }

    /// Whether there is nothing in it that could make a connection differ.
    pub(crate) fn is_empty(&self) -> bool {
        Self {
            hosts: &[],
            secret_namespacing: None,
            redirect_cleartext_from: None,
            ..self.clone()
        } == Self::default()
    }
}

fn text(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}

fn list(value: &Option<Vec<String>>) -> &[String] {
    value.as_deref().unwrap_or_default()
}
