//! TLSContext: TLS settings, for termination and for origination.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::CommonStatus;

/// TLS settings that Hosts and TCPMappings use for termination, and Mappings for origination.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "TLSContext",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "CommonStatus"
)]
#[serde(default)]
pub struct TlsContextSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The hostnames that the context terminates TLS for.
    pub hosts: Option<Vec<String>>,
    /// Secret with certificate and key; `name.namespace` where namespacing is on.
    pub secret: Option<String>,
    /// File with the certificate chain. Needs `private_key_file`, excludes `secret`.
    pub cert_chain_file: Option<String>,
    /// File with the private key.
    pub private_key_file: Option<String>,
    /// Secret with the authorities that the other side's certificate is verified against.
    pub ca_secret: Option<String>,
    /// File with the authorities that the other side's certificate is verified against.
    pub cacert_chain_file: Option<String>,
    /// Whether clients must present a certificate. Default false.
    pub cert_required: Option<bool>,
    /// Secret with the revocation list for client certificates, under the key `crl.pem`.
    pub crl_secret: Option<String>,
    /// Protocols offered by ALPN, comma-separated. Default `h2,http/1.1` for termination.
    pub alpn_protocols: Option<String>,
    /// Lowest TLS version. Default `v1.2`; lower ones are raised to that.
    pub min_tls_version: Option<TlsVersion>,
    /// Highest TLS version. Default `v1.3`.
    pub max_tls_version: Option<TlsVersion>,
    /// Cipher suites by their OpenSSL names, for TLS 1.2.
    pub cipher_suites: Option<Vec<String>>,
    /// Key exchange groups, e.g. `X25519`.
    pub ecdh_curves: Option<Vec<String>>,
    /// Whether a dot in a Secret's name separates its namespace. Default: that of the Module, else
    /// true.
    pub secret_namespacing: Option<bool>,
    /// Port from which cleartext was redirected. No effect any more.
    pub redirect_cleartext_from: Option<i64>,
    /// SNI of connections that we originate.
    pub sni: Option<String>,
}

/// A version of TLS.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TlsVersion {
    /// TLS 1.0.
    #[serde(rename = "v1.0")]
    V1_0,
    /// TLS 1.1.
    #[serde(rename = "v1.1")]
    V1_1,
    /// TLS 1.2.
    #[serde(rename = "v1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "v1.3")]
    V1_3,
}

impl TlsVersion {
    /// The version as in YAML.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TlsVersion::V1_0 => "v1.0",
            TlsVersion::V1_1 => "v1.1",
            TlsVersion::V1_2 => "v1.2",
            TlsVersion::V1_3 => "v1.3",
        }
    }

    /// The version of a text such as `v1.2`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "v1.0" => Some(TlsVersion::V1_0),
            "v1.1" => Some(TlsVersion::V1_1),
            "v1.2" => Some(TlsVersion::V1_2),
            "v1.3" => Some(TlsVersion::V1_3),
            _ => None,
        }
    }
}
