//! Bringing a spec of any version into the shape of v3alpha1 (spec/routing §1.8).
//!
//! The *shapes* of v2 are accepted whatever the object was written as, because under a CRD without
//! a conversion webhook both come through either version. The *meaning* of v2, that a Mapping
//! without a host is for every host, is given only to what was written as v1 or v2.
//!
//! Values of a shape that no version has are left for the schema check to report.

mod headers;
mod labels;
mod mapping;
mod tls;

use serde_json::{Map, Value};

use crate::decode::{I_CONVERTED, W_IGNORED};
use crate::object::{Issue, Kind, WrittenAs};
use crate::schema::OLD_NAMES;

type Fields = Map<String, Value>;

/// What the back-conversion of v3alpha1 to v2 puts before every id, so that an old controller skips
/// the object. Such a body is shaped like v2 and means what it meant in v3alpha1.
const ONLY_V3ALPHA1: &str = "--apiVersion-v3alpha1-only--";

/// What converting found.
pub(crate) struct Conversion {
    /// As what the object counts from now on.
    pub(crate) written_as: WrittenAs,
    /// What was lost.
    pub(crate) issues: Vec<Issue>,
    /// Paths that are another field's now: the new one, and the one that the user wrote.
    pub(crate) renamed: Vec<(String, String)>,
}

/// The state of one conversion.
struct Context {
    /// Whether the spec is shaped like v2, so that what v2 omits has the meaning of v2.
    from_v2: bool,
    conversion: Conversion,
}

impl Context {
    fn lost(&mut self, path: &str, message: String) {
        self.issue(I_CONVERTED, path, message);
    }

    fn issue(&mut self, code: &'static str, path: &str, message: String) {
        self.conversion.issues.push(Issue {
            code,
            path: path.to_owned(),
            message,
            help: None,
        });
    }

    fn renamed(&mut self, new: String, old: String) {
        self.conversion.renamed.push((new, old));
    }
}

/// Converts a spec in place.
pub(crate) fn convert(kind: Kind, spec: &mut Value, written_as: WrittenAs) -> Conversion {
    let mut context = Context {
        from_v2: matches!(written_as, WrittenAs::V1 | WrittenAs::V2),
        conversion: Conversion {
            written_as,
            issues: Vec::new(),
            renamed: Vec::new(),
        },
    };
    if let Value::Object(spec) = spec {
        fields(kind, spec, &mut context);
    }
    context.conversion
}

fn fields(kind: Kind, spec: &mut Fields, context: &mut Context) {
    ids(spec, context);
    old_names(kind, spec, context);
    match kind {
        Kind::Host => host(spec),
        Kind::Mapping => mapping::mapping(spec, context),
        Kind::TcpMapping => {
            tls::tls(spec, "service", context);
            integer_text(spec, "idle_timeout_ms", context);
        }
        Kind::AuthService => {
            tls::tls(spec, "auth_service", context);
            headers::bools_to_text(spec.get_mut("add_auth_headers"));
        }
        Kind::RateLimitService => tls::tls(spec, "service", context),
        Kind::RateLimit => rate_limit(spec),
        // Some readers of YAML take `off` for false.
        Kind::RateLimitPolicy if spec.get("headers") == Some(&Value::Bool(false)) => {
            spec.insert("headers".to_owned(), "off".into());
        }
        Kind::Module if context.from_v2 => {
            let config = spec.entry("config").or_insert(Value::Null);
            if config.is_null() {
                *config = Value::Object(Map::new());
            }
        }
        _ => {}
    }
}

/// A label specifier in its form of v3alpha1.
pub(crate) fn label_specifier(value: &mut Value) {
    labels::specifier(value);
}

/// The ids of a spec in any shape.
pub(crate) fn ids_of(spec: &Value) -> Vec<String> {
    let ids = spec.get("ambassador_id");
    ids.into_iter()
        .flat_map(|ids| match ids {
            Value::Array(ids) => ids.as_slice(),
            id => std::slice::from_ref(id),
        })
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect()
}

/// One id becomes a list; those under the old name follow; the mark of the back-conversion goes.
fn ids(spec: &mut Fields, context: &mut Context) {
    if spec.get("ambassador_id").is_none() && spec.get("ambassadorId").is_none() {
        return;
    }
    if let Some(ids) = spec.get_mut("ambassador_id") {
        text_to_list(ids);
    }
    if let Some(mut more) = spec.remove("ambassadorId")
        && !more.is_null()
    {
        text_to_list(&mut more);
        match (spec.get_mut("ambassador_id"), more) {
            (Some(Value::Array(ids)), Value::Array(more)) => ids.extend(more),
            (None | Some(Value::Null), more) => {
                spec.insert("ambassador_id".to_owned(), more);
                context.renamed(
                    "spec.ambassador_id".to_owned(),
                    "spec.ambassadorId".to_owned(),
                );
            }
            // The check reports the wrong one.
            _ => {}
        }
    }
    let Some(Value::Array(ids)) = spec.get_mut("ambassador_id") else {
        return;
    };
    for id in ids {
        if let Value::String(text) = id
            && let Some(bare) = text.strip_prefix(ONLY_V3ALPHA1)
        {
            *text = bare.to_owned();
            context.from_v2 = true;
            context.conversion.written_as = WrittenAs::V3Alpha1;
        }
    }
}

fn old_names(kind: Kind, spec: &mut Fields, context: &mut Context) {
    for old in OLD_NAMES.iter().filter(|old| old.kind == kind) {
        let Some(fields) = descend(spec, old.within) else {
            continue;
        };
        let Some(value) = fields.remove(old.old) else {
            continue;
        };
        let mut path = "spec".to_owned();
        for name in old.within {
            path = format!("{path}.{name}");
        }
        if fields.get(old.new).is_none_or(Value::is_null) {
            fields.insert(old.new.to_owned(), value);
            context.renamed(format!("{path}.{}", old.new), format!("{path}.{}", old.old));
        } else if !value.is_null() {
            context.lost(
                &format!("{path}.{}", old.old),
                format!(
                    "`{}` is dropped, because `{}` is there too",
                    old.old, old.new
                ),
            );
        }
    }
}

/// The object inside an object that the names lead to.
fn descend<'a>(fields: &'a mut Fields, within: &[&str]) -> Option<&'a mut Fields> {
    match within.split_first() {
        None => Some(fields),
        Some((name, rest)) => descend(fields.get_mut(*name)?.as_object_mut()?, rest),
    }
}

/// Edge Stack takes units and actions in any case, and one pattern without a list.
fn rate_limit(spec: &mut Fields) {
    let Some(Value::Array(limits)) = spec.get_mut("limits") else {
        return;
    };
    for limit in limits.iter_mut().filter_map(Value::as_object_mut) {
        if let Some(Value::String(unit)) = limit.get_mut("unit") {
            *unit = unit.to_ascii_lowercase();
        }
        if let Some(Value::String(action)) = limit.get_mut("action") {
            for known in ["Enforce", "LogOnly"] {
                if action.eq_ignore_ascii_case(known) {
                    known.clone_into(action);
                }
            }
        }
        if let Some(pattern @ Value::Object(_)) = limit.get_mut("pattern") {
            *pattern = Value::Array(vec![pattern.take()]);
        }
    }
}

/// `selector` is the old name of `mappingSelector`.
fn host(spec: &mut Fields) {
    if spec.get("mappingSelector").is_none_or(Value::is_null)
        && let Some(selector) = spec
            .get("selector")
            .filter(|value| value.is_object())
            .cloned()
    {
        spec.insert("mappingSelector".to_owned(), selector);
    }
}

/// A number that the schema wants as text.
fn integer_text(spec: &mut Fields, name: &str, context: &mut Context) {
    let Some(value) = spec.get_mut(name) else {
        return;
    };
    let Value::String(text) = value else {
        return;
    };
    if let Ok(number) = text.trim().parse::<i64>() {
        *value = Value::from(number);
    } else {
        spec.remove(name);
        let message = format!("`{name}` is not an integer number of milliseconds; it is ignored");
        context.issue(W_IGNORED, &format!("spec.{name}"), message);
    }
}

/// A string where a list is meant.
fn text_to_list(value: &mut Value) {
    if value.is_string() {
        *value = Value::Array(vec![value.take()]);
    }
}

/// A string of items that are separated by commas.
fn commas_to_list(value: &mut Value) -> bool {
    let Value::String(text) = value else {
        return false;
    };
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    *value = items.map(Value::from).collect();
    true
}

/// Names in a path the field that the user wrote.
pub(crate) fn restore_path(renamed: &[(String, String)], path: &mut String) {
    for (new, old) in renamed {
        if let Some(rest) = path.strip_prefix(new.as_str())
            && (rest.is_empty() || rest.starts_with(['.', '[']))
        {
            *path = format!("{old}{rest}");
            return;
        }
    }
}

#[cfg(test)]
mod tests;
