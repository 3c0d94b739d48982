//! JSON files: one value or several, one after the other, with duplicate keys refused as in YAML.
//!
//! Not here: what the values mean. A syntax error hides what follows it in the file, because JSON
//! has no document marker to go on from.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::split::Piece;
use crate::yaml::SyntaxError;

/// The values of a file with the text each covers; an error ends the list.
pub(crate) fn split(text: &str) -> Vec<(Piece, Result<Value, SyntaxError>)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Strict>();
    let mut out = Vec::new();
    let mut from = 0;
    loop {
        let next = values.next();
        let Some(next) = next else { return out };
        let ends = if next.is_ok() {
            values.byte_offset()
        } else {
            text.len()
        };
        let range = skip_space(text, from)..ends;
        let first_line = line_of(text, range.start);
        from = ends;
        let piece = Piece { range, first_line };
        match next {
            Ok(Strict(value)) => out.push((piece, Ok(value))),
            Err(error) => {
                out.push((piece, Err(syntax_error(&error, first_line))));
                return out;
            }
        }
    }
}

/// Reads the text of one value again.
pub(crate) fn parse(text: &str) -> Result<Value, SyntaxError> {
    match split(text).into_iter().next() {
        Some((_, value)) => value,
        None => Ok(Value::Null),
    }
}

fn syntax_error(error: &serde_json::Error, first_line: u32) -> SyntaxError {
    let line = u32::try_from(error.line()).unwrap_or(u32::MAX).max(1);
    let column = u32::try_from(error.column()).unwrap_or(u32::MAX).max(1);
    let text = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    SyntaxError {
        message: text.strip_suffix(&suffix).unwrap_or(&text).to_owned(),
        line: line.saturating_sub(first_line).saturating_add(1),
        column,
    }
}

fn skip_space(text: &str, from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    text.len() - rest.trim_start().len()
}

fn line_of(text: &str, offset: usize) -> u32 {
    let before = text.get(..offset).unwrap_or_default();
    let breaks = before.bytes().filter(|b| *b == b'\n').count();
    u32::try_from(breaks).unwrap_or(u32::MAX).saturating_add(1)
}

/// A value whose objects name each key once.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key `{key}`")));
            }
            let Strict(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_each_other() {
        let text = "{\"a\": 1}\n\n {\"b\": [1, 2]}{\"c\": null}\n";
        let values = split(text);
        let lines: Vec<u32> = values.iter().map(|(piece, _)| piece.first_line).collect();
        assert_eq!(lines, [1, 3, 3]);
        let second = values.get(1).unwrap();
        assert_eq!(text.get(second.0.range.clone()), Some("{\"b\": [1, 2]}"));
        assert_eq!(split("  \n").len(), 0);
    }

    #[test]
    fn errors_have_a_place() {
        let values = split("{}\n{\"a\": 1,\n \"a\": 2}\n");
        let error = values.get(1).unwrap().1.as_ref().unwrap_err();
        assert_eq!(error.message, "duplicate key `a`");
        assert_eq!(error.line, 2);
        let values = split("[1, 2");
        assert!(values.first().unwrap().1.is_err());
    }
}
