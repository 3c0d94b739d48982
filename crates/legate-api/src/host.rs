//! Host: a DNS name with its certificate and its policy for insecure requests.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{LabelSelector, NameReference};
use crate::status::HostStatus;

/// A DNS name that the gateway serves: its certificate, its TLS settings, which Mappings attach to
/// it and what happens to insecure requests.
#[derive(
    CustomResource, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "getambassador.io",
    version = "v3alpha1",
    kind = "Host",
    namespaced,
    category = "ambassador-crds",
    schema = "disabled",
    status = "HostStatus",
    printcolumn = r#"{"name": "HOSTNAME", "type": "string", "jsonPath": ".spec.hostname"}"#,
    printcolumn = r#"{"name": "STATE", "type": "string", "jsonPath": ".status.state"}"#,
    printcolumn = r#"{"name": "PHASE COMPLETED", "type": "string", "jsonPath": ".status.phaseCompleted"}"#,
    printcolumn = r#"{"name": "PHASE PENDING", "type": "string", "jsonPath": ".status.phasePending"}"#,
    printcolumn = r#"{"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(default, rename_all = "camelCase")]
pub struct HostSpec {
    /// Ids of the instances that serve the object. Default `["default"]`; `_automatic_` means all.
    #[serde(rename = "ambassador_id")]
    #[schemars(extend("x-wide" = true))]
    pub ambassador_id: Vec<String>,
    /// The DNS name, or a glob such as `*.example.com`. Default `*`. May carry a port.
    pub hostname: Option<String>,
    /// Which Mappings attach, by their labels. Absent or empty: those whose hostname fits.
    pub mapping_selector: Option<LabelSelector>,
    /// Old name of `mappingSelector`, used when that is absent.
    pub selector: Option<LabelSelector>,
    /// The Secret with the certificate. Without it the Host does not terminate TLS.
    pub tls_secret: Option<SecretReference>,
    /// TLS settings, inline. Excludes `tlsContext`.
    pub tls: Option<HostTls>,
    /// The TLSContext whose settings apply together with `tlsSecret`. Excludes `tls`.
    pub tls_context: Option<NameReference>,
    /// What happens to requests by the kind of their connection.
    pub request_policy: Option<RequestPolicy>,
    /// Settings of an ACME client. There is none: certificates come from outside, e.g. from
    /// cert-manager.
    pub acme_provider: Option<AcmeProvider>,
    /// Preview URLs. Not supported, ignored.
    pub preview_url: Option<PreviewUrl>,
}

/// A Secret by name and namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SecretReference {
    /// Name of the Secret.
    pub name: Option<String>,
    /// Namespace of the Secret. Default: that of the object.
    pub namespace: Option<String>,
}

/// Inline TLS settings of a Host; the meaning is that of the same fields of a TLSContext.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostTls {
    /// Secret with the authorities that client certificates are verified against.
    pub ca_secret: Option<String>,
    /// File with the authorities that client certificates are verified against.
    pub cacert_chain_file: Option<String>,
    /// File with the certificate chain.
    pub cert_chain_file: Option<String>,
    /// File with the private key.
    pub private_key_file: Option<String>,
    /// Secret with the revocation list for client certificates.
    pub crl_secret: Option<String>,
    /// Whether clients must present a certificate. Default false.
    pub cert_required: Option<bool>,
    /// Protocols offered by ALPN, comma-separated, e.g. `h2,http/1.1`.
    pub alpn_protocols: Option<String>,
    /// Lowest TLS version: `v1.0` to `v1.3`.
    pub min_tls_version: Option<String>,
    /// Highest TLS version: `v1.0` to `v1.3`.
    pub max_tls_version: Option<String>,
    /// Cipher suites by their OpenSSL names, for TLS 1.2.
    pub cipher_suites: Option<Vec<String>>,
    /// Key exchange groups, e.g. `X25519`.
    pub ecdh_curves: Option<Vec<String>>,
    /// Port from which cleartext was redirected. No effect any more.
    pub redirect_cleartext_from: Option<i64>,
    /// SNI of connections that we originate.
    pub sni: Option<String>,
}

/// Policy per kind of request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RequestPolicy {
    /// Policy for requests that did not come by TLS.
    pub insecure: Option<InsecurePolicy>,
}

/// Policy for insecure requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct InsecurePolicy {
    /// What happens to them. Default `Redirect`, to https.
    pub action: Option<InsecureAction>,
    /// A further port for insecure requests. No effect: write a Listener.
    pub additional_port: Option<i64>,
}

/// What happens to insecure requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InsecureAction {
    /// They are redirected to https.
    #[default]
    Redirect,
    /// They are answered 404.
    Reject,
    /// They are routed like secure ones.
    Route,
}

/// Settings of an ACME client that does not exist here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AcmeProvider {
    /// URL of the certificate authority, or `none`.
    pub authority: Option<String>,
    /// E-mail address for the account.
    pub email: Option<String>,
    /// Secret with the account's private key.
    pub private_key_secret: Option<NameReference>,
    /// Registration of the account, as JSON text.
    pub registration: Option<String>,
}

/// Preview URLs; not supported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PreviewUrl {
    /// Whether preview URLs are on.
    pub enabled: Option<bool>,
    /// Kind of preview URL.
    #[serde(rename = "type")]
    pub type_: Option<PreviewType>,
}

/// Kind of preview URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PreviewType {
    /// By a path prefix.
    Path,
}
