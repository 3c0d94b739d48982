//! `defaults`: what Mappings and TLSContexts get that say nothing themselves (spec/routing §4.20).

use std::collections::BTreeMap;

use legate_api::AddedHeader;
use serde_json::{Map, Value};

use super::MappingDefaults;
use super::read::{Report, Section};

/// The only keys that work for Mappings.
const KEYS: [&str; 5] = [
    "add_request_headers",
    "add_response_headers",
    "remove_request_headers",
    "remove_response_headers",
    "stats_name",
];
const NAMESPACING: &str = "tls_secret_namespacing";
const NESTED: &str = "httpmapping";

/// Reads `defaults`: those of Mappings, and `tls_secret_namespacing`.
pub(super) fn defaults(
    config: Section<'_>,
    report: &mut Report<'_>,
) -> (MappingDefaults, Option<bool>) {
    let Some(map) = config.object("defaults", report) else {
        return (MappingDefaults::default(), None);
    };
    let path = config.path_of("defaults");
    let outer = Section { map, path: &path };
    check_keys(outer, &[NAMESPACING, NESTED], report);
    let nested_path = outer.path_of(NESTED);
    let empty = Map::new();
    let inner = Section {
        map: outer.object(NESTED, report).unwrap_or(&empty),
        path: &nested_path,
    };
    check_keys(inner, &[], report);
    // `defaults.httpmapping.<key>` comes before `defaults.<key>`.
    let section = |key: &str| {
        if inner.get(key).is_some() {
            inner
        } else {
            outer
        }
    };
    let [
        add_request,
        add_response,
        remove_request,
        remove_response,
        stats,
    ] = KEYS.map(|key| (section(key), key));
    let mut added = |(section, key): (Section<'_>, &str)| added_headers(section, key, report);
    let add_request_headers = added(add_request);
    let add_response_headers = added(add_response);
    let mut removed = |(section, key): (Section<'_>, &str)| names(section, key, report);
    let found = MappingDefaults {
        add_request_headers,
        add_response_headers,
        remove_request_headers: removed(remove_request),
        remove_response_headers: removed(remove_response),
        stats_name: stats.0.text(stats.1, report).map(str::to_owned),
    };
    (found, outer.boolean(NAMESPACING, report))
}

fn check_keys(section: Section<'_>, others: &[&str], report: &mut Report<'_>) {
    for key in section.map.keys() {
        if !KEYS.contains(&key.as_str()) && !others.contains(&key.as_str()) {
            report.ignored(
                &section.path_of(key),
                "defaults work only for add_request_headers, add_response_headers, \
                 remove_request_headers, remove_response_headers and stats_name",
            );
        }
    }
}

/// Header values: a text, or `{value, append}`.
fn added_headers(
    section: Section<'_>,
    key: &str,
    report: &mut Report<'_>,
) -> Option<BTreeMap<String, AddedHeader>> {
    let map = section.object(key, report)?;
    let path = section.path_of(key);
    let mut out = BTreeMap::new();
    for (name, value) in map {
        match added_header(value) {
            Some(header) => {
                out.insert(name.clone(), header);
            }
            None => report.bad(
                &format!("{path}.{name}"),
                "it must be a text or `{value, append}`; it is skipped",
            ),
        }
    }
    Some(out)
}

fn added_header(value: &Value) -> Option<AddedHeader> {
    match value {
        Value::String(text) => Some(AddedHeader {
            value: text.clone(),
            ..AddedHeader::default()
        }),
        Value::Object(map) => Some(AddedHeader {
            value: map.get("value")?.as_str()?.to_owned(),
            append: match map.get("append") {
                None | Some(Value::Null) => None,
                Some(append) => Some(append.as_bool()?),
            },
            v2_representation: None,
        }),
        _ => None,
    }
}

/// A list of names, or one name.
fn names(section: Section<'_>, key: &str, report: &mut Report<'_>) -> Option<Vec<String>> {
    let path = section.path_of(key);
    match section.get(key)? {
        Value::String(name) => Some(vec![name.clone()]),
        Value::Array(items) => {
            let mut out = Vec::new();
            for (at, item) in items.iter().enumerate() {
                match item.as_str() {
                    Some(name) => out.push(name.to_owned()),
                    None => {
                        report.bad(&format!("{path}[{at}]"), "it must be a text; it is skipped")
                    }
                }
            }
            Some(out)
        }
        _ => {
            report.bad(&path, "it must be a list of names");
            None
        }
    }
}
