//! `legate explain`: which route wins for a request, what would be done, and why each rival lost.
//!
//! It asks the tables that the gateway serves from, with the gateway's own path normalisation.

mod limits;
mod question;
mod text;

use legate_compiler::{Diagnostic, MissingRefs, codes};
use legate_router::{Explanation, Found, Router, explain};

use crate::args::{ExplainArgs, ExplainFormat};
use crate::output::{Exit, print, say};
use crate::{input, render};
use question::Asked;

/// Runs the command.
#[must_use]
pub fn run(args: &ExplainArgs) -> Exit {
    let compiled = match input::compile(&args.paths, &args.compile, MissingRefs::Info) {
        Ok(compiled) => compiled,
        Err(message) => {
            say(&format!("error: --label-selector: {message}"));
            return Exit::Usage;
        }
    };
    let snapshot = &compiled.compilation.snapshot;
    let asked = match Asked::parse(args, snapshot) {
        Ok(asked) => asked,
        Err(message) => {
            say(&format!("error: {message}"));
            return Exit::Usage;
        }
    };
    let router: Router<()> = Router::build(snapshot, None, &mut |_, _| ());
    let mut explanation = explain(&router, &asked.question());
    let absent = absent_secret(&explanation, &compiled.diagnostics);
    if absent.is_some() {
        // Repositories hold no Secrets; what one wants to know is where the request goes once
        // there is a certificate. The cleartext chain holds the same virtual hosts.
        explanation = explain(&router, &asked.once_decrypted());
    }
    match args.output {
        ExplainFormat::Json => {
            let mut text = serde_json::to_string_pretty(&explanation).unwrap_or_default();
            text.push('\n');
            print(&text);
        }
        ExplainFormat::Text => print(&text::render(&asked, &explanation, snapshot)),
    }
    if let Some(message) = absent {
        say(&format!("note: {message}; explained as if it were there"));
    }
    let errors = compiled
        .diagnostics
        .iter()
        .filter(|item| item.severity() == legate_compiler::Severity::Error)
        .count();
    if errors > 0 {
        say(&format!(
            "note: {} (legate check shows them)",
            render::summary(&compiled.diagnostics)
        ));
    }
    Exit::Fine
}

/// Why a handshake is refused, if only a Secret is missing that the folder need not hold.
fn absent_secret(explanation: &Explanation, diagnostics: &[Diagnostic]) -> Option<String> {
    let Found::Refused { why } = &explanation.found else {
        return None;
    };
    diagnostics
        .iter()
        .find(|item| item.code == codes::I_NOT_IN_FOLDER && item.message == *why)
        .map(|item| item.message.clone())
}
