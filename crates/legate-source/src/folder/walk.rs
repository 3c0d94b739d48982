//! Finds the files to read and the directories to watch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use legate_compiler::Diagnostic;

use super::codes;
use super::reader::{Stamp, reason};

/// Deeper folders are refused; a loop is noticed long before.
const MAX_DEPTH: usize = 64;

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Files by the name shown to the user.
    pub(super) files: BTreeMap<Arc<str>, FoundFile>,
    /// Directories whose entries count.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Directories in which only one of `anchors` counts.
    pub(super) parents: BTreeSet<PathBuf>,
    /// The given paths and the links on the way to them.
    pub(super) anchors: BTreeSet<PathBuf>,
    pub(super) problems: Vec<Diagnostic>,
    visited: BTreeSet<(u64, u64)>,
}

/// A file found by a walk.
#[derive(Debug, Clone)]
pub(super) struct FoundFile {
    /// Absolute, but with its links.
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

/// Whether a file of this name in a folder is read.
pub(super) fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    let known = extension.is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    });
    known && !hidden
}

fn is_absence(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

/// Walks the given paths; `-` is left to the caller.
pub(super) fn walk(paths: &[PathBuf]) -> Walk {
    let mut walk = Walk::default();
    for path in paths.iter().filter(|path| path.as_os_str() != "-") {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        walk.anchor(&absolute);
        match fs::metadata(&absolute) {
            Ok(metadata) if metadata.is_dir() => walk.directory(path, &absolute, &metadata, 0),
            Ok(metadata) => walk.file(path, absolute, &metadata),
            Err(error) => walk.unreadable(path, &error),
        }
    }
    walk
}

impl Walk {
    /// Watches where a given path, or a link on the way to it, could be replaced.
    fn anchor(&mut self, path: &Path) {
        for (steps, ancestor) in path.ancestors().enumerate() {
            let link = fs::symlink_metadata(ancestor).is_ok_and(|m| m.file_type().is_symlink());
            if (steps == 0 || link)
                && let Some(parent) = ancestor.parent()
            {
                self.anchors.insert(ancestor.to_owned());
                self.parents.insert(parent.to_owned());
            }
        }
    }

    fn directory(&mut self, shown: &Path, path: &Path, metadata: &fs::Metadata, depth: usize) {
        let stamp = Stamp::of(metadata);
        if !self.visited.insert((stamp.device, stamp.inode)) {
            return;
        }
        self.directories.insert(path.to_owned());
        let entries = match fs::read_dir(path) {
            Ok(entries) if depth < MAX_DEPTH => entries,
            Ok(_) => {
                let message = format!("`{}` is nested too deeply", shown.display());
                let help = "name the folder itself as a PATH";
                self.problems
                    .push(codes::file(&shown.display().to_string(), message, help));
                return;
            }
            Err(error) => return self.unreadable(shown, &error),
        };
        // Sorted, so that of two ways to one file the same one is taken each time.
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (shown, path) = (shown.join(&name), path.join(&name));
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    self.directory(&shown, &path, &metadata, depth + 1);
                }
                Ok(metadata) if is_manifest(&path) => self.file(&shown, path, &metadata),
                // Gone since its name was read; a link to nowhere is still there.
                Err(_) if fs::symlink_metadata(&path).is_err_and(|it| is_absence(&it)) => {}
                Err(error) if is_manifest(&path) => self.unreadable(&shown, &error),
                _ => {}
            }
        }
    }

    fn file(&mut self, shown: &Path, path: PathBuf, metadata: &fs::Metadata) {
        let stamp = Stamp::of(metadata);
        if !self.visited.insert((stamp.device, stamp.inode)) {
            return;
        }
        if fs::symlink_metadata(&path).is_ok_and(|m| m.file_type().is_symlink())
            && let Ok(target) = fs::canonicalize(&path)
            && let Some(parent) = target.parent()
        {
            self.parents.insert(parent.to_owned());
            self.anchors.insert(target);
        }
        let name = Arc::from(shown.display().to_string());
        self.files.insert(name, FoundFile { path, stamp });
    }

    fn unreadable(&mut self, shown: &Path, error: &std::io::Error) {
        let shown = shown.display().to_string();
        let message = format!("`{shown}` cannot be read: {}", reason(error));
        self.problems.push(codes::file(
            &shown,
            message,
            "check the path and its permissions",
        ));
    }
}
