//! Rate-limit labels of v2: bare strings and short forms.

use serde_json::{Value, json};

/// Converts all specifiers of all groups of all domains.
pub(super) fn labels(labels: &mut Value) {
    let Value::Object(domains) = labels else {
        return;
    };
    for groups in domains.values_mut().filter_map(Value::as_array_mut) {
        for group in groups.iter_mut().filter_map(Value::as_object_mut) {
            for specifiers in group.values_mut().filter_map(Value::as_array_mut) {
                specifiers.iter_mut().for_each(specifier);
            }
        }
    }
}

/// Converts one specifier, in whatever form.
pub(super) fn specifier(value: &mut Value) {
    match value {
        Value::String(text) => {
            *value = match text.as_str() {
                name @ ("source_cluster" | "destination_cluster" | "remote_address") => {
                    json!({name: {"key": name}})
                }
                text => json!({"generic_key": {"value": text}}),
            };
        }
        Value::Object(object) => {
            let key = object.remove("v3Key");
            object.remove("v2Representation");
            object.remove("v3Name");
            if let Some(text @ Value::String(_)) = object.get("generic_key") {
                let mut generic_key = json!({"value": text});
                if let (Some(key @ Value::String(_)), Some(fields)) =
                    (key, generic_key.as_object_mut())
                {
                    fields.insert("key".to_owned(), key);
                }
                object.insert("generic_key".to_owned(), generic_key);
                return;
            }
            if object.len() != 1 {
                return;
            }
            let short = object
                .iter()
                .find_map(|(name, body)| request_header(name, body));
            if let Some(short) = short {
                *value = short;
            }
        }
        _ => {}
    }
}

/// `{<key>: {header, omit_if_not_present}}`
fn request_header(key: &str, body: &Value) -> Option<Value> {
    let header = body.get("header")?;
    let mut header = json!({"key": key, "header_name": header});
    if let (Some(omit), Some(fields)) = (body.get("omit_if_not_present"), header.as_object_mut()) {
        fields.insert("omit_if_not_present".to_owned(), omit.clone());
    }
    Some(json!({"request_headers": header}))
}
