//! Small helpers that the tests of this folder share.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use legate_config::http::{AccessLog, AccessLogFormat, HttpSettings};
use legate_config::template::Template;

/// Emissary's defaults.
pub(crate) fn settings() -> HttpSettings {
    HttpSettings {
        idle_timeout_ms: 0,
        access_log: AccessLog {
            path: "/dev/null".into(),
            format: AccessLogFormat::Text(Template::literal("")),
        },
        ..HttpSettings::default()
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

/// Something for facts to point at.
pub(crate) fn lasting<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
