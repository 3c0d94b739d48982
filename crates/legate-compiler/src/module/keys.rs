//! Every key of the `ambassador` Module (spec/routing §5).

use legate_config::cluster::TcpKeepalive;
use legate_config::http::Underscores;
use serde_json::{Map, Value};

use super::read::{Report, Section};
use super::{
    ModuleSettings, access_log, buffer, cors, defaults, grpc, gzip, ip, labels, probes, upstream,
};
use crate::codes;

pub(super) const ALIVE_PREFIX: &str = "/ambassador/v0/check_alive";
pub(super) const READY_PREFIX: &str = "/ambassador/v0/check_ready";

/// What is done with a key.
pub(super) enum Treatment {
    /// It is read.
    Honoured,
    /// It is not honoured yet. The value that changes nothing says so by itself.
    Unsupported(Neutral),
    /// It never had an effect, or has none any more; with what to do instead.
    Ignored(&'static str),
    /// Documented no-op.
    Silent,
}

/// A value of an unsupported key that asks for what happens anyway.
pub(super) enum Neutral {
    /// There is none: the key's presence asks for something.
    None,
    /// `false`
    False,
    /// This text.
    Text(&'static str),
    /// Decided by a function of its own.
    Special,
}

use Neutral::{False, None as Always, Special, Text};
use Treatment::{Honoured, Ignored, Silent, Unsupported};

#[rustfmt::skip]
pub(super) const KEYS: &[(&str, Treatment)] = &[
    // §5.1
    ("use_remote_address", Honoured),
    ("xff_num_trusted_hops", Honoured),
    ("use_proxy_proto", Ignored("use a Listener with protocol HTTPPROXY or HTTPSPROXY")),
    ("x_forwarded_proto_redirect", Ignored("use `requestPolicy.insecure.action` of the Host")),
    ("service_port", Ignored("use a Listener")),
    ("server_name", Honoured),
    ("enable_http10", Honoured),
    ("proper_case", Unsupported(False)),
    ("header_case_overrides", Unsupported(Always)),
    ("allow_chunked_length", Silent),
    ("headers_with_underscores_action", Honoured),
    ("max_request_headers_kb", Honoured),
    ("merge_slashes", Honoured),
    ("reject_requests_with_escaped_slashes", Honoured),
    ("strip_matching_host_port", Honoured),
    ("preserve_external_request_id", Honoured),
    ("suppress_envoy_headers", Honoured),
    ("listener_idle_timeout_ms", Honoured),
    ("forward_client_cert_details", Unsupported(Text("SANITIZE"))),
    ("set_current_client_cert_details", Unsupported(Always)),
    ("buffer_limit_bytes", Honoured),
    ("enable_ipv4", Honoured),
    ("enable_ipv6", Honoured),
    ("runtime_flags", Ignored("they are Envoy's own")),
    // §5.2
    ("add_linkerd_headers", Honoured),
    ("circuit_breakers", Honoured),
    ("cluster_idle_timeout_ms", Honoured),
    ("cluster_max_connection_lifetime_ms", Honoured),
    ("cluster_request_timeout_ms", Honoured),
    ("cors", Honoured),
    ("keepalive", Honoured),
    ("load_balancer", Honoured),
    ("resolver", Honoured),
    ("strict_resolver", Honoured),
    ("retry_policy", Honoured),
    ("default_label_domain", Honoured),
    ("default_labels", Honoured),
    ("defaults", Honoured),
    ("use_ambassador_namespace_for_service_resolution", Honoured),
    // §5.3
    ("ip_allow", Honoured),
    ("ip_deny", Honoured),
    ("lua_scripts", Unsupported(Special)),
    ("gzip", Honoured),
    ("buffer", Honoured),
    ("grpc_stats", Honoured),
    ("enable_grpc_web", Honoured),
    ("enable_grpc_http11_bridge", Honoured),
    ("error_response_overrides", Unsupported(Always)),
    ("outlier_detection", Honoured),
    // §5.4
    ("diagnostics", Unsupported(Special)),
    ("liveness_probe", Honoured),
    ("readiness_probe", Honoured),
    ("admin_port", Unsupported(Always)),
    ("debug_mode", Ignored("use --log-level")),
    ("statsd", Ignored("metrics are on /metrics of the admin server")),
    ("auth_enabled", Ignored("use an AuthService")),
    ("envoy_log_type", Honoured),
    ("envoy_log_format", Honoured),
    ("envoy_log_path", Honoured),
    ("envoy_validation_timeout", Silent),
    ("regex_max_size", Silent),
    ("regex_type", Unsupported(Special)),
    ("prune_unreachable_routes", Silent),
    // §1.6: a dead form
    ("tls", Unsupported(Special)),
];

/// Reads the settings of the Module that counts.
pub(super) fn read(config: Section<'_>, settings: &mut ModuleSettings, report: &mut Report<'_>) {
    for name in config.map.keys() {
        diagnose(config, name, report);
    }
    connection(config, settings, report);
    upstreams(config, settings, report);
    settings.ip_policy = ip::policy(config, report);
    settings.cors = cors::cors(config, report);
    labels::labels(config, settings, report);
    settings.compression = gzip::gzip(config, report);
    settings.grpc = grpc::grpc(config, report);
    settings.underscores = underscores(config, report);
    settings.max_request_bytes = buffer::max_request_bytes(config, report);
    settings.buffer_limit_bytes = buffer::limit(config, report);
    settings.access_log = access_log::access_log(config, report);
    let (mapping_defaults, namespacing) = defaults::defaults(config, report);
    settings.defaults = mapping_defaults;
    settings.tls_secret_namespacing = namespacing.unwrap_or(true);
    settings.liveness_probe = probes::probe(config, "liveness_probe", ALIVE_PREFIX, report);
    settings.readiness_probe = probes::probe(config, "readiness_probe", READY_PREFIX, report);
}

/// Says what there is to say about a key that is not honoured.
fn diagnose(config: Section<'_>, name: &str, report: &mut Report<'_>) {
    let path = config.path_of(name);
    let Some((_, treatment)) = KEYS.iter().find(|(known, _)| *known == name) else {
        report.unknown(&path, name, KEYS.iter().map(|(known, _)| *known));
        return;
    };
    let Some(value) = config.get(name) else {
        return;
    };
    match treatment {
        Honoured | Silent => {}
        Ignored(help) => report.ignored(&path, help),
        Unsupported(Always) => report.unsupported(&path),
        Unsupported(False) => match value.as_bool() {
            Some(false) => {}
            Some(true) => report.unsupported(&path),
            None => report.bad(&path, "it must be true or false; the default applies"),
        },
        Unsupported(Text(neutral)) => {
            if value.as_str() != Some(neutral) {
                report.unsupported(&path);
            }
        }
        Unsupported(Special) => special(name, value, &path, report),
    }
}

/// Keys that are not honoured, with more to say about them than that.
fn special(name: &str, value: &Value, path: &str, report: &mut Report<'_>) {
    match name {
        "lua_scripts" => report.ignored_with(
            codes::E_POLICY_LUA,
            path,
            "Lua scripts are not run, everything else of the Module applies; an AuthService can \
             refuse requests and change their headers, see docs/authorisation.md",
        ),
        "diagnostics" => diagnostics_page(value, path, report),
        "regex_type" if value.as_str() == Some("unsafe") => {
            report.ignored(path, "every regular expression is a safe one");
        }
        "tls" => report.bad(path, "`tls` inside this Module has no effect: use a Host"),
        _ => {}
    }
}

/// The diagnostics page is not served through Listeners yet: only switching it off is honoured.
fn diagnostics_page(value: &Value, path: &str, report: &mut Report<'_>) {
    let off = value
        .as_object()
        .and_then(|map| map.get("enabled"))
        .and_then(Value::as_bool)
        == Some(false);
    if value.as_object().is_none() {
        report.bad(path, "it must be an object");
    } else if !off {
        report.unsupported(path);
    }
}

fn underscores(config: Section<'_>, report: &mut Report<'_>) -> Underscores {
    const NAME: &str = "headers_with_underscores_action";
    match config.get(NAME).map(Value::as_str) {
        None | Some(Some("ALLOW")) => Underscores::Allow,
        Some(Some("REJECT_REQUEST")) => Underscores::Reject,
        Some(Some("DROP_HEADER")) => Underscores::Drop,
        Some(_) => {
            report.bad(
                &config.path_of(NAME),
                "it must be ALLOW, REJECT_REQUEST or DROP_HEADER; ALLOW applies",
            );
            Underscores::Allow
        }
    }
}

fn connection(config: Section<'_>, settings: &mut ModuleSettings, report: &mut Report<'_>) {
    for (name, field) in [
        ("use_remote_address", &mut settings.use_remote_address),
        ("merge_slashes", &mut settings.merge_slashes),
        (
            "reject_requests_with_escaped_slashes",
            &mut settings.reject_escaped_slashes,
        ),
        (
            "strip_matching_host_port",
            &mut settings.strip_matching_host_port,
        ),
        (
            "preserve_external_request_id",
            &mut settings.preserve_external_request_id,
        ),
        ("enable_http10", &mut settings.http10),
        ("enable_ipv4", &mut settings.enable_ipv4),
        ("enable_ipv6", &mut settings.enable_ipv6),
        ("add_linkerd_headers", &mut settings.add_linkerd_headers),
        (
            "use_ambassador_namespace_for_service_resolution",
            &mut settings.use_ambassador_namespace_for_service_resolution,
        ),
        ("strict_resolver", &mut settings.strict_resolver),
    ] {
        if let Some(value) = config.boolean(name, report) {
            *field = value;
        }
    }
    if let Some(value) = config.truthy("suppress_envoy_headers", report) {
        settings.suppress_envoy_headers = value;
    }
    if let Some(name) = config.text("server_name", report) {
        // It becomes a header value.
        if name.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            name.clone_into(&mut settings.server_name);
        } else {
            report.bad(
                &config.path_of("server_name"),
                "it must be visible ASCII; the default applies",
            );
        }
    }
    let hops = config.integer("xff_num_trusted_hops", 0, u64::from(u32::MAX), report);
    if let Some(hops) = hops {
        settings.trusted_hops = u32::try_from(hops).unwrap_or(u32::MAX);
        report.note(
            codes::W_DEPRECATED,
            &config.path_of("xff_num_trusted_hops"),
            "it counts for Listeners without `l7Depth` only; say it there",
        );
    }
    if let Some(kib) = config.integer("max_request_headers_kb", 1, 8192, report) {
        settings.max_request_header_bytes = u32::try_from(kib * 1024).unwrap_or(u32::MAX);
    }
    if let Some(ms) = config.integer("listener_idle_timeout_ms", 0, u64::MAX, report) {
        settings.listener_idle_timeout_ms = ms;
    }
}

fn upstreams(config: Section<'_>, settings: &mut ModuleSettings, report: &mut Report<'_>) {
    let mut ms = |name| config.integer(name, 0, u64::MAX, report);
    if let Some(ms) = ms("cluster_request_timeout_ms") {
        settings.cluster_request_timeout_ms = ms;
    }
    settings.cluster_idle_timeout_ms = ms("cluster_idle_timeout_ms");
    settings.cluster_max_connection_lifetime_ms = ms("cluster_max_connection_lifetime_ms");
    if let Some(resolver) = config.text("resolver", report) {
        resolver.clone_into(&mut settings.resolver);
    }
    settings.retry = upstream::retry(config, report);
    settings.breakers = upstream::breakers(config, report);
    settings.never_eject = upstream::never_eject(config, report);
    settings.balance = upstream::balance(config, report);
    if let Some(map) = config.object("keepalive", report) {
        settings.keepalive = keepalive(map, &config.path_of("keepalive"), report);
    }
}

fn keepalive(
    map: &Map<String, Value>,
    path: &str,
    report: &mut Report<'_>,
) -> Option<TcpKeepalive> {
    const KNOWN: [&str; 3] = ["probes", "idle_time", "interval"];
    let section = Section { map, path };
    for name in map.keys() {
        if !KNOWN.contains(&name.as_str()) {
            report.unknown(&section.path_of(name), name, KNOWN);
        }
    }
    let [probes, idle_secs, interval_secs] = KNOWN.map(|name| {
        section
            .integer(name, 1, u64::from(u32::MAX), report)
            .and_then(|value| u32::try_from(value).ok())
    });
    let keepalive = TcpKeepalive {
        probes,
        idle_secs,
        interval_secs,
    };
    (keepalive != TcpKeepalive::default()).then_some(keepalive)
}
