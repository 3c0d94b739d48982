//! What is in the file: a line of JSON that says what follows, then the encoded config.
//!
//! The checksum tells a torn or rotten file from a whole one. It does not tell who wrote it: whoever
//! may write into the directory may as well read the keys.

use std::io;

use legate_config::codec::{self, DecodeError, EncodeError, SCHEMA, Schema};
use legate_config::{Hash128, Snapshot};
use serde::{Deserialize, Serialize};

/// The first word of the file.
const MAGIC: &str = "legate-state";

/// The first line is at most this long.
const MAX_HEADER: usize = 1024;

/// Why a stored config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// Something else has its name.
    #[error("is no regular file")]
    NotAFile,
    /// It is longer than any of ours; its bytes.
    #[error("is {0} bytes long, more than a config ever is")]
    TooLong(u64),
    /// It does not begin as our files do.
    #[error("does not begin as a stored config does")]
    Header,
    /// A newer version wrote it.
    #[error("was written in config schema {0}, and this version reads {SCHEMA}")]
    Schema(Schema),
    /// It belongs to an instance with another `ambassador_id`.
    #[error("belongs to an instance with another ambassador_id")]
    Foreign,
    /// Bytes are missing, or there are more of them.
    #[error("has {found} bytes of config instead of {expected}")]
    Length {
        /// Bytes that it says it has.
        expected: usize,
        /// Bytes that it has.
        found: usize,
    },
    /// Bytes changed.
    #[error("does not have the checksum that it should have")]
    Checksum,
    /// The config in it is none.
    #[error("is {0}")]
    Config(#[source] DecodeError),
}

#[derive(Deserialize, Serialize)]
struct Header {
    magic: String,
    schema: Schema,
    owner: Hash128,
    length: usize,
    blake3: Hash128,
}

/// What the file says instead of the instance's id, which is free text.
pub(super) fn owner(ambassador_id: &str) -> Hash128 {
    Hash128::of_bytes(ambassador_id.as_bytes())
}

/// The file's content.
pub(super) fn write(owner: Hash128, snapshot: &Snapshot) -> Result<Vec<u8>, EncodeError> {
    let mut config = codec::encode(snapshot)?;
    let header = Header {
        magic: MAGIC.to_owned(),
        schema: SCHEMA,
        owner,
        length: config.len(),
        blake3: Hash128::of_bytes(&config),
    };
    let mut bytes = serde_json::to_vec(&header).map_err(EncodeError::Value)?;
    bytes.reserve_exact(config.len() + 1);
    bytes.push(b'\n');
    bytes.extend_from_slice(&config);
    config.fill(0);
    std::hint::black_box(&config);
    Ok(bytes)
}

/// The config in a file.
pub(super) fn read(owner: Hash128, bytes: &[u8]) -> Result<Snapshot, Fault> {
    let end = bytes
        .iter()
        .take(MAX_HEADER)
        .position(|byte| *byte == b'\n')
        .ok_or(Fault::Header)?;
    let (header, config) = bytes.split_at(end);
    let config = config.get(1..).unwrap_or_default();
    let header: Header = serde_json::from_slice(header).map_err(|_| Fault::Header)?;
    if header.magic != MAGIC {
        return Err(Fault::Header);
    }
    if !SCHEMA.reads(header.schema) {
        return Err(Fault::Schema(header.schema));
    }
    if header.owner != owner {
        return Err(Fault::Foreign);
    }
    if header.length != config.len() {
        return Err(Fault::Length {
            expected: header.length,
            found: config.len(),
        });
    }
    if header.blake3 != Hash128::of_bytes(config) {
        return Err(Fault::Checksum);
    }
    codec::decode(config).map_err(Fault::Config)
}
