//! The access log: `envoy_log_type`, `envoy_log_format`, `envoy_log_path` (spec/services §4.4).

use std::collections::BTreeMap;

use legate_config::http::{AccessLog, AccessLogFormat, JsonValue};
use legate_config::template::Template;
use serde_json::{Map, Value};

use super::read::{Report, Section};

/// Emissary's default JSON object.
const DEFAULT_JSON: &[(&str, &str)] = &[
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    (
        "upstream_service_time",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    ),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    (
        "istio_policy_status",
        "%DYNAMIC_METADATA(istio.mixer:status)%",
    ),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
];

/// The access log as it is without any setting.
pub(super) fn default_log() -> AccessLog {
    AccessLog::default()
}

/// Reads the settings. A format that cannot be used gives way to the default of its type.
pub(super) fn access_log(config: Section<'_>, report: &mut Report<'_>) -> AccessLog {
    let path = config
        .text("envoy_log_path", report)
        .map_or_else(|| AccessLog::default().path, str::to_owned);
    let json = match config.text("envoy_log_type", report) {
        None | Some("text") => false,
        Some("json" | "typed_json") => true,
        Some(other) => {
            report.bad(
                &config.path_of("envoy_log_type"),
                format!("`{other}` is none of text, json, typed_json; it stays text"),
            );
            false
        }
    };
    let format_path = config.path_of("envoy_log_format");
    let format = match (config.get("envoy_log_format"), json) {
        (None, false) => default_text(),
        (None, true) => default_json(),
        (Some(Value::String(text)), false) => match Template::parse(text.trim_end_matches('\n')) {
            Ok(template) => AccessLogFormat::Text(template),
            Err(error) => {
                report.bad(&format_path, format!("{error}; the default format applies"));
                default_text()
            }
        },
        (Some(Value::Object(map)), true) => match object(map, &format_path) {
            Ok(fields) => AccessLogFormat::Json(fields),
            Err((path, message)) => {
                report.bad(&path, format!("{message}; the default format applies"));
                default_json()
            }
        },
        (Some(_), false) => {
            report.bad(
                &format_path,
                "`envoy_log_type: text` needs a text; the default format applies",
            );
            default_text()
        }
        (Some(_), true) => {
            report.bad(
                &format_path,
                "`envoy_log_type: json` needs an object; the default format applies",
            );
            default_json()
        }
    };
    AccessLog { path, format }
}

fn default_text() -> AccessLogFormat {
    AccessLog::default().format
}

fn default_json() -> AccessLogFormat {
    AccessLogFormat::Json(
        DEFAULT_JSON
            .iter()
            .filter_map(|(name, text)| {
                let template = Template::parse(text).ok()?;
                Some(((*name).to_owned(), JsonValue::Template(template)))
            })
            .collect(),
    )
}

type Fault = (String, String);

fn object(map: &Map<String, Value>, path: &str) -> Result<BTreeMap<String, JsonValue>, Fault> {
    map.iter()
        .map(|(name, value)| Ok((name.clone(), json(value, &format!("{path}.{name}"))?)))
        .collect()
}

fn json(value: &Value, path: &str) -> Result<JsonValue, Fault> {
    Ok(match value {
        Value::String(text) => JsonValue::Template(
            Template::parse(text).map_err(|error| (path.to_owned(), error.to_string()))?,
        ),
        Value::Object(map) => JsonValue::Object(object(map, path)?),
        Value::Array(items) => JsonValue::List(
            items
                .iter()
                .enumerate()
                .map(|(at, item)| json(item, &format!("{path}[{at}]")))
                .collect::<Result<_, _>>()?,
        ),
        literal => JsonValue::Literal(literal.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_formats_parse() {
        let AccessLogFormat::Text(text) = default_text() else {
            panic!("text");
        };
        assert_eq!(text.as_str(), legate_config::http::DEFAULT_TEXT);
        let AccessLogFormat::Json(fields) = default_json() else {
            panic!("json");
        };
        assert_eq!(fields.len(), DEFAULT_JSON.len());
    }
}
