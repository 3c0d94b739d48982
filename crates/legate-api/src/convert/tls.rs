//! `tls` of v2: text or a boolean, next to a service that may carry a scheme.

use serde_json::{Map, Value};

use super::{Context, Fields};

/// Text is the name of a TLSContext; `true` moves into the service's scheme; everything else says
/// nothing, because the scheme decides. What was written is remembered.
pub(super) fn tls(spec: &mut Fields, service: &str, context: &Context) {
    let form = match spec.get("tls") {
        Some(Value::Bool(true)) => "bool:true",
        Some(Value::Bool(false)) => "bool:false",
        Some(Value::Null) => "null",
        Some(Value::String(name)) if name.is_empty() => "string",
        _ => return,
    };
    spec.remove("tls");
    let mut residue = Map::new();
    residue.insert("tls".to_owned(), Value::from(form));
    if form == "bool:true"
        && let Some(Value::String(service)) = spec.get_mut(service)
    {
        let (scheme, rest) = split_scheme(service);
        if !scheme.is_empty() {
            residue.insert("serviceScheme".to_owned(), Value::from(scheme));
        }
        *service = format!("https://{rest}");
    }
    // In v3alpha1 an empty name is nothing to remember.
    if context.from_v2 || form.starts_with("bool:") {
        spec.entry("v2ExplicitTLS")
            .or_insert(Value::Object(residue));
    }
}

/// The scheme with its `://`, and the rest.
fn split_scheme(service: &str) -> (&str, &str) {
    match service.find("://") {
        Some(at) => service.split_at(at.saturating_add(3).min(service.len())),
        None => ("", service),
    }
}
