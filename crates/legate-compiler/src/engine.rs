//! The driver: keeps the results of the passes and redoes what a change reaches (ir.md §6).
//!
//! A compile is a pure function of resources and options. That the incremental result equals the
//! full one is checked by a property test, and at run time by [`Compiler::audit`].

mod fragment;
mod frontends;
mod groups;
mod outcome;
mod passes;
mod probes;
mod snapshot;
mod unreachable;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use legate_api::{Kind, Object, ObjectKey};
use legate_config::snapshot::Snapshot;
use legate_config::{Diagnostic, Hash128};

use crate::options::Options;
use crate::resources::Resources;
use crate::status::ObjectStatus;
use passes::Engine;

pub use wanted::Audit;

/// What a compile yields.
#[derive(Debug, Clone)]
pub struct Compilation {
    /// The config. The same `Arc` as before when nothing changed.
    pub snapshot: Arc<Snapshot>,
    /// What there is to say, sorted.
    pub diagnostics: Vec<Diagnostic>,
    /// What became of each object of ours.
    pub status: BTreeMap<ObjectKey, ObjectStatus>,
}

/// Compiles everything at once.
#[must_use]
pub fn compile(resources: &Resources, options: &Options) -> Compilation {
    Engine::default().run(resources, options, None)
}

/// Compiles again and again, doing only what changes demand.
#[derive(Debug, Default)]
pub struct Compiler {
    options: Options,
    resources: Resources,
    /// Objects that changed since the last compile; `None` = everything.
    dirty: Option<BTreeSet<ObjectKey>>,
    engine: Engine,
}

/// The incremental result differs from the full one: a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditMismatch {
    /// Root of the last incremental compile.
    pub incremental: Hash128,
    /// Root of the full compile.
    pub full: Hash128,
}

impl fmt::Display for AuditMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the incremental compile has root {}, a full one {}",
            self.incremental, self.full
        )
    }
}

impl std::error::Error for AuditMismatch {}

impl Compiler {
    /// A compiler without objects.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// The objects held.
    #[must_use]
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The options in force.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Changes the options; the next compile redoes everything if they differ.
    pub fn set_options(&mut self, options: Options) {
        if self.options != options {
            self.options = options;
            self.dirty = None;
        }
    }

    /// Takes in a new version of an object. When the version that it replaces was accepted by a
    /// compile, that one becomes the last good version; not when it was another object of the same
    /// name, deleted meanwhile.
    pub fn upsert(&mut self, object: Object) {
        let key = object.key();
        let held = self.resources.get(&key);
        if held.is_some_and(|held| *held.current == object) {
            return;
        }
        let uid = held.and_then(|held| held.current.meta.uid.as_deref());
        if uid.is_some() && uid != object.meta.uid.as_deref() {
            self.resources.insert(object);
        } else {
            let accepted = held.is_some() && self.accepted(&key);
            self.resources.replace(object, accepted);
        }
        self.touch(key);
    }

    /// Sets the last good version of an object that is there, e.g. one that survived a restart.
    pub fn set_last_good(&mut self, object: Object) {
        let key = object.key();
        self.resources.set_last_good(&key, object);
        self.touch(key);
    }

    /// Removes an object.
    pub fn remove(&mut self, key: &ObjectKey) {
        if self.resources.remove(key).is_some() {
            self.touch(key.clone());
        }
    }

    /// Compiles what changed.
    pub fn compile(&mut self) -> Compilation {
        let dirty = self.dirty.replace(BTreeSet::new());
        let compilation = self
            .engine
            .run(&self.resources, &self.options, dirty.as_ref());
        self.forget_last_good();
        compilation
    }

    /// Compiles everything again and compares. Call it right after [`Compiler::compile`].
    ///
    /// # Errors
    /// The two results differ.
    pub fn audit(&self) -> Result<(), AuditMismatch> {
        let full = compile(&self.resources, &self.options).snapshot.root;
        let incremental = self.engine.root();
        if full == incremental {
            Ok(())
        } else {
            Err(AuditMismatch { incremental, full })
        }
    }

    fn touch(&mut self, key: ObjectKey) {
        if let Some(dirty) = &mut self.dirty {
            dirty.insert(key);
        }
    }

    /// Whether the current version of an object was accepted by the last compile.
    fn accepted(&self, key: &ObjectKey) -> bool {
        let compiled = self
            .dirty
            .as_ref()
            .is_some_and(|dirty| !dirty.contains(key));
        compiled
            && self.resources.get(key).is_some_and(|held| {
                self.engine
                    .accepted(key, held, &self.resources, &self.options)
            })
    }

    /// Once a version is accepted, older ones are of no use: were it to fail later for what it
    /// refers to, going back to them would undo the user's change.
    fn forget_last_good(&mut self) {
        let done: Vec<ObjectKey> = self
            .resources
            .iter()
            .filter(|(key, held)| held.last_good.is_some() && self.accepted(key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in done {
            self.resources.drop_last_good(&key);
        }
    }
}

/// The kinds whose objects [`crate::frontends`] reads, besides Secrets.
fn concerns_frontends(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Host | Kind::Listener | Kind::TlsContext | Kind::Module
    )
}

/// The kinds that name who finds endpoints.
fn is_resolver(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::KubernetesServiceResolver | Kind::KubernetesEndpointResolver | Kind::ConsulResolver
    )
}
