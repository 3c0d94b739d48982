//! A Mapping of v2.

use serde_json::Value;

use super::headers::{self, Conditions};
use super::{Context, Fields, commas_to_list, labels, text_to_list, tls};

/// The host that the back-conversion gives to a Mapping that had neither `hostname` nor `host`.
const NO_HOST: &str = "_skip_mapping_with_empty_host_";

const HEADERS: Conditions = Conditions {
    exact: "headers",
    regex: "regex_headers",
    residue: "v2BoolHeaders",
};

const QUERY_PARAMETERS: Conditions = Conditions {
    exact: "query_parameters",
    regex: "regex_query_parameters",
    residue: "v2BoolQueryParameters",
};

/// Converts the spec of a Mapping.
pub(super) fn mapping(spec: &mut Fields, context: &mut Context) {
    if context.from_v2 {
        host(spec, context);
    }
    headers::conditions(spec, &HEADERS, context);
    headers::conditions(spec, &QUERY_PARAMETERS, context);
    tls::tls(spec, "service", context);
    headers::added(spec.get_mut("add_request_headers"));
    headers::added(spec.get_mut("add_response_headers"));
    for name in ["remove_request_headers", "remove_response_headers"] {
        if let Some(names) = spec.get_mut(name) {
            text_to_list(names);
        }
    }
    if let Some(Value::Object(cors)) = spec.get_mut("cors") {
        self::cors(cors);
    }
    if let Some(labels) = spec.get_mut("labels") {
        labels::labels(labels);
    }
    if let Some(Value::Array(checks)) = spec.get_mut("health_checks") {
        for http in checks
            .iter_mut()
            .filter_map(|check| check.get_mut("health_check")?.get_mut("http"))
        {
            health_check(http);
        }
    }
}

/// In v2 no host means every host.
fn host(spec: &mut Fields, context: &mut Context) {
    if spec.get("host_regex") == Some(&Value::Bool(true)) {
        return;
    }
    if spec
        .get("hostname")
        .is_some_and(|hostname| !hostname.is_null())
    {
        let message = "`hostname` counts, although v2 does not have it".to_owned();
        context.lost("spec.hostname", message);
        return;
    }
    let hostname = match spec.get("host") {
        None | Some(Value::Null) => "*".to_owned(),
        Some(Value::String(host)) if host.is_empty() => "*".to_owned(),
        Some(Value::String(host)) => host.clone(),
        Some(_) => return,
    };
    spec.remove("host");
    spec.remove("host_regex");
    if hostname == NO_HOST {
        return;
    }
    spec.insert("hostname".to_owned(), Value::from(hostname));
    context.renamed("spec.hostname".to_owned(), "spec.host".to_owned());
}

fn cors(cors: &mut Fields) {
    if let Some(origins) = cors.get_mut("origins")
        && commas_to_list(origins)
    {
        cors.entry("v2CommaSeparatedOrigins")
            .or_insert(Value::Bool(true));
    }
    for name in ["methods", "headers", "exposed_headers"] {
        if let Some(names) = cors.get_mut(name) {
            commas_to_list(names);
        }
    }
}

fn health_check(http: &mut Value) {
    headers::added(http.get_mut("add_request_headers"));
    if let Some(names) = http.get_mut("remove_request_headers") {
        text_to_list(names);
    }
}
