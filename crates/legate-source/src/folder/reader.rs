//! Reads one file within limits.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use legate_compiler::Diagnostic;

use super::codes;

/// Larger files are refused.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// How long after its last change a file's stamp cannot be trusted: clocks of file systems are
/// coarse, so a second write may leave the same stamp.
const RACY: Duration = Duration::from_secs(2);

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    size: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
    racy: bool,
}

/// What reading a file gave.
pub(super) struct Read {
    pub(super) stamp: Stamp,
    pub(super) json: bool,
    pub(super) text: Result<String, Diagnostic>,
    /// Whether there was no such file any more.
    pub(super) gone: bool,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt as _;
        let modified = metadata.modified().ok();
        let age = modified.and_then(|at| SystemTime::now().duration_since(at).ok());
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified,
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            racy: age.is_none_or(|age| age < RACY),
        }
    }

    /// Whether a file read under this stamp surely has the same content under `now`.
    pub(super) fn still(&self, now: &Stamp) -> bool {
        !self.racy
            && (self.device, self.inode, self.size) == (now.device, now.inode, now.size)
            && (self.modified, self.changed) == (now.modified, now.changed)
    }
}

/// Reads a regular file of at most [`MAX_BYTES`].
pub(super) fn read(path: &Path, name: &str) -> Read {
    let json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let mut stamp = Stamp::default();
    let text = read_text(path, &mut stamp);
    Read {
        stamp,
        json,
        gone: matches!(&text, Err(Refusal::Io(error)) if error.kind() == io::ErrorKind::NotFound),
        text: text.map_err(|refusal| refusal.diagnostic(name)),
    }
}

/// Reads standard input to its end.
pub(super) fn read_stdin(name: &str) -> Read {
    let text = read_limited(io::stdin().lock()).map_err(|refusal| refusal.diagnostic(name));
    let json = text
        .as_ref()
        .is_ok_and(|text| text.trim_start().starts_with('{') && looks_like_json(text));
    Read {
        stamp: Stamp::default(),
        json,
        text,
        gone: false,
    }
}

/// `{` also starts a YAML flow mapping.
fn looks_like_json(text: &str) -> bool {
    crate::json::split(text)
        .iter()
        .all(|(_, value)| value.is_ok())
}

enum Refusal {
    Io(io::Error),
    NotRegular,
    TooLarge,
    NotUtf8,
}

impl Refusal {
    fn diagnostic(self, name: &str) -> Diagnostic {
        let (why, help) = match self {
            Refusal::Io(error) => (
                format!("`{name}` cannot be read: {}", reason(&error)),
                "check the path and its permissions",
            ),
            Refusal::NotRegular => (
                format!("`{name}` is not a regular file"),
                "give a file, a folder, or - for standard input",
            ),
            Refusal::TooLarge => (
                format!("`{name}` is larger than 64 MiB"),
                "split it into smaller files, or move it out of the folder",
            ),
            Refusal::NotUtf8 => (format!("`{name}` is not UTF-8 text"), "save it as UTF-8"),
        };
        codes::file(name, why, help)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Io(error)
    }
}

/// An error without its number.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn read_text(path: &Path, stamp: &mut Stamp) -> Result<String, Refusal> {
    // Asked before opening, because opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(Refusal::NotRegular);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    *stamp = Stamp::of(&metadata);
    if metadata.len() > MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    read_limited(file)
}

fn read_limited(from: impl io::Read) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    let text = String::from_utf8(bytes).map_err(|_| Refusal::NotUtf8)?;
    match text.strip_prefix('\u{feff}') {
        Some(text) => Ok(text.to_owned()),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_told_from_other_failures() {
        let folder = tempfile::TempDir::new().unwrap();
        let found = |name: &str| {
            let read = read(&folder.path().join(name), name);
            (read.text.is_ok(), read.gone)
        };
        assert_eq!(found("a.yaml"), (false, true));
        std::fs::create_dir(folder.path().join("a.yaml")).unwrap();
        assert_eq!(found("a.yaml"), (false, false));
        std::fs::write(folder.path().join("b.yaml"), "a: 1\n").unwrap();
        assert_eq!(found("b.yaml"), (true, false));
    }
}
