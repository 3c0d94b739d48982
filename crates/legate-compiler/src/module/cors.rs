//! `cors`: what Mappings get that say nothing themselves (spec/services §3.9).

use legate_api::Cors;
use legate_config::policy::CorsPolicy;
use serde_json::Value;

use super::read::{Report, Section};
use crate::lower::cors_policy;

const LISTS: [&str; 4] = ["origins", "methods", "headers", "exposed_headers"];
const OTHERS: [&str; 2] = ["credentials", "max_age"];

/// Reads `cors`.
pub(super) fn cors(config: Section<'_>, report: &mut Report<'_>) -> Option<CorsPolicy> {
    let map = config.object("cors", report)?;
    let path = config.path_of("cors");
    let section = Section { map, path: &path };
    for name in map.keys() {
        let known = || LISTS.into_iter().chain(OTHERS);
        if !known().any(|other| other == name) {
            report.unknown(&section.path_of(name), name, known());
        }
    }
    let [origins, methods, headers, exposed_headers] =
        LISTS.map(|name| texts(section, name, report));
    let cors = Cors {
        origins,
        methods,
        headers,
        credentials: section.boolean("credentials", report),
        exposed_headers,
        max_age: max_age(section, report),
        v2_comma_separated_origins: None,
    };
    Some(cors_policy(&cors, |at, problem| {
        report.ignored_with(problem.code, &section.path_of(at), problem.message);
    }))
}

/// A list of texts, or one text with commas.
fn texts(section: Section<'_>, name: &str, report: &mut Report<'_>) -> Option<Vec<String>> {
    match section.get(name)? {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => {
            let mut out = Vec::new();
            for (at, item) in items.iter().enumerate() {
                match item.as_str() {
                    Some(text) => out.push(text.to_owned()),
                    None => report.bad(
                        &format!("{}[{at}]", section.path_of(name)),
                        "it must be a text; it is skipped",
                    ),
                }
            }
            Some(out)
        }
        _ => {
            report.bad(
                &section.path_of(name),
                "it must be a list of texts; it is left out",
            );
            None
        }
    }
}

/// Seconds, as text or number.
fn max_age(section: Section<'_>, report: &mut Report<'_>) -> Option<String> {
    match section.get("max_age")? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => {
            report.bad(
                &section.path_of("max_age"),
                "it must be a number of seconds; it is left out",
            );
            None
        }
    }
}
