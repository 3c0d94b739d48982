//! Redirects (spec/routing §4.8).

use legate_api::mapping::MappingSpec;
use legate_config::policy::RegexReplace;

use super::Report;
use super::changes::{is_path_text, replacement};
use crate::codes;
use crate::service::{Scheme, Service, ServiceHost};

/// Where a redirecting Mapping sends its clients.
#[derive(Debug, Clone)]
pub(crate) struct RedirectInput {
    pub(crate) scheme: Option<&'static str>,
    /// Host and port.
    pub(crate) authority: String,
    pub(crate) path: PathInput,
    pub(crate) status: u16,
}

/// What becomes of the path.
#[derive(Debug, Clone)]
pub(crate) enum PathInput {
    Keep,
    Full(String),
    /// Stands in place of the matched prefix.
    Prefix(String),
    Regex(RegexReplace),
}

/// The redirect, if `host_redirect` asks for one and its service can be read.
pub(super) fn redirect(
    spec: &MappingSpec,
    service: Option<&Service>,
    report: &mut Report,
) -> Option<RedirectInput> {
    if spec.host_redirect != Some(true) {
        without_redirect(spec, report);
        return None;
    }
    if spec.shadow == Some(true) {
        report.ignored(
            codes::W_IGNORED,
            "spec.host_redirect",
            "a shadow never answers, so it does not redirect",
        );
        return None;
    }
    let path = path(spec, report);
    let status = match spec.redirect_response_code {
        None => 301,
        Some(code @ (301 | 302 | 303 | 307 | 308)) => u16::try_from(code).unwrap_or(301),
        Some(code) => {
            report.fatal(
                codes::E_MAP_REDIRECT,
                "spec.redirect_response_code",
                format!("{code} is no redirect; use 301, 302, 303, 307 or 308"),
            );
            301
        }
    };
    let service = service?;
    if let ServiceHost::Name(name) = &service.host
        && !name.contains('.')
        && name != "localhost"
    {
        report.notice(
            codes::I_MAP_REDIRECT,
            "spec.service",
            format!("clients are sent to the host `{name}` as it is; no namespace is added"),
        );
    }
    Some(RedirectInput {
        scheme: service.scheme.map(|scheme| match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }),
        authority: service.authority(),
        path,
        status,
    })
}

fn path(spec: &MappingSpec, report: &mut Report) -> PathInput {
    let given = [
        ("spec.path_redirect", spec.path_redirect.is_some()),
        ("spec.prefix_redirect", spec.prefix_redirect.is_some()),
        ("spec.regex_redirect", spec.regex_redirect.is_some()),
    ];
    let mut written = given.iter().filter(|(_, given)| *given);
    if let Some((winner, _)) = written.next() {
        for (loser, _) in written {
            report.ignored(
                codes::E_MAP_REDIRECT,
                loser,
                format!("`{winner}` wins over `{loser}`"),
            );
        }
    }
    let mut text = |field: &str, text: &str| {
        if !is_path_text(text) {
            report.fatal(
                codes::E_MAP_REWRITE,
                field,
                "a path holds no blanks, control characters or non-ASCII characters",
            );
        }
    };
    if let Some(full) = &spec.path_redirect {
        text("spec.path_redirect", full);
        return PathInput::Full(full.clone());
    }
    if let Some(prefix) = &spec.prefix_redirect {
        text("spec.prefix_redirect", prefix);
        return PathInput::Prefix(prefix.clone());
    }
    match &spec.regex_redirect {
        Some(replace) => replacement("spec.regex_redirect", replace, report)
            .map_or(PathInput::Keep, PathInput::Regex),
        None => PathInput::Keep,
    }
}

fn without_redirect(spec: &MappingSpec, report: &mut Report) {
    let fields = [
        ("spec.path_redirect", spec.path_redirect.is_some()),
        ("spec.prefix_redirect", spec.prefix_redirect.is_some()),
        ("spec.regex_redirect", spec.regex_redirect.is_some()),
        (
            "spec.redirect_response_code",
            spec.redirect_response_code.is_some(),
        ),
    ];
    for (field, _) in fields.iter().filter(|(_, given)| *given) {
        report.ignored(
            codes::W_IGNORED,
            field,
            "this has no effect without `host_redirect: true`",
        );
    }
}
