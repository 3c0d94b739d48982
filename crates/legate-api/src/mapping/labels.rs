//! Rate-limit labels of a Mapping.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Domain to groups; a group has one entry, its free name, with the specifiers in order. Groups of
/// more entries are wrong, but only lose themselves (spec/services §2.2).
pub type Labels = BTreeMap<String, Vec<BTreeMap<String, Vec<LabelSpecifier>>>>;

/// One entry of a rate-limit descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelSpecifier {
    /// `source_cluster: {key}`
    SourceCluster {
        /// Key of the entry.
        key: Option<String>,
    },
    /// `destination_cluster: {key}`
    DestinationCluster {
        /// Key of the entry.
        key: Option<String>,
    },
    /// `remote_address: {key}`
    RemoteAddress {
        /// Key of the entry.
        key: Option<String>,
    },
    /// `request_headers: {key, header_name, omit_if_not_present}`
    RequestHeaders {
        /// Key of the entry.
        key: String,
        /// The header whose value is taken.
        header_name: String,
        /// Kept as written; the group is dropped anyway when the header is absent.
        omit_if_not_present: Option<bool>,
    },
    /// `generic_key: {key, value}`
    GenericKey {
        /// Key of the entry. Default `generic_key`.
        key: Option<String>,
        /// The value.
        value: String,
    },
    /// Anything else, as written: the compiler says what is wrong with it.
    Other(Value),
}

impl LabelSpecifier {
    /// Reads a specifier in its v3alpha1 form.
    #[must_use]
    pub fn from_value(value: Value) -> Self {
        Self::read(&value).unwrap_or(LabelSpecifier::Other(value))
    }

    /// Reads a specifier in any form, those of v2 included.
    #[must_use]
    pub fn from_any_form(mut value: Value) -> Self {
        crate::convert::label_specifier(&mut value);
        Self::from_value(value)
    }

    fn read(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let mut entries = object.iter();
        let (name, body) = entries.next()?;
        if entries.next().is_some() {
            return None;
        }
        let body = body.as_object()?;
        let known = |names: &[&str]| body.keys().all(|name| names.contains(&name.as_str()));
        match name.as_str() {
            "source_cluster" if known(&["key"]) => Some(LabelSpecifier::SourceCluster {
                key: optional_text(body, "key")?,
            }),
            "destination_cluster" if known(&["key"]) => Some(LabelSpecifier::DestinationCluster {
                key: optional_text(body, "key")?,
            }),
            "remote_address" if known(&["key"]) => Some(LabelSpecifier::RemoteAddress {
                key: optional_text(body, "key")?,
            }),
            "request_headers" if known(&["key", "header_name", "omit_if_not_present"]) => {
                Some(LabelSpecifier::RequestHeaders {
                    key: optional_text(body, "key")??,
                    header_name: optional_text(body, "header_name")??,
                    omit_if_not_present: match body.get("omit_if_not_present") {
                        None | Some(Value::Null) => None,
                        Some(Value::Bool(omit)) => Some(*omit),
                        Some(_) => return None,
                    },
                })
            }
            "generic_key" if known(&["key", "value", "v2Shorthand"]) => {
                Some(LabelSpecifier::GenericKey {
                    key: optional_text(body, "key")?,
                    value: optional_text(body, "value")??,
                })
            }
            _ => None,
        }
    }

    /// The specifier in its v3alpha1 form.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let body = |entries: [(&str, Option<Value>); 3]| -> Value {
            let entries = entries
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(entries.collect::<Map<_, _>>())
        };
        let text = |text: &Option<String>| text.clone().map(Value::String);
        let keyed = |key: &Option<String>| body([("key", text(key)), ("", None), ("", None)]);
        match self {
            LabelSpecifier::SourceCluster { key } => json!({"source_cluster": keyed(key)}),
            LabelSpecifier::DestinationCluster { key } => {
                json!({"destination_cluster": keyed(key)})
            }
            LabelSpecifier::RemoteAddress { key } => json!({"remote_address": keyed(key)}),
            LabelSpecifier::RequestHeaders {
                key,
                header_name,
                omit_if_not_present,
            } => json!({"request_headers": body([
                ("key", Some(Value::String(key.clone()))),
                ("header_name", Some(Value::String(header_name.clone()))),
                ("omit_if_not_present", omit_if_not_present.map(Value::Bool)),
            ])}),
            LabelSpecifier::GenericKey { key, value } => json!({"generic_key": body([
                ("key", text(key)),
                ("value", Some(Value::String(value.clone()))),
                ("", None),
            ])}),
            LabelSpecifier::Other(value) => value.clone(),
        }
    }
}

/// `None`: there, but no text. `Some(None)`: absent.
#[allow(clippy::option_option, reason = "absent and unreadable differ")]
fn optional_text(body: &Map<String, Value>, name: &str) -> Option<Option<String>> {
    match body.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    }
}

impl Serialize for LabelSpecifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LabelSpecifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from_value)
    }
}

impl JsonSchema for LabelSpecifier {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LabelSpecifier".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One entry of a rate-limit descriptor: one of `source_cluster`, \
                `destination_cluster`, `remote_address`, `request_headers` and `generic_key`.",
            "x-wide": true,
        })
    }
}
