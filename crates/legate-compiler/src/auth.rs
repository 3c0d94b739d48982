//! AuthServices: who is asked about requests, from all objects of the instance (spec/services §1).
//!
//! The oldest one gives the settings and all of them are asked in turn (§1.8). Faulty settings never
//! open a route: the last good version serves on, or requests are refused (§1.6).

mod settings;

use std::sync::Arc;

use legate_api::mapping::MappingSpec;
use legate_api::services::AuthServiceSpec;
use legate_api::{Body, Kind, Object, ObjectKey, WrittenAs};
use legate_config::auth::{Auth, AuthProtocol, AuthTarget};
use legate_config::{Diagnostic, Effect};

use crate::codes;
use crate::group::Member;
use crate::lower::{Changes, Lowered, Report, parse_breakers};
use crate::resolve::{Context, Dependency, Upstream, resolve, settle};
use crate::resources::Held;
use crate::select::{self, object_ref, order};
use crate::service::Service;
use crate::side;
use settings::Settings;

/// What the AuthServices of an instance amount to.
#[derive(Debug, Default)]
pub(crate) struct AuthPass {
    pub(crate) state: AuthState,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What happens to requests on routes without `bypass_auth`.
#[derive(Debug, Default)]
pub(crate) enum AuthState {
    /// Nothing.
    #[default]
    Open,
    /// They are checked, or refused.
    Guarded {
        /// The policy.
        auth: Arc<Auth>,
        /// The clusters that it names.
        upstreams: Vec<Arc<Upstream>>,
    },
}

/// One version of an AuthService.
struct Version {
    spec: Option<AuthServiceSpec>,
    settings: Option<Settings>,
    upstream: Option<Arc<Upstream>>,
    diagnostics: Vec<Diagnostic>,
    dependencies: Vec<Dependency>,
}

/// An AuthService with the version of it that counts.
struct Candidate {
    key: ObjectKey,
    version: Version,
}

/// Compiles all AuthServices of the instance.
pub(crate) fn auth(context: &Context<'_>) -> AuthPass {
    let mut found = select::of_kind(context.resources, context.options, Kind::AuthService);
    // Objects without a time are from files, where only the name orders them.
    found.sort_by(|(a, x), (b, y)| {
        let age = |held: &Held| held.current.meta.creation_timestamp.clone();
        (age(x), order(a)).cmp(&(age(y), order(b)))
    });
    let mut pass = AuthPass::default();
    let mut members = found.into_iter();
    let Some((key, held)) = members.next() else {
        return pass;
    };
    let Some(spec) = spec(&held.current) else {
        return pass;
    };
    let first = pass.candidate(key, held, spec, Effect::Answering(500), context);
    let founder = first.version.spec.as_ref().unwrap_or(spec);
    let Some(settings) = &first.version.settings else {
        pass.refuse(&first.key);
        return pass;
    };
    let mut names = vec![name(&first.key)];
    let mut upstreams: Vec<Arc<Upstream>> = first.version.upstream.iter().cloned().collect();
    for (key, held) in members {
        let member = pass.candidate(key, held, founder, Effect::Dropped, context);
        let (Some(other), Some(upstream)) = (&member.version.settings, &member.version.upstream)
        else {
            continue;
        };
        // It would not understand the question.
        if other.protocol != settings.protocol {
            pass.differs(key, &object_ref(&first.key), "proto", Effect::Dropped);
            continue;
        }
        let others = member.version.spec.as_ref().unwrap_or(founder);
        if let Some(field) = settings.difference(other, founder, others) {
            pass.differs(key, &object_ref(&first.key), field, Effect::FieldIgnored);
        }
        names.push(name(key));
        upstreams.push(Arc::clone(upstream));
    }
    let targets = upstreams.iter().map(|upstream| AuthTarget {
        cluster: upstream.key.clone(),
        linkerd_dst: settings.linkerd.then(|| destination(upstream, context)),
    });
    let check = settings.check(names, targets.collect());
    pass.state = AuthState::Guarded {
        auth: Arc::new(Auth::Check(check)),
        upstreams,
    };
    pass
}

fn spec(object: &Object) -> Option<&AuthServiceSpec> {
    match &object.body {
        Body::AuthService(spec) => Some(spec),
        _ => None,
    }
}

/// Value of `l5d-dst-override`: Linkerd wants the namespace, ours included.
fn destination(upstream: &Upstream, context: &Context<'_>) -> String {
    match upstream.linkerd.split_once(':') {
        Some((host, port)) if !host.contains(['.', '[']) && host != "localhost" => {
            format!("{host}.{}:{port}", context.options.namespace)
        }
        _ => upstream.linkerd.clone(),
    }
}

fn name(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}

// === impl AuthState ===

impl AuthState {
    /// Says that nobody is told what a Mapping wants the check to know.
    pub(crate) fn unused_context(&self, member: &Member) -> Option<Diagnostic> {
        member.lowered.spec()?.auth_context_extensions.as_ref()?;
        let why = match self {
            _ if member.lowered.shadow => "a shadow's requests are not checked",
            _ if member.lowered.redirect.is_some() => "a redirect is not checked",
            _ if member.bypasses_auth() => "the Mapping is not checked",
            Self::Open => "there is no AuthService",
            Self::Guarded { auth, .. } if matches!(**auth, Auth::Refuse { .. }) => return None,
            Self::Guarded { .. } if self.is_grpc() => return None,
            Self::Guarded { .. } => "an HTTP check carries none",
        };
        let diagnostic = Diagnostic::new(
            codes::W_IGNORED,
            member.lowered.origin.object.clone(),
            "spec.auth_context_extensions",
            format!("`auth_context_extensions` has no effect: {why}"),
        );
        Some(diagnostic.effect(Effect::FieldIgnored))
    }

    /// Whether checks are made over gRPC.
    pub(crate) fn is_grpc(&self) -> bool {
        let Self::Guarded { auth, .. } = self else {
            return false;
        };
        matches!(&**auth, Auth::Check(check) if check.protocol == AuthProtocol::Grpc)
    }

    /// Whether both do the same to requests, key material included.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open, Self::Open) => true,
            (
                Self::Guarded { auth, upstreams },
                Self::Guarded {
                    auth: other,
                    upstreams: others,
                },
            ) => {
                let mut pairs = upstreams.iter().zip(others);
                auth == other
                    && upstreams.len() == others.len()
                    && pairs.all(|(one, other)| side::same_upstream(one, other))
            }
            _ => false,
        }
    }
}

// === impl AuthPass ===

impl AuthPass {
    /// The version of an AuthService that counts. `founder` says how the service is reached.
    fn candidate(
        &mut self,
        key: &ObjectKey,
        held: &Held,
        founder: &AuthServiceSpec,
        refused: Effect,
        context: &Context<'_>,
    ) -> Candidate {
        let mut version = evaluate(key, &held.current, founder, context);
        let mut outcome = refused;
        let mut diagnostics = std::mem::take(&mut version.diagnostics);
        self.dependencies.append(&mut version.dependencies);
        if version.settings.is_none()
            && let Some(last_good) = &held.last_good
        {
            let founder = match outcome {
                Effect::Answering(_) => spec(last_good).unwrap_or(founder),
                _ => founder,
            };
            let mut old = evaluate(key, last_good, founder, context);
            self.dependencies.append(&mut old.dependencies);
            if old.settings.is_some() {
                version = old;
                outcome = Effect::ServingLastGood;
            }
        }
        diagnostics = settle(&diagnostics, &outcome);
        self.diagnostics.append(&mut diagnostics);
        Candidate {
            key: key.clone(),
            version,
        }
    }

    fn differs(
        &mut self,
        key: &ObjectKey,
        first: &legate_config::ObjectRef,
        field: &str,
        effect: Effect,
    ) {
        let follows = if effect == Effect::Dropped {
            "it is not asked"
        } else {
            "it is asked with the settings of that one"
        };
        self.diagnostics.push(
            Diagnostic::new(
                codes::E_AUTH_SETTINGS,
                object_ref(key),
                format!("spec.{field}"),
                format!("`{field}` differs from that of an older AuthService; {follows}"),
            )
            .help("give all AuthServices of an instance the same settings")
            .related(first.clone(), "the settings that count")
            .effect(effect),
        );
    }

    fn refuse(&mut self, key: &ObjectKey) {
        let message = format!(
            "the AuthService {}/{} is misconfigured",
            key.namespace, key.name
        );
        self.state = AuthState::Guarded {
            auth: Arc::new(Auth::Refuse { message }),
            upstreams: Vec::new(),
        };
    }
}

/// Reads and resolves one version. Without settings it has a fault, which is reported.
fn evaluate(
    key: &ObjectKey,
    object: &Arc<Object>,
    founder: &AuthServiceSpec,
    context: &Context<'_>,
) -> Version {
    let mut report = Report::new(object_ref(key));
    let mut version = Version {
        spec: None,
        settings: None,
        upstream: None,
        diagnostics: Vec::new(),
        dependencies: Vec::new(),
    };
    // What decoding found is reported by the engine.
    let Some(spec) = spec(object).filter(|_| !object.is_rejected()) else {
        return version;
    };
    let settings = settings::read(spec, context.module, &mut report);
    let converted = converted(spec, object.written_as, &mut report);
    let service = service(&converted, &mut report);
    version.diagnostics = report.diagnostics;
    let (Some(settings), Some(service)) = (settings, service) else {
        return version;
    };
    let lowered = lowered(key, object, founder, &settings, service);
    let mut resolved = resolve(&lowered, context);
    version.dependencies = resolved.dependencies;
    for diagnostic in &mut resolved.diagnostics {
        if diagnostic.path == "spec.service" {
            "spec.auth_service".clone_into(&mut diagnostic.path);
        }
    }
    version.diagnostics.append(&mut resolved.diagnostics);
    version.spec = Some(spec.clone());
    version.settings = resolved.upstream.is_some().then_some(settings);
    version.upstream = resolved.upstream;
    version
}

/// The service as it was written before a conversion webhook replaced its scheme (spec/services
/// §0.2). A TLSContext stays in force whatever the residue says: nothing is downgraded.
fn converted(
    spec: &AuthServiceSpec,
    written_as: WrittenAs,
    report: &mut Report,
) -> AuthServiceSpec {
    let mut converted = spec.clone();
    // Our own decoding of v2 remembers there what it has already put into the service.
    let residue = spec.v2_explicit_tls.as_ref();
    let Some(residue) = residue.filter(|_| written_as == WrittenAs::V3Alpha1) else {
        return converted;
    };
    let bare = spec
        .auth_service
        .split_once("://")
        .map_or(spec.auth_service.as_str(), |(_, rest)| rest);
    let scheme = residue.service_scheme.as_deref();
    let scheme = scheme.filter(|scheme| !scheme.is_empty());
    let context = spec.tls.as_deref().is_some_and(|name| !name.is_empty());
    let scheme = match residue.tls.as_deref() {
        Some("bool:true") => Some("https://"),
        Some("bool:false") if !context => scheme.or(Some("")),
        _ => scheme,
    };
    if let Some(scheme) = scheme {
        let separator = if scheme.is_empty() || scheme.ends_with("://") {
            ""
        } else {
            "://"
        };
        converted.auth_service = format!("{scheme}{separator}{bare}");
    }
    report.notice(
        codes::I_CONVERTED,
        "spec.v2ExplicitTLS",
        "this is left over from a conversion, and says how the service is reached",
    );
    converted
}

fn service(spec: &AuthServiceSpec, report: &mut Report) -> Option<Service> {
    match Service::parse(&spec.auth_service) {
        Ok(service) if side::is_edge_stack(&service) => {
            report.fatal_with_help(
                codes::E_AUTH_CONFIG,
                "spec.auth_service",
                "this is the address of Ambassador Edge Stack's own process, which applies Filters \
                 and FilterPolicies; those are not supported yet",
                "point it at an authorisation service of your own",
            );
            None
        }
        Ok(service) => {
            if let Some(dropped) = &service.dropped {
                report.ignored(
                    codes::W_IGNORED,
                    "spec.auth_service",
                    format!("`{dropped}` in the service has no effect; use `path_prefix`"),
                );
            }
            Some(service)
        }
        Err(error) => {
            report.fatal_with_help(
                codes::E_AUTH_CONFIG,
                "spec.auth_service",
                error.to_string(),
                error.help(),
            );
            None
        }
    }
}

/// The upstream of a check is found like that of a Mapping with the same service.
fn lowered(
    key: &ObjectKey,
    object: &Arc<Object>,
    founder: &AuthServiceSpec,
    settings: &Settings,
    service: Service,
) -> Lowered {
    let written = spec(object).map_or("", |spec| spec.auth_service.as_str());
    let stats_name = founder.stats_name.clone().filter(|name| !name.is_empty());
    let mapping = MappingSpec {
        service: written.to_owned(),
        tls: founder.tls.clone(),
        grpc: Some(settings.protocol == AuthProtocol::Grpc),
        stats_name: Some(stats_name.unwrap_or_else(|| side::stats_name(written))),
        ..MappingSpec::default()
    };
    let breakers = founder.circuit_breakers.as_deref();
    Lowered {
        changes: Changes {
            breakers: breakers.map(|list| parse_breakers(list).0),
            ..Changes::default()
        },
        ..side::lowered(key, object, service, mapping)
    }
}

#[cfg(test)]
mod tests;
