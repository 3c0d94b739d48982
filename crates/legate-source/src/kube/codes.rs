//! The diagnostics that an API server as a source raises by itself.

use legate_compiler::Code;

/// A kind's definition is gone or going; what was last known of the kind serves on.
pub const W_KIND_FROZEN: Code = Code::new("W-KIND-FROZEN");
/// The API server does not have optional kinds.
pub const I_KIND_ABSENT: Code = Code::new("I-KIND-ABSENT");
/// A list or watch has been forbidden for longer than a starting API server would.
pub const W_WATCH_FORBIDDEN: Code = Code::new("W-WATCH-FORBIDDEN");
/// A Secret that is referenced may not be read.
pub const W_SECRET_FORBIDDEN: Code = Code::new("W-SECRET-FORBIDDEN");
/// A Secret that is referenced cannot be read.
pub const W_SECRET_UNREADABLE: Code = Code::new("W-SECRET-UNREADABLE");

/// All codes of this module.
pub const ALL: &[Code] = &[
    W_KIND_FROZEN,
    I_KIND_ABSENT,
    W_WATCH_FORBIDDEN,
    W_SECRET_FORBIDDEN,
    W_SECRET_UNREADABLE,
];
