//! Content hashes: BLAKE3, truncated to 128 bits, over a canonical encoding.
//!
//! The canonical encoding is compact JSON in declaration order with sorted maps; values hold no
//! floats and no unordered maps, so equal values have equal bytes on every replica.

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

/// A 128-bit content hash. Equal hashes mean equal content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash128([u8; 16]);

impl Hash128 {
    /// The hash of a value's canonical encoding.
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let mut hasher = HashWriter(blake3::Hasher::new());
        // Serialising our own types into a hasher cannot fail: no I/O, string keys only. Were it
        // to, the partial hash would still be deterministic.
        let _ = serde_json::to_writer(&mut hasher, value);
        Self::finish(&hasher.0)
    }

    /// The hash of raw bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(bytes);
        Self::finish(&hasher)
    }

    /// A keyed hash of secret bytes: says whether two replicas that share `key` hold the same
    /// secret, and nothing else.
    #[must_use]
    pub fn keyed(key: &[u8; 32], bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(bytes);
        Self::finish(&hasher)
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first 8 hexadecimal digits, for names.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }

    fn finish(hasher: &blake3::Hasher) -> Self {
        let mut out = [0; 16];
        hasher.finalize_xof().fill(&mut out);
        Self(out)
    }
}

impl fmt::Display for Hash128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Hash128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash128 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct HashWriter(blake3::Hasher);

impl io::Write for HashWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.update(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
