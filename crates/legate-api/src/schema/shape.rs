//! A schema as a tree that decoding can walk fast and the CRDs are written from.
//!
//! It knows exactly the schemas that our types produce, no more of JSON Schema.

use serde_json::{Map, Value};

use super::OldName;

/// A node of a schema.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Description of the field, on one line.
    pub(crate) description: String,
    /// Whether v2 has another shape here, so that the CRD says nothing about it.
    pub(crate) wide: bool,
    /// What is expected.
    pub(crate) form: Form,
}

/// What a node expects.
#[derive(Debug, Clone)]
pub(crate) enum Form {
    /// Anything.
    Any,
    /// An object with any fields.
    Free,
    /// Text; one of `values` unless that is empty.
    Text { values: Vec<String> },
    /// An integer between the bounds, and one of `values` unless that is empty.
    Integer {
        min: Option<i64>,
        max: Option<i64>,
        values: Vec<i64>,
        /// Whether the CRD lets text pass, which conversion has turned into a number before.
        or_text: bool,
    },
    /// True or false.
    Boolean,
    /// A list.
    List {
        item: Box<Shape>,
        min: usize,
        /// The field that tells items apart, for server-side apply.
        key: Option<String>,
    },
    /// An object with free keys and values of one shape.
    Map { value: Box<Shape> },
    /// An object with known fields, sorted by name.
    Fields(Vec<Field>),
}

/// A field of an object.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// Name as in YAML.
    pub(crate) name: String,
    /// Whether it must be there.
    pub(crate) required: Required,
    /// What is expected in it.
    pub(crate) shape: Shape,
}

/// Whether a field must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Required {
    /// It may be absent.
    No,
    /// In v3alpha1, so not in the CRD.
    Strict,
    /// In every version.
    Always,
}

impl Shape {
    /// Reads the schema that `schemars` makes of one of our types.
    pub(super) fn read(schema: &Value) -> Shape {
        let empty = Map::new();
        let schema = schema.as_object().unwrap_or(&empty);
        let mut shape = Shape {
            description: description(schema),
            wide: schema.get("x-wide").and_then(Value::as_bool) == Some(true),
            form: Form::read(schema),
        };
        if schema.get("x-wide").and_then(Value::as_str) == Some("values")
            && let Form::Map { value } = &mut shape.form
        {
            value.wide = true;
        }
        shape
    }

    /// A field of an object.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        let Form::Fields(fields) = &self.form else {
            return None;
        };
        let index = fields
            .binary_search_by(|field| field.name.as_str().cmp(name))
            .ok()?;
        fields.get(index)
    }

    /// Adds a field that only v2 has, shaped like the one that replaced it.
    pub(super) fn add_old_name(&mut self, old: &OldName) {
        let mut shape = self;
        for name in old.within {
            let Some(inner) = shape.field_mut(name) else {
                return;
            };
            shape = inner;
        }
        let Some(mut field) = shape.field(old.new).cloned() else {
            return;
        };
        field.name = old.old.to_owned();
        field.required = Required::No;
        field.shape.description = format!("Old name of `{}`.", old.new);
        if let Form::Fields(fields) = &mut shape.form {
            fields.push(field);
            fields.sort_by(|a, b| a.name.cmp(&b.name));
        }
    }

    fn field_mut(&mut self, name: &str) -> Option<&mut Shape> {
        let Form::Fields(fields) = &mut self.form else {
            return None;
        };
        fields
            .iter_mut()
            .find(|field| field.name == name)
            .map(|field| &mut field.shape)
    }
}

impl Form {
    fn read(schema: &Map<String, Value>) -> Form {
        // An optional object or enum is `anyOf` it and null; an enum with documented variants is
        // `oneOf` constants.
        if let Some(Value::Array(options)) = schema.get("anyOf") {
            let option = options
                .iter()
                .filter_map(Value::as_object)
                .find(|option| type_of(option) != Some("null"));
            return option.map_or(Form::Any, Form::read);
        }
        if let Some(Value::Array(options)) = schema.get("oneOf") {
            let values = options.iter().flat_map(constants).collect();
            return Form::Text { values };
        }
        match type_of(schema) {
            Some("string") => Form::Text {
                values: listed(schema, |value| value.as_str().map(str::to_owned)),
            },
            Some("integer") => Form::Integer {
                min: schema.get("minimum").and_then(Value::as_i64),
                max: schema.get("maximum").and_then(Value::as_i64),
                values: listed(schema, Value::as_i64),
                or_text: schema.contains_key("x-int-or-string"),
            },
            Some("boolean") => Form::Boolean,
            Some("array") => Form::List {
                item: Box::new(Shape::read(schema.get("items").unwrap_or(&Value::Null))),
                min: schema
                    .get("minItems")
                    .and_then(Value::as_u64)
                    .and_then(|min| usize::try_from(min).ok())
                    .unwrap_or(0),
                key: schema
                    .get("x-list-map-key")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            },
            Some("object") => Form::object(schema),
            _ => Form::Any,
        }
    }

    fn object(schema: &Map<String, Value>) -> Form {
        if let Some(Value::Object(fields)) = schema.get("properties") {
            let mut fields: Vec<Field> = fields
                .iter()
                .map(|(name, schema)| Field {
                    name: name.clone(),
                    required: required(schema),
                    shape: Shape::read(schema),
                })
                .collect();
            fields.sort_by(|a, b| a.name.cmp(&b.name));
            return Form::Fields(fields);
        }
        match schema.get("additionalProperties") {
            Some(Value::Object(_)) => Form::Map {
                value: Box::new(Shape::read(
                    schema.get("additionalProperties").unwrap_or(&Value::Null),
                )),
            },
            _ => Form::Free,
        }
    }
}

/// The type, without null.
fn type_of(schema: &Map<String, Value>) -> Option<&str> {
    match schema.get("type")? {
        Value::String(name) => Some(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        _ => None,
    }
}

/// The constants of one option of an enum.
fn constants(option: &Value) -> Vec<String> {
    let listed = option.get("enum").and_then(Value::as_array);
    option
        .get("const")
        .into_iter()
        .chain(listed.into_iter().flatten())
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

fn listed<T>(schema: &Map<String, Value>, read: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    let listed = schema.get("enum").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(read).collect()
}

fn required(schema: &Value) -> Required {
    match schema.get("x-required") {
        Some(Value::Bool(true)) => Required::Always,
        Some(Value::String(_)) => Required::Strict,
        _ => Required::No,
    }
}

fn description(schema: &Map<String, Value>) -> String {
    let text = schema.get("description").and_then(Value::as_str);
    text.unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
