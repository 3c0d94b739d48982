//! Which resolver a name means (spec/routing §1.7).

use legate_api::Kind;

use super::Context;
use crate::select;

/// The kind of a resolver. A user's object goes before a built-in one, also under its other name.
pub(super) fn resolver_kind(name: &str, namespace: &str, context: &Context<'_>) -> Option<Kind> {
    if context.has_resolvers {
        let kinds = [
            Kind::KubernetesServiceResolver,
            Kind::KubernetesEndpointResolver,
            Kind::ConsulResolver,
        ];
        for name in std::iter::once(name).chain(other_name(name)) {
            for kind in kinds {
                let (resources, options) = (context.resources, context.options);
                if select::by_name(resources, options, kind, name, namespace).is_some() {
                    return Some(kind);
                }
            }
        }
    }
    match name {
        "kubernetes-service" => Some(Kind::KubernetesServiceResolver),
        "kubernetes-endpoint" | "endpoint" => Some(Kind::KubernetesEndpointResolver),
        "consul" | "consul-endpoint" => Some(Kind::ConsulResolver),
        _ => None,
    }
}

fn other_name(name: &str) -> Option<&'static str> {
    match name {
        "kubernetes-endpoint" => Some("endpoint"),
        "endpoint" => Some("kubernetes-endpoint"),
        "consul" => Some("consul-endpoint"),
        "consul-endpoint" => Some("consul"),
        _ => None,
    }
}
