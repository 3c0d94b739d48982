//! The probe routes: `liveness_probe` and `readiness_probe` (spec/routing §5.4).

use serde_json::Value;

use super::ProbeSettings;
use super::read::{Report, Section};
use crate::codes;

/// Whether a service is the default one: our own admin port.
fn is_own_admin(service: Option<&Value>) -> bool {
    let text = service.and_then(Value::as_str).unwrap_or_default();
    let text = text.strip_prefix("http://").unwrap_or(text);
    matches!(text, "127.0.0.1:8877" | "localhost:8877")
}

/// Reads a probe. Inside the object `enabled` is true unless it says otherwise.
pub(super) fn probe(
    config: Section<'_>,
    name: &str,
    prefix: &str,
    report: &mut Report<'_>,
) -> Option<ProbeSettings> {
    let default = ProbeSettings {
        prefix: prefix.to_owned(),
    };
    let Some(map) = config.object(name, report) else {
        return Some(default);
    };
    let path = config.path_of(name);
    let section = Section { map, path: &path };
    for key in map.keys() {
        match key.as_str() {
            "enabled" | "prefix" => {}
            // Spelled-out defaults: the gateway answers by itself what its admin port answers.
            "service" if is_own_admin(section.get(key)) => {}
            "rewrite" if section.get(key).and_then(Value::as_str) == Some(prefix) => {}
            "service" | "rewrite" => report.unsupported(&section.path_of(key)),
            _ => report.unknown(
                &section.path_of(key),
                key,
                ["enabled", "prefix", "rewrite", "service"],
            ),
        }
    }
    if section.get("enabled").is_none() {
        report.note(
            codes::I_MODULE_ENABLED,
            &path,
            "`enabled` is not said; it is true, while Emissary takes it for false",
        );
    }
    if section.boolean("enabled", report) == Some(false) {
        return None;
    }
    match section.text("prefix", report) {
        Some(prefix) if prefix.starts_with('/') => Some(ProbeSettings {
            prefix: prefix.to_owned(),
        }),
        Some(_) => {
            report.bad(
                &section.path_of("prefix"),
                "a path starts with `/`; the default applies",
            );
            Some(default)
        }
        None => Some(default),
    }
}
