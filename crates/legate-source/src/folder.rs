//! Files and folders as a source of objects.
//!
//! [`FolderSource`] reads once, then [`FolderSource::watch`] reports what changes on disk. It
//! remembers for each object the file, the text and the lines it was written in, so that a
//! diagnostic can point at a field. What an object means is the compiler's business: here only
//! files, syntax, duplicates and unknown kinds are reported.

mod codes;
mod document;
mod file;
mod load;
mod reader;
mod report;
mod state;
mod walk;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use legate_api::ObjectKey;
use legate_compiler::{Diagnostic, Location};

use crate::locate::Side;
use crate::update::Update;
use document::Trees;
use state::State;

pub use codes::{I_POLLING, I_UNKNOWN_KIND};
pub use watch::Watch;

/// How a folder is read.
#[derive(Debug, Clone)]
pub struct FolderOptions {
    /// The namespace of objects that name none.
    pub namespace: String,
    /// How long a vanished object is kept; editors unlink a file and create it again.
    pub removal_delay: Duration,
    /// How long a file that is open for writing may be silent before it is read all the same.
    pub writer_silence: Duration,
    /// How often the folder is looked at where the system cannot notify.
    pub poll_interval: Duration,
    /// Never ask the system to notify; look every `poll_interval`.
    pub always_poll: bool,
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            removal_delay: Duration::from_millis(250),
            writer_silence: Duration::from_millis(50),
            poll_interval: Duration::from_secs(1),
            always_poll: false,
        }
    }
}

/// The text around a [`Location`].
#[derive(Debug, Clone)]
pub struct SourceText {
    /// The text of the document that holds the location's line.
    pub text: Arc<str>,
    /// The file's line, 1-based, on which the text starts.
    pub first_line: u32,
}

/// Objects read from files and folders. Clones share one state.
#[derive(Debug, Clone)]
pub struct FolderSource {
    state: Arc<Mutex<State>>,
}

impl FolderSource {
    /// Reads files, folders (recursively) and `-` for standard input. Never fails: what cannot be
    /// read is a diagnostic of the update.
    #[must_use]
    pub fn load(paths: &[PathBuf], options: FolderOptions) -> (FolderSource, Update) {
        let mut state = State::new(paths, options);
        let update = state.load();
        let state = Arc::new(Mutex::new(state));
        (FolderSource { state }, update)
    }

    /// Starts to report changes, from what `load` saw on.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::start(Arc::clone(&self.state))
    }

    /// Where a field of an object was written; for an absent field or an empty path, the object's
    /// `kind` line. `None` if the object is not from here.
    #[must_use]
    pub fn locate(&self, key: &ObjectKey, path: &str, side: Side) -> Option<Location> {
        let entry = self.lock().entry(key)?;
        Some(entry.locate(path, side, &mut Trees::default()))
    }

    /// Adds locations to diagnostics about objects from here.
    pub fn annotate(&self, diagnostics: &mut [Diagnostic]) {
        let state = self.lock();
        let mut finder = state.finder();
        for diagnostic in diagnostics {
            if diagnostic.location.is_none()
                && let Some(object) = &diagnostic.object
            {
                let side = if diagnostic.code == codes::W_UNKNOWN_FIELD {
                    Side::Key
                } else {
                    Side::Value
                };
                diagnostic.location = finder.locate(object, &diagnostic.path, side);
            }
            for related in &mut diagnostic.related {
                if related.location.is_none() {
                    related.location = finder.locate(&related.object, "", Side::Value);
                }
            }
        }
    }

    /// As [`FolderSource::annotate`], and sorts them in the order in which a reader meets them.
    pub fn annotate_sorted(&self, diagnostics: &mut [Diagnostic]) {
        self.annotate(diagnostics);
        diagnostics.sort_by(|a, b| {
            let place = |item: &Diagnostic| {
                item.location
                    .as_ref()
                    .map(|at| (at.file.clone(), at.line, at.column))
            };
            place(a).cmp(&place(b)).then_with(|| a.cmp(b))
        });
    }

    /// The document that a location lies in, to show it in its surroundings.
    #[must_use]
    pub fn text_at(&self, location: &Location) -> Option<SourceText> {
        self.lock().text_at(location)
    }

    /// One line of a file as it was last read, without its line break.
    #[must_use]
    pub fn source_line(&self, file: &str, line: u32) -> Option<String> {
        let place = Location {
            file: file.to_owned(),
            line,
            column: 1,
            length: 1,
        };
        let source = self.text_at(&place)?;
        let index = usize::try_from(line.checked_sub(source.first_line)?).ok()?;
        source.text.lines().nth(index).map(str::to_owned)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
