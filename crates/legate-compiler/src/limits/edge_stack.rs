//! Edge Stack's RateLimit: patterns are prefixes of label groups.

use legate_api::{InjectedHeader, ObjectKey, RateLimitAction, RateLimitLimit, RateLimitSpec};
use legate_config::rules::{LimitDepth, LimitEntry, LimitItem, LimitPlace, LimitRule, LimitValue};

use super::Written;
use super::policy::per_unit;
use crate::codes;
use crate::lower::{Report, is_header_name};

/// Reads an object.
pub(super) fn read(key: &ObjectKey, spec: &RateLimitSpec, report: &mut Report) -> Vec<Written> {
    let mut rules = Vec::new();
    for (index, limit) in spec.limits.iter().enumerate() {
        let path = format!("spec.limits[{index}]");
        let default = format!("{}.{}-{index}", key.name, key.namespace);
        if let Some(rule) = rule(limit, default, &path, report) {
            rules.push(Written { path, rule });
        }
    }
    if !rules.is_empty() {
        report.notice(
            codes::I_RL_WINDOW,
            "spec.limits",
            "what is left of a limit comes back bit by bit, not all at once when a unit of the clock begins",
        );
    }
    rules
}

fn rule(
    limit: &RateLimitLimit,
    default: String,
    path: &str,
    report: &mut Report,
) -> Option<LimitRule> {
    if limit.error_response.is_some() {
        report.ignored(
            codes::W_UNSUPPORTED,
            &format!("{path}.errorResponse"),
            "answers of one's own are not supported yet; requests over the limit get an empty 429",
        );
    }
    let mut items = Vec::new();
    for (index, entries) in limit.pattern.iter().enumerate() {
        if entries.is_empty() {
            report.ignored(
                codes::E_RL_LIMIT,
                &format!("{path}.pattern[{index}]"),
                "an entry without a key matches nothing; this limit is not enforced",
            );
            return None;
        }
        let entry = |(key, value): (&String, &String)| LimitEntry {
            key: key.clone(),
            value: match value.as_str() {
                "" | "*" => LimitValue::Any,
                value => LimitValue::Is(value.to_owned()),
            },
        };
        items.push(LimitItem {
            any_of: entries.iter().map(entry).collect(),
            shared: false,
        });
    }
    if items.is_empty() {
        report.ignored(
            codes::E_RL_LIMIT,
            &format!("{path}.pattern"),
            "a limit needs a pattern; this one is not enforced",
        );
        return None;
    }
    let (Some(rate), Some(unit)) = (limit.rate, limit.unit) else {
        report.ignored(
            codes::E_RL_LIMIT,
            &format!("{path}.rate"),
            "a limit needs `rate` and `unit`; this one is not enforced",
        );
        return None;
    };
    let factor = u64::try_from(limit.burst_factor.unwrap_or(1)).unwrap_or(1);
    let rate_path = format!("{path}.rate");
    let mut headers = |headers: &[InjectedHeader], field: &str| -> Vec<(String, String)> {
        let read = headers.iter().enumerate().filter_map(|(index, header)| {
            self::header(header, &format!("{path}.{field}[{index}]"), report)
        });
        read.collect()
    };
    let request_headers = headers(&limit.inject_request_headers, "injectRequestHeaders");
    let response_headers = headers(&limit.inject_response_headers, "injectResponseHeaders");
    Some(LimitRule {
        name: limit
            .name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or(default),
        items,
        depth: LimitDepth::Prefix,
        limit: Some(per_unit(rate, unit, factor, &rate_path, report)),
        shadow: limit.action == Some(RateLimitAction::LogOnly),
        replaces: Vec::new(),
        place: LimitPlace::IfStore,
        request_headers,
        response_headers,
    })
}

fn header(header: &InjectedHeader, path: &str, report: &mut Report) -> Option<(String, String)> {
    if header.value.contains("{{") {
        report.ignored(
            codes::W_UNSUPPORTED,
            &format!("{path}.value"),
            "templates in injected headers are not supported; the header is left out",
        );
        return None;
    }
    let name = header.name.to_ascii_lowercase();
    let visible = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    if !is_header_name(&name) || !header.value.bytes().all(visible) {
        report.ignored(
            codes::E_RL_LIMIT,
            path,
            "this is no header that could be sent; it is left out",
        );
        return None;
    }
    Some((name, header.value.clone()))
}
