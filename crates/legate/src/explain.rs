//! `legate explain`: which route wins for a request, what would be done, and why each rival lost.
//!
//! It asks the tables that the gateway serves from, with the gateway's own path normalisation.

mod question;
mod text;

use legate_compiler::MissingRefs;
use legate_router::{Router, explain};

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
    let explanation = explain(&router, &asked.question());
    match args.output {
        ExplainFormat::Json => {
            let mut text = serde_json::to_string_pretty(&explanation).unwrap_or_default();
            text.push('\n');
            print(&text);
        }
        ExplainFormat::Text => print(&text::render(&asked, &explanation, snapshot)),
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
