//! The labels that count for a Mapping: its own, the Module's, and whose domain anybody limits
//! (spec/services §2.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use legate_config::Diagnostic;
use legate_config::limit::{LabelGroup, Labels};

use crate::codes;
use crate::group::Member;
use crate::lower::{read_labels, read_specifiers};
use crate::module::ModuleSettings;
use crate::options::Options;

/// What the labels of all Mappings depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LabelContext {
    /// The domains that somebody limits.
    domains: BTreeSet<String>,
    /// `default_label_domain`
    default_domain: String,
    /// `default_labels`, by domain.
    defaults: BTreeMap<String, LabelGroup>,
    /// The gateway's own name.
    node: String,
}

impl LabelContext {
    /// For the Module, and whoever limits these domains.
    pub(crate) fn new(
        module: &ModuleSettings,
        options: &Options,
        domains: BTreeSet<String>,
    ) -> Self {
        let node = node(options);
        let read = |specifiers: &Vec<_>| read_specifiers(specifiers, &node, |_, _| {});
        let defaults = module.default_labels.iter();
        Self {
            domains,
            default_domain: module.label_domain.clone(),
            defaults: defaults
                .map(|(domain, specifiers)| (domain.clone(), read(specifiers)))
                .collect(),
            node,
        }
    }

    /// The labels of all Mappings of a group: those of its founder, who decides.
    pub(crate) fn effective(&self, founder: &Member) -> Option<Arc<Labels>> {
        if self.domains.is_empty() {
            return None;
        }
        let own = founder
            .lowered
            .spec()
            .and_then(|spec| spec.labels.as_ref())
            .filter(|labels| !labels.is_empty());
        let written = match own {
            Some(labels) => read_labels(labels, &self.node, |_, _| {}),
            // Without labels of its own it has one group, of the defaults alone.
            None => [(self.default_domain.clone(), vec![LabelGroup::new()])].into(),
        };
        let domains: BTreeMap<String, Vec<LabelGroup>> = written
            .into_iter()
            .filter(|(domain, _)| self.domains.contains(domain))
            .map(|(domain, groups)| {
                let defaults = self.defaults.get(&domain);
                let groups = groups.into_iter().map(|group| {
                    let defaults = defaults.into_iter().flatten().cloned();
                    defaults.chain(group).collect()
                });
                let groups = groups.filter(|group: &LabelGroup| !group.is_empty());
                (domain, groups.collect::<Vec<_>>())
            })
            .filter(|(_, groups)| !groups.is_empty())
            .collect();
        (!domains.is_empty()).then(|| Arc::new(Labels { domains }))
    }

    /// Says which labels nobody looks at.
    pub(crate) fn unlimited(&self, member: &Member, diagnostics: &mut Vec<Diagnostic>) {
        let labels = member.lowered.spec().and_then(|spec| spec.labels.as_ref());
        for domain in labels.into_iter().flat_map(BTreeMap::keys) {
            if !self.domains.contains(domain) {
                diagnostics.push(Diagnostic::new(
                    codes::I_RL_DOMAIN,
                    member.lowered.origin.object.clone(),
                    format!("spec.labels.{domain}"),
                    format!("nobody limits the domain `{domain}`: these labels have no effect"),
                ));
            }
        }
    }
}

/// The name under which Emissary's own Envoy goes.
fn node(options: &Options) -> String {
    let id = match options.ambassador_id.as_str() {
        "default" | "" => "ambassador",
        id => id,
    };
    format!("{id}-{}", options.namespace)
}
