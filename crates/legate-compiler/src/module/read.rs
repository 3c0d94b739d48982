//! Typed reading of free-form settings. A value of the wrong shape costs its own key only.

use legate_api::ObjectKey;
use legate_config::{Code, Diagnostic, Effect};
use serde_json::{Map, Value};

use crate::codes;
use crate::select::object_ref;

/// Says things about a Module.
pub(super) struct Report<'a> {
    pub(super) key: &'a ObjectKey,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Report<'_> {
    /// A value of the wrong shape; its default applies.
    pub(super) fn bad(&mut self, path: &str, message: impl Into<String>) {
        self.ignored_with(codes::E_MODULE_VALUE, path, message);
    }

    /// A setting that is not honoured yet.
    pub(super) fn unsupported(&mut self, path: &str) {
        self.ignored_with(
            codes::W_UNSUPPORTED,
            path,
            "this setting is not supported yet",
        );
    }

    /// A setting that does nothing.
    pub(super) fn ignored(&mut self, path: &str, help: &str) {
        let diagnostic = self
            .diagnostic(codes::W_IGNORED, path, "this setting has no effect")
            .effect(Effect::FieldIgnored);
        self.diagnostics.push(if help.is_empty() {
            diagnostic
        } else {
            diagnostic.help(help)
        });
    }

    /// A setting without effect, for the given reason.
    pub(super) fn ignored_with(&mut self, code: Code, path: &str, message: impl Into<String>) {
        let diagnostic = self
            .diagnostic(code, path, message)
            .effect(Effect::FieldIgnored);
        self.diagnostics.push(diagnostic);
    }

    /// Something worth saying about a setting that takes effect.
    pub(super) fn note(&mut self, code: Code, path: &str, message: impl Into<String>) {
        let diagnostic = self.diagnostic(code, path, message);
        self.diagnostics.push(diagnostic);
    }

    /// A key that nobody knows, with the nearest of those that somebody does.
    pub(super) fn unknown<'k>(
        &mut self,
        path: &str,
        name: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let diagnostic = self
            .diagnostic(codes::W_MODULE_KEY, path, format!("`{name}` is no setting"))
            .effect(Effect::FieldIgnored);
        self.diagnostics.push(match nearest(name, known) {
            Some(nearest) => diagnostic.help(format!("did you mean `{nearest}`?")),
            None => diagnostic,
        });
    }

    fn diagnostic(&self, code: Code, path: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, object_ref(self.key), path, message)
    }
}

/// An object of settings, and where it is.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) path: &'a str,
}

impl<'a> Section<'a> {
    /// The path of a key.
    pub(super) fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// A value, unless it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A boolean.
    pub(super) fn boolean(&self, name: &str, report: &mut Report<'_>) -> Option<bool> {
        let value = self.get(name)?;
        let found = value.as_bool();
        self.expect(found, name, "true or false", report)
    }

    /// A boolean, or one of the texts that stand for `true`; every other text is `false`.
    pub(super) fn truthy(&self, name: &str, report: &mut Report<'_>) -> Option<bool> {
        let value = self.get(name)?;
        let found = match value {
            Value::Bool(value) => Some(*value),
            Value::String(text) => Some(matches!(
                text.to_ascii_lowercase().as_str(),
                "true" | "t" | "yes" | "y" | "on" | "1"
            )),
            Value::Number(number) => Some(number.as_i64() == Some(1)),
            _ => None,
        };
        self.expect(found, name, "true or false", report)
    }

    /// An integer within a range.
    pub(super) fn integer(
        &self,
        name: &str,
        min: u64,
        max: u64,
        report: &mut Report<'_>,
    ) -> Option<u64> {
        let value = self.get(name)?;
        let found = value.as_u64().filter(|value| (min..=max).contains(value));
        let expected = if max == u64::MAX {
            format!("a whole number, at least {min}")
        } else {
            format!("a whole number from {min} to {max}")
        };
        self.expect(found, name, &expected, report)
    }

    /// A text that is not empty.
    pub(super) fn text(&self, name: &str, report: &mut Report<'_>) -> Option<&'a str> {
        let value = self.get(name)?;
        let found = value.as_str().filter(|text| !text.is_empty());
        self.expect(found, name, "a text", report)
    }

    /// An object.
    pub(super) fn object(
        &self,
        name: &str,
        report: &mut Report<'_>,
    ) -> Option<&'a Map<String, Value>> {
        let value = self.get(name)?;
        self.expect(value.as_object(), name, "an object", report)
    }

    fn expect<T>(
        &self,
        found: Option<T>,
        name: &str,
        expected: &str,
        report: &mut Report<'_>,
    ) -> Option<T> {
        if found.is_none() {
            report.bad(
                &self.path_of(name),
                format!("it must be {expected}; the default applies"),
            );
        }
        found
    }
}

/// The known name that is most like this one, if any is like it at all.
fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (name.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut next = vec![left];
        for ((to, above), diagonal) in b.iter().zip(row.iter().skip(1)).zip(&row) {
            let replaced = diagonal + usize::from(from != *to);
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
