//! One document of a file: its text, the objects in it, and what is wrong with it.
//!
//! Not here: which of two objects with one name counts (`state`).

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use legate_api::{Decoded, Object, ObjectKey};
use legate_compiler::{Diagnostic, Location};
use serde_json::Value;

use super::codes;
use crate::locate::{Place, Side, locate, locate_parsed};
use crate::yaml::SyntaxError;
use crate::yaml::tree::Tree;

/// Lists in lists deeper than this are left alone.
const MAX_LIST_DEPTH: usize = 4;

/// Trees are large beside their text, so only some are kept.
const MAX_TREES: usize = 64;

/// The text of one document and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// The file's name as shown to the user.
    pub(super) file: Arc<str>,
    pub(super) text: Arc<str>,
    /// The file's line, 1-based, on which the text starts.
    pub(super) first_line: u32,
    /// Position among the file's documents.
    pub(super) ordinal: u32,
    pub(super) json: bool,
}

/// One object's place: a document, and the list items that lead to it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: ObjectKey,
    pub(super) document: Arc<Document>,
    pub(super) items: Vec<usize>,
    kind_line: OnceLock<Location>,
}

/// What a document turned out to hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) entries: Vec<Arc<Entry>>,
    pub(super) notes: Vec<Diagnostic>,
    /// Kinds that we do not use, as `apiVersion Kind`.
    pub(super) unknown: Vec<String>,
    /// A syntax error: nothing is known about the objects.
    pub(super) broken: bool,
}

/// A document just read: its content and the decoded objects, one per entry.
pub(super) struct Fresh {
    pub(super) content: Content,
    pub(super) objects: Vec<Object>,
}

impl Document {
    /// Reads and decodes the document.
    pub(super) fn read(self: &Arc<Self>, namespace: &str) -> Fresh {
        let value = self.value();
        self.decode(value, namespace)
    }

    /// Decodes what was parsed.
    pub(super) fn decode(
        self: &Arc<Self>,
        value: Result<Value, SyntaxError>,
        namespace: &str,
    ) -> Fresh {
        let mut fresh = Fresh {
            content: Content::default(),
            objects: Vec::new(),
        };
        match value {
            Ok(Value::Null) => {}
            Ok(value) => self.collect(value, Vec::new(), namespace, &mut fresh),
            Err(error) => {
                fresh.content.broken = true;
                fresh.content.notes.push(self.syntax_note(&error));
            }
        }
        fresh
    }

    /// Decodes one object again.
    pub(super) fn read_item(&self, items: &[usize], namespace: &str) -> Option<Object> {
        let mut value = self.value().ok()?;
        for index in items {
            value = list_items(&mut value)?.into_iter().nth(*index)?;
        }
        match legate_api::decode(value, namespace) {
            Decoded::Object(object) => Some(object),
            _ => None,
        }
    }

    fn value(&self) -> Result<Value, SyntaxError> {
        if self.json {
            crate::json::parse(&self.text)
        } else {
            crate::yaml::parse(&self.text)
        }
    }

    fn collect(
        self: &Arc<Self>,
        mut value: Value,
        items: Vec<usize>,
        namespace: &str,
        fresh: &mut Fresh,
    ) {
        if items.len() < MAX_LIST_DEPTH
            && let Some(list) = list_items(&mut value)
        {
            for (index, item) in list.into_iter().enumerate() {
                let mut items = items.clone();
                items.push(index);
                self.collect(item, items, namespace, fresh);
            }
            return;
        }
        match legate_api::decode(value, namespace) {
            Decoded::Object(object) => {
                fresh.content.entries.push(Arc::new(Entry {
                    key: object.key(),
                    document: Arc::clone(self),
                    items,
                    kind_line: OnceLock::new(),
                }));
                fresh.objects.push(object);
            }
            Decoded::UnknownKind { api_version, kind } => {
                fresh.content.unknown.push(format!("{api_version} {kind}"));
            }
            Decoded::NotAnObject { message } => {
                let mut note = Diagnostic::global(codes::W_NOT_AN_OBJECT, message).help(
                    "give it apiVersion, kind and metadata.name, or move it out of the folder",
                );
                note.location = Some(self.locate(&items, "", Side::Value));
                fresh.content.notes.push(note);
            }
        }
    }

    pub(super) fn locate(&self, items: &[usize], path: &str, side: Side) -> Location {
        self.location(locate(&self.text, items, path, side))
    }

    fn location(&self, place: Place) -> Location {
        Location {
            file: self.file.as_ref().to_owned(),
            line: place.line.saturating_add(self.first_line).saturating_sub(1),
            column: place.column,
            length: place.length,
        }
    }

    fn syntax_note(&self, error: &SyntaxError) -> Diagnostic {
        let mut note = Diagnostic::global(codes::E_YAML, error.message.clone()).help(
            "correct this document; the other documents are used, and until then its last good content stays",
        );
        note.location = Some(self.location(Place {
            line: error.line,
            column: error.column,
            length: 1,
        }));
        note
    }

    /// The same text at another place, with what was found in it.
    pub(super) fn moved(content: &Content, to: &Arc<Document>, from: u32) -> Content {
        let mut content = content.clone();
        for entry in &mut content.entries {
            *entry = Arc::new(Entry {
                key: entry.key.clone(),
                document: Arc::clone(to),
                items: entry.items.clone(),
                kind_line: OnceLock::new(),
            });
        }
        for note in &mut content.notes {
            if let Some(location) = &mut note.location {
                location.line = location
                    .line
                    .saturating_add(to.first_line)
                    .saturating_sub(from);
            }
        }
        content
    }

    /// Whether a line of the file is in this document.
    pub(super) fn holds_line(&self, line: u32) -> bool {
        let lines = u32::try_from(self.text.lines().count()).unwrap_or(u32::MAX);
        line >= self.first_line && line - self.first_line < lines.max(1)
    }
}

impl Entry {
    /// Where a field of the object was written.
    pub(super) fn locate(&self, path: &str, side: Side, trees: &mut Trees) -> Location {
        let find = |trees: &mut Trees| {
            let text = &self.document.text;
            let tree = trees.of(&self.document);
            self.document
                .location(locate_parsed(tree, text, &self.items, path, side))
        };
        if path.is_empty() {
            self.kind_line.get_or_init(|| find(trees)).clone()
        } else {
            find(trees)
        }
    }

    /// Whether two entries hold the same object, letter by letter.
    pub(super) fn same_text(&self, other: &Entry) -> bool {
        self.items == other.items
            && self.document.json == other.document.json
            && (Arc::ptr_eq(&self.document.text, &other.document.text)
                || self.document.text == other.document.text)
    }

    /// The order in which objects of one name count: by file, then by place in it.
    pub(super) fn order(&self, other: &Entry) -> Ordering {
        self.document
            .file
            .cmp(&other.document.file)
            .then(self.document.ordinal.cmp(&other.document.ordinal))
            .then_with(|| self.items.cmp(&other.items))
    }
}

/// Trees of documents, each built once: many diagnostics may be about one long list.
#[derive(Default)]
pub(super) struct Trees {
    built: HashMap<*const Document, (Arc<Document>, Option<Tree>)>,
}

impl Trees {
    fn of(&mut self, document: &Arc<Document>) -> Option<&Tree> {
        if self.built.len() >= MAX_TREES {
            self.built.clear();
        }
        let slot = self.built.entry(Arc::as_ptr(document));
        let (_, tree) = slot.or_insert_with(|| (Arc::clone(document), Tree::parse(&document.text)));
        tree.as_ref()
    }
}

/// Takes the items out of a `List` of any kind; items of a typed list may leave out what they are.
fn list_items(value: &mut Value) -> Option<Vec<Value>> {
    let object = value.as_object_mut()?;
    let item_kind = object
        .get("kind")?
        .as_str()?
        .strip_suffix("List")?
        .to_owned();
    let api_version = object.get("apiVersion").cloned();
    let Value::Array(mut items) = object.get_mut("items")?.take() else {
        return None;
    };
    if !item_kind.is_empty() {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            if let Some(version) = &api_version {
                item.entry("apiVersion").or_insert_with(|| version.clone());
            }
            item.entry("kind")
                .or_insert_with(|| Value::from(item_kind.as_str()));
        }
    }
    Some(items)
}
