//! Shapes as structural schemas in JSON, as an API server accepts them.

use serde_json::{Map, Value, json};

use super::{Form, Required, Shape};

/// The CRD's schema.
pub(super) fn wide(shape: &Shape) -> Value {
    emit(shape, true)
}

/// The schema of v3alpha1, fully typed.
pub(super) fn strict(shape: &Shape) -> Value {
    emit(shape, false)
}

fn emit(shape: &Shape, wide: bool) -> Value {
    let mut schema = Map::new();
    if !shape.description.is_empty() {
        schema.insert("description".to_owned(), json!(shape.description));
    }
    if wide && shape.wide {
        schema.insert(PRESERVE.to_owned(), json!(true));
        return Value::Object(schema);
    }
    match &shape.form {
        Form::Any => {
            schema.insert(PRESERVE.to_owned(), json!(true));
        }
        Form::Free => {
            schema.insert("type".to_owned(), json!("object"));
            schema.insert(PRESERVE.to_owned(), json!(true));
        }
        Form::Text { values } => {
            schema.insert("type".to_owned(), json!("string"));
            if !values.is_empty() {
                schema.insert("enum".to_owned(), json!(values));
            }
        }
        Form::Integer { or_text: true, .. } if wide => {
            schema.insert("x-kubernetes-int-or-string".to_owned(), json!(true));
        }
        Form::Integer {
            min, max, values, ..
        } => {
            schema.insert("type".to_owned(), json!("integer"));
            for (name, bound) in [("minimum", min), ("maximum", max)] {
                if let Some(bound) = bound {
                    schema.insert(name.to_owned(), json!(bound));
                }
            }
            if !values.is_empty() {
                schema.insert("enum".to_owned(), json!(values));
            }
        }
        Form::Boolean => {
            schema.insert("type".to_owned(), json!("boolean"));
        }
        Form::List { item, min, key } => {
            schema.insert("type".to_owned(), json!("array"));
            schema.insert("items".to_owned(), emit(item, wide));
            if *min > 0 {
                schema.insert("minItems".to_owned(), json!(min));
            }
            if let Some(key) = key {
                schema.insert("x-kubernetes-list-type".to_owned(), json!("map"));
                schema.insert("x-kubernetes-list-map-keys".to_owned(), json!([key]));
            }
        }
        Form::Map { value } => {
            schema.insert("type".to_owned(), json!("object"));
            schema.insert("additionalProperties".to_owned(), emit(value, wide));
        }
        Form::Fields(_) => fields(shape, wide, &mut schema),
    }
    Value::Object(schema)
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

fn fields(shape: &Shape, wide: bool, schema: &mut Map<String, Value>) {
    let Form::Fields(fields) = &shape.form else {
        return;
    };
    schema.insert("type".to_owned(), json!("object"));
    let required: Vec<&str> = fields
        .iter()
        .filter(|field| match field.required {
            Required::No => false,
            Required::Strict => !wide,
            Required::Always => true,
        })
        .map(|field| field.name.as_str())
        .collect();
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.clone(), emit(&field.shape, wide)))
        .collect();
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
}
