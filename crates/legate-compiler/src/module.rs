//! The `ambassador` Module: its free-form `config` as typed settings, every key of spec/routing §5
//! read, diagnosed or ignored on purpose.
//!
//! Not here: what the settings do. The `tls` Module (§3.15) is only reported.

mod access_log;
mod buffer;
mod cors;
mod defaults;
mod grpc;
mod gzip;
mod ip;
mod keys;
mod labels;
mod pick;
mod probes;
mod read;
#[cfg(test)]
mod tests;
mod upstream;

use std::collections::BTreeMap;

use legate_api::{AddedHeader, Body, LabelSpecifier, ObjectKey};
use legate_config::Diagnostic;
use legate_config::cluster::{Breakers, TcpKeepalive};
use legate_config::http::{AccessLog, Compression, GrpcSettings, IpPolicy, Underscores};
use legate_config::policy::{CorsPolicy, Retry};

use crate::lower::Balance;
use crate::options::Options;
use crate::resources::Resources;

/// Settings of the `ambassador` Module with all defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModuleSettings {
    /// The Module that counts; `None` when there is none.
    pub(crate) object: Option<ObjectKey>,
    /// `use_remote_address`
    pub(crate) use_remote_address: bool,
    /// `xff_num_trusted_hops`: for Listeners without `l7Depth`.
    pub(crate) trusted_hops: u32,
    /// `server_name`
    pub(crate) server_name: String,
    /// `max_request_headers_kb`, in bytes.
    pub(crate) max_request_header_bytes: u32,
    /// `merge_slashes`
    pub(crate) merge_slashes: bool,
    /// `reject_requests_with_escaped_slashes`
    pub(crate) reject_escaped_slashes: bool,
    /// `strip_matching_host_port`
    pub(crate) strip_matching_host_port: bool,
    /// `preserve_external_request_id`
    pub(crate) preserve_external_request_id: bool,
    /// `suppress_envoy_headers`
    pub(crate) suppress_envoy_headers: bool,
    /// `listener_idle_timeout_ms`; 0 = never.
    pub(crate) listener_idle_timeout_ms: u64,
    /// `ip_allow` or `ip_deny`
    pub(crate) ip_policy: Option<IpPolicy>,
    /// `gzip`
    pub(crate) compression: Option<Compression>,
    /// `enable_grpc_web`, `enable_grpc_http11_bridge`, `grpc_stats`
    pub(crate) grpc: GrpcSettings,
    /// `enable_http10`
    pub(crate) http10: bool,
    /// `headers_with_underscores_action`
    pub(crate) underscores: Underscores,
    /// `buffer.max_request_bytes`, if set.
    pub(crate) max_request_bytes: Option<u64>,
    /// `buffer_limit_bytes`
    pub(crate) buffer_limit_bytes: u32,
    /// `envoy_log_type`, `envoy_log_format`, `envoy_log_path`
    pub(crate) access_log: AccessLog,
    /// `enable_ipv4`: default of Mappings.
    pub(crate) enable_ipv4: bool,
    /// `enable_ipv6`: default of Mappings.
    pub(crate) enable_ipv6: bool,
    /// `add_linkerd_headers`: default of Mappings.
    pub(crate) add_linkerd_headers: bool,
    /// `cluster_request_timeout_ms`: default `timeout_ms` of Mappings.
    pub(crate) cluster_request_timeout_ms: u64,
    /// `cluster_idle_timeout_ms`: default of Mappings, if set.
    pub(crate) cluster_idle_timeout_ms: Option<u64>,
    /// `cluster_max_connection_lifetime_ms`: default of Mappings, if set.
    pub(crate) cluster_max_connection_lifetime_ms: Option<u64>,
    /// `keepalive`: default of Mappings.
    pub(crate) keepalive: Option<TcpKeepalive>,
    /// `cors`: default of Mappings.
    pub(crate) cors: Option<CorsPolicy>,
    /// `circuit_breakers`: default of Mappings.
    pub(crate) breakers: Breakers,
    /// `outlier_detection.enabled: false`
    pub(crate) never_eject: bool,
    /// `retry_policy`: default of Mappings.
    pub(crate) retry: Option<Retry>,
    /// `load_balancer`: default of Mappings.
    pub(crate) balance: Option<Balance>,
    /// `resolver`: default of Mappings, `kubernetes-service`.
    pub(crate) resolver: String,
    /// `strict_resolver`: whether a Mapping's own load balancer needs an endpoint resolver.
    pub(crate) strict_resolver: bool,
    /// `use_ambassador_namespace_for_service_resolution`
    pub(crate) use_ambassador_namespace_for_service_resolution: bool,
    /// `default_label_domain`
    pub(crate) label_domain: String,
    /// `default_labels`, by domain.
    pub(crate) default_labels: BTreeMap<String, Vec<LabelSpecifier>>,
    /// `defaults` (spec/routing §4.20): those that work.
    pub(crate) defaults: MappingDefaults,
    /// `defaults.tls_secret_namespacing`
    pub(crate) tls_secret_namespacing: bool,
    /// `liveness_probe`; `None` = switched off.
    pub(crate) liveness_probe: Option<ProbeSettings>,
    /// `readiness_probe`; `None` = switched off.
    pub(crate) readiness_probe: Option<ProbeSettings>,
}

/// What Mappings get that say nothing themselves. A Mapping's own value replaces it entirely.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MappingDefaults {
    /// `add_request_headers`
    pub(crate) add_request_headers: Option<BTreeMap<String, AddedHeader>>,
    /// `add_response_headers`
    pub(crate) add_response_headers: Option<BTreeMap<String, AddedHeader>>,
    /// `remove_request_headers`
    pub(crate) remove_request_headers: Option<Vec<String>>,
    /// `remove_response_headers`
    pub(crate) remove_response_headers: Option<Vec<String>>,
    /// `stats_name`
    pub(crate) stats_name: Option<String>,
}

/// A probe route, answered by the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbeSettings {
    /// Path prefix.
    pub(crate) prefix: String,
}

impl Default for ModuleSettings {
    /// What applies without any Module (spec/routing §5).
    fn default() -> Self {
        let probe = |prefix: &str| {
            Some(ProbeSettings {
                prefix: prefix.to_owned(),
            })
        };
        Self {
            object: None,
            use_remote_address: true,
            trusted_hops: 0,
            server_name: "envoy".to_owned(),
            max_request_header_bytes: 60 * 1024,
            merge_slashes: false,
            reject_escaped_slashes: false,
            strip_matching_host_port: false,
            preserve_external_request_id: false,
            suppress_envoy_headers: false,
            listener_idle_timeout_ms: 3_600_000,
            ip_policy: None,
            compression: None,
            grpc: GrpcSettings::default(),
            http10: false,
            underscores: Underscores::Allow,
            max_request_bytes: None,
            buffer_limit_bytes: buffer::DEFAULT_LIMIT,
            access_log: access_log::default_log(),
            enable_ipv4: true,
            enable_ipv6: false,
            add_linkerd_headers: false,
            cluster_request_timeout_ms: 3000,
            cluster_idle_timeout_ms: None,
            cluster_max_connection_lifetime_ms: None,
            keepalive: None,
            cors: None,
            breakers: Breakers::default(),
            never_eject: false,
            retry: None,
            balance: None,
            resolver: "kubernetes-service".to_owned(),
            strict_resolver: false,
            use_ambassador_namespace_for_service_resolution: false,
            label_domain: "ambassador".to_owned(),
            default_labels: BTreeMap::new(),
            defaults: MappingDefaults::default(),
            tls_secret_namespacing: true,
            liveness_probe: probe(keys::ALIVE_PREFIX),
            readiness_probe: probe(keys::READY_PREFIX),
        }
    }
}

/// The settings of the Module that counts, and what there is to say about all Modules.
pub(crate) fn module_settings(
    resources: &Resources,
    options: &Options,
) -> (ModuleSettings, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut settings = ModuleSettings::default();
    if let Some((key, object)) = pick::ambassador(resources, options, &mut diagnostics)
        && let Body::Module(spec) = &object.body
    {
        settings.object = Some(key.clone());
        let config = read::Section {
            map: &spec.config,
            path: "spec.config",
        };
        let mut report = read::Report {
            key,
            diagnostics: &mut diagnostics,
        };
        keys::read(config, &mut settings, &mut report);
    }
    (settings, diagnostics)
}
