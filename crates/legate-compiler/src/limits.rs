//! RateLimitPolicies, and Edge Stack's RateLimits: limits that the gateways count themselves
//! (spec/services §2.7).
//!
//! All objects of a domain make one table of rules. A limit that cannot be honoured loses itself
//! only; of two that stand in one place the older one counts.

mod edge_stack;
mod policy;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use legate_api::{Body, Kind, ObjectKey};
use legate_config::rules::{LimitDepth, LimitDomain, LimitItem, LimitRule};
use legate_config::secret::Credential;
use legate_config::snapshot::Origin;
use legate_config::{CredentialKey, Diagnostic, Entry, LimitDomainKey, Table};

use crate::codes;
use crate::emit::reuse;
use crate::lower::Report;
use crate::resolve::{Context, Dependency, Upstream};
use crate::resources::Held;
use crate::select::{self, object_ref, order};

/// What the limits of an instance amount to.
#[derive(Debug, Default)]
pub(crate) struct LimitPass {
    pub(crate) domains: Table<LimitDomainKey, LimitDomain>,
    pub(crate) credentials: Table<CredentialKey, Credential>,
    /// The clusters of stores.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A domain, as far as it is known.
#[derive(Default)]
struct Draft {
    domain: LimitDomain,
    origins: Vec<Origin>,
    /// Which object said first how clients are answered.
    settled_by: Option<ObjectKey>,
    /// Whose rule stands where.
    places: BTreeMap<Place, (ObjectKey, String)>,
}

/// Where a rule stands: what tells it from others, whatever its numbers are.
type Place = (bool, Vec<(Vec<(String, String)>, bool)>);

/// A rule, and where in its object it was written.
struct Written {
    path: String,
    rule: LimitRule,
}

/// Compiles all limits of the instance.
pub(crate) fn limits(context: &Context<'_>) -> LimitPass {
    let mut found = select::of_kind(context.resources, context.options, Kind::RateLimitPolicy);
    found.extend(select::of_kind(
        context.resources,
        context.options,
        Kind::RateLimit,
    ));
    // Objects without a time are from files, where only kind and name order them.
    found.sort_by(|(a, x), (b, y)| {
        let age = |held: &Held| held.current.meta.creation_timestamp.clone();
        let policy = |key: &ObjectKey| key.kind != Kind::RateLimitPolicy;
        (age(x), policy(a), order(a)).cmp(&(age(y), policy(b), order(b)))
    });
    let mut pass = LimitPass::default();
    let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
    for (key, held) in found {
        let object = select::effective(held);
        // What decoding found is reported by the engine; a rejected version is not read.
        if object.is_rejected() {
            continue;
        }
        let mut report = Report::new(object_ref(key));
        let origin = Origin {
            object: object_ref(key),
            generation: object.meta.generation,
        };
        let named = match &object.body {
            Body::RateLimitPolicy(spec) => &spec.domain,
            Body::RateLimit(spec) => &spec.domain,
            _ => continue,
        };
        let named = named.as_deref().filter(|name| !name.is_empty());
        let name = named.unwrap_or(&context.module.label_domain);
        let draft = drafts.entry(name.to_owned()).or_default();
        let written = match &object.body {
            Body::RateLimitPolicy(spec) => {
                let written =
                    policy::read(key, object, spec, draft, context, &mut pass, &mut report);
                draft.settle(key, spec, &mut report);
                written
            }
            Body::RateLimit(spec) => edge_stack::read(key, spec, &mut report),
            _ => continue,
        };
        draft.origins.push(origin);
        for written in written {
            draft.add(key, written, &mut report);
        }
        pass.diagnostics.append(&mut report.diagnostics);
    }
    pass.domains = drafts
        .into_iter()
        .map(|(name, draft)| {
            let entry = Entry::new(draft.domain, draft.origins);
            (LimitDomainKey::from(name), entry)
        })
        .collect();
    pass
}

// === impl LimitPass ===

impl LimitPass {
    /// The domains that are limited.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.domains
            .iter()
            .map(|(name, _)| name.as_str().to_owned())
    }

    /// Keeps what is as it was before.
    pub(crate) fn reuse(&mut self, old: &Self) {
        self.domains = reuse(&self.domains, &old.domains);
        self.credentials = reuse(&self.credentials, &old.credentials);
    }
}

// === impl Draft ===

impl Draft {
    /// How clients are answered: as the oldest policy of the domain says.
    fn settle(
        &mut self,
        key: &ObjectKey,
        spec: &legate_api::RateLimitPolicySpec,
        report: &mut Report,
    ) {
        let headers = spec.headers == Some(legate_api::RateLimitHeaders::Draft03);
        let asked = [
            ("headers", headers),
            ("honour_label_keys", spec.honour_label_keys == Some(true)),
            (
                "grpc_resource_exhausted",
                spec.grpc_resource_exhausted == Some(true),
            ),
        ];
        let Some(first) = &self.settled_by else {
            let [(_, headers), (_, keys), (_, exhausted)] = asked;
            self.domain.headers = headers;
            self.domain.honour_label_keys = keys;
            self.domain.grpc_resource_exhausted = exhausted;
            self.settled_by = Some(key.clone());
            return;
        };
        let counts = [
            self.domain.headers,
            self.domain.honour_label_keys,
            self.domain.grpc_resource_exhausted,
        ];
        for ((field, asked), counts) in asked.into_iter().zip(counts) {
            if asked != counts {
                report.ignored(
                    codes::E_RL_SETTINGS,
                    &format!("spec.{field}"),
                    format!(
                        "`{field}` differs from that of {}/{}, which is older and of the same domain; that one counts",
                        first.namespace, first.name
                    ),
                );
            }
        }
    }

    fn add(&mut self, key: &ObjectKey, written: Written, report: &mut Report) {
        let place = place(&written.rule);
        if let Some((first, at)) = self.places.get(&place) {
            let message = if first == key {
                format!("the same is limited at {at} already; that one counts")
            } else {
                format!(
                    "{} {}/{}, which is older, limits the same at {at}; that one counts",
                    first.kind, first.namespace, first.name
                )
            };
            report.ignored(codes::E_RL_DUPLICATE, &written.path, message);
            return;
        }
        self.places.insert(place, (key.clone(), written.path));
        self.domain.rules.push(written.rule);
    }
}

fn place(rule: &LimitRule) -> Place {
    let item = |item: &LimitItem| {
        let entries = item
            .any_of
            .iter()
            .map(|entry| (entry.key.clone(), format!("{:?}", entry.value)));
        (entries.collect(), item.shared)
    };
    (
        rule.depth == LimitDepth::Exact,
        rule.items.iter().map(item).collect(),
    )
}

#[cfg(test)]
mod tests;
