//! Standard output and standard error of the subcommands, and their exit codes.

use std::io::{self, IsTerminal, Write};

use crate::args::ColourChoice;

/// How a command ended (design §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: fine.
    Fine,
    /// 1: findings.
    Findings,
    /// 2: usage.
    Usage,
    /// 3: environment.
    Environment,
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Findings => 1,
            Self::Usage => 2,
            Self::Environment => 3,
        }
    }
}

/// Prints text on standard output. A reader that went away (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Prints text on standard error, with a line break.
pub fn say(text: &str) {
    let mut out = io::stderr().lock();
    let _ = writeln!(out, "{text}");
}

/// Whether to colour what goes to standard output.
#[must_use]
pub fn colours(choice: ColourChoice) -> bool {
    match choice {
        ColourChoice::Always => true,
        ColourChoice::Never => false,
        ColourChoice::Auto => {
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    }
}
