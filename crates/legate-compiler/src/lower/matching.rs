//! What a Mapping matches (spec/routing §4.2), and the conditions that its group and its place in
//! the order are made from.

use legate_api::mapping::MappingSpec;
use legate_config::HostPattern;
use legate_config::route::{NamedMatch, PathMatch, StringMatch};

use super::Report;
use crate::codes;
use crate::glob::HostGlob;
use crate::rank::Condition;
use crate::regex;

/// Paths under this are routed in every security model (spec/routing §3.8).
const ACME: &str = "/.well-known/acme-challenge/";

/// What a Mapping matches.
#[derive(Debug, Clone)]
pub(crate) struct Matching {
    /// The prefix as written.
    pub(crate) prefix: String,
    /// How it is compared.
    pub(crate) path: PathKind,
    /// `case_sensitive`, if written.
    pub(crate) case_sensitive: Option<bool>,
    /// `precedence`
    pub(crate) precedence: i64,
    /// The condition on the host, if there is one.
    pub(crate) host: Option<HostCondition>,
    /// The condition on the method.
    pub(crate) method: Option<StringMatch>,
    /// The method as written.
    pub(crate) method_text: Option<String>,
    /// Conditions on headers for the data plane.
    pub(crate) headers: Vec<NamedMatch>,
    /// Conditions on query parameters for the data plane.
    pub(crate) query: Vec<NamedMatch>,
    /// All header conditions in Emissary's order: exact, regex, `:authority`, `:method`.
    pub(crate) header_conditions: Vec<Condition>,
    /// All query conditions in Emissary's order: exact, regex.
    pub(crate) query_conditions: Vec<Condition>,
}

/// How a prefix is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathKind {
    /// The path starts with it.
    Prefix,
    /// The path is it.
    Exact,
    /// It is a regular expression; this is the translated one.
    Regex(String),
}

/// A Mapping's own condition on the host.
#[derive(Debug, Clone)]
pub(crate) struct HostCondition {
    /// As it counts for groups and the order: canonical, or the regular expression as written.
    pub(crate) text: String,
    /// What the data plane compares with.
    pub(crate) pattern: HostPattern,
    /// The glob; `None` for a regular expression, which goes with every Host.
    pub(crate) glob: Option<HostGlob>,
}

impl Matching {
    /// The path condition; `case_sensitive` is the group's.
    pub(crate) fn path_match(&self, case_sensitive: bool) -> PathMatch {
        match &self.path {
            PathKind::Prefix => PathMatch::Prefix {
                value: self.prefix.clone(),
                ignore_case: !case_sensitive,
            },
            PathKind::Exact => PathMatch::Exact {
                value: self.prefix.clone(),
                ignore_case: !case_sensitive,
            },
            PathKind::Regex(value) => PathMatch::Regex {
                value: value.clone(),
            },
        }
    }

    /// Whether insecure requests are routed whatever the Host says.
    pub(crate) fn always_routed(&self) -> bool {
        self.path == PathKind::Prefix && self.prefix.starts_with(ACME)
    }
}

/// Reads the match fields. The report says so when the result must not be used.
pub(super) fn matching(spec: &MappingSpec, report: &mut Report) -> Option<Matching> {
    let path = path(spec, report)?;
    let mut headers = Headers::default();
    headers.read(spec, report);
    let host = host(spec, &headers, report);
    let (method, method_text) = method(spec, &headers, report);
    let mut header_conditions = std::mem::take(&mut headers.conditions);
    let regex_host = host.as_ref().is_some_and(|host| host.glob.is_none());
    if let Some(host) = &host {
        header_conditions.push(Condition {
            name: ":authority".to_owned(),
            value: host.text.clone(),
            regex: regex_host,
        });
    }
    if let Some(text) = &method_text {
        header_conditions.push(Condition {
            name: ":method".to_owned(),
            value: text.clone(),
            regex: matches!(method, Some(StringMatch::Regex(_))),
        });
    }
    let (query, query_conditions) = query(spec, report);
    Some(Matching {
        prefix: spec.prefix.clone(),
        path,
        case_sensitive: spec.case_sensitive,
        precedence: spec.precedence.unwrap_or(0),
        host,
        method,
        method_text,
        headers: headers.matches,
        query,
        header_conditions,
        query_conditions,
    })
}

fn path(spec: &MappingSpec, report: &mut Report) -> Option<PathKind> {
    let regex = spec.prefix_regex == Some(true);
    let exact = spec.prefix_exact == Some(true);
    if regex && exact {
        report.ignored(
            codes::W_IGNORED,
            "spec.prefix_exact",
            "`prefix_regex` wins over `prefix_exact`",
        );
    }
    if !regex {
        if !spec.prefix.starts_with('/') && !report.has_issue("spec.prefix") {
            report.notice(
                codes::W_MAP_PREFIX,
                "spec.prefix",
                "a prefix that does not start with `/` matches no path",
            );
        }
        return Some(if exact {
            PathKind::Exact
        } else {
            PathKind::Prefix
        });
    }
    if spec.case_sensitive == Some(false) {
        report.ignored(
            codes::W_IGNORED,
            "spec.case_sensitive",
            "`case_sensitive` has no effect on a regular expression; write `(?i)` into it",
        );
    }
    match regex::check(&spec.prefix) {
        Ok(pattern) => Some(PathKind::Regex(pattern)),
        Err(error) => {
            report.unmatched(codes::E_MAP_REGEX, "spec.prefix", error.to_string());
            None
        }
    }
}

/// Conditions from `headers` and `regex_headers`; pseudo headers stand for other fields.
#[derive(Default)]
struct Headers {
    matches: Vec<NamedMatch>,
    conditions: Vec<Condition>,
    authority: Option<(String, String)>,
    authority_regex: Option<(String, String)>,
    method: Option<(String, String, bool)>,
}

impl Headers {
    fn read(&mut self, spec: &MappingSpec, report: &mut Report) {
        for (name, value) in &spec.headers {
            self.add(name, value, false, report);
        }
        for (name, value) in &spec.regex_headers {
            self.add(name, value, true, report);
        }
    }

    fn add(&mut self, written: &str, value: &str, regex: bool, report: &mut Report) {
        let field = if regex {
            "spec.regex_headers"
        } else {
            "spec.headers"
        };
        let path = format!("{field}.{written}");
        let name = written.to_ascii_lowercase();
        match name.as_str() {
            // HTTP/1's Host is HTTP/2's `:authority`.
            ":authority" | "host" => {
                let slot = if regex {
                    &mut self.authority_regex
                } else {
                    &mut self.authority
                };
                *slot = Some((path, value.to_owned()));
            }
            ":method" => self.method = Some((path, value.to_owned(), regex)),
            name if !is_header_name(name) => {
                let message = format!("`{written}` is no header that a route can match");
                report.unmatched(codes::E_MAP_HEADER, &path, message);
            }
            _ => {
                if let Some(matcher) = string_match(value, regex, &path, report) {
                    self.matches.push(NamedMatch {
                        name: name.clone(),
                        value: matcher,
                    });
                    self.conditions.push(Condition {
                        name,
                        value: value.to_owned(),
                        regex,
                    });
                }
            }
        }
    }
}

/// A condition on a text; `.*` means present.
fn string_match(value: &str, regex: bool, path: &str, report: &mut Report) -> Option<StringMatch> {
    if !regex {
        return Some(StringMatch::Exact(value.to_owned()));
    }
    if value == ".*" {
        return Some(StringMatch::Present(true));
    }
    match regex::check(value) {
        Ok(pattern) => Some(StringMatch::Regex(pattern)),
        Err(error) => {
            report.unmatched(codes::E_MAP_REGEX, path, error.to_string());
            None
        }
    }
}

/// The host condition: `hostname`, else `host`, else `:authority` among the headers.
fn host(spec: &MappingSpec, headers: &Headers, report: &mut Report) -> Option<HostCondition> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let exact = headers.authority.clone();
    let regex = headers.authority_regex.clone();
    let mut candidates = Vec::new();
    if let Some(text) = given(&spec.hostname) {
        candidates.push(("spec.hostname".to_owned(), text, false));
    }
    if let Some(text) = given(&spec.host) {
        let is_regex = spec.host_regex == Some(true);
        candidates.push(("spec.host".to_owned(), text, is_regex));
    }
    candidates.extend(exact.map(|(path, text)| (path, text, false)));
    candidates.extend(regex.map(|(path, text)| (path, text, true)));
    let mut candidates = candidates.into_iter();
    let winner = candidates.next();
    for (path, ..) in candidates {
        let by = winner.as_ref().map_or("", |(path, ..)| path.as_str());
        report.ignored(
            codes::W_IGNORED,
            &path,
            format!("`{by}` decides about the host"),
        );
    }
    if spec.host_regex == Some(true) && winner.as_ref().is_none_or(|(path, ..)| path != "spec.host")
    {
        report.ignored(
            codes::W_IGNORED,
            "spec.host_regex",
            "`host_regex` has no effect without `host`",
        );
    }
    let (path, text, is_regex) = winner?;
    if is_regex {
        return regex_host(&path, text, report);
    }
    let glob = HostGlob::parse(&text);
    if path != "spec.hostname" && text.contains('*') {
        report.unmatched(
            codes::E_MAP_HOST,
            &path,
            "a host is exact here; a `*` belongs into `hostname`",
        );
    } else if glob.is_dead() {
        report.notice(
            codes::W_MAP_HOST,
            &path,
            format!("`{text}` matches no host: a `*` counts only alone, or at one end"),
        );
    }
    Some(HostCondition {
        text: glob.to_string(),
        pattern: glob.to_pattern(),
        glob: Some(glob),
    })
}

fn regex_host(path: &str, text: String, report: &mut Report) -> Option<HostCondition> {
    match regex::check(&text) {
        Ok(pattern) => {
            // Hosts are compared in lower case.
            let pattern = if pattern.bytes().any(|byte| byte.is_ascii_uppercase()) {
                format!("(?i:{pattern})")
            } else {
                pattern
            };
            Some(HostCondition {
                text,
                pattern: HostPattern::Regex(pattern),
                glob: None,
            })
        }
        Err(error) => {
            report.unmatched(codes::E_MAP_REGEX, path, error.to_string());
            None
        }
    }
}

fn method(
    spec: &MappingSpec,
    headers: &Headers,
    report: &mut Report,
) -> (Option<StringMatch>, Option<String>) {
    let own = spec.method.clone().filter(|text| !text.is_empty());
    let (path, text, regex) = match (own, &headers.method) {
        (Some(text), other) => {
            if let Some((path, ..)) = other {
                report.ignored(codes::W_IGNORED, path, "`method` decides about the method");
            }
            let regex = spec.method_regex == Some(true);
            ("spec.method".to_owned(), text, regex)
        }
        (None, Some((path, text, regex))) => (path.clone(), text.clone(), *regex),
        (None, None) => {
            if spec.method_regex == Some(true) {
                report.ignored(
                    codes::W_IGNORED,
                    "spec.method_regex",
                    "`method_regex` has no effect without `method`",
                );
            }
            return (None, None);
        }
    };
    (string_match(&text, regex, &path, report), Some(text))
}

fn query(spec: &MappingSpec, report: &mut Report) -> (Vec<NamedMatch>, Vec<Condition>) {
    let mut matches = Vec::new();
    let mut conditions = Vec::new();
    let fields = [
        ("spec.query_parameters", &spec.query_parameters, false),
        (
            "spec.regex_query_parameters",
            &spec.regex_query_parameters,
            true,
        ),
    ];
    for (field, map, regex) in fields {
        for (name, value) in map {
            let path = format!("{field}.{name}");
            if let Some(matcher) = string_match(value, regex, &path, report) {
                matches.push(NamedMatch {
                    name: name.clone(),
                    value: matcher,
                });
                conditions.push(Condition {
                    name: name.clone(),
                    value: value.clone(),
                    regex,
                });
            }
        }
    }
    (matches, conditions)
}

/// Whether a lower-case text is a header name.
pub(crate) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| {
            matches!(byte, b'a'..=b'z' | b'0'..=b'9')
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                )
        })
}
