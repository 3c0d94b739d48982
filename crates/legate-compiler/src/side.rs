//! Upstreams that the gateway itself has questions for: found like that of a Mapping with the same
//! service (spec/services §0.2).

use std::net::Ipv4Addr;
use std::sync::Arc;

use legate_api::mapping::MappingSpec;
use legate_api::{Body, Object, ObjectKey};
use legate_config::Code;
use legate_config::snapshot::Origin;

use crate::codes;
use crate::lower::{Changes, Lowered, Report};
use crate::resolve::Upstream;
use crate::select::object_ref;
use crate::service::{Service, ServiceHost};

/// The port of Edge Stack's sidecar.
const EDGE_STACK_PORT: u16 = 8500;

/// Reads a service, and reports what is wrong with it.
pub(crate) fn service(text: &str, path: &str, fault: Code, report: &mut Report) -> Option<Service> {
    match Service::parse(text) {
        Ok(service) => {
            if let Some(dropped) = &service.dropped {
                let message = format!("`{dropped}` in the service has no effect");
                report.ignored(codes::W_IGNORED, path, message);
            }
            Some(service)
        }
        Err(error) => {
            report.fatal_with_help(fault, path, error.to_string(), error.help());
            None
        }
    }
}

/// Whether a service is Edge Stack's sidecar, which this gateway does not have.
pub(crate) fn is_edge_stack(service: &Service) -> bool {
    let local = match &service.host {
        ServiceHost::Ip(ip) => *ip == Ipv4Addr::LOCALHOST,
        ServiceHost::Name(name) => name == "localhost",
    };
    local && service.port == Some(EDGE_STACK_PORT)
}

/// The name in metrics of a service that has none of its own.
pub(crate) fn stats_name(service: &str) -> String {
    let text = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    };
    service.chars().map(text).collect()
}

/// The milliseconds that a question may take; `what` it is, in words.
pub(crate) fn timeout_ms(
    written: Option<i64>,
    default: u64,
    what: &str,
    report: &mut Report,
) -> u64 {
    let Some(written) = written else {
        return default;
    };
    match u64::try_from(written) {
        Ok(timeout) if timeout > 0 => timeout,
        _ => {
            report.ignored(
                codes::W_IGNORED,
                "spec.timeout_ms",
                format!("{what} needs a limit of at least 1 ms; {default} is used"),
            );
            default
        }
    }
}

/// An object as if it were a Mapping to its service.
pub(crate) fn lowered(
    key: &ObjectKey,
    object: &Arc<Object>,
    service: Service,
    mapping: MappingSpec,
) -> Lowered {
    Lowered {
        origin: Origin {
            object: object_ref(key),
            generation: object.meta.generation,
        },
        name: format!("{}/{}", key.namespace, key.name),
        object: Arc::new(Object {
            body: Body::Mapping(Box::new(mapping)),
            ..(**object).clone()
        }),
        diagnostics: Vec::new(),
        fault: None,
        matching: None,
        weight: None,
        shadow: false,
        changes: Changes::default(),
        service: Some(service),
        redirect: None,
    }
}

/// Whether two upstreams are one, key material included.
pub(crate) fn same_upstream(one: &Upstream, other: &Upstream) -> bool {
    let certificate = |upstream: &Upstream| {
        let certificate = upstream.certificate.as_ref();
        certificate.map(|(key, entry)| (key.clone(), entry.hash))
    };
    let ca_bundle = |upstream: &Upstream| {
        let ca_bundle = upstream.ca_bundle.as_ref();
        ca_bundle.map(|(key, entry)| (key.clone(), entry.hash))
    };
    one.key == other.key
        && one.cluster.hash == other.cluster.hash
        && one.plan == other.plan
        && certificate(one) == certificate(other)
        && ca_bundle(one) == ca_bundle(other)
}
