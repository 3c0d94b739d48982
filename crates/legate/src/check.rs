//! `legate check`: compile only, and say what is wrong.

use legate_compiler::{Diagnostic, MissingRefs, Severity, codes};

use crate::args::{CheckArgs, ReportFormat};
use crate::output::{Exit, colours, print, say};
use crate::{input, render, sarif};

/// Runs the command.
#[must_use]
pub fn run(args: &CheckArgs) -> Exit {
    let compiled = match input::compile(&args.paths, &args.compile, MissingRefs::Info) {
        Ok(compiled) => compiled,
        Err(message) => {
            say(&format!("error: --label-selector: {message}"));
            return Exit::Usage;
        }
    };
    let items = &compiled.diagnostics;
    match args.output {
        ReportFormat::Text => {
            let colour = colours(args.color);
            let lines = |file: &str, line| compiled.source.source_line(file, line);
            let mut text = String::new();
            for item in items {
                text.push_str(&render::diagnostic(item, &lines, colour));
                text.push_str("\n\n");
            }
            print(&text);
            say(&render::summary(items));
        }
        ReportFormat::Json => print(&pretty(items)),
        ReportFormat::Sarif => print(&pretty(&sarif::report(items))),
    }
    if items.iter().any(|item| fails(item, args.strict)) {
        Exit::Findings
    } else {
        Exit::Fine
    }
}

fn fails(item: &Diagnostic, strict: bool) -> bool {
    match item.severity() {
        Severity::Error => true,
        Severity::Warning => strict,
        // Repositories usually hold neither Secrets nor Services; whoever asks for strictness has
        // put them in.
        Severity::Info => strict && item.code == codes::I_NOT_IN_FOLDER,
    }
}

fn pretty<T: serde::Serialize + ?Sized>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
