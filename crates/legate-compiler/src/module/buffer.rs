//! `buffer` and `buffer_limit_bytes`: how much of a body is taken, and kept (spec/services §3.11).

use super::read::{Report, Section};
use crate::codes;

/// Bytes that are kept of a body when nobody says otherwise.
pub(super) const DEFAULT_LIMIT: u32 = 1024 * 1024;

const KEYS: [&str; 2] = ["max_request_bytes", "max_request_time"];

/// Reads `buffer`; `None` = bodies are not collected.
pub(super) fn max_request_bytes(config: Section<'_>, report: &mut Report<'_>) -> Option<u64> {
    let map = config.object("buffer", report)?;
    let path = config.path_of("buffer");
    let section = Section { map, path: &path };
    for name in map.keys().filter(|name| !KEYS.contains(&name.as_str())) {
        report.unknown(&section.path_of(name), name, KEYS);
    }
    if section.get("max_request_time").is_some() {
        report.ignored(
            &section.path_of("max_request_time"),
            "use `idle_timeout_ms` of the Mappings",
        );
    }
    let value = section.get("max_request_bytes");
    // Bodies lie in memory.
    let bytes = value
        .and_then(serde_json::Value::as_u64)
        .filter(|bytes| (1..=u64::from(u32::MAX)).contains(bytes));
    if bytes.is_none() {
        let what = match value {
            None => "`max_request_bytes` is missing",
            Some(_) => "`max_request_bytes` must be a whole number from 1 to 4294967295",
        };
        report.ignored_with(
            codes::E_MODULE_VALUE,
            &path,
            format!("{what}; request bodies are neither collected nor limited"),
        );
    }
    bytes
}

/// Reads `buffer_limit_bytes`.
pub(super) fn limit(config: Section<'_>, report: &mut Report<'_>) -> u32 {
    let read = config.integer("buffer_limit_bytes", 0, u64::from(u32::MAX), report);
    read.and_then(|bytes| u32::try_from(bytes).ok())
        .unwrap_or(DEFAULT_LIMIT)
}
