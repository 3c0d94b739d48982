//! `gzip`: which responses are compressed (spec/services §3.10).

use legate_config::http::Compression;
use serde_json::{Map, Value};

use super::read::{Report, Section};
use crate::codes;

const KEYS: [&str; 9] = [
    "enabled",
    "memory_level",
    "min_content_length",
    "compression_level",
    "compression_strategy",
    "window_bits",
    "content_type",
    "disable_on_etag_header",
    "remove_accept_encoding_header",
];

const CONTENT_TYPES: [&str; 8] = [
    "application/javascript",
    "application/json",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/plain",
    "text/xml",
];

const MIN_LENGTH: u64 = 30;
const WINDOW_BITS: u8 = 12;
const MEMORY_LEVEL: u64 = 5;
/// zlib's default, its fastest and its best.
const DEFAULT_LEVEL: u8 = 6;
const FASTEST: u8 = 1;
const BEST: u8 = 9;

/// Reads `gzip`; `None` = responses are left as they are.
pub(super) fn gzip(config: Section<'_>, report: &mut Report<'_>) -> Option<Compression> {
    let path = config.path_of("gzip");
    let empty = Map::new();
    let map = match config.get("gzip")? {
        Value::Bool(true) => &empty,
        Value::Bool(false) => {
            off(&path, report);
            return None;
        }
        _ => config.object("gzip", report)?,
    };
    let section = Section { map, path: &path };
    for name in map.keys().filter(|name| !KEYS.contains(&name.as_str())) {
        report.unknown(&section.path_of(name), name, KEYS);
    }
    if section.boolean("enabled", report) == Some(false) {
        off(&section.path_of("enabled"), report);
        return None;
    }
    without_effect(section, report);
    let window_bits = section.integer("window_bits", 9, 15, report);
    Some(Compression {
        content_types: content_types(section, report),
        min_length: section
            .integer("min_content_length", 0, u64::from(u32::MAX), report)
            .unwrap_or(MIN_LENGTH),
        gzip_level: level(section, report).unwrap_or(DEFAULT_LEVEL),
        gzip_window_bits: window_bits
            .and_then(|bits| u8::try_from(bits).ok())
            .unwrap_or(WINDOW_BITS),
        not_with_etag: section.boolean("disable_on_etag_header", report) == Some(true),
        hide_accept_encoding: section.boolean("remove_accept_encoding_header", report)
            == Some(true),
    })
}

fn off(path: &str, report: &mut Report<'_>) {
    report.note(
        codes::W_MODULE_OFF,
        path,
        "responses are not compressed; Emissary would compress them, whatever the value",
    );
}

/// What only tunes the compressor.
fn without_effect(section: Section<'_>, report: &mut Report<'_>) {
    let memory = section.integer("memory_level", 1, 9, report);
    if memory.is_some_and(|level| level != MEMORY_LEVEL) {
        report.ignored(&section.path_of("memory_level"), "");
    }
    match section.text("compression_strategy", report) {
        None => {}
        Some(text) => match text.to_ascii_uppercase().as_str() {
            "DEFAULT" | "DEFAULT_STRATEGY" => {}
            "FILTERED" | "HUFFMAN" | "HUFFMAN_ONLY" | "RLE" | "FIXED" => {
                report.ignored(&section.path_of("compression_strategy"), "");
            }
            _ => report.bad(
                &section.path_of("compression_strategy"),
                "it must be DEFAULT, FILTERED, HUFFMAN or RLE; DEFAULT applies",
            ),
        },
    }
}

fn level(section: Section<'_>, report: &mut Report<'_>) -> Option<u8> {
    let name = match section.get("compression_level")? {
        Value::String(text) => text.to_ascii_uppercase(),
        other => other.to_string(),
    };
    let level = match name.as_str() {
        "DEFAULT" | "DEFAULT_COMPRESSION" => Some(DEFAULT_LEVEL),
        "SPEED" | "BEST_SPEED" => Some(FASTEST),
        "BEST" | "BEST_COMPRESSION" => Some(BEST),
        _ => name
            .strip_prefix("COMPRESSION_LEVEL_")
            .unwrap_or(&name)
            .parse()
            .ok()
            .filter(|level| (FASTEST..=BEST).contains(level)),
    };
    if level.is_none() {
        report.bad(
            &section.path_of("compression_level"),
            "it must be DEFAULT, SPEED, BEST, or a number from 1 to 9; DEFAULT applies",
        );
    }
    level
}

/// The listed types, parameters left out; without any, the usual ones.
fn content_types(section: Section<'_>, report: &mut Report<'_>) -> Vec<String> {
    let path = section.path_of("content_type");
    let mut found: Vec<String> = Vec::new();
    let mut add = |path: &str, item: &Value, report: &mut Report<'_>| {
        let Some(text) = item.as_str() else {
            return report.bad(path, "it must be a text; it is skipped");
        };
        for entry in text.split(',') {
            let kind = entry.split(';').next().unwrap_or("").trim();
            let kind = kind.to_ascii_lowercase();
            if !kind.contains('/') || kind.contains(char::is_whitespace) {
                report.bad(path, format!("`{kind}` is no media type; it is skipped"));
            } else if !found.contains(&kind) {
                found.push(kind);
            }
        }
    };
    match section.get("content_type") {
        None => {}
        Some(Value::Array(items)) => {
            for (at, item) in items.iter().enumerate() {
                add(&format!("{path}[{at}]"), item, report);
            }
            if found.is_empty() && !items.is_empty() {
                // What was meant is not known; the usual types were not.
                return found;
            }
        }
        Some(item) => add(&path, item, report),
    }
    if found.is_empty() {
        return CONTENT_TYPES.map(str::to_owned).to_vec();
    }
    found
}
