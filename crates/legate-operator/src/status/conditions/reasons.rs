//! Which condition a diagnostic code speaks to, and the reason that it gives: one table.

use legate_compiler::codes as c;
use legate_config::Code;
use legate_source::kube::codes as source;

/// What a code is about. Kinds without a condition of their own for it put it on `Accepted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concern {
    /// Whether the object itself can be honoured.
    Accepted,
    /// What it refers to: `ResolvedRefs`, for a Host `TLSReady`.
    Refs,
    /// Whether requests reach it.
    Programmed,
    /// Whether its socket is there: `Bound`.
    Bound,
    /// Not about an object of ours: about files, or the configuration as a whole.
    Nothing,
}

/// What a code does to its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The condition.
    pub(super) concern: Concern,
    /// The reason; empty = the code only adds to the message of a condition that holds.
    pub(super) reason: &'static str,
    /// Whether the condition does not hold even where the object takes effect all the same.
    pub(super) decides: bool,
}

/// The reason of a condition that holds without reserve.
pub(super) const ACCEPTED: &str = "Accepted";
/// Some fields do not take effect.
pub(super) const PARTLY_INVALID: &str = "PartlyInvalid";
/// The general reason of an object that is not accepted.
pub(super) const INVALID: &str = "Invalid";

const UNSUPPORTED: &str = "UnsupportedField";

#[rustfmt::skip]
const TABLE: &[(Code, Concern, &str)] = &[
    (c::E_MAP_UNATTACHED, Concern::Refs, "NoHostMatches"),
    (c::E_MAP_GROUP, Concern::Accepted, "Conflict"),
    (c::I_MAP_UNREACHABLE, Concern::Programmed, "ShadowedBy"),
    (c::E_MAP_WEIGHT, Concern::Accepted, "WeightOverflow"),
    (c::W_MAP_WEIGHT, Concern::Accepted, ""),
    (c::I_MAP_DISAGREE, Concern::Accepted, ""),
    (c::W_IGNORED, Concern::Accepted, ""),
    (c::W_UNSUPPORTED, Concern::Accepted, UNSUPPORTED),
    (c::E_UNSUPPORTED, Concern::Accepted, UNSUPPORTED),
    (c::E_MAP_REGEX, Concern::Accepted, INVALID),
    (c::E_MAP_HEADER, Concern::Accepted, INVALID),
    (c::E_MAP_DURATION, Concern::Accepted, INVALID),
    (c::E_MAP_SERVICE, Concern::Accepted, INVALID),
    (c::E_MAP_RESOLVER, Concern::Refs, "ResolverNotFound"),
    (c::E_MAP_LB, Concern::Accepted, INVALID),
    (c::I_MAP_LB_ENDPOINTS, Concern::Refs, "LoadBalancerNeedsEndpoints"),
    (c::E_MAP_HOST, Concern::Accepted, INVALID),
    (c::W_MAP_HOST, Concern::Accepted, ""),
    (c::W_MAP_PREFIX, Concern::Accepted, ""),
    (c::E_MAP_REDIRECT, Concern::Accepted, INVALID),
    (c::I_MAP_REDIRECT, Concern::Accepted, ""),
    (c::E_MAP_REWRITE, Concern::Accepted, INVALID),
    (c::W_MAP_REWRITE, Concern::Accepted, ""),
    (c::I_MAP_REWRITE, Concern::Accepted, ""),
    (c::I_MAP_PORT, Concern::Refs, ""),
    (c::E_TLS_CONTEXT, Concern::Refs, "ContextMismatch"),
    (c::E_TLS_ORIGINATION, Concern::Accepted, INVALID),
    (c::I_TLS_UNVERIFIED, Concern::Refs, ""),
    (c::E_SECRET_MISSING, Concern::Refs, "SecretNotFound"),
    (c::E_SECRET_INVALID, Concern::Refs, "SecretInvalid"),
    (c::E_CERT_MISMATCH, Concern::Refs, "KeyMismatch"),
    (c::E_CERT_EXPIRED, Concern::Refs, "Expired"),
    (c::W_CERT_LAST_GOOD, Concern::Refs, "SecretInvalid"),
    (c::W_TLS_VERSION, Concern::Accepted, ""),
    (c::W_TLS_CIPHER, Concern::Accepted, ""),
    (c::E_HOST_DUPLICATE, Concern::Accepted, "Conflict"),
    (c::E_HOST_TLS, Concern::Refs, INVALID),
    (c::E_HOST_UNBOUND, Concern::Bound, "NoListener"),
    (c::E_LISTENER_UNUSED, Concern::Bound, "NoHosts"),
    (c::E_LISTENER_DUPLICATE, Concern::Bound, "PortConflict"),
    (c::E_LISTENER_STACK, Concern::Accepted, INVALID),
    (c::W_NO_LISTENER, Concern::Nothing, ""),
    (c::W_NO_HOST, Concern::Nothing, ""),
    (c::E_MODULE_DUPLICATE, Concern::Accepted, "NotUsed"),
    (c::W_MODULE_KEY, Concern::Accepted, "UnknownKey"),
    (c::E_MODULE_VALUE, Concern::Accepted, INVALID),
    (c::E_TCP_CERT, Concern::Refs, "SecretNotFound"),
    (c::E_TCP_PORT, Concern::Accepted, "Conflict"),
    (c::I_ID_SKIPPED, Concern::Nothing, ""),
    (c::I_CONVERTED, Concern::Accepted, ""),
    (c::E_YAML, Concern::Nothing, ""),
    (c::E_SCHEMA, Concern::Accepted, INVALID),
    (c::W_UNKNOWN_FIELD, Concern::Accepted, ""),
    (c::E_DUPLICATE, Concern::Accepted, "Conflict"),
    (c::E_FILE, Concern::Nothing, ""),
    (c::W_NOT_AN_OBJECT, Concern::Nothing, ""),
    // In a cluster it is only said of a Service whose endpoints are wanted.
    (c::I_NOT_IN_FOLDER, Concern::Refs, "ServiceNotFound"),
    (c::W_REF_AMBIGUOUS, Concern::Refs, ""),
    (c::W_HOST_GLOB, Concern::Accepted, ""),
    (c::W_TLS_HOSTS, Concern::Refs, "ContextMismatch"),
    (c::I_TLS_CONTEXT, Concern::Refs, ""),
    (c::W_CRL_EXPIRED, Concern::Refs, ""),
    (c::W_DEPRECATED, Concern::Accepted, ""),
    (c::I_MODULE_ENABLED, Concern::Accepted, ""),
    (c::E_AUTH_CONFIG, Concern::Accepted, INVALID),
    (c::E_AUTH_SETTINGS, Concern::Accepted, "TooMany"),
    (c::W_AUTH_PROTOCOL, Concern::Accepted, ""),
    (c::E_RL_LIMIT, Concern::Accepted, INVALID),
    (c::E_RL_SETTINGS, Concern::Accepted, "Conflict"),
    (c::W_RL_RATE, Concern::Accepted, ""),
    (c::I_RL_DIVIDE, Concern::Accepted, ""),
    (c::I_RL_WINDOW, Concern::Accepted, ""),
    (c::E_RL_CONFIG, Concern::Accepted, INVALID),
    (c::E_RL_DUPLICATE, Concern::Accepted, "TooMany"),
    (c::E_RL_LABEL, Concern::Accepted, INVALID),
    (c::W_RL_PROTOCOL, Concern::Accepted, ""),
    (c::I_RL_BUILTIN, Concern::Accepted, ""),
    (c::I_RL_DOMAIN, Concern::Accepted, ""),
    (c::I_RL_OMIT, Concern::Accepted, ""),
    (c::E_POLICY_BREAKER, Concern::Accepted, INVALID),
    (c::E_POLICY_RETRY, Concern::Accepted, INVALID),
    (c::E_POLICY_HEALTH, Concern::Accepted, INVALID),
    (c::W_POLICY_HEALTH, Concern::Accepted, ""),
    (c::E_POLICY_CORS, Concern::Accepted, INVALID),
    (c::W_MODULE_OFF, Concern::Accepted, ""),
    (c::E_POLICY_LUA, Concern::Accepted, UNSUPPORTED),
    (c::W_WRITTEN_AS, Concern::Accepted, ""),
];

/// The source's own, of objects that refer to what it cannot have.
#[rustfmt::skip]
const OF_SOURCE: &[(Code, Concern, &str)] = &[
    (source::W_SECRET_FORBIDDEN, Concern::Refs, "SecretForbidden"),
    (source::W_SECRET_UNREADABLE, Concern::Refs, "SecretUnreadable"),
];

/// Codes after which a condition does not hold although the object takes effect: requests to it, or
/// handshakes with it, fail.
const DECIDING: &[Code] = &[
    c::E_CERT_EXPIRED,
    c::I_NOT_IN_FOLDER,
    source::W_SECRET_FORBIDDEN,
    source::W_SECRET_UNREADABLE,
];

/// What a code means. Codes that are in no table of ours speak of the object as a whole.
pub(super) fn meaning(code: &Code) -> Meaning {
    let (concern, reason) = TABLE
        .iter()
        .chain(OF_SOURCE)
        .find(|(known, ..)| known == code)
        .map_or((Concern::Accepted, INVALID), |(_, concern, reason)| {
            (*concern, *reason)
        });
    Meaning {
        concern,
        reason,
        decides: DECIDING.contains(code),
    }
}

#[cfg(test)]
mod tests {
    use legate_compiler::codes::ALL;
    use legate_config::Severity;

    use super::*;

    #[test]
    fn every_code_is_mapped_once() {
        for code in ALL {
            let found = TABLE.iter().filter(|(known, ..)| known == code).count();
            assert_eq!(found, 1, "{code}");
        }
        assert_eq!(TABLE.len(), ALL.len());
    }

    #[test]
    fn errors_give_a_reason() {
        for (code, concern, reason) in TABLE.iter().chain(OF_SOURCE) {
            if code.severity() == Severity::Error && *concern != Concern::Nothing {
                assert!(!reason.is_empty(), "{code}");
            }
            assert!(reason.len() <= 128 && !reason.contains(' '), "{code}");
        }
    }
}
