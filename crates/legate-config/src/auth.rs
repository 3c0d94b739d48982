//! External authorisation: who is asked about a request before it goes upstream, and what becomes
//! of the answer. A slot of the policy bundle.

use serde::{Deserialize, Serialize};

use crate::key::ClusterKey;

/// What stands between a request and its target.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// Somebody is asked.
    Check(AuthCheck),
    /// Nobody can be asked, because the settings are wrong: every request is refused with 500 and
    /// this message, never let through.
    Refuse {
        /// Names the object at fault.
        message: String,
    },
}

/// A check: what is sent, and what its answer does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthCheck {
    /// Objects that ask for the check, `namespace/name`; for people.
    pub names: Vec<String>,
    /// Who can be asked, in turn.
    pub targets: Vec<AuthTarget>,
    /// What is spoken to them. Over gRPC the lists of headers, the prefix and the fixed headers mean
    /// nothing, and are empty.
    #[serde(default, skip_serializing_if = "AuthProtocol::is_http")]
    pub protocol: AuthProtocol,
    /// Milliseconds for the whole check, connecting included; never 0.
    pub timeout_ms: u64,
    /// Put before the path as it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path_prefix: String,
    /// Request headers sent along, lower-case, sorted; complete.
    pub request_headers: Vec<String>,
    /// Headers of an answer that are copied, lower-case, sorted; complete.
    pub answer_headers: Vec<String>,
    /// Fixed headers of the check, by lower-case name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_headers: Vec<(String, String)>,
    /// How much of the body is sent along; `None` = nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<AuthBody>,
    /// Whether a request passes when the check itself fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_on_error: bool,
    /// Status when the check itself fails and requests do not pass then.
    pub status_on_error: u16,
}

/// What is spoken to those that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthProtocol {
    /// An HTTP request whose status decides.
    #[default]
    Http,
    /// `envoy.service.auth.v3`.
    Grpc,
}

impl AuthProtocol {
    /// Whether it is the one that nobody needs to name.
    #[must_use]
    pub fn is_http(&self) -> bool {
        *self == Self::Http
    }
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthTarget {
    /// The cluster.
    pub cluster: ClusterKey,
    /// Value of `l5d-dst-override`, if it is to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linkerd_dst: Option<String>,
}

/// How much of a request's body a check gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthBody {
    /// The most bytes; never 0.
    pub max_bytes: u64,
    /// Whether longer bodies are cut, not refused.
    pub allow_partial: bool,
}
