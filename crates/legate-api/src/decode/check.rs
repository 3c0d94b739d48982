//! The walk over a value and its schema that prunes and reports.
//!
//! Recursion follows the schema, whose depth is fixed; what the schema leaves open is only measured.

use serde_json::{Map, Number, Value};

use super::{E_SCHEMA, W_UNKNOWN_FIELD, nearest};
use crate::object::Issue;
use crate::schema::{Form, Required, Shape};

/// Deeper values are refused, so that nobody who walks them later runs out of stack.
pub(super) const MAX_DEPTH: usize = 64;

/// Of errors and of warnings, so many are reported per object; who has more of them has one mistake
/// many times, and every report costs.
const MAX_ISSUES: usize = 100;

/// Checks `spec`; what does not fit is taken out and reported.
pub(super) fn check(shape: &Shape, spec: &mut Value, issues: &mut Vec<Issue>) {
    let mut check = Check {
        path: "spec".to_owned(),
        issues,
        errors: 0,
        warnings: 0,
    };
    if !check.value(shape, spec) {
        *spec = Value::Object(Map::new());
    }
}

struct Check<'a> {
    path: String,
    issues: &'a mut Vec<Issue>,
    errors: usize,
    warnings: usize,
}

impl Check<'_> {
    /// Whether the value may stay.
    fn value(&mut self, shape: &Shape, value: &mut Value) -> bool {
        match &shape.form {
            Form::Any => self.depth(value),
            Form::Free => match value {
                Value::Object(_) => self.depth(value),
                _ => self.wrong_type(shape, value),
            },
            Form::Text { values } => self.text(shape, values, value),
            Form::Integer {
                min, max, values, ..
            } => self.integer(shape, (*min, *max), values, value),
            Form::Boolean => value.is_boolean() || self.wrong_type(shape, value),
            Form::List { item, min, .. } => self.list(shape, item, *min, value),
            Form::Map { value: inner } => {
                let Value::Object(object) = value else {
                    return self.wrong_type(shape, value);
                };
                object.retain(|name, value| {
                    !value.is_null() && self.within(name, |check| check.value(inner, value))
                });
                true
            }
            Form::Fields(_) => {
                let Value::Object(object) = value else {
                    return self.wrong_type(shape, value);
                };
                self.fields(shape, object);
                true
            }
        }
    }

    fn fields(&mut self, shape: &Shape, object: &mut Map<String, Value>) {
        let Form::Fields(fields) = &shape.form else {
            return;
        };
        let missing: Vec<&str> = fields
            .iter()
            .filter(|field| field.required != Required::No)
            .filter(|field| object.get(&field.name).is_none_or(Value::is_null))
            .map(|field| field.name.as_str())
            .collect();
        object.retain(|name, value| match shape.field(name) {
            // As the API server does: null is absent.
            Some(_) if value.is_null() => false,
            Some(field) => self.within(name, |check| check.value(&field.shape, value)),
            None => {
                if self.warnings < MAX_ISSUES {
                    self.warnings += 1;
                    let known = fields.iter().map(|field| field.name.as_str());
                    let path = format!("{}.{name}", self.path);
                    self.issues.push(unknown_field(&path, name, known));
                }
                false
            }
        });
        for name in missing {
            self.within(name, |check| {
                check.refuse(format!("`{name}` is required"), None);
            });
        }
    }

    fn within<T>(&mut self, name: &str, run: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push('.');
        self.path.push_str(name);
        let result = run(self);
        self.path.truncate(length);
        result
    }

    fn list(&mut self, shape: &Shape, item: &Shape, min: usize, value: &mut Value) -> bool {
        let Value::Array(items) = value else {
            return self.wrong_type(shape, value);
        };
        if items.len() < min {
            return self.refuse("the list must not be empty".to_owned(), None);
        }
        let length = self.path.len();
        let mut index = 0_usize;
        items.retain_mut(|value| {
            self.path.push_str(&format!("[{index}]"));
            let keep = self.value(item, value);
            self.path.truncate(length);
            index += 1;
            keep
        });
        true
    }

    fn text(&mut self, shape: &Shape, values: &[String], value: &Value) -> bool {
        let Value::String(text) = value else {
            return self.wrong_type(shape, value);
        };
        if values.is_empty() || values.contains(text) {
            return true;
        }
        let help = nearest(text, values.iter().map(String::as_str))
            .map(|near| format!("did you mean `{near}`?"));
        let message = format!("`{}` is none of {}", shortened(text), list_of(values));
        self.refuse(message, help)
    }

    fn integer(
        &mut self,
        shape: &Shape,
        (min, max): (Option<i64>, Option<i64>),
        values: &[i64],
        value: &mut Value,
    ) -> bool {
        let Value::Number(number) = value else {
            return self.wrong_type(shape, value);
        };
        let Some(integer) = as_integer(number) else {
            let message = if number.is_f64() {
                format!("expected an integer, found {number}")
            } else {
                format!("{number} is too large")
            };
            return self.refuse(message, None);
        };
        if !number.is_i64() {
            *value = Value::from(integer);
        }
        let message = match (min, max) {
            (Some(min), Some(max)) if integer < min || integer > max => {
                format!("{integer} is not between {min} and {max}")
            }
            (Some(min), None) if integer < min => format!("{integer} is less than {min}"),
            (None, Some(max)) if integer > max => format!("{integer} is more than {max}"),
            _ if !values.is_empty() && !values.contains(&integer) => {
                format!("{integer} is none of {}", list_of(values))
            }
            _ => return true,
        };
        self.refuse(message, None)
    }

    fn depth(&mut self, value: &mut Value) -> bool {
        if fits_depth(value, MAX_DEPTH) {
            settle_numbers(value);
            return true;
        }
        self.refuse(format!("is nested deeper than {MAX_DEPTH} levels"), None)
    }

    fn wrong_type(&mut self, shape: &Shape, value: &Value) -> bool {
        let help = match (&shape.form, value) {
            (Form::Integer { .. }, Value::String(text)) if text.trim().parse::<i64>().is_ok() => {
                Some("write the number without quotes".to_owned())
            }
            (Form::Boolean, Value::String(text)) if matches!(text.as_str(), "true" | "false") => {
                Some("write it without quotes".to_owned())
            }
            (Form::Text { .. }, Value::Number(_) | Value::Bool(_)) => {
                Some("put the value in quotes".to_owned())
            }
            (Form::List { .. }, Value::String(_) | Value::Number(_)) => {
                Some("write a list, `[…]`".to_owned())
            }
            _ => None,
        };
        let message = format!("expected {}, found {}", expected(shape), a_type(value));
        self.refuse(message, help)
    }

    /// Reports at the current path; always false, as answer to "may it stay".
    fn refuse(&mut self, message: String, help: Option<String>) -> bool {
        if self.errors < MAX_ISSUES {
            self.errors += 1;
            self.issues.push(Issue {
                code: E_SCHEMA,
                path: self.path.clone(),
                message,
                help,
            });
        }
        false
    }
}

/// The warning about a field that nobody knows.
pub(super) fn unknown_field<'a>(
    path: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Issue {
    Issue {
        code: W_UNKNOWN_FIELD,
        path: path.to_owned(),
        message: format!("unknown field `{}`; it is ignored", shortened(name)),
        help: nearest(name, known).map(|near| format!("did you mean `{near}`?")),
    }
}

/// Makes integers of floats without a fraction, as kubectl does. Only for values of checked depth.
pub(super) fn settle_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(integer) = as_integer(number) {
                *value = Value::from(integer);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(settle_numbers),
        Value::Object(object) => object.values_mut().for_each(settle_numbers),
        _ => {}
    }
}

/// An integer, also when YAML made it a float (`1e3`).
pub(super) fn as_integer(number: &Number) -> Option<i64> {
    /// Above it floats skip integers, so the text may have said something else.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(integer) = number.as_i64() {
        return Some(integer);
    }
    let float = number.as_f64()?;
    if !number.is_f64() || float.fract() != 0.0 || float.abs() > EXACT {
        return None;
    }
    format!("{float:.0}").parse().ok()
}

pub(super) fn fits_depth(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => {
            left > 0
                && items
                    .iter()
                    .all(|item| fits_depth(item, left.saturating_sub(1)))
        }
        Value::Object(object) => {
            left > 0
                && object
                    .values()
                    .all(|item| fits_depth(item, left.saturating_sub(1)))
        }
        _ => true,
    }
}

fn expected(shape: &Shape) -> &'static str {
    match &shape.form {
        Form::Any => "a value",
        Form::Free | Form::Map { .. } | Form::Fields(_) => "an object",
        Form::Text { .. } => "a string",
        Form::Integer { .. } => "an integer",
        Form::Boolean => "true or false",
        Form::List { .. } => "a list",
    }
}

/// What a value is, for messages.
pub(super) fn a_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn list_of(values: &[impl std::fmt::Display]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
    values.join(", ")
}

/// A message must not carry a whole file.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
