//! Small helpers that the tests of this folder share.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use legate_config::http::{AccessLog, AccessLogFormat, HttpSettings};
use legate_config::template::Template;

/// Emissary's defaults.
pub(crate) fn settings() -> HttpSettings {
    HttpSettings {
        use_remote_address: true,
        trusted_hops: 0,
        server_name: "envoy".into(),
        max_request_header_bytes: 60 * 1024,
        merge_slashes: false,
        reject_escaped_slashes: false,
        strip_matching_host_port: false,
        preserve_external_request_id: false,
        suppress_envoy_headers: false,
        http2_max_concurrent_streams: 100,
        idle_timeout_ms: 0,
        ip_policy: None,
        compression: None,
        access_log: AccessLog {
            path: "/dev/null".into(),
            format: AccessLogFormat::Text(Template::literal("")),
        },
    }
}

/// A map of these, in order.
pub(crate) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        );
    }
    map
}

/// All values of a name.
pub(crate) fn values(map: &HeaderMap, name: &str) -> Vec<String> {
    map.get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}
