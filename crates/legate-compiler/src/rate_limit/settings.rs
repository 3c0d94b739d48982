//! The settings of one RateLimitService.

use legate_api::services::{ProtocolVersion, RateLimitServiceSpec};
use legate_config::ClusterKey;
use legate_config::limit::RateLimit;

use crate::codes;
use crate::lower::Report;
use crate::module::ModuleSettings;
use crate::side;

const TIMEOUT_MS: u64 = 20;

/// What a RateLimitService asks for, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    domain: String,
    timeout_ms: u64,
    deny_on_error: bool,
    resource_exhausted: bool,
}

impl Settings {
    /// The policy.
    pub(super) fn policy(self, name: String, cluster: ClusterKey) -> RateLimit {
        RateLimit {
            name,
            cluster,
            domain: self.domain,
            timeout_ms: self.timeout_ms,
            deny_on_error: self.deny_on_error,
            resource_exhausted: self.resource_exhausted,
        }
    }
}

/// Reads the settings; `None` when they are faulty.
pub(super) fn read(
    spec: &RateLimitServiceSpec,
    module: &ModuleSettings,
    report: &mut Report,
) -> Option<Settings> {
    match spec.protocol_version {
        Some(ProtocolVersion::V3) => {}
        Some(ProtocolVersion::V2) => report.fatal_with_help(
            codes::E_RL_CONFIG,
            "spec.protocol_version",
            "version `v2` of the protocol is not spoken any more; no request is limited",
            "write `protocol_version: v3`",
        ),
        None => report.notice(
            codes::W_RL_PROTOCOL,
            "spec.protocol_version",
            "`v3` is assumed; in Emissary it would be `v2`, and no request would be limited",
        ),
    }
    let grpc = spec.grpc.clone().unwrap_or_default();
    let settings = Settings {
        domain: spec
            .domain
            .clone()
            .filter(|domain| !domain.is_empty())
            .unwrap_or_else(|| module.label_domain.clone()),
        timeout_ms: side::timeout_ms(spec.timeout_ms, TIMEOUT_MS, "a call", report),
        deny_on_error: spec.failure_mode_deny == Some(true),
        resource_exhausted: grpc.use_resource_exhausted_code == Some(true)
            || grpc.rate_limited_as_resource_exhausted == Some(true),
    };
    report.fault.is_none().then_some(settings)
}
