//! What a Mapping does to requests and responses (spec/routing §§4.7, 4.9, 4.10, 4.14, 4.15).

use std::collections::BTreeMap;

use legate_api::AddedHeader;
use legate_api::mapping::MappingSpec;
use legate_config::cluster::Breakers;
use legate_config::health::HealthCheck;
use legate_config::policy::{CorsPolicy, HeaderAdd, HostRewrite, Priority, RegexReplace, Retry};
use legate_config::template::Template;

use super::balancer::{Balance, balance};
use super::cors::cors_policy;
use super::matching::is_header_name;
use super::{Report, health, retry, upstream};
use crate::codes;
use crate::regex;

/// Headers that belong to the connection or to us; nobody may change them.
const FORBIDDEN: [&str; 12] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "te",
    "trailer",
    "http2-settings",
    "expect",
    "proxy-authenticate",
];

/// Per-member settings, before the Module's defaults and the group's merging.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    /// `add_request_headers`, by lower-case name; `None` = not written.
    pub(crate) add_request: Option<HeaderInput>,
    /// `add_response_headers`
    pub(crate) add_response: Option<HeaderInput>,
    /// `remove_request_headers`, lower-case.
    pub(crate) remove_request: Option<Vec<String>>,
    /// `remove_response_headers`
    pub(crate) remove_response: Option<Vec<String>>,
    /// `regex_rewrite`
    pub(crate) regex_rewrite: Option<RegexReplace>,
    /// `host_rewrite`, `auto_host_rewrite`
    pub(crate) host: HostRewrite,
    /// `allow_upgrade`, lower-case, and `use_websocket`.
    pub(crate) upgrades: Option<Vec<String>>,
    /// `cors`
    pub(crate) cors: Option<CorsPolicy>,
    /// `circuit_breakers`
    pub(crate) breakers: Option<Breakers>,
    /// `health_checks`
    pub(crate) health_checks: Vec<HealthCheck>,
    /// `load_balancer`
    pub(crate) balance: Option<Balance>,
    /// `priority`
    pub(crate) priority: Option<Priority>,
    /// `retry_policy`: one that never comes to anything is `None` inside.
    pub(crate) retry: Option<Option<Retry>>,
    /// `timeout_ms`
    pub(crate) timeout_ms: Option<u64>,
    /// `idle_timeout_ms`
    pub(crate) idle_timeout_ms: Option<u64>,
    /// `connect_timeout_ms`
    pub(crate) connect_timeout_ms: Option<u64>,
    /// `cluster_idle_timeout_ms`
    pub(crate) cluster_idle_timeout_ms: Option<u64>,
    /// `cluster_max_connection_lifetime_ms`
    pub(crate) cluster_max_connection_lifetime_ms: Option<u64>,
}

/// Added headers by lower-case name, values that add nothing included.
pub(crate) type HeaderInput = BTreeMap<String, HeaderAdd>;

/// Reads the fields. Most have no effect on a redirect; `unhonoured` says so.
pub(super) fn changes(spec: &MappingSpec, redirects: bool, report: &mut Report) -> Changes {
    let mut adds = |field: &str, map: &Option<BTreeMap<String, AddedHeader>>| {
        map.as_ref().map(|map| {
            header_adds(map, |name, message| {
                let path = format!("{field}.{name}");
                report.ignored(codes::E_MAP_HEADER, &path, message);
            })
        })
    };
    let add_request = adds("spec.add_request_headers", &spec.add_request_headers);
    let add_response = adds("spec.add_response_headers", &spec.add_response_headers);
    let mut removes = |field: &str, list: &Option<Vec<String>>| {
        list.as_ref().map(|list| {
            header_removes(list, |index, message| {
                let path = format!("{field}[{index}]");
                report.ignored(codes::E_MAP_HEADER, &path, message);
            })
        })
    };
    let remove_request = removes("spec.remove_request_headers", &spec.remove_request_headers);
    let remove_response = removes(
        "spec.remove_response_headers",
        &spec.remove_response_headers,
    );
    let mut changes = Changes {
        add_request,
        add_response,
        remove_request,
        remove_response,
        regex_rewrite: if redirects {
            None
        } else {
            rewrites(spec, report)
        },
        host: host_rewrite(spec, report),
        upgrades: upgrades(spec),
        cors: spec.cors.as_ref().map(|cors| {
            cors_policy(cors, |path, problem| {
                report.ignored(problem.code, &format!("spec.cors.{path}"), problem.message);
            })
        }),
        breakers: upstream::read_breakers(spec.circuit_breakers.as_deref(), report),
        health_checks: if redirects {
            Vec::new()
        } else {
            health::health_checks(spec, report)
        },
        balance: balance(spec, report),
        priority: upstream::priority(spec, report),
        retry: retry::retry(spec, report),
        ..Changes::default()
    };
    durations(spec, &mut changes, report);
    changes
}

/// Reads a map of added headers; `bad` is told about entries that are left out.
pub(crate) fn header_adds(
    map: &BTreeMap<String, AddedHeader>,
    mut bad: impl FnMut(&str, String),
) -> HeaderInput {
    let mut result = HeaderInput::new();
    for (written, header) in map {
        let name = written.to_ascii_lowercase();
        if let Some(problem) = forbidden(&name) {
            bad(written, problem);
            continue;
        }
        if header
            .value
            .bytes()
            .any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
        {
            bad(
                written,
                "a header value holds no control characters".to_owned(),
            );
            continue;
        }
        match Template::parse(&header.value) {
            Ok(value) => {
                let append = header.append.unwrap_or(true);
                result.insert(
                    name.clone(),
                    HeaderAdd {
                        name,
                        value,
                        append,
                    },
                );
            }
            Err(error) => bad(written, format!("the value cannot be read: {error}")),
        }
    }
    result
}

/// Reads a list of removed headers; `bad` is told about entries that are left out.
pub(crate) fn header_removes(list: &[String], mut bad: impl FnMut(usize, String)) -> Vec<String> {
    let mut result = Vec::new();
    for (index, written) in list.iter().enumerate() {
        let name = written.to_ascii_lowercase();
        match forbidden(&name) {
            Some(problem) => bad(index, problem),
            None if result.contains(&name) => {}
            None => result.push(name),
        }
    }
    result
}

fn forbidden(name: &str) -> Option<String> {
    if name.starts_with(':') || FORBIDDEN.contains(&name) {
        return Some(format!("`{name}` cannot be changed this way"));
    }
    (!is_header_name(name)).then(|| format!("`{name}` is no header name"))
}

fn rewrites(spec: &MappingSpec, report: &mut Report) -> Option<RegexReplace> {
    if let Some(rewrite) = &spec.rewrite {
        if !is_path_text(rewrite) {
            report.fatal(
                codes::E_MAP_REWRITE,
                "spec.rewrite",
                "a path holds no blanks, control characters or non-ASCII characters",
            );
        } else if !rewrite.is_empty() && !rewrite.starts_with('/') {
            report.notice(
                codes::W_MAP_REWRITE,
                "spec.rewrite",
                "the rewritten path does not start with `/`; most upstreams refuse that",
            );
        }
    }
    let Some(replace) = &spec.regex_rewrite else {
        let whole = spec.prefix_regex == Some(true) || spec.prefix_exact == Some(true);
        if whole && spec.rewrite.is_none() {
            report.notice(
                codes::I_MAP_REWRITE,
                "spec.rewrite",
                "without `rewrite`, every path that matches becomes `/`; `rewrite: \"\"` keeps it",
            );
        }
        return None;
    };
    if spec
        .rewrite
        .as_deref()
        .is_some_and(|rewrite| rewrite != "/")
    {
        report.ignored(
            codes::W_IGNORED,
            "spec.rewrite",
            "`regex_rewrite` wins over `rewrite`",
        );
    }
    replacement("spec.regex_rewrite", replace, report)
}

/// A pattern with its substitution, or a fault.
pub(super) fn replacement(
    field: &str,
    replace: &legate_api::RegexSubstitution,
    report: &mut Report,
) -> Option<RegexReplace> {
    let pattern = replace.pattern.as_deref().unwrap_or("");
    let Some(substitution) = &replace.substitution else {
        report.fatal(
            codes::E_MAP_REGEX,
            &format!("{field}.substitution"),
            "there is no substitution",
        );
        return None;
    };
    match regex::check_replace(pattern, substitution) {
        Ok(replace) => Some(replace),
        Err((error, blame)) => {
            let part = match blame {
                regex::Blame::Pattern => "pattern",
                regex::Blame::Substitution => "substitution",
            };
            report.fatal(
                codes::E_MAP_REGEX,
                &format!("{field}.{part}"),
                error.to_string(),
            );
            None
        }
    }
}

fn host_rewrite(spec: &MappingSpec, report: &mut Report) -> HostRewrite {
    let auto = spec.auto_host_rewrite == Some(true);
    let Some(text) = spec.host_rewrite.as_ref().filter(|text| !text.is_empty()) else {
        return if auto {
            HostRewrite::Auto
        } else {
            HostRewrite::Keep
        };
    };
    if auto {
        report.ignored(
            codes::E_MAP_HEADER,
            "spec.auto_host_rewrite",
            "`host_rewrite` wins over `auto_host_rewrite`",
        );
    }
    if text
        .bytes()
        .any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'/' | b'?' | b'#' | b'@'))
    {
        report.fatal(
            codes::E_MAP_HEADER,
            "spec.host_rewrite",
            format!("`{text}` is no host"),
        );
        return HostRewrite::Keep;
    }
    HostRewrite::Literal(text.clone())
}

fn upgrades(spec: &MappingSpec) -> Option<Vec<String>> {
    let websocket = spec.use_websocket == Some(true);
    if spec.allow_upgrade.is_none() && !websocket {
        return None;
    }
    let mut tokens: Vec<String> = spec
        .allow_upgrade
        .iter()
        .flatten()
        .map(|token| token.trim().to_ascii_lowercase())
        .filter(|token| !token.is_empty())
        .chain(websocket.then(|| "websocket".to_owned()))
        .collect();
    tokens.sort();
    tokens.dedup();
    Some(tokens)
}

fn durations(spec: &MappingSpec, changes: &mut Changes, report: &mut Report) {
    let mut read = |field: &str, value: Option<i64>, zero: bool| -> Option<u64> {
        let value = value?;
        match u64::try_from(value) {
            Ok(0) if !zero => {
                report.fatal(
                    codes::E_MAP_DURATION,
                    field,
                    "the duration must be more than 0",
                );
                None
            }
            Ok(value) => Some(value),
            Err(_) => {
                report.fatal(codes::E_MAP_DURATION, field, "a duration is not negative");
                None
            }
        }
    };
    changes.timeout_ms = read("spec.timeout_ms", spec.timeout_ms, true);
    changes.idle_timeout_ms = read("spec.idle_timeout_ms", spec.idle_timeout_ms, true);
    changes.connect_timeout_ms = read("spec.connect_timeout_ms", spec.connect_timeout_ms, false);
    changes.cluster_idle_timeout_ms = read(
        "spec.cluster_idle_timeout_ms",
        spec.cluster_idle_timeout_ms,
        true,
    );
    changes.cluster_max_connection_lifetime_ms = read(
        "spec.cluster_max_connection_lifetime_ms",
        spec.cluster_max_connection_lifetime_ms,
        true,
    );
}

/// Whether a text can stand in a path.
pub(super) fn is_path_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
