//! Defaults of how upstreams are used and protected: circuit breakers, passive ejection, retries,
//! balancing (spec/services §§3.1, 3.2, 3.4, 3.8).

use legate_api::CircuitBreaker;
use legate_config::cluster::Breakers;
use legate_config::policy::Retry;
use serde_json::Value;

use super::read::{Report, Section};
use crate::codes;
use crate::lower::{BadRetry, Balance, parse_balance, parse_breakers, parse_retry};

const KNOWN: [&str; 5] = [
    "priority",
    "max_connections",
    "max_pending_requests",
    "max_requests",
    "max_retries",
];

/// Reads `circuit_breakers`. A bad entry costs only itself.
pub(super) fn breakers(config: Section<'_>, report: &mut Report<'_>) -> Breakers {
    let Some(value) = config.get("circuit_breakers") else {
        return Breakers::default();
    };
    let path = config.path_of("circuit_breakers");
    let Some(items) = value.as_array() else {
        report.bad(&path, "it must be a list; the default limits apply");
        return Breakers::default();
    };
    let mut list = Vec::new();
    // Where each entry of the list came from.
    let mut places = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let place = format!("{path}[{index}]");
        for name in item.as_object().into_iter().flat_map(|map| map.keys()) {
            if !KNOWN.contains(&name.as_str()) {
                report.unknown(&format!("{place}.{name}"), name, KNOWN);
            }
        }
        match entry(item) {
            Some(entry) => {
                list.push(entry);
                places.push(place);
            }
            None => report.bad(
                &place,
                "it must be an object of whole numbers and a `priority` of default or high; it is \
                 skipped",
            ),
        }
    }
    let (breakers, faults) = parse_breakers(&list);
    for fault in faults {
        let place = places
            .get(fault.index)
            .map_or(path.as_str(), String::as_str);
        if fault.skipped {
            report.ignored_with(codes::W_IGNORED, place, fault.message);
        } else {
            let message = format!("{}; the default applies", fault.message);
            report.bad(&format!("{place}.{}", fault.field), message);
        }
    }
    breakers
}

fn entry(item: &Value) -> Option<CircuitBreaker> {
    item.is_object()
        .then(|| serde_json::from_value(item.clone()).ok())
        .flatten()
}

/// Reads `outlier_detection`: whether endpoints that fail are used all the same.
pub(super) fn never_eject(config: Section<'_>, report: &mut Report<'_>) -> bool {
    const KNOWN: [&str; 1] = ["enabled"];
    if let Some(Value::String(_)) = config.get("outlier_detection") {
        report.ignored(
            &config.path_of("outlier_detection"),
            "write `outlier_detection: {enabled: false}` to use endpoints that fail all the same",
        );
        return false;
    }
    let Some(map) = config.object("outlier_detection", report) else {
        return false;
    };
    let path = config.path_of("outlier_detection");
    let section = Section { map, path: &path };
    for name in map.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
        report.unknown(&section.path_of(name), name, KNOWN);
    }
    section.boolean("enabled", report) == Some(false)
}

/// Reads `retry_policy`. A bad one is as if it were not there.
pub(super) fn retry(config: Section<'_>, report: &mut Report<'_>) -> Option<Retry> {
    const KNOWN: [&str; 3] = ["retry_on", "num_retries", "per_try_timeout"];
    let path = config.path_of("retry_policy");
    let map = config.object("retry_policy", report)?;
    for name in map.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
        report.unknown(&format!("{path}.{name}"), name, KNOWN);
    }
    let Ok(written) = serde_json::from_value(Value::Object(map.clone())) else {
        report.bad(
            &path,
            "its values are of the wrong kind; nothing is retried",
        );
        return None;
    };
    match parse_retry(&written) {
        Ok(retry) => Some(retry),
        Err(BadRetry::Never(field, message)) => {
            report.ignored_with(codes::W_IGNORED, &format!("{path}.{field}"), message);
            None
        }
        Err(BadRetry::Field(field, message)) => {
            let message = format!("{message}; nothing is retried");
            report.bad(&format!("{path}.{field}"), message);
            None
        }
    }
}

/// Reads `load_balancer`. A bad one is as if it were not there.
pub(super) fn balance(config: Section<'_>, report: &mut Report<'_>) -> Option<Balance> {
    const KNOWN: [&str; 4] = ["policy", "cookie", "header", "source_ip"];
    const COOKIE: [&str; 3] = ["name", "path", "ttl"];
    const POLICIES: [&str; 4] = ["round_robin", "least_request", "ring_hash", "maglev"];
    let path = config.path_of("load_balancer");
    let map = config.object("load_balancer", report)?;
    let section = Section { map, path: &path };
    for name in map.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
        report.unknown(&section.path_of(name), name, KNOWN);
    }
    let cookie = section.get("cookie").and_then(Value::as_object);
    for name in cookie.into_iter().flat_map(|cookie| cookie.keys()) {
        if !COOKIE.contains(&name.as_str()) {
            report.unknown(&format!("{path}.cookie.{name}"), name, COOKIE);
        }
    }
    if section.get("policy").is_some() {
        let policy = section.text("policy", report)?;
        if !POLICIES.contains(&policy) {
            let message = format!("`{policy}` is no policy; endpoints are used in turn");
            report.bad(&section.path_of("policy"), message);
            return None;
        }
    }
    let Ok(written) = serde_json::from_value(Value::Object(map.clone())) else {
        report.bad(
            &path,
            "its values are of the wrong kind; endpoints are used in turn",
        );
        return None;
    };
    match parse_balance(&written) {
        Ok(balance) => Some(balance),
        Err(bad) => {
            let place = match bad.field {
                "" => path,
                field => format!("{path}.{field}"),
            };
            let message = format!("{}; endpoints are used in turn", bad.message);
            report.bad(&place, message);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use legate_api::{Kind, ObjectKey};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bad_load_balancer_is_none() {
        let key = ObjectKey {
            kind: Kind::Module,
            namespace: "default".to_owned(),
            name: "ambassador".to_owned(),
        };
        for (written, said) in [
            (
                json!({"policy": 7}),
                "E-MODULE-VALUE c.load_balancer.policy",
            ),
            (
                json!({"policy": ""}),
                "E-MODULE-VALUE c.load_balancer.policy",
            ),
            (
                json!({"policy": "random"}),
                "E-MODULE-VALUE c.load_balancer.policy",
            ),
            (json!({}), "E-MODULE-VALUE c.load_balancer.policy"),
            (json!([]), "E-MODULE-VALUE c.load_balancer"),
            (
                json!({"policy": "maglev", "cookie": 7}),
                "E-MODULE-VALUE c.load_balancer",
            ),
            (
                json!({"policy": "maglev", "cookie": {"name": ""}}),
                "E-MODULE-VALUE c.load_balancer.cookie.name",
            ),
            (
                json!({"policy": "round_robin", "header": "x"}),
                "E-MODULE-VALUE c.load_balancer",
            ),
        ] {
            let config = json!({"load_balancer": written});
            let mut diagnostics = Vec::new();
            let mut report = Report {
                key: &key,
                diagnostics: &mut diagnostics,
            };
            let map = config.as_object().unwrap();
            let found = balance(Section { map, path: "c" }, &mut report);
            assert_eq!(found, None, "{config}");
            let found: Vec<_> = diagnostics
                .iter()
                .map(|it| format!("{} {}", it.code, it.path))
                .collect();
            assert_eq!(found, [said], "{config}");
        }
    }
}
