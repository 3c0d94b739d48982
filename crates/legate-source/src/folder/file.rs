//! One file as last read.
//!
//! A document whose text has not changed keeps what was found in it, so that an edit costs the
//! edited document only. Not here: which of two objects with one name counts (`state`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use legate_api::Object;
use legate_compiler::Diagnostic;

use super::document::{Content, Document, Entry, Fresh};
use super::reader::{Read, Stamp};
use crate::{json, split};

/// A file's state.
#[derive(Debug, Default)]
pub(super) struct FileState {
    pub(super) stamp: Stamp,
    pub(super) documents: Vec<(Arc<Document>, Content)>,
    /// Objects whose document is broken now: their last good content.
    pub(super) kept: Vec<Arc<Entry>>,
    /// Why the file could not be read.
    pub(super) problem: Option<Diagnostic>,
    /// When the file was found missing; it may come back.
    pub(super) vanished: Option<Instant>,
}

/// A document that waits to be decoded, and its value where cutting the file already parsed it.
pub(super) struct Pending {
    pub(super) document: Arc<Document>,
    value: Option<Result<serde_json::Value, crate::yaml::SyntaxError>>,
}

/// Cuts a file's text into documents.
pub(super) fn cut(name: &Arc<str>, text: &str, is_json: bool) -> Vec<Pending> {
    let document = |ordinal: usize, piece: &split::Piece, json: bool| {
        Arc::new(Document {
            file: Arc::clone(name),
            text: Arc::from(text.get(piece.range.clone()).unwrap_or_default()),
            first_line: piece.first_line,
            ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
            json,
        })
    };
    if is_json {
        let values = json::split(text).into_iter().enumerate();
        values
            .map(|(ordinal, (piece, value))| Pending {
                document: document(ordinal, &piece, true),
                value: Some(value),
            })
            .collect()
    } else {
        let pieces = split::split(text).into_iter().enumerate();
        pieces
            .map(|(ordinal, piece)| Pending {
                document: document(ordinal, &piece, false),
                value: None,
            })
            .collect()
    }
}

impl Pending {
    /// Decodes the document.
    pub(super) fn decode(self, namespace: &str) -> (Arc<Document>, Fresh) {
        let fresh = match self.value {
            Some(value) => self.document.decode(value, namespace),
            None => self.document.read(namespace),
        };
        (self.document, fresh)
    }
}

impl FileState {
    /// All entries with a claim to be served. The second half says: only while nobody else has
    /// one, because it is what was there before.
    pub(super) fn claims(&self) -> impl Iterator<Item = (&Arc<Entry>, bool)> {
        let live = self
            .documents
            .iter()
            .flat_map(|(_, content)| &content.entries);
        let vanished = self.vanished.is_some();
        live.map(move |entry| (entry, vanished))
            .chain(self.kept.iter().map(|entry| (entry, true)))
    }

    /// Takes what was read now and returns the objects that were decoded anew.
    pub(super) fn replace(
        &mut self,
        name: &Arc<str>,
        read: Read,
        namespace: &str,
    ) -> Vec<(Arc<Entry>, Object)> {
        self.stamp = read.stamp;
        self.vanished = None;
        let text = match read.text {
            Ok(text) => text,
            Err(problem) => {
                // Nothing is known about the content now, so all of it stays.
                let live = std::mem::take(&mut self.documents);
                self.kept
                    .extend(live.into_iter().flat_map(|(_, content)| content.entries));
                self.problem = Some(problem);
                return Vec::new();
            }
        };
        self.problem = None;
        let before = std::mem::take(&mut self.documents);
        let by_text: HashMap<&str, &(Arc<Document>, Content)> = before
            .iter()
            .map(|known| (known.0.text.as_ref(), known))
            .collect();
        let mut fresh_objects = Vec::new();
        for pending in cut(name, &text, read.json) {
            if let Some((document, content)) = by_text.get(pending.document.text.as_ref())
                && document.json == pending.document.json
            {
                let known = place_again(document, content, &pending.document);
                self.documents.push(known);
                continue;
            }
            let (document, fresh) = pending.decode(namespace);
            let entries = fresh.content.entries.iter().cloned();
            fresh_objects.extend(entries.zip(fresh.objects));
            self.documents.push((document, fresh.content));
        }
        self.keep_last_good(&before);
        fresh_objects
    }

    /// While a document is broken, objects that vanished from the file stay: one of them is
    /// probably what the broken document was.
    fn keep_last_good(&mut self, before: &[(Arc<Document>, Content)]) {
        let kept = std::mem::take(&mut self.kept);
        if !self.documents.iter().any(|(_, content)| content.broken) {
            return;
        }
        let live = self
            .documents
            .iter()
            .flat_map(|(_, content)| &content.entries);
        let live: BTreeSet<_> = live.map(|entry| entry.key.clone()).collect();
        let earlier = before.iter().flat_map(|(_, content)| &content.entries);
        self.kept = kept
            .iter()
            .chain(earlier)
            .filter(|entry| !live.contains(&entry.key))
            .cloned()
            .collect();
    }
}

/// A known document that now stands where `place` does.
fn place_again(
    document: &Arc<Document>,
    content: &Content,
    place: &Document,
) -> (Arc<Document>, Content) {
    if (document.first_line, document.ordinal) == (place.first_line, place.ordinal) {
        return (Arc::clone(document), content.clone());
    }
    let to = Arc::new(Document {
        text: Arc::clone(&document.text),
        ..place.clone()
    });
    let content = Document::moved(content, &to, document.first_line);
    (to, content)
}
