//! Pass 3, resolve: what a Mapping refers to: resolver, TLS context, Service, Module defaults.
//!
//! Each look-up is recorded as a [`Dependency`], so that a change reaches the Mappings that it
//! concerns and no others. A change of the Module or of a resolver concerns all.

mod resolver;

use std::sync::Arc;

use legate_api::{Kind, ObjectKey};
use legate_config::cluster::{AddressFamilies, Cluster, DnsMode, UpstreamTls};
use legate_config::listener::TlsVersion;
use legate_config::secret::{CaBundle, Certificate};
use legate_config::{CaKey, CertificateKey, ClusterKey, Code, Diagnostic, Effect, Entry};

use crate::cluster::{UpstreamFacts, cluster};
use crate::codes;
use crate::endpoints::{self, By, EndpointIndex, EndpointPlan, ServiceName, Wish};
use crate::lower::{Lowered, Report};
use crate::module::ModuleSettings;
use crate::options::{MissingRefs, Mode, Options};
use crate::resources::Resources;
use crate::secrets::SecretCache;
use crate::service::{Scheme, Service, ServiceHost, qualify};
use crate::tls_context::origination;
use resolver::resolver_kind;

/// What resolving looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) resources: &'a Resources,
    pub(crate) options: &'a Options,
    pub(crate) module: &'a ModuleSettings,
    pub(crate) secrets: &'a SecretCache,
    pub(crate) endpoints: &'a EndpointIndex,
    /// Whether there is any resolver object at all.
    pub(crate) has_resolvers: bool,
}

/// Something that a resolved Mapping depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dependency {
    /// A Service, or whether it has endpoints.
    Service(ServiceName),
    /// The TLSContexts of this name, in any namespace.
    TlsContext(String),
    /// An object, mostly a Secret.
    Object(ObjectKey),
}

/// A Mapping's references, resolved.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    /// Where requests go; `None` for redirects and rejected Mappings.
    pub(crate) upstream: Option<Arc<Upstream>>,
    /// The fault that rejects the Mapping.
    pub(crate) fault: Option<Code>,
    /// What there is to say; fatal ones carry `Effect::Dropped`.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// What was looked at.
    pub(crate) dependencies: Vec<Dependency>,
    /// A diagnostic that only holds if this namespace is one that we know.
    pub(crate) if_known: Option<(String, Diagnostic)>,
}

/// Where requests go.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) key: ClusterKey,
    pub(crate) cluster: Entry<Cluster>,
    pub(crate) plan: EndpointPlan,
    /// Value of `l5d-dst-override`.
    pub(crate) linkerd: String,
    /// The client certificate that the cluster names.
    pub(crate) certificate: Option<(CertificateKey, Entry<Certificate>)>,
    /// The authorities that the cluster names.
    pub(crate) ca_bundle: Option<(CaKey, Entry<CaBundle>)>,
}

/// Resolves one Mapping.
pub(crate) fn resolve(lowered: &Lowered, context: &Context<'_>) -> Resolved {
    let mut resolved = Resolved::default();
    let Some(service) = &lowered.service else {
        return resolved;
    };
    if lowered.redirect.is_some() {
        return resolved;
    }
    let mut pass = Pass {
        lowered,
        context,
        report: Report::new(lowered.origin.object.clone()),
        resolved: &mut resolved,
    };
    pass.run(service);
    let report = pass.report;
    resolved.fault = report.fault;
    resolved.diagnostics = report.diagnostics;
    if resolved.fault.is_some() {
        resolved.upstream = None;
    }
    resolved
}

struct Pass<'a> {
    lowered: &'a Lowered,
    context: &'a Context<'a>,
    report: Report,
    resolved: &'a mut Resolved,
}

/// TLS towards the upstream with the material that it names.
#[derive(Default)]
struct Tls {
    settings: Option<UpstreamTls>,
    certificate: Option<(CertificateKey, Entry<Certificate>)>,
    ca_bundle: Option<(CaKey, Entry<CaBundle>)>,
}

impl Pass<'_> {
    fn run(&mut self, service: &Service) {
        let by = self.resolver();
        let tls = self.tls(service);
        let default_port = if tls.settings.is_some() { 443 } else { 80 };
        let namespace = self.lowered.origin.object.namespace.as_str();
        let (host, plan, host_name) = match &service.host {
            ServiceHost::Ip(address) => {
                let port = service.port.unwrap_or(default_port);
                let plan = EndpointPlan::Address((*address, port).into());
                (service.host.to_string(), plan, None)
            }
            ServiceHost::Name(name) => {
                let qualified = qualify(
                    name,
                    namespace,
                    &self.context.options.namespace,
                    self.context
                        .module
                        .use_ambassador_namespace_for_service_resolution,
                );
                let host = qualified.apply(name);
                let bare = qualified
                    .namespace
                    .unwrap_or(&self.context.options.namespace);
                let plan = self.named(service, &host, bare, by, default_port);
                let host_name = (by != By::Endpoints).then(|| host.clone());
                (host, plan, host_name)
            }
        };
        let authority = match service.port {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        let linkerd = format!("{host}:{}", service.port.unwrap_or(default_port));
        let facts = UpstreamFacts {
            authority,
            endpoints: plan.key(),
            host_name,
            tls: tls.settings,
            service,
            host: &host,
        };
        let (key, cluster) = cluster(self.lowered, self.context.module, facts);
        self.resolved.upstream = Some(Arc::new(Upstream {
            key,
            cluster,
            plan,
            linkerd,
            certificate: tls.certificate,
            ca_bundle: tls.ca_bundle,
        }));
    }

    fn named(
        &mut self,
        service: &Service,
        host: &str,
        bare_namespace: &str,
        by: By,
        default_port: u16,
    ) -> EndpointPlan {
        let name = endpoints::service_name(host, bare_namespace, by);
        if let Some(name) = &name {
            let dependency = Dependency::Service(name.clone());
            self.resolved.dependencies.push(dependency);
        }
        let spec = self.lowered.spec();
        let logical = spec.is_some_and(|spec| spec.dns_type.as_deref() == Some("logical_dns"));
        let wish = Wish {
            name: host,
            service: name.as_ref(),
            port: service.port,
            default_port,
            by,
            mode: if logical {
                DnsMode::First
            } else {
                DnsMode::All
            },
            respect_ttl: spec.is_some_and(|spec| spec.respect_dns_ttl == Some(true)),
            families: self.families(),
        };
        let context = self.context;
        let found = endpoints::find(&wish, context.resources, context.options, context.endpoints);
        if let Some(port) = found.only_port {
            self.report.notice(
                codes::I_MAP_PORT,
                "spec.service",
                format!("port {port} is used, the only one of the Service; write it to be sure"),
            );
        }
        if found.cluster_ip && !self.lowered.changes.health_checks.is_empty() {
            self.report.notice(
                codes::W_POLICY_HEALTH,
                "spec.health_checks",
                "the Service has one address: each probe asks whichever endpoint that leads to, and \
                 its verdict holds for all",
            );
        }
        if let Some(name) = name.filter(|_| found.missing) {
            self.missing(host, &name, by);
        }
        found.plan
    }

    /// Says that a Service is nowhere to be seen, where that is worth knowing.
    fn missing(&mut self, host: &str, name: &ServiceName, by: By) {
        let options = self.context.options;
        let dns = by != By::Endpoints;
        if dns && (options.missing == MissingRefs::Error || options.mode == Mode::Cluster) {
            return;
        }
        let follows = if dns {
            format!("`{host}` is looked up in DNS")
        } else {
            "there are no endpoints, so requests are answered with 503".to_owned()
        };
        self.report.notice(
            codes::I_NOT_IN_FOLDER,
            "spec.service",
            format!("there is no Service `{name}` here; {follows}"),
        );
        // `httpbin.org` looks like a Service, too.
        let own = &self.lowered.origin.object.namespace;
        let two_labels = host.trim_end_matches('.').matches('.').count() == 1;
        if two_labels && dns && name.namespace != *own && name.namespace != options.namespace {
            self.resolved.if_known = self
                .report
                .diagnostics
                .pop()
                .map(|diagnostic| (name.namespace.clone(), diagnostic));
        }
    }

    fn families(&self) -> AddressFamilies {
        let spec = self.lowered.spec();
        let module = self.context.module;
        let v4 = spec.and_then(|spec| spec.enable_ipv4);
        let v6 = spec.and_then(|spec| spec.enable_ipv6);
        match (
            v4.unwrap_or(module.enable_ipv4),
            v6.unwrap_or(module.enable_ipv6),
        ) {
            (true, true) => AddressFamilies::PreferV6,
            (false, true) => AddressFamilies::V6,
            // Neither is no wish that could be granted.
            (_, false) => AddressFamilies::V4,
        }
    }

    /// Who finds the endpoints. Unknown resolvers reject the Mapping.
    fn resolver(&mut self) -> By {
        let written = self
            .lowered
            .spec()
            .and_then(|spec| spec.resolver.as_deref())
            .filter(|name| !name.is_empty());
        let name = written.unwrap_or(&self.context.module.resolver);
        let namespace = self.lowered.origin.object.namespace.as_str();
        match resolver_kind(name, namespace, self.context) {
            Some(Kind::KubernetesEndpointResolver) => By::Endpoints,
            Some(Kind::KubernetesServiceResolver) => self.balanced(),
            Some(_) => {
                self.report.fatal_with_help(
                    codes::E_UNSUPPORTED,
                    "spec.resolver",
                    format!("resolver `{name}`: Consul is not supported yet"),
                    "use a Kubernetes resolver",
                );
                By::Service
            }
            None => {
                self.report.fatal_with_help(
                    codes::E_MAP_RESOLVER,
                    "spec.resolver",
                    format!("there is no resolver `{name}`"),
                    "use `kubernetes-service`, `kubernetes-endpoint` or the name of a resolver object",
                );
                By::Service
            }
        }
    }

    /// A load balancer of the Mapping's own asks for endpoints, or for another resolver.
    fn balanced(&mut self) -> By {
        let written = self
            .lowered
            .spec()
            .is_some_and(|spec| spec.load_balancer.is_some());
        if !written {
            return By::Service;
        }
        if self.context.module.strict_resolver {
            self.report.fatal_with_help(
                codes::E_MAP_LB,
                "spec.load_balancer",
                "the service resolver leaves balancing to the network (Module `strict_resolver`)",
                "use an endpoint resolver, or remove the load balancer",
            );
            return By::Service;
        }
        self.report.notice(
            codes::I_MAP_LB_ENDPOINTS,
            "spec.load_balancer",
            "requests are balanced over the Service's endpoints, as with an endpoint resolver",
        );
        By::EndpointsIfKnown
    }

    fn tls(&mut self, service: &Service) -> Tls {
        let name = self
            .lowered
            .spec()
            .and_then(|spec| spec.tls.as_deref())
            .filter(|name| !name.is_empty());
        let Some(name) = name else {
            return Tls {
                settings: (service.scheme == Some(Scheme::Https)).then(unverified),
                ..Tls::default()
            };
        };
        if service.scheme == Some(Scheme::Http) {
            self.report.ignored(
                codes::E_TLS_ORIGINATION,
                "spec.service",
                format!("the scheme `http` is ignored: `tls: {name}` asks for TLS"),
            );
        }
        let dependency = Dependency::TlsContext(name.to_owned());
        self.resolved.dependencies.push(dependency);
        let context = self.context;
        let result = origination(
            context.resources,
            context.options,
            context.module,
            context.secrets,
            name,
            &self.lowered.origin.object.namespace,
        );
        let read = match &result {
            Ok(found) => &found.dependencies,
            Err(error) => &error.dependencies,
        };
        let read = read.iter().cloned().map(Dependency::Object);
        self.resolved.dependencies.extend(read);
        match result {
            Ok(found) => {
                for (code, message) in found.notices {
                    self.report.notice(code, "spec.tls", message);
                }
                Tls {
                    settings: Some(found.tls),
                    certificate: found.certificate,
                    ca_bundle: found.ca_bundle,
                }
            }
            Err(error) => {
                self.report.fatal(error.code, "spec.tls", error.message);
                if let Some(last) = self.report.diagnostics.last_mut() {
                    last.help = error.help;
                }
                // Never downgraded: the fault keeps the cluster from being used.
                Tls {
                    settings: Some(unverified()),
                    ..Tls::default()
                }
            }
        }
    }
}

/// TLS without a context: nothing is verified, no name is sent.
fn unverified() -> UpstreamTls {
    UpstreamTls {
        sni: None,
        ca: None,
        client_certificate: None,
        alpn: Vec::new(),
        min_version: TlsVersion::V12,
        max_version: TlsVersion::V13,
        cipher_suites: Vec::new(),
        ecdh_curves: Vec::new(),
    }
}

/// Puts what happened to a Mapping into those of its diagnostics that reject it.
pub(crate) fn settle(diagnostics: &[Diagnostic], outcome: &Effect) -> Vec<Diagnostic> {
    diagnostics
        .iter()
        .cloned()
        .map(|mut diagnostic| {
            if diagnostic.effect == Effect::Dropped {
                diagnostic.effect = outcome.clone();
            }
            diagnostic
        })
        .collect()
}
