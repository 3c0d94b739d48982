//! RateLimitServices: who is asked whether requests are over a limit (spec/services §2.1).
//!
//! The oldest one that can be used counts, and the others are told so. A fault fails open, as it
//! does in Emissary, unless an older version of the object is known to be good.

mod settings;

use std::sync::Arc;

use legate_api::mapping::MappingSpec;
use legate_api::services::RateLimitServiceSpec;
use legate_api::{Body, Kind, Object, ObjectKey, WrittenAs};
use legate_config::limit::RateLimit;
use legate_config::{Diagnostic, Effect};

use crate::codes;
use crate::lower::Report;
use crate::resolve::{Context, Dependency, Upstream, resolve, settle};
use crate::resources::Held;
use crate::select::{self, object_ref, order};
use crate::side;
use settings::Settings;

/// What the RateLimitServices of an instance amount to.
#[derive(Debug, Default)]
pub(crate) struct RateLimitPass {
    pub(crate) state: RateLimitState,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// What happens to requests whose route has labels.
#[derive(Debug, Default)]
pub(crate) enum RateLimitState {
    /// Nothing.
    #[default]
    None,
    /// A service is asked.
    Asked {
        /// The policy.
        limit: Arc<RateLimit>,
        /// The cluster that it names.
        upstream: Arc<Upstream>,
    },
}

/// One version of a RateLimitService.
#[derive(Default)]
struct Version {
    outcome: Option<Outcome>,
    diagnostics: Vec<Diagnostic>,
    dependencies: Vec<Dependency>,
}

/// What a version without faults asks for.
enum Outcome {
    /// Edge Stack's own limiter, which is part of the gateway here.
    BuiltIn,
    /// A call.
    Service(Settings, Arc<Upstream>),
}

/// Compiles all RateLimitServices of the instance.
pub(crate) fn rate_limit(context: &Context<'_>) -> RateLimitPass {
    let mut found = select::of_kind(context.resources, context.options, Kind::RateLimitService);
    // Objects without a time are from files, where only the name orders them.
    found.sort_by(|(a, x), (b, y)| {
        let age = |held: &Held| held.current.meta.creation_timestamp.clone();
        (age(x), order(a)).cmp(&(age(y), order(b)))
    });
    let mut pass = RateLimitPass::default();
    let mut chosen: Option<&ObjectKey> = None;
    for (key, held) in found {
        let outcome = pass.candidate(key, held, context);
        match (chosen, outcome) {
            (Some(first), _) => pass.diagnostics.push(duplicate(key, first)),
            (None, Some(Outcome::BuiltIn)) => chosen = Some(key),
            (None, Some(Outcome::Service(settings, upstream))) => {
                chosen = Some(key);
                let name = format!("{}/{}", key.namespace, key.name);
                let limit = settings.policy(name, upstream.key.clone());
                pass.state = RateLimitState::Asked {
                    limit: Arc::new(limit),
                    upstream,
                };
            }
            (None, None) => {}
        }
    }
    pass
}

fn spec(object: &Object) -> Option<&RateLimitServiceSpec> {
    match &object.body {
        Body::RateLimitService(spec) => Some(spec),
        _ => None,
    }
}

fn duplicate(key: &ObjectKey, first: &ObjectKey) -> Diagnostic {
    Diagnostic::new(
        codes::E_RL_DUPLICATE,
        object_ref(key),
        "spec",
        format!(
            "the RateLimitService {}/{} is older and the only one that is asked",
            first.namespace, first.name
        ),
    )
    .help("keep one RateLimitService for each instance")
    .related(object_ref(first), "is asked")
    .effect(Effect::Dropped)
}

// === impl RateLimitState ===

impl RateLimitState {
    /// Whether both do the same to requests, key material included.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (
                Self::Asked { limit, upstream },
                Self::Asked {
                    limit: other,
                    upstream: others,
                },
            ) => limit == other && side::same_upstream(upstream, others),
            _ => false,
        }
    }

    /// The domain whose labels are sent.
    pub(crate) fn domain(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Asked { limit, .. } => Some(&limit.domain),
        }
    }
}

// === impl RateLimitPass ===

impl RateLimitPass {
    /// What the version of an object that counts asks for.
    fn candidate(
        &mut self,
        key: &ObjectKey,
        held: &Held,
        context: &Context<'_>,
    ) -> Option<Outcome> {
        let mut version = evaluate(key, &held.current, context);
        let mut diagnostics = std::mem::take(&mut version.diagnostics);
        self.dependencies.append(&mut version.dependencies);
        let mut effect = Effect::Dropped;
        if version.outcome.is_none()
            && let Some(last_good) = &held.last_good
        {
            let mut old = evaluate(key, last_good, context);
            self.dependencies.append(&mut old.dependencies);
            if old.outcome.is_some() {
                version = old;
                effect = Effect::ServingLastGood;
            }
        }
        diagnostics = settle(&diagnostics, &effect);
        self.diagnostics.append(&mut diagnostics);
        version.outcome
    }
}

/// Reads and resolves one version. Without an outcome it has a fault, which is reported.
fn evaluate(key: &ObjectKey, object: &Arc<Object>, context: &Context<'_>) -> Version {
    let mut version = Version::default();
    // What decoding found is reported by the engine.
    let Some(spec) = spec(object).filter(|_| !object.is_rejected()) else {
        return version;
    };
    let mut report = Report::new(object_ref(key));
    if spec.v2_explicit_tls.is_some() && object.written_as == WrittenAs::V3Alpha1 {
        report.notice(
            codes::I_CONVERTED,
            "spec.v2ExplicitTLS",
            "this is left over from a conversion and has no effect",
        );
    }
    let service = side::service(
        &spec.service,
        "spec.service",
        codes::E_RL_CONFIG,
        &mut report,
    );
    if service.as_ref().is_some_and(side::is_edge_stack) {
        report.notice(
            codes::I_RL_BUILTIN,
            "spec",
            "this is where Edge Stack's own limiter was: nobody is asked, limits are built in",
        );
        version.diagnostics = report.diagnostics;
        version.outcome = Some(Outcome::BuiltIn);
        return version;
    }
    let settings = settings::read(spec, context.module, &mut report);
    version.diagnostics = report.diagnostics;
    let (Some(settings), Some(service)) = (settings, service) else {
        return version;
    };
    let lowered = side::lowered(key, object, service, target(spec));
    let mut resolved = resolve(&lowered, context);
    version.dependencies = resolved.dependencies;
    version.diagnostics.append(&mut resolved.diagnostics);
    version.outcome = resolved
        .upstream
        .map(|upstream| Outcome::Service(settings, upstream));
    version
}

/// The Mapping whose upstream is that of the service.
fn target(spec: &RateLimitServiceSpec) -> MappingSpec {
    let stats_name = spec.stats_name.clone().filter(|name| !name.is_empty());
    MappingSpec {
        service: spec.service.clone(),
        grpc: Some(true),
        tls: spec.tls.clone(),
        stats_name: Some(stats_name.unwrap_or_else(|| side::stats_name(&spec.service))),
        ..MappingSpec::default()
    }
}

#[cfg(test)]
mod tests;
