//! HTTP behaviour of one listener, from the Module and the Listener itself.

use legate_api::ListenerSpec;
use legate_config::http::HttpSettings;

use crate::module::ModuleSettings;

/// Streams that an HTTP/2 client may open on one connection when nobody says otherwise
/// (spec/services §5.6).
const DEFAULT_CONCURRENT_STREAMS: u32 = 100;

/// The settings of a listener. What the Listener says itself wins over the Module.
pub(crate) fn http_settings(module: &ModuleSettings, listener: &ListenerSpec) -> HttpSettings {
    let count = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    HttpSettings {
        use_remote_address: module.use_remote_address,
        trusted_hops: count(listener.l7_depth).unwrap_or(module.trusted_hops),
        server_name: module.server_name.clone(),
        max_request_header_bytes: module.max_request_header_bytes,
        merge_slashes: module.merge_slashes,
        reject_escaped_slashes: module.reject_escaped_slashes,
        strip_matching_host_port: module.strip_matching_host_port,
        preserve_external_request_id: module.preserve_external_request_id,
        suppress_envoy_headers: module.suppress_envoy_headers,
        http2_max_concurrent_streams: count(listener.http2_max_concurrent_streams)
            .filter(|streams| *streams > 0)
            .unwrap_or(DEFAULT_CONCURRENT_STREAMS),
        idle_timeout_ms: module.listener_idle_timeout_ms,
        ip_policy: module.ip_policy.clone(),
        compression: module.compression.clone(),
        grpc: module.grpc.clone(),
        http10: module.http10,
        underscores: module.underscores,
        max_request_bytes: module.max_request_bytes,
        buffer_limit_bytes: module.buffer_limit_bytes,
        access_log: module.access_log.clone(),
    }
}
