//! What a compile says, by object.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use legate_api::{Kind, ObjectKey};
use legate_compiler::{Diagnostic, ObjectStatus};
use legate_config::ObjectRef;

use crate::status::index::kind_of;

/// Diagnostics by the object that they are about.
pub(super) struct Diagnostics<'a> {
    by_object: HashMap<(Kind, &'a str, &'a str), Vec<&'a Diagnostic>>,
}

impl<'a> Diagnostics<'a> {
    pub(super) fn new(all: &'a [Diagnostic]) -> Self {
        let mut by_object: HashMap<_, Vec<_>> = HashMap::new();
        for diagnostic in all {
            if let Some(object) = &diagnostic.object
                && let Some(kind) = kind_of(&object.kind)
            {
                let key = (kind, object.namespace.as_str(), object.name.as_str());
                by_object.entry(key).or_default().push(diagnostic);
            }
        }
        Self { by_object }
    }

    /// Those about an object, and the hash of all that is said of it.
    pub(super) fn about(
        &self,
        key: &ObjectKey,
        status: &ObjectStatus,
    ) -> (Vec<&'a Diagnostic>, u64) {
        let place = (key.kind, key.namespace.as_str(), key.name.as_str());
        let found = self.by_object.get(&place).cloned().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        std::mem::discriminant(&status.state).hash(&mut hasher);
        status.serving_last_good.hash(&mut hasher);
        for diagnostic in &found {
            feed(diagnostic, &mut hasher);
            for related in &diagnostic.related {
                for other in self.borrowed(&related.object) {
                    feed(other, &mut hasher);
                }
            }
        }
        (found, hasher.finish())
    }

    fn borrowed<'b>(&'b self, object: &'b ObjectRef) -> &'b [&'a Diagnostic] {
        kind_of(&object.kind)
            .and_then(|kind| {
                let key = (kind, object.namespace.as_str(), object.name.as_str());
                self.by_object.get(&key)
            })
            .map_or(&[], Vec::as_slice)
    }

    /// Copies of those about another object.
    pub(super) fn owned(&self, object: &ObjectRef) -> Vec<Diagnostic> {
        self.borrowed(object).iter().copied().cloned().collect()
    }
}

/// Hashes what a status can show of a diagnostic.
fn feed(diagnostic: &Diagnostic, hasher: &mut DefaultHasher) {
    diagnostic.code.hash(hasher);
    diagnostic.path.hash(hasher);
    diagnostic.message.hash(hasher);
    diagnostic.effect.hash(hasher);
}
