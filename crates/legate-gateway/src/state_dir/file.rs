//! What is in the file: a line of JSON that says what follows, the encoded config, and a line of JSON
//! that says how much that was. Written in one go, so that a config is never in memory as text.
//!
//! The checksum tells a torn or rotten file from a whole one. It does not tell who wrote it: whoever
//! may write into the directory may as well read the keys.

use std::io::{self, BufWriter, Write};

use legate_config::codec::{self, DecodeError, EncodeError, SCHEMA, Schema};
use legate_config::hash::Hasher128;
use legate_config::{Hash128, Snapshot};
use serde::{Deserialize, Serialize};

/// The first word of the file.
const MAGIC: &str = "legate-state";

/// The first and the last line are at most this long.
const MAX_LINE: usize = 1024;

/// Bytes that are written at once.
const BUFFER: usize = 64 * 1024;

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
    /// Bytes are missing at its end, or there are more of them.
    #[error("does not end as a stored config does")]
    Torn,
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
}

/// About everything before it.
#[derive(Deserialize, Serialize)]
struct Trailer {
    length: u64,
    blake3: Hash128,
}

/// Counts and hashes what goes through.
struct Summing<W> {
    inner: W,
    length: u64,
    hasher: Hasher128,
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        let written = bytes.get(..count).unwrap_or_default();
        self.hasher.write_all(written)?;
        self.length += u64::try_from(written.len()).unwrap_or_default();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What the file says instead of the instance's id, which is free text.
pub(super) fn owner(ambassador_id: &str) -> Hash128 {
    Hash128::of_bytes(ambassador_id.as_bytes())
}

/// Writes the file's content.
pub(super) fn write(
    target: impl Write,
    owner: Hash128,
    snapshot: &Snapshot,
) -> Result<(), EncodeError> {
    let summing = Summing {
        inner: target,
        length: 0,
        hasher: Hasher128::default(),
    };
    let mut writer = BufWriter::with_capacity(BUFFER, summing);
    let header = Header {
        magic: MAGIC.to_owned(),
        schema: SCHEMA,
        owner,
    };
    line(&mut writer, &header)?;
    codec::encode_into(snapshot, &mut writer)?;
    writer.write_all(b"\n").map_err(EncodeError::Write)?;
    let mut summing = writer
        .into_inner()
        .map_err(|error| EncodeError::Write(error.into_error()))?;
    let trailer = Trailer {
        length: summing.length,
        blake3: summing.hasher.finish(),
    };
    line(&mut summing, &trailer)
}

fn line(writer: &mut impl Write, value: &impl Serialize) -> Result<(), EncodeError> {
    let mut text = serde_json::to_vec(value).map_err(EncodeError::Value)?;
    text.push(b'\n');
    writer.write_all(&text).map_err(EncodeError::Write)
}

/// The config in a file.
pub(super) fn read(owner: Hash128, bytes: &[u8]) -> Result<Snapshot, Fault> {
    let (header, _) = first_line(bytes).ok_or(Fault::Header)?;
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
    let (content, trailer) = last_line(bytes).ok_or(Fault::Torn)?;
    let trailer: Trailer = serde_json::from_slice(trailer).map_err(|_| Fault::Torn)?;
    if u64::try_from(content.len()) != Ok(trailer.length) {
        return Err(Fault::Torn);
    }
    if trailer.blake3 != Hash128::of_bytes(content) {
        return Err(Fault::Checksum);
    }
    let (_, config) = first_line(content).ok_or(Fault::Header)?;
    codec::decode(config).map_err(Fault::Config)
}

/// The first line, and what follows it.
fn first_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes
        .iter()
        .take(MAX_LINE)
        .position(|byte| *byte == b'\n')?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// What precedes the last line, its line end included, and that line.
fn last_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.strip_suffix(b"\n")?;
    let mut back = bytes.iter().rev().take(MAX_LINE);
    let length = back.position(|byte| *byte == b'\n')?;
    bytes.split_at_checked(bytes.len() - length)
}
