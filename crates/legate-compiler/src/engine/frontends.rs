//! Listeners and Hosts between compiles.

use legate_api::ObjectKey;

use crate::attach::HostTable;
use crate::emit::reuse;
use crate::frontends::{Frontends, frontends};
use crate::module::ModuleSettings;
use crate::options::Options;
use crate::resources::Resources;
use crate::secrets::SecretCache;

/// The front ends of the last compile.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    pub(super) frontends: Frontends,
    pub(super) hosts: HostTable,
    /// Whether they were built again in this run.
    pub(super) rebuilt: bool,
}

/// What a rebuild changed for the Mappings.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Changed {
    /// Which Hosts there are, or what they take.
    pub(super) hosts: bool,
    /// The selectors by which they pick.
    pub(super) classes: bool,
}

impl Fronts {
    /// Whether a Secret was looked at.
    pub(super) fn reads(&self, secret: &ObjectKey) -> bool {
        self.frontends.reads.contains(secret)
    }

    /// Builds them again.
    pub(super) fn rebuild(
        &mut self,
        resources: &Resources,
        options: &Options,
        module: &ModuleSettings,
        secrets: &SecretCache,
    ) -> Changed {
        let mut new = frontends(resources, options, module, secrets);
        let old = &self.frontends;
        new.listeners = reuse(&new.listeners, &old.listeners);
        new.chains = reuse(&new.chains, &old.chains);
        new.certificates = reuse(&new.certificates, &old.certificates);
        new.ca_bundles = reuse(&new.ca_bundles, &old.ca_bundles);
        new.revocation_lists = reuse(&new.revocation_lists, &old.revocation_lists);
        let hosts = HostTable::new(&new.hosts);
        let changed = Changed {
            hosts: !hosts.same_hosts(&self.hosts),
            classes: !hosts.same_classes(&self.hosts),
        };
        self.frontends = new;
        self.hosts = hosts;
        self.rebuilt = true;
        changed
    }
}
