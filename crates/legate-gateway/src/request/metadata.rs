//! What side services say about a request for access logs: `%DYNAMIC_METADATA(…)%`.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

/// Most bytes of what is kept: a log line must not carry more, whatever a service says.
const MAX_BYTES: usize = 16 * 1024;

/// Values by path, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DynamicMetadata {
    namespace: &'static str,
    root: Node,
}

/// A value, and those within.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    text: String,
    fields: BTreeMap<String, Node>,
}

impl DynamicMetadata {
    /// What was said under a name; `None` = it is too much.
    pub(crate) fn new(namespace: &'static str, said: Struct) -> Option<Box<Self>> {
        if said.encoded_len() > MAX_BYTES {
            return None;
        }
        let root = Node::of(Value {
            kind: Some(Kind::StructValue(said)),
        });
        Some(Box::new(Self { namespace, root }))
    }

    /// The value under `namespace[:key[:key…]]`.
    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        let mut keys = path.split(':');
        if keys.next()? != self.namespace {
            return None;
        }
        let found = keys.try_fold(&self.root, |node, key| node.fields.get(key))?;
        Some(&found.text)
    }
}

impl Node {
    /// Texts are written as they are, all else is JSON.
    fn of(value: Value) -> Self {
        let text = match value.kind {
            Some(Kind::StringValue(text)) => text,
            Some(Kind::StructValue(fields)) => {
                let text = json(Kind::StructValue(fields.clone())).to_string();
                let fields = fields
                    .fields
                    .into_iter()
                    .map(|(key, value)| (key, Self::of(value)));
                return Self {
                    text,
                    fields: fields.collect(),
                };
            }
            Some(kind) => json(kind).to_string(),
            None => String::from("null"),
        };
        Self {
            text,
            fields: BTreeMap::new(),
        }
    }
}

fn json(kind: Kind) -> serde_json::Value {
    let of = |value: Value| value.kind.map_or(serde_json::Value::Null, json);
    match kind {
        Kind::NullValue(_) => serde_json::Value::Null,
        Kind::BoolValue(value) => value.into(),
        Kind::StringValue(text) => text.into(),
        Kind::NumberValue(number) => integer(number).map_or_else(|| number.into(), Into::into),
        Kind::ListValue(list) => list.values.into_iter().map(of).collect(),
        Kind::StructValue(fields) => {
            let fields = fields.fields.into_iter();
            fields.map(|(key, value)| (key, of(value))).collect()
        }
    }
}

/// All numbers come as floating ones; those that are whole are written without a point.
fn integer(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and small enough, as was just checked"
    )]
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn object<const N: usize>(fields: [(&str, Kind); N]) -> Struct {
        Struct {
            fields: fields
                .into_iter()
                .map(|(key, kind)| (key.to_owned(), value(kind)))
                .collect(),
        }
    }

    #[test]
    fn paths() {
        let inner = object([("n", Kind::NumberValue(3.0)), ("f", Kind::NumberValue(0.5))]);
        let said = object([
            ("user", Kind::StringValue("ann".into())),
            ("inner", Kind::StructValue(inner)),
            ("ok", Kind::BoolValue(true)),
        ]);
        let metadata = DynamicMetadata::new("ns", said).unwrap();
        for (path, expected) in [
            ("ns:user", Some("ann")),
            ("ns:inner:n", Some("3")),
            ("ns:inner:f", Some("0.5")),
            ("ns:inner", Some(r#"{"f":0.5,"n":3}"#)),
            ("ns:ok", Some("true")),
            ("ns:none", None),
            ("ns:user:x", None),
            ("other:user", None),
        ] {
            assert_eq!(metadata.get(path), expected, "{path}");
        }
        assert_eq!(
            metadata.get("ns"),
            Some(r#"{"inner":{"f":0.5,"n":3},"ok":true,"user":"ann"}"#)
        );
    }

    #[test]
    fn too_much_is_not_kept() {
        let said = object([("a", Kind::StringValue("x".repeat(MAX_BYTES)))]);
        assert_eq!(DynamicMetadata::new("ns", said), None);
    }
}
