//! What a source has to fetch for us, and what has to be kept across restarts.

use std::collections::BTreeSet;
use std::sync::Arc;

use legate_api::{Kind, Object, ObjectKey};

use super::{AuditMismatch, Compiler, compile};
use crate::endpoints::ServiceName;
use crate::options::Options;
use crate::resolve::Dependency;
use crate::resources::Resources;

/// Everything that a full compile needs, apart from the compiler, so that another thread can check
/// the incremental result (ir.md §6).
#[derive(Debug)]
pub struct Audit {
    resources: Resources,
    options: Options,
    incremental: legate_config::Hash128,
}

impl Audit {
    /// Compiles everything and compares. Takes as long as a cold compile.
    ///
    /// # Errors
    /// The two results differ.
    pub fn run(&self) -> Result<(), AuditMismatch> {
        let full = compile(&self.resources, &self.options).snapshot.root;
        if full == self.incremental {
            return Ok(());
        }
        Err(AuditMismatch {
            incremental: self.incremental,
            full,
        })
    }
}

impl Compiler {
    /// The Secrets that the last compile looked for, there or not, as (namespace, name).
    #[must_use]
    pub fn wanted_secrets(&self) -> BTreeSet<(String, String)> {
        let of_fragments = self
            .engine
            .fragments
            .values()
            .flat_map(|fragment| &fragment.dependencies)
            .chain(&self.engine.auth.dependencies)
            .chain(&self.engine.rate_limit.dependencies)
            .chain(&self.engine.limits.dependencies)
            .filter_map(|dependency| match dependency {
                Dependency::Object(key) => Some(key),
                _ => None,
            });
        self.engine
            .fronts
            .frontends
            .reads
            .iter()
            .chain(of_fragments)
            .filter(|key| key.kind == Kind::Secret)
            .map(|key| (key.namespace.clone(), key.name.clone()))
            .collect()
    }

    /// Whether the last compile looked for the endpoints of a Service. Endpoints of others need no
    /// compile of their own.
    #[must_use]
    pub fn wants_service(&self, namespace: &str, name: &str) -> bool {
        let wanted = Dependency::Service(ServiceName::new(namespace, name));
        self.engine
            .fragments
            .values()
            .any(|fragment| fragment.dependencies.contains(&wanted))
            || self.engine.auth.dependencies.contains(&wanted)
            || self.engine.rate_limit.dependencies.contains(&wanted)
            || self.engine.limits.dependencies.contains(&wanted)
    }

    /// The last good versions that are held, each because its current version is rejected. Secrets
    /// are left out.
    pub fn last_good(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Object>)> {
        self.resources.iter().filter_map(|(key, held)| {
            let last_good = held.last_good.as_ref()?;
            (key.kind.is_ambassador()).then_some((key, last_good))
        })
    }

    /// Makes the next compile do everything again, whatever is known.
    pub fn start_over(&mut self) {
        self.dirty = None;
    }

    /// The means to check the last compile elsewhere. Call it right after [`Compiler::compile`].
    #[must_use]
    pub fn audit_later(&self) -> Audit {
        Audit {
            resources: self.resources.clone(),
            options: self.options.clone(),
            incremental: self.engine.root(),
        }
    }

    /// Spoils what is remembered of one Mapping, so that tests can see an audit find it. Returns
    /// whether there was anything to spoil.
    #[doc(hidden)]
    pub fn spoil(&mut self, key: &ObjectKey) -> bool {
        let Some(mut fragment) = self.engine.fragments.remove(key) else {
            return false;
        };
        let old = fragment.group.take();
        self.engine.groups.moved(key, old, None);
        true
    }
}
