//! Leaves of a structural schema, and values for them.

use serde_json::{Map, Value, json};

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field {
        name: String,
        required: bool,
    },
    /// An entry of a map.
    Entry,
    /// An item of a list.
    Item,
}

/// Name of the entries that are made in maps.
const ENTRY: &str = "x";

/// A leaf: the steps to it with the schema at each.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    steps: Vec<(Step, Value)>,
}

/// What stands beside a leaf in the objects that are made to hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surroundings {
    /// What the schema requires.
    Least,
    /// Every other scalar, too.
    Full,
}

/// All leaves of the schema of a `spec`.
pub(crate) fn leaves(schema: &Value) -> Vec<Leaf> {
    let mut out = Vec::new();
    walk(schema, &mut Vec::new(), &mut out);
    out
}

fn walk(schema: &Value, steps: &mut Vec<(Step, Value)>, out: &mut Vec<Leaf>) {
    let mut descend = |step: Step, inner: &Value, out: &mut Vec<Leaf>| {
        steps.push((step, inner.clone()));
        walk(inner, steps, out);
        steps.pop();
    };
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        let required = required(schema);
        for (name, inner) in properties {
            let step = Step::Field {
                name: name.clone(),
                required: required.contains(&name.as_str()),
            };
            descend(step, inner, out);
        }
    } else if let Some(inner) = schema.get("additionalProperties").filter(|v| v.is_object()) {
        descend(Step::Entry, inner, out);
    } else if let Some(inner) = schema.get("items") {
        descend(Step::Item, inner, out);
    } else {
        out.push(Leaf {
            steps: steps.clone(),
        });
    }
}

fn required(schema: &Value) -> Vec<&str> {
    schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

impl Leaf {
    /// As diagnostics write it.
    pub(crate) fn path(&self) -> String {
        let mut path = "spec".to_owned();
        for (step, _) in &self.steps {
            match step {
                Step::Field { name, .. } => path.push_str(&format!(".{name}")),
                Step::Entry => path.push_str(&format!(".{ENTRY}")),
                Step::Item => path.push_str("[0]"),
            }
        }
        path
    }

    /// Whether a diagnostic's path is this leaf's, or above or below it; the whole `spec` is too
    /// far above to count.
    pub(crate) fn is_named(&self, path: &str) -> bool {
        let own = self.path();
        let below = |inner: &str, outer: &str| {
            inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        path.len() > "spec".len() && (below(path, &own) || below(&own, path))
    }

    /// The spec without a value here: with all that surrounds the leaf, where that is possible.
    pub(crate) fn without(&self, spec: &Value, around: Surroundings) -> Value {
        let optional = matches!(
            self.steps.last(),
            Some((
                Step::Field {
                    required: false,
                    ..
                },
                _
            ))
        );
        if optional && self.find(spec).is_none() {
            self.place(spec, around, None)
        } else {
            spec.clone()
        }
    }

    /// The spec with a value here.
    pub(crate) fn with(&self, spec: &Value, around: Surroundings, value: Value) -> Value {
        self.place(spec, around, Some(value))
    }

    fn find<'a>(&self, spec: &'a Value) -> Option<&'a Value> {
        self.steps
            .iter()
            .try_fold(spec, |at, (step, _)| match step {
                Step::Field { name, .. } => at.get(name),
                Step::Entry => at.get(ENTRY),
                Step::Item => at.get(0),
            })
    }

    fn place(&self, spec: &Value, around: Surroundings, value: Option<Value>) -> Value {
        let mut out = spec.clone();
        let mut at = &mut out;
        for (index, (step, schema)) in self.steps.iter().enumerate() {
            let last = index + 1 == self.steps.len();
            if last && value.is_none() {
                if let (Step::Field { name, .. }, Some(map)) = (step, at.as_object_mut()) {
                    map.remove(name);
                }
                return out;
            }
            at = match step {
                Step::Field { name, .. } => &mut at[name.as_str()],
                Step::Entry => &mut at[ENTRY],
                Step::Item => {
                    if at.get(0).is_none() {
                        *at = json!([null]);
                    }
                    &mut at[0]
                }
            };
            if last {
                *at = value.unwrap_or_default();
                return out;
            }
            if at.is_null() {
                *at = sample(schema, around);
            }
        }
        out
    }

    /// Values to try, of the leaf's type.
    pub(crate) fn candidates(&self) -> Vec<Value> {
        let Some((_, schema)) = self.steps.last() else {
            return Vec::new();
        };
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return values.clone();
        }
        let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
        match schema.get("type").and_then(Value::as_str) {
            Some("boolean") => vec![json!(true), json!(false)],
            Some("integer") => [7, 0, 1, 50, 302, 503, 8081]
                .into_iter()
                .filter(|value| bound("minimum").is_none_or(|min| *value >= min))
                .filter(|value| bound("maximum").is_none_or(|max| *value <= max))
                .map(|value| json!(value))
                .collect(),
            Some("number") => vec![json!(0.5), json!(7)],
            Some("string") => TEXTS.iter().map(|text| json!(text)).collect(),
            _ => FREE
                .iter()
                .filter_map(|text| serde_json::from_str(text).ok())
                .collect(),
        }
    }
}

/// Texts of the kinds that fields hold: names, paths, durations, headers, numbers, versions.
const TEXTS: &[&str] = &[
    "x",
    "y",
    "/x",
    "x.test",
    "GET",
    "5s",
    "5",
    "true",
    "v1.3",
    "h2",
    "X25519",
    "https://x",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "%PROTOCOL%",
    "text/plain",
    "POST",
];

/// Values for places without a type.
const FREE: &[&str] = &[
    r#"{"x": "x"}"#,
    r#"{"server_name": "x"}"#,
    r#"["x"]"#,
    r#""x""#,
    "true",
    "7",
    "{}",
];

/// A value of a schema.
fn sample(schema: &Value, around: Surroundings) -> Value {
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => {
            let mut map = Map::new();
            let required = required(schema);
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, inner) in properties.into_iter().flatten() {
                let scalar = !matches!(
                    inner.get("type").and_then(Value::as_str),
                    None | Some("object" | "array")
                );
                if required.contains(&name.as_str()) || (scalar && around == Surroundings::Full) {
                    map.insert(name.clone(), sample(inner, around));
                }
            }
            Value::Object(map)
        }
        Some("array") => json!([]),
        Some("boolean") => json!(true),
        Some("integer" | "number") => {
            json!(
                schema
                    .get("minimum")
                    .and_then(Value::as_i64)
                    .unwrap_or(1)
                    .max(1)
            )
        }
        _ => json!("x"),
    }
}
