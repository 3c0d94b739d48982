//! The last good config on disk (`--state-dir`), so that a gateway which is restarted while nobody
//! can tell it its config serves again, certificates included.
//!
//! One file, `config`, in a directory of its own: directory 0700, file 0600, written under another
//! name, synced and renamed. It holds **private keys** in the clear: a key for them would have to lie
//! beside it and protect nothing, and without the operator there is nobody to ask for them. A
//! memory-backed volume keeps them off disks; such a volume survives a restart of the container, not
//! of the pod.
//!
//! What cannot be used (torn, of another instance, of a newer version) is set aside as `config.bad`,
//! of which one is kept, and never stops the gateway: it waits unready, as one without state does.
//!
//! - `file`: what is in the file; `volume`: the directory's rights and what it lies on
//! - `writer`: the thread that stores what is served

mod file;
#[cfg(test)]
mod tests;
mod volume;
mod writer;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use legate_config::codec::EncodeError;
use legate_config::{Hash128, Snapshot};

pub use file::Fault;
pub(crate) use writer::{StateWriter, Stored};

/// The stored config.
const CONFIG: &str = "config";
/// The one that is being written.
const NEW: &str = "config.new";
/// The last one that could not be used.
const BAD: &str = "config.bad";

/// Rights of the directory.
const DIRECTORY: u32 = 0o700;
/// Rights of the file.
const FILE: u32 = 0o600;
/// Rights that neither gives to anybody but its owner.
const OTHERS: u32 = 0o077;

/// A longer file is not read: nothing that we wrote.
const MAX_BYTES: u64 = 1 << 30;

/// Where the last good config lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDirOptions {
    /// The directory; made if it is missing.
    pub path: PathBuf,
    /// Only a config of this instance is taken.
    pub ambassador_id: String,
}

/// A directory that holds the last good config of one instance.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
    owner: Hash128,
}

/// What the directory held.
#[derive(Debug)]
pub enum Loaded {
    /// No config.
    None,
    /// The last good one.
    Snapshot {
        /// The config.
        snapshot: Arc<Snapshot>,
        /// When it was stored, by the clock of the file system.
        stored: Option<SystemTime>,
    },
    /// One that cannot be used; it was renamed to `config.bad`.
    SetAside {
        /// Why not.
        reason: Fault,
    },
}

/// Why the config cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory is missing and cannot be made, or is none.
    #[error("cannot make the directory: {0}")]
    Directory(#[source] io::Error),
    /// A step of writing the file failed.
    #[error("cannot {step}: {source}")]
    Write {
        /// Which.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The config has no stored form.
    #[error(transparent)]
    Encode(EncodeError),
}

// === impl StateDir ===

impl StateDir {
    /// Makes the directory if it is missing, and closes it to others.
    ///
    /// # Errors
    /// It cannot be made, or something else has its name.
    pub fn open(path: impl Into<PathBuf>, ambassador_id: &str) -> Result<Self, StateError> {
        let path = path.into();
        make(&path)?;
        volume::close_to_others(&path).map_err(StateError::Directory)?;
        volume::notice_disk(&path);
        // Left by a process that was cut off while it wrote.
        let _ = fs::remove_file(path.join(NEW));
        Ok(Self {
            path,
            owner: file::owner(ambassador_id),
        })
    }

    /// Reads the stored config. What cannot be used is set aside.
    #[must_use]
    pub fn load(&self) -> Loaded {
        match self.read() {
            Ok(None) => Loaded::None,
            Ok(Some((snapshot, stored))) => Loaded::Snapshot {
                snapshot: Arc::new(snapshot),
                stored,
            },
            Err(reason) => {
                self.set_aside(&reason);
                Loaded::SetAside { reason }
            }
        }
    }

    /// Replaces the stored config. Whoever reads meanwhile sees the old one or the new one, and so
    /// does who reads after a crash.
    ///
    /// # Errors
    /// A step failed; the old one is still there, unless the last step did.
    pub fn store(&self, snapshot: &Snapshot) -> Result<(), StateError> {
        // It may have been removed since.
        make(&self.path)?;
        let new = self.path.join(NEW);
        let written = self.write(&new, snapshot);
        if written.is_err() {
            // Half a file is of no use, and takes what is left of a full disk.
            let _ = fs::remove_file(&new);
            return written;
        }
        let synced = File::open(&self.path).and_then(|directory| directory.sync_all());
        match synced {
            // Some file systems cannot, and then need not.
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            result => result.map_err(StateError::at("sync the directory")),
        }
    }

    fn read(&self) -> Result<Option<(Snapshot, Option<SystemTime>)>, Fault> {
        let path = self.path.join(CONFIG);
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::Read(error)),
        };
        if !metadata.is_file() {
            return Err(Fault::NotAFile);
        }
        if metadata.len() > MAX_BYTES {
            return Err(Fault::TooLong(metadata.len()));
        }
        if metadata.mode() & OTHERS != 0 {
            let was = format!("{:03o}", metadata.mode() & 0o777);
            match fs::set_permissions(&path, Permissions::from_mode(FILE)) {
                Ok(()) => {
                    tracing::warn!(path = %path.display(), was, "Stored keys were readable by others, and are not any more");
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), was, %error, "Stored keys are readable by others");
                }
            }
        }
        // With room for all of it: no copy is left behind by growing.
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(Fault::Read)?;
        let result = file::read(self.owner, &bytes);
        bytes.fill(0);
        std::hint::black_box(&bytes);
        Ok(Some((result?, metadata.modified().ok())))
    }

    fn set_aside(&self, reason: &Fault) {
        let path = self.path.join(CONFIG);
        match fs::rename(&path, self.path.join(BAD)) {
            Ok(()) => {
                tracing::warn!(path = %path.display(), %reason, "Stored config cannot be used; it was set aside as config.bad");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %reason, %error, "Stored config cannot be used, and not be set aside either");
            }
        }
    }

    fn write(&self, new: &Path, snapshot: &Snapshot) -> Result<(), StateError> {
        // Made afresh, so that it has our rights and not those of something left behind.
        let _ = fs::remove_file(new);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE)
            .open(new)
            .map_err(StateError::at("create config.new"))?;
        file::write(&file, self.owner, snapshot)?;
        file.sync_all().map_err(StateError::at("sync config.new"))?;
        fs::rename(new, self.path.join(CONFIG)).map_err(StateError::at("rename config.new"))
    }
}

fn make(path: &Path) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY)
        .create(path)
        .map_err(StateError::Directory)
}

// === impl StateError ===

impl From<EncodeError> for StateError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Write(source) => Self::at("write config.new")(source),
            error => Self::Encode(error),
        }
    }
}

impl StateError {
    fn at(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Write { step, source }
    }

    /// What is the same as long as the cause is.
    fn cause(&self) -> (&'static str, Option<ErrorKind>) {
        match self {
            Self::Directory(error) => ("directory", Some(error.kind())),
            Self::Write { step, source } => (step, Some(source.kind())),
            Self::Encode(_) => ("encode", None),
        }
    }
}
