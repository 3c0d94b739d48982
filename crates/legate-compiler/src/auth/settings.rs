//! The settings of one AuthService, read and checked.

use std::collections::BTreeSet;

use legate_api::services::{AuthProtocol, AuthServiceSpec, ProtocolVersion};
use legate_config::auth::{AuthBody, AuthCheck, AuthProtocol as Spoken, AuthTarget};
use legate_config::cluster::Breakers;

use crate::codes;
use crate::lower::{Report, is_header_name, read_breakers};
use crate::module::ModuleSettings;
use crate::side;

const TIMEOUT_MS: u64 = 5000;
const STATUS_ON_ERROR: u16 = 403;
/// What `allow_request_body` stands for.
const OLD_MAX_BYTES: u64 = 4096;

/// Request headers that every check gets (spec/services §1.2).
const REQUEST_HEADERS: [&str; 8] = [
    "authorization",
    "cookie",
    "from",
    "proxy-authorization",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

/// Headers of an answer that are always copied (spec/services §1.3).
const ANSWER_HEADERS: [&str; 5] = [
    "authorization",
    "location",
    "proxy-authenticate",
    "set-cookie",
    "www-authenticate",
];

/// Headers that frame a message or belong to one connection: they are never copied.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What an AuthService asks for, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Whether `l5d-dst-override` is sent.
    pub(super) linkerd: bool,
    /// What is spoken.
    pub(super) protocol: Spoken,
    /// Limits towards the service; `None` = the Module's.
    breakers: Option<Breakers>,
    timeout_ms: u64,
    path_prefix: String,
    request_headers: Vec<String>,
    answer_headers: Vec<String>,
    add_headers: Vec<(String, String)>,
    body: Option<AuthBody>,
    allow_on_error: bool,
    status_on_error: u16,
}

impl Settings {
    /// The first field in which another AuthService differs.
    pub(super) fn difference(
        &self,
        other: &Self,
        first: &AuthServiceSpec,
        later: &AuthServiceSpec,
    ) -> Option<&'static str> {
        let fields = [
            ("path_prefix", self.path_prefix == other.path_prefix),
            ("tls", first.tls == later.tls),
            ("timeout_ms", self.timeout_ms == other.timeout_ms),
            (
                "allowed_request_headers",
                self.request_headers == other.request_headers,
            ),
            (
                "allowed_authorization_headers",
                self.answer_headers == other.answer_headers,
            ),
            ("add_auth_headers", self.add_headers == other.add_headers),
            ("add_linkerd_headers", self.linkerd == other.linkerd),
            ("include_body", self.body == other.body),
            (
                "failure_mode_allow",
                self.allow_on_error == other.allow_on_error,
            ),
            (
                "status_on_error",
                self.status_on_error == other.status_on_error,
            ),
            ("stats_name", first.stats_name == later.stats_name),
            ("circuit_breakers", self.breakers == other.breakers),
        ];
        fields
            .into_iter()
            .find(|(_, same)| !same)
            .map(|(field, _)| field)
    }

    /// The policy.
    pub(super) fn check(&self, names: Vec<String>, targets: Vec<AuthTarget>) -> AuthCheck {
        AuthCheck {
            names,
            targets,
            protocol: self.protocol,
            timeout_ms: self.timeout_ms,
            path_prefix: self.path_prefix.clone(),
            request_headers: self.request_headers.clone(),
            answer_headers: self.answer_headers.clone(),
            add_headers: self.add_headers.clone(),
            body: self.body,
            allow_on_error: self.allow_on_error,
            status_on_error: self.status_on_error,
        }
    }
}

/// Reads the settings; `None` when they are faulty.
pub(super) fn read<'a>(
    spec: &'a AuthServiceSpec,
    module: &ModuleSettings,
    report: &mut Report,
) -> Option<Settings> {
    let protocol = protocol(spec, report);
    let grpc = protocol == Spoken::Grpc;
    if grpc {
        without_effect(spec, report);
    }
    let (request, answer): (&[&str], &[&str]) = if grpc {
        (&[], &[])
    } else {
        (&REQUEST_HEADERS, &ANSWER_HEADERS)
    };
    let of_http = |list: Option<&'a [String]>| list.filter(|_| !grpc);
    let settings = Settings {
        protocol,
        linkerd: !grpc
            && spec
                .add_linkerd_headers
                .unwrap_or(module.add_linkerd_headers),
        breakers: read_breakers(spec.circuit_breakers.as_deref(), report),
        timeout_ms: side::timeout_ms(spec.timeout_ms, TIMEOUT_MS, "a check", report),
        path_prefix: if grpc {
            String::new()
        } else {
            path_prefix(spec, report)
        },
        request_headers: names(
            request,
            of_http(spec.allowed_request_headers.as_deref()),
            "spec.allowed_request_headers",
            report,
        ),
        answer_headers: names(
            answer,
            of_http(spec.allowed_authorization_headers.as_deref()),
            "spec.allowed_authorization_headers",
            report,
        ),
        add_headers: if grpc {
            Vec::new()
        } else {
            add_headers(spec, report)
        },
        body: body(spec, report).map(|body| within(body, module, report)),
        allow_on_error: spec.failure_mode_allow == Some(true),
        status_on_error: status_on_error(spec, report),
    };
    report.fault.is_none().then_some(settings)
}

fn protocol(spec: &AuthServiceSpec, report: &mut Report) -> Spoken {
    if spec.proto != Some(AuthProtocol::Grpc) {
        if spec.protocol_version.is_some() {
            report.ignored(
                codes::W_IGNORED,
                "spec.protocol_version",
                "this has no effect on an HTTP check",
            );
        }
        return Spoken::Http;
    }
    match spec.protocol_version {
        Some(ProtocolVersion::V3) => {}
        Some(ProtocolVersion::V2) => report.fatal_with_help(
            codes::E_AUTH_CONFIG,
            "spec.protocol_version",
            "version `v2` of the gRPC protocol is not spoken any more",
            "write `protocol_version: v3`",
        ),
        None => report.notice(
            codes::W_AUTH_PROTOCOL,
            "spec.protocol_version",
            "no version is named, so `v3` is spoken; Emissary refuses all requests then",
        ),
    }
    Spoken::Grpc
}

/// Names what only an HTTP check has a use for.
fn without_effect(spec: &AuthServiceSpec, report: &mut Report) {
    let fields = [
        ("path_prefix", spec.path_prefix.is_some()),
        (
            "allowed_request_headers",
            spec.allowed_request_headers.is_some(),
        ),
        (
            "allowed_authorization_headers",
            spec.allowed_authorization_headers.is_some(),
        ),
        ("add_auth_headers", spec.add_auth_headers.is_some()),
        (
            "add_linkerd_headers",
            spec.add_linkerd_headers == Some(true),
        ),
    ];
    for (field, _) in fields.iter().filter(|(_, given)| *given) {
        report.ignored(
            codes::W_IGNORED,
            &format!("spec.{field}"),
            format!("`{field}` has no effect on a gRPC check, which gets all headers"),
        );
    }
}

fn body(spec: &AuthServiceSpec, report: &mut Report) -> Option<AuthBody> {
    let old = spec.allow_request_body == Some(true);
    let Some(include) = &spec.include_body else {
        return old.then_some(AuthBody {
            max_bytes: OLD_MAX_BYTES,
            allow_partial: true,
        });
    };
    if old {
        report.fatal_with_help(
            codes::E_AUTH_CONFIG,
            "spec.allow_request_body",
            "`allow_request_body` and `include_body` exclude each other",
            "keep `include_body`",
        );
    }
    let max_bytes = u64::try_from(include.max_bytes).unwrap_or(0);
    if max_bytes == 0 {
        report.fatal(
            codes::E_AUTH_CONFIG,
            "spec.include_body.max_bytes",
            "`max_bytes` must be at least 1",
        );
    }
    Some(AuthBody {
        max_bytes,
        allow_partial: include.allow_partial,
    })
}

/// A check gets no more of a body than may be kept of it.
fn within(body: AuthBody, module: &ModuleSettings, report: &mut Report) -> AuthBody {
    let limit = u64::from(module.buffer_limit_bytes).max(1);
    if body.max_bytes > limit {
        report.ignored(
            codes::W_IGNORED,
            "spec.include_body.max_bytes",
            format!("no more than {limit} bytes of a body are kept: see `buffer_limit_bytes` of the Module"),
        );
    }
    AuthBody {
        max_bytes: body.max_bytes.min(limit),
        ..body
    }
}

fn path_prefix(spec: &AuthServiceSpec, report: &mut Report) -> String {
    let prefix = spec.path_prefix.clone().unwrap_or_default();
    let legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    let usable = prefix.is_empty() || (prefix.starts_with('/') && prefix.bytes().all(legal));
    if !usable {
        report.fatal_with_help(
            codes::E_AUTH_CONFIG,
            "spec.path_prefix",
            format!("`{prefix}` is no start of a path"),
            "write a path that begins with `/`, without query",
        );
    }
    prefix
}

fn status_on_error(spec: &AuthServiceSpec, report: &mut Report) -> u16 {
    let Some(code) = spec.status_on_error.as_ref().and_then(|status| status.code) else {
        return STATUS_ON_ERROR;
    };
    match u16::try_from(code) {
        Ok(code) if (200..600).contains(&code) => code,
        _ => {
            report.fatal(
                codes::E_AUTH_CONFIG,
                "spec.status_on_error.code",
                format!("{code} is no status of a response"),
            );
            STATUS_ON_ERROR
        }
    }
}

/// The built-in names with those that are written, lower-case and sorted.
fn names(
    always: &[&str],
    written: Option<&[String]>,
    path: &str,
    report: &mut Report,
) -> Vec<String> {
    let mut names: BTreeSet<String> = always.iter().map(|name| (*name).to_owned()).collect();
    for (index, name) in written.into_iter().flatten().enumerate() {
        let lower = name.to_ascii_lowercase();
        if let Some(why) = unusable(&lower) {
            let path = format!("{path}[{index}]");
            report.ignored(codes::W_IGNORED, &path, format!("`{name}` {why}"));
            continue;
        }
        names.insert(lower);
    }
    names.into_iter().collect()
}

fn add_headers(spec: &AuthServiceSpec, report: &mut Report) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, value) in spec.add_auth_headers.iter().flatten() {
        let lower = name.to_ascii_lowercase();
        let legal = |byte: u8| byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
        let why = unusable(&lower)
            .or_else(|| (!value.bytes().all(legal)).then_some("has a value that cannot be sent"));
        match why {
            Some(why) => {
                let path = format!("spec.add_auth_headers.{name}");
                report.ignored(codes::W_IGNORED, &path, format!("`{name}` {why}"));
            }
            None => all.push((lower, value.clone())),
        }
    }
    all.sort();
    all
}

/// Why a name cannot stand in a list of headers.
fn unusable(lower: &str) -> Option<&'static str> {
    if !is_header_name(lower) {
        Some("is no name of a header")
    } else if FRAMING.contains(&lower) {
        Some("belongs to the message itself and is never copied")
    } else {
        None
    }
}
