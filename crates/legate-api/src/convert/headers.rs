//! Header maps of v2: values that are text, booleans or null.

use serde_json::{Map, Value, json};

use super::Context;
use super::Fields;

/// The three fields that one kind of conditions has.
pub(super) struct Conditions {
    pub(super) exact: &'static str,
    pub(super) regex: &'static str,
    pub(super) residue: &'static str,
}

/// `true` means present: a regular expression for anything. `false` and null mean nothing.
pub(super) fn conditions(spec: &mut Fields, names: &Conditions, context: &mut Context) {
    let Some(Value::Object(exact)) = spec.get_mut(names.exact) else {
        return;
    };
    if exact.values().all(Value::is_string) {
        return;
    }
    let mut present = Vec::new();
    exact.retain(|name, value| match value {
        Value::Bool(true) => {
            present.push(name.clone());
            false
        }
        Value::Bool(false) => {
            context.lost(
                &format!("spec.{}.{name}", names.exact),
                format!("`{name}: false` says nothing and is dropped"),
            );
            false
        }
        Value::Null => false,
        _ => true,
    });
    if present.is_empty() {
        return;
    }
    let regex = spec.entry(names.regex).or_insert(Value::Null);
    if regex.is_null() {
        *regex = Value::Object(Map::new());
    }
    let Value::Object(regex) = regex else {
        return;
    };
    present.sort_unstable();
    present.retain(|name| {
        if regex.contains_key(name) {
            context.lost(
                &format!("spec.{}.{name}", names.exact),
                format!(
                    "`{name}: true` is dropped, because `{}` has it too",
                    names.regex
                ),
            );
            return false;
        }
        regex.insert(name.clone(), Value::from(".*"));
        context.renamed(
            format!("spec.{}.{name}", names.regex),
            format!("spec.{}.{name}", names.exact),
        );
        true
    });
    if !present.is_empty() {
        spec.entry(names.residue)
            .or_insert_with(|| Value::from(present));
    }
}

/// Text and null become objects.
pub(super) fn added(headers: Option<&mut Value>) {
    let Some(Value::Object(headers)) = headers else {
        return;
    };
    for value in headers.values_mut() {
        match value {
            Value::String(_) => {
                *value = json!({"value": value.take(), "v2Representation": "string"});
            }
            Value::Null => *value = json!({"value": "", "v2Representation": "null"}),
            _ => {}
        }
    }
}

/// Booleans become text.
pub(super) fn bools_to_text(headers: Option<&mut Value>) {
    let Some(Value::Object(headers)) = headers else {
        return;
    };
    for value in headers.values_mut() {
        if let Value::Bool(flag) = value {
            *value = Value::from(flag.to_string());
        }
    }
}
