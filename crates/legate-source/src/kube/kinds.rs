//! What is watched: kinds, scopes, selectors.

use ::kube::core::ApiResource;
use legate_api::Kind;

use super::{KubeOptions, SecretAccess};

/// Groups and versions that custom kinds are watched in.
pub(super) const GROUP_VERSIONS: [&str; 2] = ["getambassador.io/v3alpha1", "legate.dev/v1alpha1"];

/// Types of Secrets that no gateway serves and that clusters have many of.
const NO_SUCH_SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token";

/// Endpoints of the control plane are nobody's upstream, and change all the time.
const NO_KUBE_SYSTEM: &str = "metadata.namespace!=kube-system";
const KUBE_SYSTEM: &str = "kube-system";

/// The custom kinds that are watched: all but DevPortal.
const CUSTOM: &[Kind] = &[
    Kind::Host,
    Kind::Listener,
    Kind::Mapping,
    Kind::TcpMapping,
    Kind::TlsContext,
    Kind::Module,
    Kind::KubernetesEndpointResolver,
    Kind::KubernetesServiceResolver,
    Kind::ConsulResolver,
    Kind::AuthService,
    Kind::RateLimitService,
    Kind::RateLimit,
    Kind::RateLimitPolicy,
    Kind::LogService,
    Kind::TracingService,
];

/// One list and watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Feed {
    pub(super) kind: Kind,
    pub(super) what: What,
    /// Where; `None` = in the whole cluster.
    pub(super) namespace: Option<String>,
    pub(super) label_selector: Option<String>,
    pub(super) field_selector: Option<String>,
}

/// How much of the objects is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Everything.
    Objects,
    /// Metadata.
    Metadata,
    /// That a Secret is there, and its version.
    SecretHeads,
    /// One Secret, by name, with its content.
    NamedSecret(String),
}

/// Whether nothing can be served without the kind.
pub(super) fn is_needed(kind: Kind) -> bool {
    matches!(kind, Kind::Host | Kind::Listener | Kind::Mapping)
}

/// The kind's name in URLs and RBAC rules.
pub(super) fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Host => "hosts",
        Kind::Listener => "listeners",
        Kind::Mapping => "mappings",
        Kind::TcpMapping => "tcpmappings",
        Kind::TlsContext => "tlscontexts",
        Kind::Module => "modules",
        Kind::KubernetesEndpointResolver => "kubernetesendpointresolvers",
        Kind::KubernetesServiceResolver => "kubernetesserviceresolvers",
        Kind::ConsulResolver => "consulresolvers",
        Kind::AuthService => "authservices",
        Kind::RateLimitService => "ratelimitservices",
        Kind::RateLimit => "ratelimits",
        Kind::RateLimitPolicy => "ratelimitpolicies",
        Kind::LogService => "logservices",
        Kind::TracingService => "tracingservices",
        Kind::DevPortal => "devportals",
        Kind::Service => "services",
        Kind::EndpointSlice => "endpointslices",
        Kind::Endpoints => "endpoints",
        Kind::Secret => "secrets",
        Kind::ConfigMap => "configmaps",
        Kind::Namespace => "namespaces",
        Kind::Ingress => "ingresses",
        Kind::IngressClass => "ingressclasses",
    }
}

/// The `apiVersion` that the kind is read in.
pub(super) fn api_version(kind: Kind) -> &'static str {
    kind.stored_version()
}

/// The kind as a resource of the API.
pub(super) fn resource(kind: Kind) -> ApiResource {
    let api_version = api_version(kind);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.as_str().to_owned(),
        plural: plural(kind).to_owned(),
    }
}

/// The kind as in an RBAC rule: `mappings.getambassador.io`, `secrets`.
pub(super) fn rule_name(kind: Kind) -> String {
    let resource = resource(kind);
    if resource.group.is_empty() {
        return resource.plural;
    }
    format!("{}.{}", resource.plural, resource.group)
}

/// All lists and watches that the options ask for.
pub(super) fn feeds(options: &KubeOptions) -> Vec<Feed> {
    let scopes: Vec<Option<String>> = if options.watch_namespaces.is_empty() {
        vec![None]
    } else {
        options.watch_namespaces.iter().cloned().map(Some).collect()
    };
    let mut feeds = Vec::new();
    for namespace in &scopes {
        for kind in CUSTOM.iter().copied().chain([Kind::Service]) {
            feeds.push(feed(options, kind, What::Objects, namespace.clone(), None));
        }
        let extra = namespace.is_none().then_some(NO_KUBE_SYSTEM);
        if options.endpoints && namespace.as_deref() != Some(KUBE_SYSTEM) {
            let kind = Kind::EndpointSlice;
            feeds.push(feed(options, kind, What::Objects, namespace.clone(), extra));
        }
    }
    if options.cluster_scoped {
        feeds.push(feed(options, Kind::Namespace, What::Metadata, None, None));
    }
    let heads = |namespace| {
        let extra = Some(NO_SUCH_SECRETS);
        feed(options, Kind::Secret, What::SecretHeads, namespace, extra)
    };
    match &options.secrets {
        SecretAccess::All => feeds.extend(scopes.into_iter().map(heads)),
        SecretAccess::Namespaces(names) => feeds.extend(names.iter().cloned().map(Some).map(heads)),
        SecretAccess::Names(names) => feeds.extend(names.iter().map(|(namespace, name)| {
            let what = What::NamedSecret(name.clone());
            let extra = format!("metadata.name={name}");
            let namespace = Some(namespace.clone());
            feed(options, Kind::Secret, what, namespace, Some(&extra))
        })),
    }
    feeds
}

fn feed(
    options: &KubeOptions,
    kind: Kind,
    what: What,
    namespace: Option<String>,
    fields: Option<&str>,
) -> Feed {
    let given = options.field_selector.as_deref();
    let terms: Vec<&str> = [fields, given]
        .into_iter()
        .flatten()
        .filter(|terms| !terms.is_empty())
        .collect();
    Feed {
        kind,
        what,
        namespace,
        label_selector: options.label_selector.clone().filter(|s| !s.is_empty()),
        field_selector: (!terms.is_empty()).then(|| terms.join(",")),
    }
}

#[cfg(test)]
mod tests;
