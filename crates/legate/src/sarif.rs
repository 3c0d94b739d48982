//! Diagnostics as SARIF 2.1.0, for code-review tools.

use std::collections::BTreeSet;

use legate_config::{Diagnostic, Severity};
use serde_json::{Value, json};

/// The whole report.
#[must_use]
pub fn report(items: &[Diagnostic]) -> Value {
    let rules: BTreeSet<&str> = items.iter().map(|item| item.code.as_str()).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "legate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|id| json!({"id": id})).collect::<Vec<_>>(),
            }},
            "results": items.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn result(item: &Diagnostic) -> Value {
    let level = match item.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    };
    let text = match &item.help {
        Some(help) => format!("{}\n{help}", item.message),
        None => item.message.clone(),
    };
    let mut result = json!({
        "ruleId": item.code.as_str(),
        "level": level,
        "message": {"text": text},
    });
    if let Some(location) = &item.location {
        result["locations"] = json!([{"physicalLocation": {
            "artifactLocation": {"uri": location.file},
            "region": {
                "startLine": location.line,
                "startColumn": location.column,
                "endColumn": location.column.saturating_add(location.length),
            },
        }}]);
    }
    if let Some(object) = &item.object {
        result["properties"] = json!({
            "kind": object.kind,
            "namespace": object.namespace,
            "name": object.name,
            "path": item.path,
        });
    }
    result
}
