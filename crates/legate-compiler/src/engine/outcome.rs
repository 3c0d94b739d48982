//! What a run has to say: diagnostics and status.

use std::collections::{BTreeMap, BTreeSet};

use legate_api::{Kind, Object, ObjectKey};
use legate_config::{Code, Diagnostic, Effect, Severity};

use super::Compilation;
use super::passes::{Engine, Work};
use super::unreachable::unreachable;
use crate::codes;
use crate::options::Options;
use crate::resources::{Held, Resources};
use crate::select::{self, object_ref};
use crate::status::{ObjectState, ObjectStatus};

/// What decoding found in an object that is not a Mapping. Core kinds are read leniently: what is
/// wrong in them costs only the field.
pub(super) fn issues(
    key: &ObjectKey,
    object: &Object,
    last_good: bool,
) -> impl Iterator<Item = Diagnostic> {
    object.issues.iter().map(move |issue| {
        let code = Code::new(issue.code);
        let effect = match (code.severity(), key.kind.is_ambassador()) {
            (Severity::Error, true) if last_good => Effect::ServingLastGood,
            (Severity::Error, true) => Effect::Dropped,
            (Severity::Error, false) => Effect::FieldIgnored,
            _ => Effect::None,
        };
        let mut diagnostic = Diagnostic::new(
            code,
            object_ref(key),
            issue.path.clone(),
            issue.message.clone(),
        );
        diagnostic.help.clone_from(&issue.help);
        diagnostic.effect(effect)
    })
}

impl Engine {
    /// Ends a run: publishes, and collects diagnostics and status.
    pub(super) fn finish(
        &mut self,
        work: &Work,
        resources: &Resources,
        options: &Options,
    ) -> Compilation {
        let snapshot = self.publish();
        let mut diagnostics = self.diagnostics(resources, options);
        crate::remedies::complete(&mut diagnostics);
        diagnostics.sort_unstable();
        diagnostics.dedup();
        let status = self.status(work, resources, options, &diagnostics);
        self.rejected = status
            .iter()
            .filter(|(key, status)| {
                key.kind != Kind::Mapping && status.state == ObjectState::Rejected
            })
            .map(|(key, _)| key.clone())
            .collect();
        Compilation {
            snapshot,
            diagnostics,
            status,
        }
    }

    fn diagnostics(&self, resources: &Resources, options: &Options) -> Vec<Diagnostic> {
        let mut all = self.skipped.summary(options);
        all.extend(
            self.module
                .iter()
                .flat_map(|module| module.diagnostics.iter().cloned()),
        );
        all.extend(self.fronts.frontends.diagnostics.iter().cloned());
        all.extend(self.others.values().flatten().cloned());
        all.extend(self.auth.diagnostics.iter().cloned());
        all.extend(self.rate_limit.diagnostics.iter().cloned());
        all.extend(self.limits.diagnostics.iter().cloned());
        let mut uncertain = Vec::new();
        for fragment in self.fragments.values() {
            all.extend(fragment.diagnostics.iter().cloned());
            uncertain.extend(fragment.if_known.as_ref());
        }
        if !uncertain.is_empty() {
            let known: BTreeSet<&str> = resources
                .iter()
                .map(|(key, _)| match key.kind {
                    Kind::Namespace => key.name.as_str(),
                    _ => key.namespace.as_str(),
                })
                .collect();
            let certain = uncertain
                .into_iter()
                .filter(|(namespace, _)| known.contains(namespace.as_str()));
            all.extend(certain.map(|(_, diagnostic)| diagnostic.clone()));
        }
        self.group_diagnostics(&mut all);
        all.extend(unreachable(&self.groups));
        all
    }

    fn group_diagnostics(&self, all: &mut Vec<Diagnostic>) {
        let mut misses = BTreeMap::new();
        for group in self.groups.groups.values() {
            all.extend(group.assembled.diagnostics.iter().cloned());
            let Some(row) = &group.assembled.row else {
                continue;
            };
            let set = self.groups.sets.get(&row.set);
            if set.is_none_or(|set| !set.takers.is_empty()) {
                continue;
            }
            let near = misses
                .entry(&row.set)
                .or_insert_with(|| self.fronts.hosts.near_misses(&row.set));
            for key in &group.members {
                let valid = self
                    .fragments
                    .get(key)
                    .is_some_and(|fragment| fragment.member.fault().is_none());
                if valid {
                    all.push(unattached(key, near));
                }
            }
        }
    }

    fn status(
        &mut self,
        work: &Work,
        resources: &Resources,
        options: &Options,
        diagnostics: &[Diagnostic],
    ) -> BTreeMap<ObjectKey, ObjectStatus> {
        let ours = |key: &ObjectKey, held: &Held| {
            key.kind.is_ambassador() && select::is_ours(&held.current, key, options)
        };
        let touched = std::mem::take(&mut self.groups.touched);
        if work.all_statuses {
            self.statuses = resources
                .iter()
                .filter(|(key, held)| ours(key, held))
                .map(|(key, _)| (key.clone(), self.blank_status(key)))
                .collect();
        } else {
            for key in work.touched.iter().chain(&touched) {
                if resources.get(key).is_some_and(|held| ours(key, held)) {
                    let status = self.blank_status(key);
                    self.statuses.insert(key.clone(), status);
                } else {
                    self.statuses.remove(key);
                }
            }
        }
        let mut status = self.statuses.clone();
        for diagnostic in diagnostics {
            let Some(object) = &diagnostic.object else {
                continue;
            };
            let kind = Kind::ALL.iter().find(|kind| kind.as_str() == object.kind);
            let Some(&kind) = kind else {
                continue;
            };
            let key = ObjectKey {
                kind,
                namespace: object.namespace.clone(),
                name: object.name.clone(),
            };
            status.entry(key).or_default().note(diagnostic);
        }
        status
    }

    fn blank_status(&self, key: &ObjectKey) -> ObjectStatus {
        let attached_hosts = (key.kind == Kind::Mapping).then(|| {
            let takers = self
                .fragments
                .get(key)
                .and_then(|fragment| fragment.group.as_ref())
                .and_then(|group| self.groups.groups.get(group))
                .and_then(|group| group.assembled.row.as_ref())
                .and_then(|row| self.groups.sets.get(&row.set))
                .map_or(0, |set| set.takers.len());
            u32::try_from(takers).unwrap_or(u32::MAX)
        });
        ObjectStatus {
            attached_hosts,
            ..ObjectStatus::default()
        }
    }

    /// Whether the last compile, which saw this version, accepted it.
    pub(super) fn accepted(
        &self,
        key: &ObjectKey,
        held: &Held,
        resources: &Resources,
        options: &Options,
    ) -> bool {
        if !select::is_ours(&held.current, key, options) {
            return false;
        }
        match key.kind {
            Kind::Mapping => self
                .fragments
                .get(key)
                .is_some_and(|fragment| fragment.accepted && fragment.is_of(&held.current)),
            Kind::Secret => self.usable_secret(key, held, resources, options),
            _ => !held.current.is_rejected() && !self.rejected.contains(key),
        }
    }

    /// A Secret is good when it holds a certificate or an authority that can be used.
    fn usable_secret(
        &self,
        key: &ObjectKey,
        held: &Held,
        _resources: &Resources,
        options: &Options,
    ) -> bool {
        let (current, _) = self.known.secrets.material(key, held, &options.hash_key);
        current.certificate().is_ok() || current.ca_bundle().is_ok()
    }
}

fn unattached(key: &ObjectKey, near: &str) -> Diagnostic {
    Diagnostic::new(
        codes::E_MAP_UNATTACHED,
        object_ref(key),
        "",
        format!("no Host takes this Mapping: {near}"),
    )
    .help("give it a `hostname` that overlaps with a Host's, or the labels that a Host selects by")
    .effect(Effect::Dropped)
}
