//! TLS settings: TLSContexts and a Host's inline `tls`, for termination and origination
//! (spec/routing §§1.5, 3.13, 4.13).
//!
//! Not here: key material (see `secrets`), and which Host uses which settings (see `frontends`).

mod input;
mod names;
mod origination;
mod settings;
#[cfg(test)]
mod tests;

use legate_api::ObjectKey;
use legate_config::cluster::UpstreamTls;
use legate_config::key::{CaKey, CertificateKey};
use legate_config::secret::{CaBundle, Certificate};
use legate_config::{Code, Entry};

pub(crate) use input::TlsInput;
pub(crate) use origination::origination;
pub(crate) use settings::{Finding, Purpose, TlsParameters, effective_parameters, parameters};

/// TLS towards an upstream, ready for a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Origination {
    /// The cluster's settings.
    pub(crate) tls: UpstreamTls,
    /// The client certificate that `tls` names.
    pub(crate) certificate: Option<(CertificateKey, Entry<Certificate>)>,
    /// The authorities that `tls` names.
    pub(crate) ca_bundle: Option<(CaKey, Entry<CaBundle>)>,
    /// Objects read, absent ones included.
    pub(crate) dependencies: Vec<ObjectKey>,
    /// What to say on the referrer: code and message.
    pub(crate) notices: Vec<(Code, String)>,
}

/// Why a context cannot be used for origination. The referrer is rejected: never downgraded.
#[derive(Debug, Clone)]
pub(crate) struct OriginationError {
    /// The code for the referrer; `I-NOT-IN-FOLDER` when a Secret may exist elsewhere.
    pub(crate) code: Code,
    /// What is wrong, one sentence.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: Option<String>,
    /// Objects read, absent ones included.
    pub(crate) dependencies: Vec<ObjectKey>,
}
