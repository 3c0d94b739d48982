//! Fields of a Mapping that are not honoured yet, or that have no effect: each gets a diagnostic.

use legate_api::WrittenAs;
use legate_api::mapping::MappingSpec;

use super::Report;
use crate::codes;

/// Reports what is written and does nothing.
pub(super) fn report(spec: &MappingSpec, redirects: bool, report: &mut Report) {
    unsupported(spec, report);
    ignored(spec, report);
    if redirects {
        on_redirects(spec, report);
    } else if spec.shadow == Some(true) {
        on_shadows(spec, report);
    }
}

/// Names what an Emissary conversion webhook left in an object (spec/routing §1.3). What our own
/// decoding of v2 remembers there is nothing that the user wrote.
pub(super) fn residue(spec: &MappingSpec, written_as: WrittenAs, report: &mut Report) {
    if written_as != WrittenAs::V3Alpha1 {
        return;
    }
    let fields = [
        ("spec.v2ExplicitTLS", spec.v2_explicit_tls.is_some()),
        ("spec.v2BoolHeaders", spec.v2_bool_headers.is_some()),
        (
            "spec.v2BoolQueryParameters",
            spec.v2_bool_query_parameters.is_some(),
        ),
        (
            "spec.cors.v2CommaSeparatedOrigins",
            spec.cors
                .as_ref()
                .is_some_and(|cors| cors.v2_comma_separated_origins.is_some()),
        ),
    ];
    for (field, _) in fields.iter().filter(|(_, given)| *given) {
        report.notice(
            codes::I_CONVERTED,
            field,
            "this is left over from a conversion and has no effect",
        );
    }
}

fn unsupported(spec: &MappingSpec, report: &mut Report) {
    let fields = [
        (
            "spec.error_response_overrides",
            spec.error_response_overrides.is_some(),
        ),
        ("spec.docs", spec.docs.is_some()),
    ];
    for (field, _) in fields.iter().filter(|(_, given)| *given) {
        let name = field.strip_prefix("spec.").unwrap_or(field);
        report.ignored(
            codes::W_UNSUPPORTED,
            field,
            format!("`{name}` is not supported yet"),
        );
    }
}

fn ignored(spec: &MappingSpec, report: &mut Report) {
    let fields = [
        (
            "spec.bypass_error_response_overrides",
            spec.bypass_error_response_overrides == Some(true),
        ),
        ("spec.outlier_detection", spec.outlier_detection.is_some()),
        ("spec.modules", spec.modules.is_some()),
        ("spec.envoy_override", spec.envoy_override.is_some()),
    ];
    for (field, _) in fields.iter().filter(|(_, given)| *given) {
        let name = field.strip_prefix("spec.").unwrap_or(field);
        report.ignored(codes::W_IGNORED, field, format!("`{name}` has no effect"));
    }
    if let Some(kind) = &spec.dns_type
        && !matches!(kind.as_str(), "strict_dns" | "logical_dns")
    {
        report.ignored(
            codes::W_IGNORED,
            "spec.dns_type",
            format!("`{kind}` is neither `strict_dns` nor `logical_dns`; `strict_dns` is used"),
        );
    }
}

/// Fields that only routing Mappings have a use for (spec/routing §4.8).
fn on_redirects(spec: &MappingSpec, report: &mut Report) {
    let fields = [
        ("spec.connect_timeout_ms", spec.connect_timeout_ms.is_some()),
        ("spec.grpc", spec.grpc == Some(true)),
        ("spec.tls", spec.tls.is_some()),
        ("spec.weight", spec.weight.is_some()),
        ("spec.resolver", spec.resolver.is_some()),
        ("spec.keepalive", spec.keepalive.is_some()),
        ("spec.circuit_breakers", spec.circuit_breakers.is_some()),
        ("spec.load_balancer", spec.load_balancer.is_some()),
        ("spec.priority", spec.priority.is_some()),
        ("spec.health_checks", spec.health_checks.is_some()),
        ("spec.retry_policy", spec.retry_policy.is_some()),
        ("spec.cluster_tag", spec.cluster_tag.is_some()),
        ("spec.labels", spec.labels.is_some()),
    ];
    let fields = shaping(spec).into_iter().chain(fields);
    for (field, _) in fields.filter(|(_, given)| *given) {
        report.ignored(codes::W_IGNORED, field, "this has no effect on a redirect");
    }
}

/// Fields that shape what clients and the main upstream see: a copy is what the main one got.
fn on_shadows(spec: &MappingSpec, report: &mut Report) {
    let case_sensitive = ("spec.case_sensitive", spec.case_sensitive.is_some());
    let fields = shaping(spec).into_iter().chain([case_sensitive]);
    for (field, _) in fields.filter(|(_, given)| *given) {
        report.ignored(
            codes::W_IGNORED,
            field,
            "this has no effect on a shadow: it gets what the main upstream got",
        );
    }
}

/// Fields that shape the exchange between a client and the upstream that answers it, and whether
/// they are given.
fn shaping(spec: &MappingSpec) -> [(&'static str, bool); 14] {
    [
        (
            "spec.add_request_headers",
            spec.add_request_headers.is_some(),
        ),
        (
            "spec.add_response_headers",
            spec.add_response_headers.is_some(),
        ),
        (
            "spec.remove_request_headers",
            spec.remove_request_headers.is_some(),
        ),
        (
            "spec.remove_response_headers",
            spec.remove_response_headers.is_some(),
        ),
        ("spec.rewrite", spec.rewrite.is_some()),
        ("spec.regex_rewrite", spec.regex_rewrite.is_some()),
        ("spec.host_rewrite", spec.host_rewrite.is_some()),
        (
            "spec.auto_host_rewrite",
            spec.auto_host_rewrite == Some(true),
        ),
        ("spec.timeout_ms", spec.timeout_ms.is_some()),
        ("spec.idle_timeout_ms", spec.idle_timeout_ms.is_some()),
        ("spec.allow_upgrade", spec.allow_upgrade.is_some()),
        ("spec.use_websocket", spec.use_websocket == Some(true)),
        ("spec.cors", spec.cors.is_some()),
        (
            "spec.add_linkerd_headers",
            spec.add_linkerd_headers == Some(true),
        ),
    ]
}
