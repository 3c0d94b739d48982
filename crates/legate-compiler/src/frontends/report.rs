//! Small helpers to write diagnostics and origins.

use legate_api::{Object, ObjectKey};
use legate_config::snapshot::Origin;
use legate_config::{Code, Diagnostic, Effect};

use crate::select::object_ref;

/// A diagnostic about a field of an object.
pub(super) fn on(
    key: &ObjectKey,
    code: Code,
    path: impl Into<String>,
    message: impl Into<String>,
) -> Diagnostic {
    Diagnostic::new(code, object_ref(key), path, message)
}

/// A diagnostic about a field that is ignored, with or without loss.
pub(super) fn field_ignored(
    key: &ObjectKey,
    code: Code,
    path: impl Into<String>,
    message: impl Into<String>,
) -> Diagnostic {
    on(key, code, path, message).effect(Effect::FieldIgnored)
}

/// A diagnostic about an object that contributes nothing.
pub(super) fn dropped(
    key: &ObjectKey,
    code: Code,
    path: impl Into<String>,
    message: impl Into<String>,
) -> Diagnostic {
    on(key, code, path, message).effect(Effect::Dropped)
}

/// The origin of what an object becomes.
pub(super) fn origin(object: &Object) -> Origin {
    Origin {
        object: object_ref(&object.key()),
        generation: object.meta.generation,
    }
}
