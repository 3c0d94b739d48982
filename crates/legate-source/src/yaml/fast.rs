//! The quick reader: parser events straight to values, for documents without anchors, tags, merge
//! keys or unusual keys.
//!
//! It never decides anything that could be read in two ways: on the first doubt, and on every
//! error, it gives up and the full reader takes the document. So it can only be faster, never
//! different; a test compares the two.

use std::borrow::Cow;

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, options};

/// Deeper documents are left to the full reader, which refuses them in a sentence.
const MAX_DEPTH: usize = 60;

enum Frame {
    Map {
        map: Map<String, Value>,
        key: Option<String>,
    },
    Seq(Vec<Value>),
}

/// Reads `text`, or gives up.
pub(super) fn read(text: &str) -> Option<Value> {
    let parser = Parser::new_from_str_with_options(text, options! { emit_comments: false });
    let mut stack: Vec<Frame> = Vec::new();
    let mut root = None;
    let mut documents = 0;
    for next in parser {
        let (event, _) = next.ok()?;
        let done = match event {
            Event::DocumentStart(_, version) => {
                documents += 1;
                if documents > 1 || version.is_some() {
                    return None;
                }
                continue;
            }
            Event::Scalar(text, style, 0, None) => {
                if let Some(Frame::Map { map, key }) = stack.last_mut()
                    && key.is_none()
                {
                    *key = Some(read_key(map, text, style)?);
                    continue;
                }
                read_scalar(text, style)?
            }
            Event::MappingStart(_, 0, None) => {
                open(
                    &mut stack,
                    Frame::Map {
                        map: Map::new(),
                        key: None,
                    },
                )?;
                continue;
            }
            Event::SequenceStart(_, 0, None) => {
                open(&mut stack, Frame::Seq(Vec::new()))?;
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => match stack.pop()? {
                Frame::Map { map, key: None } => Value::Object(map),
                Frame::Map { .. } => return None,
                Frame::Seq(items) => Value::Array(items),
            },
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
            _ => return None,
        };
        match stack.last_mut() {
            None => root = Some(done),
            Some(Frame::Seq(items)) => items.push(done),
            Some(Frame::Map { map, key }) => {
                map.insert(key.take()?, done);
            }
        }
    }
    Some(root.unwrap_or(Value::Null))
}

fn open(stack: &mut Vec<Frame>, frame: Frame) -> Option<()> {
    let key_is_a_collection = matches!(stack.last(), Some(Frame::Map { key: None, .. }));
    if key_is_a_collection || stack.len() >= MAX_DEPTH {
        return None;
    }
    stack.push(frame);
    Some(())
}

fn read_key(map: &Map<String, Value>, text: Cow<'_, str>, style: ScalarStyle) -> Option<String> {
    let plain_word = style != ScalarStyle::Plain
        || (text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
            && !has_meaning(&text));
    (plain_word && !map.contains_key(text.as_ref())).then(|| text.into_owned())
}

fn read_scalar(text: Cow<'_, str>, style: ScalarStyle) -> Option<Value> {
    if style != ScalarStyle::Plain {
        return Some(Value::String(text.into_owned()));
    }
    match text.as_ref() {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        "" | "~" | "null" => return Some(Value::Null),
        _ => {}
    }
    let number_like =
        text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if let Some(number) = small_integer(&text) {
        return Some(Value::from(number));
    }
    if number_like || has_meaning(&text) {
        // The full reader looks at this one scalar. Text that would mean something else as a
        // document of its own goes back to it with everything around it.
        let alone =
            !text.starts_with("---") && !text.starts_with("...") && !text.contains(['\n', '#']);
        return alone.then(|| super::parse_full(&text).ok()).flatten();
    }
    Some(Value::String(text.into_owned()))
}

/// Decimal integers that every YAML version reads alike.
fn small_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty()
        && digits.len() <= 18
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if plain && digits != "0" || text == "0" {
        text.parse().ok()
    } else {
        None
    }
}

/// Words that some YAML version reads as no string.
fn has_meaning(text: &str) -> bool {
    const WORDS: [&str; 13] = [
        "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf", "infinity", "<<",
    ];
    text.len() <= 8 && WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
        || text.starts_with('=')
}
