//! What one Mapping contributes.

use std::sync::Arc;

use legate_api::Object;
use legate_config::{Diagnostic, Effect, Severity};

use crate::attach::{Class, HostTable};
use crate::group::{GroupKey, Member};
use crate::lower::{Lowered, lower};
use crate::options::Options;
use crate::resolve::{Context, Dependency, resolve, settle};
use crate::resources::Held;

/// One Mapping's part of the config.
#[derive(Debug)]
pub(super) struct Fragment {
    /// The version that is compiled: the current one, or the last good one in its place.
    pub(super) member: Member,
    /// The group that it belongs to; `None` when it takes no part in routing.
    pub(super) group: Option<Arc<GroupKey>>,
    /// What there is to say about the current version by itself.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The same, if the namespace is one that we know.
    pub(super) if_known: Option<(String, Diagnostic)>,
    /// Whether the current version has no fault.
    pub(super) accepted: bool,
    /// What was looked at, for either version.
    pub(super) dependencies: Vec<Dependency>,
    /// The current version, lowered; kept because lowering is context-free.
    current: Arc<Lowered>,
}

impl Fragment {
    /// Lowers and resolves a Mapping. `previous` saves lowering what did not change.
    pub(super) fn new(
        held: &Held,
        previous: Option<&Fragment>,
        hosts: &HostTable,
        context: &Context<'_>,
    ) -> Option<Self> {
        let current = lowered(&held.current, previous)?;
        let mut resolved = resolve(&current, context);
        let mut dependencies = std::mem::take(&mut resolved.dependencies);
        let mut diagnostics = std::mem::take(&mut resolved.diagnostics);
        let accepted = current.fault.is_none() && resolved.fault.is_none();
        let if_known = resolved.if_known.take().filter(|_| accepted);
        let mut compiled = (Arc::clone(&current), resolved);
        let mut outcome = if current.matching.is_some() && !current.shadow {
            Effect::Answering(500)
        } else {
            Effect::Dropped
        };
        if !accepted
            && let Some(last_good) = &held.last_good
            && let Some(lowered) = lowered(last_good, previous)
        {
            let mut resolved = resolve(&lowered, context);
            dependencies.append(&mut resolved.dependencies);
            if lowered.fault.is_none() && resolved.fault.is_none() && lowered.matching.is_some() {
                outcome = Effect::ServingLastGood;
                compiled = (lowered, resolved);
            }
        }
        diagnostics = current
            .diagnostics
            .iter()
            .cloned()
            .chain(diagnostics)
            // Remarks on what would be served are noise beside the reason why it is not.
            .filter(|d| accepted || d.severity() != Severity::Info || d.effect != Effect::None)
            .collect();
        let (lowered, resolved) = compiled;
        let class = hosts.class(&lowered.object.meta.labels, context.options);
        let mut fragment = Self {
            member: Member {
                lowered,
                resolved,
                class,
            },
            group: None,
            diagnostics: settle(&diagnostics, &outcome),
            if_known,
            accepted,
            dependencies,
            current,
        };
        fragment.regroup();
        Some(fragment)
    }

    /// Sorts the labels into a class again, after the Hosts' selectors changed. Returns the new
    /// group key.
    pub(super) fn reclass(&mut self, hosts: &HostTable, options: &Options) {
        let class: Class = hosts.class(&self.member.lowered.object.meta.labels, options);
        self.member.class = class;
        self.regroup();
    }

    /// Whether this version of the object was compiled.
    pub(super) fn is_of(&self, object: &Arc<Object>) -> bool {
        Arc::ptr_eq(&self.current.object, object)
    }

    fn regroup(&mut self) {
        let member = &self.member;
        self.group = member
            .matching()
            .map(|matching| Arc::new(GroupKey::new(matching, &member.class)));
    }
}

fn lowered(object: &Arc<Object>, previous: Option<&Fragment>) -> Option<Arc<Lowered>> {
    let known = previous
        .into_iter()
        .flat_map(|fragment| [&fragment.current, &fragment.member.lowered])
        .find(|lowered| Arc::ptr_eq(&lowered.object, object));
    match known {
        Some(lowered) => Some(Arc::clone(lowered)),
        None => lower(object).map(Arc::new),
    }
}
