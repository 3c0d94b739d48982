//! `legate compile`: print what manifests compile to.

use std::collections::BTreeMap;

use legate_compiler::{Compilation, Diagnostic, MissingRefs, Severity};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{CompileArgs, DataFormat};
use crate::input;
use crate::output::{Exit, print, say};

/// Runs the command.
#[must_use]
pub fn run(args: &CompileArgs) -> Exit {
    let compiled = match input::compile(&args.paths, &args.compile, MissingRefs::Info) {
        Ok(compiled) => compiled,
        Err(message) => {
            say(&format!("error: --label-selector: {message}"));
            return Exit::Usage;
        }
    };
    match args.output {
        DataFormat::Json => {
            let document = Document {
                config: &compiled.compilation.snapshot,
                diagnostics: &compiled.diagnostics,
                status: status(&compiled.compilation),
            };
            let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
            text.push('\n');
            print(&text);
        }
        DataFormat::Yaml => {
            print(&yaml(&document(
                &compiled.compilation,
                &compiled.diagnostics,
            )));
        }
    }
    let errors = compiled
        .diagnostics
        .iter()
        .any(|item| item.severity() == Severity::Error);
    if errors { Exit::Findings } else { Exit::Fine }
}

#[derive(Serialize)]
struct Document<'a> {
    config: &'a legate_compiler::Snapshot,
    diagnostics: &'a [Diagnostic],
    status: BTreeMap<String, Value>,
}

/// `{config, diagnostics, status}`; golden tests compare exactly this.
#[must_use]
pub fn document(compilation: &Compilation, diagnostics: &[Diagnostic]) -> Value {
    json!({
        "config": &*compilation.snapshot,
        "diagnostics": diagnostics,
        "status": status(compilation),
    })
}

fn status(compilation: &Compilation) -> BTreeMap<String, Value> {
    compilation
        .status
        .iter()
        .map(|(key, status)| (key.to_string(), json!(status)))
        .collect()
}

/// A value as YAML, in the order it has.
#[must_use]
pub fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}
