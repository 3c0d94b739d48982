//! The diagnostics that a folder raises by itself.

use legate_compiler::{Code, Diagnostic, Location};

pub(super) use legate_compiler::codes::{
    E_DUPLICATE, E_FILE, E_YAML, W_NOT_AN_OBJECT, W_UNKNOWN_FIELD,
};

/// Objects of kinds that Legate does not use were skipped.
pub const I_UNKNOWN_KIND: Code = Code::new("I-UNKNOWN-KIND");
/// The system cannot notify of changes; the folder is looked at regularly instead.
pub const I_POLLING: Code = Code::new("I-POLLING");

/// A file that cannot be used, seen as a whole.
pub(super) fn file(file: &str, message: String, help: &str) -> Diagnostic {
    let mut diagnostic = Diagnostic::global(E_FILE, message).help(help);
    diagnostic.location = Some(Location {
        file: file.to_owned(),
        line: 1,
        column: 1,
        length: 1,
    });
    diagnostic
}
