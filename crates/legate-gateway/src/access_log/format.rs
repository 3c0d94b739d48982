//! Compiled line formats.

use std::collections::BTreeMap;

use legate_config::http::{AccessLogFormat, JsonValue};
use legate_config::template::Operator;

use super::escape::{push_json, push_text};
use crate::request::template::{Captures, Compiled, Part, Source, Value, Values, push_number};

/// A format ready to write lines.
#[derive(Debug)]
pub(super) struct Format {
    /// Which headers must be copied for it.
    pub(super) captures: Captures,
    /// Whether lines tell the status of gRPC responses.
    pub(super) grpc_status: bool,
    pieces: Vec<Piece>,
}

/// A piece of a line. JSON is flattened: everything that is the same on each line is one text.
#[derive(Debug)]
enum Piece {
    /// Written as it is.
    Raw(Vec<u8>),
    /// A value in a text line; missing is `-`.
    Text(Source, Option<usize>),
    /// A value that is a JSON value of its own; missing is `null`.
    Json(Source, Option<usize>),
    /// A value within a JSON string; missing is `-`.
    JsonString(Source, Option<usize>),
}

impl Format {
    pub(super) fn build(format: &AccessLogFormat) -> Self {
        let mut builder = Builder::default();
        match format {
            AccessLogFormat::Text(template) => {
                let compiled = Compiled::build(template, &mut builder.captures);
                for part in compiled.parts() {
                    match part {
                        Part::Text(text) => builder.raw(text.as_bytes()),
                        Part::Value(source, max) => {
                            builder.pieces.push(Piece::Text(source.clone(), *max));
                        }
                    }
                }
                // Some users end their format with a newline of its own.
                if let Some(Piece::Raw(last)) = builder.pieces.last_mut() {
                    while last
                        .last()
                        .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
                    {
                        last.pop();
                    }
                }
            }
            AccessLogFormat::Json(fields) => builder.object(fields),
        }
        builder.raw(b"\n");
        Self {
            captures: builder.captures,
            grpc_status: builder.pieces.iter().any(Piece::is_grpc_status),
            pieces: builder.pieces,
        }
    }

    /// Appends a line.
    pub(super) fn line(&self, out: &mut Vec<u8>, values: &Values<'_>) {
        for piece in &self.pieces {
            match piece {
                Piece::Raw(bytes) => out.extend_from_slice(bytes),
                Piece::Text(source, max) => match &source.value(values) {
                    Value::Missing => out.push(b'-'),
                    Value::Text(bytes) => push_text(out, cut(bytes, *max)),
                    value => value.push(out, *max),
                },
                Piece::Json(source, max) => match &source.value(values) {
                    Value::Missing => out.extend_from_slice(b"null"),
                    // Whole, whatever the most: half a number is another one.
                    Value::Number(number) => push_number(out, *number),
                    value => {
                        out.push(b'"');
                        push_in_json(out, value, *max);
                        out.push(b'"');
                    }
                },
                Piece::JsonString(source, max) => match &source.value(values) {
                    Value::Missing => out.push(b'-'),
                    value => push_in_json(out, value, *max),
                },
            }
        }
    }
}

impl Piece {
    fn is_grpc_status(&self) -> bool {
        match self {
            Self::Raw(_) => false,
            Self::Text(source, _) | Self::Json(source, _) | Self::JsonString(source, _) => {
                matches!(source, Source::Fact(Operator::GrpcStatus))
            }
        }
    }
}

/// Text is cut before it is escaped, so that an escape is never cut in two.
fn cut(bytes: &[u8], max: Option<usize>) -> &[u8] {
    max.and_then(|max| bytes.get(..max)).unwrap_or(bytes)
}

/// Values are looked at where they lie: a copy of one that was just written in parts stalls.
fn push_in_json(out: &mut Vec<u8>, value: &Value<'_>, max: Option<usize>) {
    match value {
        Value::Text(bytes) => push_json(out, cut(bytes, max)),
        Value::Time(_, format) if format.is_users() => {
            let mut text = Vec::with_capacity(32);
            value.push(&mut text, max);
            push_json(out, &text);
        }
        value => value.push(out, max),
    }
}

#[derive(Default)]
struct Builder {
    captures: Captures,
    pieces: Vec<Piece>,
}

impl Builder {
    fn raw(&mut self, bytes: &[u8]) {
        if let Some(Piece::Raw(last)) = self.pieces.last_mut() {
            last.extend_from_slice(bytes);
        } else if !bytes.is_empty() {
            self.pieces.push(Piece::Raw(bytes.to_vec()));
        }
    }

    fn string(&mut self, text: &str) {
        let mut escaped = Vec::with_capacity(text.len() + 2);
        push_json(&mut escaped, text.as_bytes());
        self.raw(&escaped);
    }

    /// Keys come sorted.
    fn object(&mut self, fields: &BTreeMap<String, JsonValue>) {
        self.raw(b"{");
        for (index, (key, value)) in fields.iter().enumerate() {
            self.raw(if index > 0 { b",\"" } else { b"\"" });
            self.string(key);
            self.raw(b"\":");
            self.value(value);
        }
        self.raw(b"}");
    }

    fn value(&mut self, value: &JsonValue) {
        match value {
            JsonValue::Object(fields) => self.object(fields),
            JsonValue::List(items) => {
                self.raw(b"[");
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.raw(b",");
                    }
                    self.value(item);
                }
                self.raw(b"]");
            }
            JsonValue::Literal(literal) => self.raw(literal.to_string().as_bytes()),
            JsonValue::Template(template) => {
                let compiled = Compiled::build(template, &mut self.captures);
                if let [Part::Value(source, max)] = compiled.parts() {
                    self.pieces.push(Piece::Json(source.clone(), *max));
                    return;
                }
                self.raw(b"\"");
                for part in compiled.parts() {
                    match part {
                        Part::Text(text) => self.string(text),
                        Part::Value(source, max) => {
                            self.pieces.push(Piece::JsonString(source.clone(), *max));
                        }
                    }
                }
                self.raw(b"\"");
            }
        }
    }
}
