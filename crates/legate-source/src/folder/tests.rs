use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use tempfile::TempDir;

use super::*;

mod loading;
mod watching;

/// A Mapping's document.
fn mapping(name: &str, prefix: &str) -> String {
    format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata:\n  name: {name}\nspec:\n  hostname: '*'\n  prefix: {prefix}\n  service: {name}\n"
    )
}

fn join(documents: &[String]) -> String {
    documents.join("---\n")
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn load(path: &Path) -> (FolderSource, Update) {
    FolderSource::load(&[path.to_owned()], FolderOptions::default())
}

fn names(update: &Update) -> Vec<&str> {
    let names = update
        .upserts
        .iter()
        .map(|object| object.meta.name.as_str());
    names.collect()
}

fn removed(update: &Update) -> Vec<&str> {
    update
        .removals
        .iter()
        .map(|key| key.name.as_str())
        .collect()
}

/// Diagnostics as `code file:line`, with the file's name only.
fn codes_of(update: &Update) -> Vec<String> {
    let shown = update.diagnostics.iter().map(|diagnostic| {
        let place = diagnostic.location.as_ref().map(|location| {
            let file = Path::new(&location.file).file_name().unwrap();
            format!(" {}:{}", file.to_string_lossy(), location.line)
        });
        format!("{}{}", diagnostic.code, place.unwrap_or_default())
    });
    shown.collect()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: legate_api::Kind::Mapping,
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

/// Writes as careful programs do.
fn replace(path: &Path, text: &str) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text).unwrap();
    fs::rename(&temporary, path).unwrap();
}
