//! One run of the passes over what is dirty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use legate_api::{Kind, ObjectKey};
use legate_config::snapshot::Snapshot;
use legate_config::{Diagnostic, Hash128};

use super::fragment::Fragment;
use super::frontends::Fronts;
use super::groups::Groups;
use super::{Compilation, concerns_frontends, is_resolver};
use crate::auth::{AuthPass, auth};
use crate::endpoints::{EndpointIndex, ServiceName};
use crate::group::ModuleHeaders;
use crate::labels::LabelContext;
use crate::limits::{LimitPass, limits};
use crate::module::{ModuleSettings, module_settings};
use crate::options::Options;
use crate::rate_limit::{RateLimitPass, rate_limit};
use crate::resolve::{Context, Dependency};
use crate::resources::{Held, Resources};
use crate::secrets::SecretCache;
use crate::select::{self, Skipped};
use crate::status::ObjectStatus;
use crate::unsupported;

/// Everything kept between compiles.
#[derive(Debug, Default)]
pub(super) struct Engine {
    pub(super) module: Option<ModuleState>,
    pub(super) known: Known,
    pub(super) fronts: Fronts,
    pub(super) auth: AuthPass,
    pub(super) rate_limit: RateLimitPass,
    pub(super) limits: LimitPass,
    pub(super) labels: LabelContext,
    pub(super) skipped: Skipped,
    /// Diagnostics of objects that no other pass reports about.
    pub(super) others: BTreeMap<ObjectKey, Vec<Diagnostic>>,
    pub(super) fragments: BTreeMap<ObjectKey, Box<Fragment>>,
    pub(super) groups: Groups,
    pub(super) snapshot: Arc<Snapshot>,
    /// Statuses of our objects, as if there were no diagnostics.
    pub(super) statuses: BTreeMap<ObjectKey, ObjectStatus>,
    /// Objects other than Mappings that the last compile rejected.
    pub(super) rejected: BTreeSet<ObjectKey>,
}

/// What is known besides the resources themselves.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) secrets: SecretCache,
    pub(super) endpoints: EndpointIndex,
    has_resolvers: bool,
}

/// The Module, read.
#[derive(Debug)]
pub(super) struct ModuleState {
    pub(super) settings: ModuleSettings,
    pub(super) headers: ModuleHeaders,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// What a run has to redo.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Services whose plan may change, and those whose endpoints only.
    pub(super) services: BTreeSet<ServiceName>,
    pub(super) endpoints: BTreeSet<ServiceName>,
    dependencies: BTreeSet<Dependency>,
    mappings: Vec<ObjectKey>,
    resolve_all: bool,
    pub(super) group_all: bool,
    frontends: bool,
    /// Whether the Module was read again.
    pub(super) module: bool,
    /// Whether every status may change, and if not, the objects that changed.
    pub(super) all_statuses: bool,
    pub(super) touched: Vec<ObjectKey>,
}

impl Known {
    /// What passes look at.
    fn context<'a>(
        &'a self,
        module: &'a ModuleState,
        resources: &'a Resources,
        options: &'a Options,
    ) -> Context<'a> {
        Context {
            resources,
            options,
            module: &module.settings,
            secrets: &self.secrets,
            endpoints: &self.endpoints,
            has_resolvers: self.has_resolvers,
        }
    }
}

impl Engine {
    /// Compiles; `dirty` = `None` does everything.
    pub(super) fn run(
        &mut self,
        resources: &Resources,
        options: &Options,
        dirty: Option<&BTreeSet<ObjectKey>>,
    ) -> Compilation {
        let work = match dirty.filter(|_| self.module.is_some()) {
            Some(dirty) => self.note(dirty.iter(), false, resources, options),
            None => {
                *self = Self {
                    snapshot: Arc::clone(&self.snapshot),
                    known: Known {
                        secrets: std::mem::take(&mut self.known.secrets),
                        ..Known::default()
                    },
                    ..Self::default()
                };
                self.groups.start_over();
                let keys = resources.iter().map(|(key, _)| key);
                let mut work = self.note(keys, true, resources, options);
                work.mappings = resources
                    .of_kind(Kind::Mapping)
                    .map(|(key, _)| key.clone())
                    .collect();
                work.resolve_all = true;
                work.frontends = true;
                work.group_all = true;
                work.all_statuses = true;
                work
            }
        };
        self.compile(work, resources, options)
    }

    fn compile(&mut self, mut work: Work, resources: &Resources, options: &Options) -> Compilation {
        self.module(&mut work, resources, options);
        let Some(module) = &self.module else {
            // Unreachable: the line above fills it. Nothing would be the safe answer.
            return self.finish(&work, resources, options);
        };
        let hosts = if work.frontends {
            let settings = &module.settings;
            self.fronts
                .rebuild(resources, options, settings, &self.known.secrets)
        } else {
            super::frontends::Changed::default()
        };
        self.fragments(&mut work, resources, options);
        self.authorise(&mut work, resources, options);
        self.limit(&mut work, resources, options);
        if hosts.classes {
            for (key, fragment) in &mut self.fragments {
                let old = fragment.group.clone();
                fragment.reclass(&self.fronts.hosts, options);
                self.groups.moved(key, old, fragment.group.clone());
            }
        }
        self.assemble(&work, hosts.hosts, resources, options);
        self.groups
            .store
            .hold(&self.limits.upstreams, resources, &self.known.endpoints);
        work.all_statuses |= hosts.hosts || work.group_all;
        self.finish(&work, resources, options)
    }

    /// Takes note of changed objects. In a full compile, what depends on them need not be known.
    fn note<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a ObjectKey>,
        full: bool,
        resources: &Resources,
        options: &Options,
    ) -> Work {
        let mut work = Work::default();
        let mut resolvers = false;
        for key in keys {
            if !full {
                work.touched.push(key.clone());
            }
            let held = resources.get(key);
            self.skipped.note(key, held, options);
            self.note_other(key, held, options);
            match key.kind {
                Kind::Mapping | Kind::Service if full => {}
                Kind::Mapping => {
                    work.mappings.push(key.clone());
                }
                Kind::Service => {
                    let name = ServiceName::new(&key.namespace, &key.name);
                    work.services.insert(name);
                }
                Kind::EndpointSlice | Kind::Endpoints => {
                    for (name, edge) in self.known.endpoints.note(key, resources, options) {
                        if edge {
                            work.services.insert(name.clone());
                        }
                        work.endpoints.insert(name);
                    }
                }
                Kind::Secret => {
                    work.frontends |= self.fronts.reads(key);
                    work.dependencies.insert(Dependency::Object(key.clone()));
                }
                Kind::TlsContext => {
                    let name = Dependency::TlsContext(key.name.clone());
                    work.dependencies.insert(name);
                }
                kind => resolvers |= is_resolver(kind),
            }
            work.frontends |= concerns_frontends(key.kind);
            work.resolve_all |= key.kind == Kind::Module;
        }
        if resolvers {
            self.known.has_resolvers = resources.iter().any(|(key, _)| is_resolver(key.kind));
            work.resolve_all = true;
        }
        let services = work.services.iter().cloned().map(Dependency::Service);
        work.dependencies.extend(services);
        work.endpoints.extend(work.services.iter().cloned());
        work
    }

    /// What decoding found in objects of kinds other than Mapping, and kinds not honoured yet.
    fn note_other(&mut self, key: &ObjectKey, held: Option<&Held>, options: &Options) {
        self.others.remove(key);
        let Some(held) = held.filter(|held| select::is_ours(&held.current, key, options)) else {
            return;
        };
        let mut diagnostics = Vec::new();
        if key.kind != Kind::Mapping {
            let last_good = held.last_good.is_some();
            diagnostics.extend(super::outcome::issues(key, &held.current, last_good));
        }
        diagnostics.extend(unsupported::report(key, &held.current));
        if !diagnostics.is_empty() {
            self.others.insert(key.clone(), diagnostics);
        }
    }

    fn module(&mut self, work: &mut Work, resources: &Resources, options: &Options) {
        if self.module.is_some() && !work.resolve_all {
            return;
        }
        let (settings, diagnostics) = module_settings(resources, options);
        let same = self
            .module
            .as_ref()
            .is_some_and(|module| module.settings == settings);
        work.group_all |= !same;
        work.module = true;
        self.module = Some(ModuleState {
            headers: ModuleHeaders::new(&settings),
            settings,
            diagnostics,
        });
    }

    /// Lowers and resolves again what is dirty, and what depends on it.
    fn fragments(&mut self, work: &mut Work, resources: &Resources, options: &Options) {
        let Some(module) = &self.module else {
            return;
        };
        let context = self.known.context(module, resources, options);
        let mut keys = std::mem::take(&mut work.mappings);
        if work.resolve_all {
            keys.extend(self.fragments.keys().cloned());
            keys.sort_unstable();
            keys.dedup();
        } else if !work.dependencies.is_empty() {
            let dependent = self.fragments.iter().filter(|(_, fragment)| {
                let mut looked_at = fragment.dependencies.iter();
                looked_at.any(|dependency| work.dependencies.contains(dependency))
            });
            keys.extend(dependent.map(|(key, _)| key.clone()));
            keys.sort_unstable();
            keys.dedup();
        }
        for key in keys {
            let held = resources
                .get(&key)
                .filter(|held| select::is_ours(&held.current, &key, options));
            let previous = self.fragments.get(&key).map(|fragment| &**fragment);
            let old = previous.and_then(|fragment| fragment.group.clone());
            let hosts = &self.fronts.hosts;
            let new = held.and_then(|held| Fragment::new(held, previous, hosts, &context));
            let group = new.as_ref().and_then(|fragment| fragment.group.clone());
            self.groups.moved(&key, old, group);
            match new {
                Some(fragment) => {
                    self.fragments.insert(key, Box::new(fragment));
                }
                None => {
                    self.fragments.remove(&key);
                }
            }
        }
    }

    /// Reads the AuthServices again: there are few, and what they refer to may have changed.
    fn authorise(&mut self, work: &mut Work, resources: &Resources, options: &Options) {
        let Some(module) = &self.module else {
            return;
        };
        let new = auth(&self.known.context(module, resources, options));
        if !new.state.same(&self.auth.state) {
            work.group_all = true;
            self.auth.state = new.state;
        }
        self.auth.diagnostics = new.diagnostics;
        self.auth.dependencies = new.dependencies;
    }

    /// Reads RateLimitServices and limits again, for the same reason, and whose labels count.
    fn limit(&mut self, work: &mut Work, resources: &Resources, options: &Options) {
        let Some(module) = &self.module else {
            return;
        };
        let context = self.known.context(module, resources, options);
        let new = rate_limit(&context);
        let mut own = limits(&context);
        own.reuse(&self.limits);
        self.limits = own;
        if !new.state.same(&self.rate_limit.state) {
            work.group_all = true;
            self.rate_limit.state = new.state;
        }
        self.rate_limit.diagnostics = new.diagnostics;
        self.rate_limit.dependencies = new.dependencies;
        let asked = self.rate_limit.state.domain().map(str::to_owned);
        let domains = self.limits.names().chain(asked).collect();
        let labels = LabelContext::new(&module.settings, options, domains);
        work.group_all |= labels != self.labels;
        self.labels = labels;
    }

    /// The root of the last compile.
    pub(super) fn root(&self) -> Hash128 {
        self.snapshot.root
    }
}
