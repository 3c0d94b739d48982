//! A whole [`Snapshot`] as bytes and back, for the gateway's last good config.
//!
//! Unlike the dumps that [`Snapshot`] serialises to, these bytes hold certificates and **private
//! keys**: whoever has them has the keys. Nothing else in this crate writes a key down.
//!
//! Two JSON documents, one after the other: a head {schema, id, root}, then the tables, each a map
//! from key to {origins, value}. JSON because the tables' canonical encoding is JSON already: one
//! form, whose round trip is checked by hashing it again. Hashes are not stored but computed from
//! what was read, and the root over them must be the one in the head: that no field was lost,
//! misread or made up is proved at each decode.
//!
//! - `tables`: tables and their entries; `secrets`: certificates, keys, authorities, lists

mod secrets;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::hash::Hash128;
use crate::snapshot::Snapshot;

use tables::SnapshotForm;

/// A version of the config's schema.
///
/// The minor number rises with every addition, the major one when what was there changes its
/// meaning. A reader takes its own major version up to its own minor one: a newer writer may have
/// said something that must not be ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub struct Schema {
    /// Number of the incompatible changes.
    pub major: u16,
    /// Number of the additions since.
    pub minor: u16,
}

/// The schema of this build.
pub const SCHEMA: Schema = Schema { major: 1, minor: 1 };

/// Why a snapshot cannot be written down.
#[derive(Debug)]
pub enum EncodeError {
    /// Its root is not the hash of its tables, so that nobody could read it back.
    Root,
    /// A value has no form in JSON: a bug.
    Value(serde_json::Error),
    /// The bytes cannot be written where they were to go.
    Write(io::Error),
}

/// Why bytes are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// They were written in a schema that this build cannot read.
    Schema(Schema),
    /// They are not what [`encode`] writes. Without the parser's words: those may quote the text,
    /// and the text has keys in it.
    Malformed {
        /// 1-based line.
        line: usize,
        /// 1-based column, in bytes.
        column: usize,
    },
    /// The content does not have the root that it claims.
    Root {
        /// The root that the head names.
        named: Hash128,
        /// The root of what was read.
        read: Hash128,
    },
}

#[derive(Deserialize, Serialize)]
struct Head {
    schema: Schema,
    id: u64,
    root: Hash128,
}

/// The snapshot as bytes, **private keys included**.
///
/// # Errors
/// The snapshot's root does not belong to its tables.
pub fn encode(snapshot: &Snapshot) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    encode_into(snapshot, &mut bytes)?;
    Ok(bytes)
}

/// As [`encode`], without the bytes ever being in memory as a whole. Writes small pieces.
///
/// # Errors
/// As [`encode`], and those of the writer.
pub fn encode_into(snapshot: &Snapshot, mut writer: impl io::Write) -> Result<(), EncodeError> {
    if snapshot.compute_root() != snapshot.root {
        return Err(EncodeError::Root);
    }
    let head = Head {
        schema: SCHEMA,
        id: snapshot.id,
        root: snapshot.root,
    };
    serde_json::to_writer(&mut writer, &head)?;
    writer.write_all(b"\n").map_err(EncodeError::Write)?;
    let mut serializer = serde_json::Serializer::new(&mut writer);
    Ok(SnapshotForm::serialize(snapshot, &mut serializer)?)
}

/// The snapshot that was encoded, with the same content, hashes, origins, root and id.
///
/// # Errors
/// Another schema, text that [`encode`] does not write, or content with another root.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let head = Head::deserialize(&mut deserializer)?;
    if !SCHEMA.reads(head.schema) {
        return Err(DecodeError::Schema(head.schema));
    }
    let mut snapshot = SnapshotForm::deserialize(&mut deserializer)?;
    deserializer.end()?;
    snapshot.id = head.id;
    snapshot.root = snapshot.compute_root();
    if snapshot.root == head.root {
        Ok(snapshot)
    } else {
        Err(DecodeError::Root {
            named: head.root,
            read: snapshot.root,
        })
    }
}

// === impl Schema ===

impl Schema {
    /// Whether a build of this schema reads what was written in the other one.
    #[must_use]
    pub fn reads(self, written: Self) -> bool {
        self.major == written.major && self.minor >= written.minor
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

// === impl EncodeError ===

impl From<serde_json::Error> for EncodeError {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() {
            Self::Write(error.into())
        } else {
            Self::Value(error)
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the config's root is not the hash of its tables"),
            Self::Value(error) => write!(f, "the config has a value without a text form: {error}"),
            Self::Write(error) => write!(f, "the config cannot be written: {error}"),
        }
    }
}

impl std::error::Error for EncodeError {}

// === impl DecodeError ===

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed {
            line: error.line(),
            column: error.column(),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schema(schema) => write!(
                f,
                "written in config schema {schema}; this version reads {SCHEMA} and older minor versions"
            ),
            Self::Malformed { line, column } => {
                write!(f, "not a config at line {line}, column {column}")
            }
            Self::Root { named, read } => {
                write!(f, "names root {named} but its content has root {read}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}
