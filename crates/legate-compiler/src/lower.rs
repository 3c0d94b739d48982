//! Pass 2, lower: one Mapping by itself.
//!
//! Everything that can be said without looking at another object: what it matches, what it changes,
//! and which of its fields are wrong. The result is kept as long as the object is the same. What a
//! `service`, a `resolver` or a TLS context stands for is the next pass's business (`resolve`).

mod balancer;
mod changes;
mod cors;
mod health;
mod labels;
mod matching;
mod redirect;
mod report;
mod retry;
mod unhonoured;
mod upstream;

use std::sync::Arc;

use legate_api::mapping::MappingSpec;
use legate_api::{Body, Object};
use legate_config::snapshot::Origin;
use legate_config::{Code, Diagnostic};

use crate::codes;
use crate::select::object_ref;
use crate::service::Service;

pub(crate) use balancer::{Balance, parse_balance};
pub(crate) use changes::{Changes, HeaderInput, header_adds, header_removes};
pub(crate) use cors::cors_policy;
pub(crate) use health::is_host;
pub(crate) use labels::{LabelProblem, read_labels, read_specifiers};
pub(crate) use matching::{HostCondition, Matching, PathKind, is_header_name};
pub(crate) use redirect::{PathInput, RedirectInput};
pub(crate) use report::Report;
pub(crate) use retry::{BadRetry, parse_retry};
pub(crate) use upstream::{parse_breakers, read_breakers};

/// A Mapping, lowered.
#[derive(Debug)]
pub(crate) struct Lowered {
    /// The version that was lowered.
    pub(crate) object: Arc<Object>,
    /// Where its rows come from.
    pub(crate) origin: Origin,
    /// `namespace/name`
    pub(crate) name: String,
    /// What there is to say. Fatal ones carry `Effect::Dropped` until it is known what stands in
    /// the object's place.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The first fault that rejects the Mapping.
    pub(crate) fault: Option<Code>,
    /// What it matches; `None` when that is not known.
    pub(crate) matching: Option<Matching>,
    /// The share that it asks for.
    pub(crate) weight: Option<i64>,
    /// Whether it gets copies of its group's requests, and never answers.
    pub(crate) shadow: bool,
    /// What it does to requests and responses.
    pub(crate) changes: Changes,
    /// The upstream, or the redirect's host.
    pub(crate) service: Option<Service>,
    /// Set when it redirects.
    pub(crate) redirect: Option<RedirectInput>,
}

impl Lowered {
    /// The Mapping's spec. A Mapping has no other body.
    pub(crate) fn spec(&self) -> Option<&MappingSpec> {
        mapping_spec(&self.object)
    }
}

/// The spec of a Mapping.
pub(crate) fn mapping_spec(object: &Object) -> Option<&MappingSpec> {
    match &object.body {
        Body::Mapping(spec) => Some(spec),
        _ => None,
    }
}

/// Lowers one Mapping; `None` for an object of another kind.
pub(crate) fn lower(object: &Arc<Object>) -> Option<Lowered> {
    let spec = mapping_spec(object)?;
    let key = object.key();
    let reference = object_ref(&key);
    let mut report = Report::new(reference.clone());
    for issue in &object.issues {
        report.issue(issue);
    }
    let matching = matching::matching(spec, &mut report);
    let matching = matching.filter(|_| !report.match_broken);
    let service = service(spec, &mut report);
    let redirect = redirect::redirect(spec, service.as_ref(), &mut report);
    let changes = changes::changes(spec, redirect.is_some(), &mut report);
    labels::report(spec, &mut report);
    unhonoured::report(spec, redirect.is_some(), &mut report);
    unhonoured::residue(spec, object.written_as, &mut report);
    Some(Lowered {
        origin: Origin {
            object: reference,
            generation: object.meta.generation,
        },
        name: format!("{}/{}", key.namespace, key.name),
        object: Arc::clone(object),
        diagnostics: report.diagnostics,
        fault: report.fault,
        matching,
        weight: if report.weight_broken {
            Some(-1)
        } else {
            spec.weight
        },
        shadow: spec.shadow == Some(true),
        changes,
        service,
        redirect,
    })
}

fn service(spec: &MappingSpec, report: &mut Report) -> Option<Service> {
    let text = spec.service.as_str();
    if text.is_empty() && report.has_issue("spec.service") {
        return None;
    }
    match Service::parse(text) {
        Ok(service) => {
            if let Some(dropped) = &service.dropped {
                report.ignored(
                    codes::W_IGNORED,
                    "spec.service",
                    format!("`{dropped}` in the service has no effect"),
                );
            }
            Some(service)
        }
        Err(error) => {
            report.fatal_with_help(
                codes::E_MAP_SERVICE,
                "spec.service",
                error.to_string(),
                error.help(),
            );
            None
        }
    }
}
