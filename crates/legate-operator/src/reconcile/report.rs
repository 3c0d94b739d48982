//! The process log's view of diagnostics: each is said once, when it appears.

use std::collections::{BTreeMap, BTreeSet};

use legate_compiler::{Diagnostic, Severity};

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct Report {
    said: BTreeSet<String>,
}

impl Report {
    /// Logs what is new, and counts what was mended.
    pub(super) fn say(&mut self, diagnostics: &[Diagnostic]) {
        let mut now = BTreeMap::new();
        for item in diagnostics {
            now.insert(line(item), item.severity());
        }
        for (text, severity) in &now {
            if self.said.contains(text) {
                continue;
            }
            match severity {
                Severity::Error | Severity::Warning => tracing::warn!("{text}"),
                Severity::Info => tracing::info!("{text}"),
            }
        }
        let mended = self
            .said
            .iter()
            .filter(|text| !now.contains_key(*text))
            .count();
        if mended > 0 {
            tracing::info!(mended, "Problems are gone");
        }
        self.said = now.into_keys().collect();
    }
}

fn line(item: &Diagnostic) -> String {
    let mut text = format!("[{}] {}", item.code, item.message);
    if let Some(object) = &item.object {
        text = format!("{text} ({object}");
        if !item.path.is_empty() {
            text = format!("{text}, {}", item.path);
        }
        text.push(')');
    }
    if let Some(at) = &item.location {
        text = format!("{text} at {}:{}", at.file, at.line);
    }
    text
}
