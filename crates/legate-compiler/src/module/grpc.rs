//! `enable_grpc_web`, `enable_grpc_http11_bridge` and `grpc_stats` (spec/services §3.13).

use legate_config::http::{GrpcMethod, GrpcMethods, GrpcSettings, GrpcStats};
use serde_json::Value;

use super::read::{Report, Section};
use crate::codes;

const KEYS: [&str; 3] = ["all_methods", "services", "upstream_stats"];
const SERVICE_KEYS: [&str; 2] = ["name", "method_names"];

/// Reads the three.
pub(super) fn grpc(config: Section<'_>, report: &mut Report<'_>) -> GrpcSettings {
    GrpcSettings {
        web: switch(config, "enable_grpc_web", report),
        http1_bridge: switch(config, "enable_grpc_http11_bridge", report),
        stats: stats(config, report),
    }
}

/// A switch that Emissary takes for on because it is there.
fn switch(config: Section<'_>, name: &str, report: &mut Report<'_>) -> bool {
    let value = config.boolean(name, report);
    if value == Some(false) {
        report.note(
            codes::W_MODULE_OFF,
            &config.path_of(name),
            "it is off; Emissary would switch it on, whatever the value",
        );
    }
    value == Some(true)
}

fn stats(config: Section<'_>, report: &mut Report<'_>) -> Option<GrpcStats> {
    let map = config.object("grpc_stats", report)?;
    let path = config.path_of("grpc_stats");
    let section = Section { map, path: &path };
    for name in map.keys().filter(|name| !KEYS.contains(&name.as_str())) {
        report.unknown(&section.path_of(name), name, KEYS);
    }
    let all = section.boolean("all_methods", report);
    let listed = services(section, report);
    let upstream_time = section.boolean("upstream_stats", report) == Some(true);
    let methods = match (all, listed) {
        (Some(true), Some(listed)) => {
            report.bad(
                &section.path_of("all_methods"),
                "it excludes `services`; only the methods that are listed there are counted",
            );
            GrpcMethods::Listed(listed)
        }
        (Some(true), None) => GrpcMethods::All,
        (_, Some(listed)) => GrpcMethods::Listed(listed),
        (_, None) => {
            report.ignored(
                &path,
                "say `all_methods: true`, or name methods in `services`: no other is counted",
            );
            return None;
        }
    };
    Some(GrpcStats {
        methods,
        upstream_time,
    })
}

/// The listed methods, each once; `None` = there is no list.
fn services(section: Section<'_>, report: &mut Report<'_>) -> Option<Vec<GrpcMethod>> {
    let value = section.get("services")?;
    let path = section.path_of("services");
    let Some(items) = value.as_array() else {
        report.bad(&path, "it must be a list; no method is counted");
        return Some(Vec::new());
    };
    let mut methods = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let place = format!("{path}[{at}]");
        let Some(map) = item.as_object() else {
            report.bad(
                &place,
                "it must be an object with `name` and `method_names`",
            );
            continue;
        };
        let service = Section { map, path: &place };
        for name in map.keys() {
            if !SERVICE_KEYS.contains(&name.as_str()) {
                report.unknown(&service.path_of(name), name, SERVICE_KEYS);
            }
        }
        add(service, &mut methods, report);
    }
    methods.sort();
    methods.dedup();
    Some(methods)
}

fn add(service: Section<'_>, methods: &mut Vec<GrpcMethod>, report: &mut Report<'_>) {
    let name = service.get("name").and_then(Value::as_str);
    let Some(name) = name.filter(|name| is_name(name)) else {
        return report.bad(
            &service.path_of("name"),
            "it must be a service with its package, as in `shop.Catalog`; it is skipped",
        );
    };
    let path = service.path_of("method_names");
    let Some(names) = service.get("method_names").and_then(Value::as_array) else {
        return report.bad(
            &path,
            "it must be a list of methods; the service is skipped",
        );
    };
    for (at, method) in names.iter().enumerate() {
        match method.as_str().filter(|method| is_name(method)) {
            Some(method) => methods.push(GrpcMethod {
                service: name.to_owned(),
                name: method.to_owned(),
            }),
            None => report.bad(
                &format!("{path}[{at}]"),
                "it must be the name of a method; it is skipped",
            ),
        }
    }
}

/// Whether a text can stand in a gRPC path between slashes.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
