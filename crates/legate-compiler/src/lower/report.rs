//! Collects what there is to say about one Mapping.

use legate_api::Issue;
use legate_config::{Code, Diagnostic, Effect, ObjectRef, Severity};

/// Fields that decide what a Mapping matches: without them nothing can stand in its place.
const MATCH_FIELDS: [&str; 15] = [
    "spec.ambassador_id",
    "spec.prefix",
    "spec.prefix_exact",
    "spec.prefix_regex",
    "spec.case_sensitive",
    "spec.hostname",
    "spec.host",
    "spec.host_regex",
    "spec.method",
    "spec.method_regex",
    "spec.headers",
    "spec.regex_headers",
    "spec.query_parameters",
    "spec.regex_query_parameters",
    "spec.precedence",
];

/// What there is to say about one Mapping, and what follows.
#[derive(Debug)]
pub(crate) struct Report {
    object: ObjectRef,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The first fault that rejects the Mapping.
    pub(crate) fault: Option<Code>,
    /// Whether what it matches is unknown.
    pub(crate) match_broken: bool,
    /// Whether its weight is unreadable.
    pub(crate) weight_broken: bool,
}

impl Report {
    pub(crate) fn new(object: ObjectRef) -> Self {
        Self {
            object,
            diagnostics: Vec::new(),
            fault: None,
            match_broken: false,
            weight_broken: false,
        }
    }

    /// Takes over what decoding found.
    pub(crate) fn issue(&mut self, issue: &Issue) {
        let code = Code::new(issue.code);
        let error = code.severity() == Severity::Error;
        let effect = if error { Effect::Dropped } else { Effect::None };
        if error {
            self.match_broken |= MATCH_FIELDS
                .iter()
                .any(|field| is_within(&issue.path, field) || is_within(field, &issue.path));
            self.weight_broken |= is_within(&issue.path, "spec.weight");
            self.fault.get_or_insert_with(|| code.clone());
        }
        let mut diagnostic = self.new_diagnostic(code, &issue.path, issue.message.clone());
        diagnostic.help.clone_from(&issue.help);
        self.diagnostics.push(diagnostic.effect(effect));
    }

    /// Whether decoding already said something about a field.
    pub(crate) fn has_issue(&self, path: &str) -> bool {
        self.diagnostics.iter().any(|d| is_within(&d.path, path))
    }

    /// A fault that rejects the Mapping.
    pub(crate) fn fatal(&mut self, code: Code, path: &str, message: impl Into<String>) {
        self.fault.get_or_insert_with(|| code.clone());
        let diagnostic = self.new_diagnostic(code, path, message);
        self.diagnostics.push(diagnostic.effect(Effect::Dropped));
    }

    /// A fault that rejects the Mapping, with what to do.
    pub(crate) fn fatal_with_help(
        &mut self,
        code: Code,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.fatal(code, path, message);
        if let Some(last) = self.diagnostics.last_mut() {
            last.help = Some(help.into());
        }
    }

    /// A fault in what the Mapping matches: nothing can stand in its place.
    pub(crate) fn unmatched(&mut self, code: Code, path: &str, message: impl Into<String>) {
        self.match_broken = true;
        self.fatal(code, path, message);
    }

    /// The field is ignored, the rest takes effect.
    pub(crate) fn ignored(&mut self, code: Code, path: &str, message: impl Into<String>) {
        let diagnostic = self.new_diagnostic(code, path, message);
        self.diagnostics
            .push(diagnostic.effect(Effect::FieldIgnored));
    }

    /// Everything takes effect, but something is worth knowing.
    pub(crate) fn notice(&mut self, code: Code, path: &str, message: impl Into<String>) {
        let diagnostic = self.new_diagnostic(code, path, message);
        self.diagnostics.push(diagnostic);
    }

    fn new_diagnostic(&self, code: Code, path: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, self.object.clone(), path, message)
    }
}

/// Whether `path` is `field` or lies below it.
fn is_within(path: &str, field: &str) -> bool {
    path.strip_prefix(field)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
