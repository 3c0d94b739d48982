//! Diagnostics: what the compiler has to say about an object.
//!
//! Codes are stable and documented in `docs/diagnostics.md`; tools match on them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A stable diagnostic code such as `E-MAP-REGEX`. The first letter is the severity's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Code(Cow<'static, str>);

impl Code {
    /// A code from its text.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// The code's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The severity that the code's first letter stands for.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.0.as_bytes().first() {
            Some(b'E') => Severity::Error,
            Some(b'W') => Severity::Warning,
            _ => Severity::Info,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How bad it is. An error means: something the user wrote does not take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Does not take effect.
    Error,
    /// Takes effect, but probably not as meant.
    Warning,
    /// Worth knowing.
    Info,
}

/// Names an object: kind, namespace, name. Empty strings where there is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// The kind as written, e.g. `Mapping`.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Location {
    /// The file as it was named or found; `-` for standard input.
    pub file: String,
    /// 1-based line.
    pub line: u32,
    /// 1-based column, in characters.
    pub column: u32,
    /// Length of the marked text in characters, at least 1.
    pub length: u32,
}

/// What happens to the object because of this.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing: the object takes effect as a whole.
    None,
    /// The named field is ignored; the rest takes effect.
    FieldIgnored,
    /// The object contributes nothing.
    Dropped,
    /// A route that answers with this status stands in the object's place.
    Answering(u16),
    /// The last good version of the object keeps serving.
    ServingLastGood,
}

/// One reported problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// Stable code; its first letter gives the severity.
    pub code: Code,
    /// The object it is about; `None` for the whole configuration or a file.
    pub object: Option<ObjectRef>,
    /// The field, as `spec.add_request_headers.x-a.value` or `spec.hosts[2]`; empty for the whole object.
    pub path: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What follows for the object.
    pub effect: Effect,
    /// Other objects that take part, e.g. the first of two duplicates, with a word on each.
    pub related: Vec<Related>,
    /// Where it was written, filled in by the source for objects that came from files.
    pub location: Option<Location>,
}

/// Another object that takes part in a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Related {
    /// The other object.
    pub object: ObjectRef,
    /// Its part, e.g. `first defined here`.
    pub message: String,
    /// Where it was written.
    pub location: Option<Location>,
}

impl Diagnostic {
    /// A diagnostic about a field of an object.
    #[must_use]
    pub fn new(
        code: Code,
        object: ObjectRef,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            object: Some(object),
            path: path.into(),
            message: message.into(),
            help: None,
            effect: Effect::None,
            related: Vec::new(),
            location: None,
        }
    }

    /// A diagnostic about the configuration as a whole.
    #[must_use]
    pub fn global(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            object: None,
            path: String::new(),
            message: message.into(),
            help: None,
            effect: Effect::None,
            related: Vec::new(),
            location: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Says what follows for the object.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Adds another object that takes part.
    #[must_use]
    pub fn related(mut self, object: ObjectRef, message: impl Into<String>) -> Self {
        self.related.push(Related {
            object,
            message: message.into(),
            location: None,
        });
        self
    }

    /// The severity, from the code.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

/// `{code,severity,file,line,column,kind,namespace,name,path,message,help}`, the JSON contract of
/// `legate check --output json`.
impl Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Diagnostic", 12)?;
        out.serialize_field("code", &self.code)?;
        out.serialize_field("severity", &self.severity())?;
        if let Some(location) = &self.location {
            out.serialize_field("file", &location.file)?;
            out.serialize_field("line", &location.line)?;
            out.serialize_field("column", &location.column)?;
        }
        if let Some(object) = &self.object {
            out.serialize_field("kind", &object.kind)?;
            out.serialize_field("namespace", &object.namespace)?;
            out.serialize_field("name", &object.name)?;
        }
        if !self.path.is_empty() {
            out.serialize_field("path", &self.path)?;
        }
        out.serialize_field("message", &self.message)?;
        if let Some(help) = &self.help {
            out.serialize_field("help", help)?;
        }
        if self.effect != Effect::None {
            out.serialize_field("effect", &self.effect)?;
        }
        out.end()
    }
}
