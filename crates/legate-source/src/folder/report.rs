//! What a folder has to say by itself, and the way from an object's name to its text.

use std::collections::BTreeMap;

use legate_api::{Kind, ObjectKey};
use legate_compiler::{Diagnostic, Effect, Location, ObjectRef};

use super::codes;
use super::document::{Entry, Trees};
use super::state::State;
use crate::locate::Side;

/// Finds the text of objects that diagnostics name.
pub(super) struct Finder<'s> {
    state: &'s State,
    trees: Trees,
}

impl<'s> Finder<'s> {
    pub(super) fn new(state: &'s State) -> Self {
        Self {
            state,
            trees: Trees::default(),
        }
    }

    pub(super) fn locate(
        &mut self,
        object: &ObjectRef,
        path: &str,
        side: Side,
    ) -> Option<Location> {
        let key = ObjectKey {
            kind: Kind::ALL
                .iter()
                .copied()
                .find(|kind| kind.as_str() == object.kind)?,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        let entry = self.state.entry(&key)?;
        Some(entry.locate(path, side, &mut self.trees))
    }
}

/// Everything to report now.
pub(super) fn report(state: &State) -> Vec<Diagnostic> {
    let mut out = state.problems().to_vec();
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    for file in state.present_files() {
        out.extend(file.problem.clone());
        for (_, content) in &file.documents {
            out.extend(content.notes.iter().cloned());
            for kind in &content.unknown {
                *unknown.entry(kind).or_default() += 1;
            }
        }
    }
    let mut trees = Trees::default();
    for entries in state.doubled() {
        report_duplicates(&entries, &mut trees, &mut out);
    }
    if !unknown.is_empty() {
        out.push(unknown_kinds(&unknown));
    }
    if let Some(why) = state.polling() {
        let message = format!("changes on disk are looked for every second, because {why}");
        out.push(Diagnostic::global(codes::I_POLLING, message).help(
            "raise the limits fs.inotify.max_user_watches and max_user_instances for notification at once",
        ));
    }
    out
}

fn report_duplicates(entries: &[&Entry], trees: &mut Trees, out: &mut Vec<Diagnostic>) {
    let Some((first, later)) = entries.split_first() else {
        return;
    };
    let object = ObjectRef {
        kind: first.key.kind.as_str().to_owned(),
        namespace: first.key.namespace.clone(),
        name: first.key.name.clone(),
    };
    let first_at = first.locate("", Side::Value, trees);
    for entry in later {
        let message = format!("{object} is defined again");
        let mut diagnostic = Diagnostic::new(codes::E_DUPLICATE, object.clone(), "", message)
            .help("remove or rename one of them; the first one by file and place is used")
            .effect(Effect::Dropped)
            .related(object.clone(), "first defined here");
        diagnostic.location = Some(entry.locate("", Side::Value, trees));
        for related in &mut diagnostic.related {
            related.location = Some(first_at.clone());
        }
        out.push(diagnostic);
    }
}

fn unknown_kinds(unknown: &BTreeMap<&str, usize>) -> Diagnostic {
    let kinds: Vec<String> = unknown
        .iter()
        .map(|(kind, count)| match count {
            1 => (*kind).to_owned(),
            _ => format!("{kind} ({count})"),
        })
        .collect();
    let message = format!(
        "objects of kinds that Legate does not use were skipped: {}",
        kinds.join(", ")
    );
    Diagnostic::global(codes::I_UNKNOWN_KIND, message)
}
