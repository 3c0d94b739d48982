//! JSON values as YAML text, for the CRDs: keys in the order of the value, long text folded.

use serde_json::{Map, Value};

/// Columns that a folded line may fill.
const WIDTH: usize = 100;

/// The value as one YAML document, with a final line break.
pub(super) fn to_string(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(object) if !object.is_empty() => fields(object, indent, out),
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                pad(indent, out);
                self::item(item, indent, out);
            }
        }
        scalar => {
            pad(indent, out);
            out.push_str(&flow(scalar));
            out.push('\n');
        }
    }
}

/// A list item; the first field of an object stands beside the dash.
fn item(value: &Value, indent: usize, out: &mut String) {
    let mut text = String::new();
    block(value, indent.saturating_add(2), &mut text);
    out.push_str("- ");
    out.push_str(text.trim_start());
}

fn fields(object: &Map<String, Value>, indent: usize, out: &mut String) {
    for (name, value) in object {
        pad(indent, out);
        out.push_str(&scalar(name));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                fields(inner, indent.saturating_add(2), out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                block(value, indent, out);
            }
            Value::String(text) if is_long(text, indent + name.len()) => {
                folded(text, indent.saturating_add(2), out);
            }
            other => {
                out.push(' ');
                out.push_str(&flow(other));
                out.push('\n');
            }
        }
    }
}

fn is_long(text: &str, before: usize) -> bool {
    let words_only = text.split(' ').all(|word| !word.is_empty()) && !text.contains('\n');
    words_only && before.saturating_add(text.len()) > WIDTH
}

fn folded(text: &str, indent: usize, out: &mut String) {
    out.push_str(" >-\n");
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.len() > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            pad(indent, out);
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Plain where no reader can take it for anything else, else quoted as in JSON.
fn scalar(text: &str) -> String {
    const RESERVED: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " _-./,:()`".contains(c))
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}
