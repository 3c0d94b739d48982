//! Fields that had another name in v2 (spec/routing §1.8), or that we read under two names.

use crate::object::Kind;

/// One renamed field.
pub(crate) struct OldName {
    pub(crate) kind: Kind,
    /// The objects inside `spec` that lead to the field.
    pub(crate) within: &'static [&'static str],
    pub(crate) old: &'static str,
    pub(crate) new: &'static str,
}

const fn old(
    kind: Kind,
    within: &'static [&'static str],
    old: &'static str,
    new: &'static str,
) -> OldName {
    OldName {
        kind,
        within,
        old,
        new,
    }
}

/// All of them. `ambassadorId` is not a mere rename, its values are appended; it is here for the
/// schema.
pub(crate) static OLD_NAMES: &[OldName] = &[
    old(Kind::Host, &[], "ambassadorId", "ambassador_id"),
    old(Kind::Host, &["tls"], "v3CRLSecret", "crl_secret"),
    old(Kind::Mapping, &[], "v3StatsName", "stats_name"),
    old(Kind::Mapping, &[], "v3health_checks", "health_checks"),
    // The Module calls it `time`.
    old(Kind::Mapping, &["keepalive"], "time", "idle_time"),
    old(Kind::TcpMapping, &[], "v3StatsName", "stats_name"),
    old(Kind::TlsContext, &[], "v3CRLSecret", "crl_secret"),
    old(Kind::AuthService, &[], "v3StatsName", "stats_name"),
    old(
        Kind::AuthService,
        &[],
        "v3CircuitBreakers",
        "circuit_breakers",
    ),
    old(Kind::RateLimitService, &[], "v3StatsName", "stats_name"),
    old(Kind::LogService, &[], "v3StatsName", "stats_name"),
    old(Kind::TracingService, &[], "v3StatsName", "stats_name"),
    old(Kind::TracingService, &[], "v3CustomTags", "custom_tags"),
    old(
        Kind::TracingService,
        &["config"],
        "v3PropagationModes",
        "propagation_modes",
    ),
];
