//! Content hashes: BLAKE3, truncated to 128 bits, over a canonical encoding.
//!
//! The canonical encoding is compact JSON in declaration order with sorted maps; values hold no
//! floats and no unordered maps, so equal values have equal bytes on every replica.

use std::fmt;
use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A 128-bit content hash. Equal hashes mean equal content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash128([u8; 16]);

/// Hashes what is written to it, for content that is nowhere as a whole.
#[derive(Debug, Default)]
pub struct Hasher128(blake3::Hasher);

impl Hasher128 {
    /// The hash of what was written so far.
    #[must_use]
    pub fn finish(&self) -> Hash128 {
        Hash128::truncate(&self.0.finalize())
    }
}

impl io::Write for Hasher128 {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Hash128 {
    /// The hash of a value's canonical encoding.
    #[must_use]
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        // Serialising our own types into memory cannot fail: string keys only. Were it to, the
        // partial bytes would still be deterministic.
        let mut bytes = Vec::with_capacity(512);
        let _ = serde_json::to_writer(&mut bytes, value);
        Self::of_bytes(&bytes)
    }

    /// The hash of raw bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::truncate(&blake3::hash(bytes))
    }

    /// A keyed hash of secret bytes: says whether two replicas that share `key` hold the same
    /// secret, and nothing else.
    #[must_use]
    pub fn keyed(key: &[u8; 32], bytes: &[u8]) -> Self {
        Self::truncate(&blake3::keyed_hash(key, bytes))
    }

    /// The hash that this text of 32 hexadecimal digits is.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        unhex(text)?.try_into().ok().map(Self)
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

    fn truncate(hash: &blake3::Hash) -> Self {
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        Self(out)
    }
}

impl fmt::Display for Hash128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// The bytes that hexadecimal digits stand for; `None` where the text is something else.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
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

impl<'de> Deserialize<'de> for Hash128 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("a hash is 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_back() {
        assert_eq!(unhex(&hex(&[0, 15, 16, 255])).unwrap(), [0, 15, 16, 255]);
        assert_eq!(unhex("").unwrap(), [0; 0]);
        for text in ["0", "0g", "ä", "0x00", "+1"] {
            assert_eq!(unhex(text), None, "{text}");
        }
        let hash = Hash128::of_bytes(b"text");
        assert_eq!(Hash128::parse(&hash.to_string()), Some(hash));
        assert_eq!(Hash128::parse("00"), None);
    }

    #[test]
    fn pieces_hash_as_their_whole_does() {
        use std::io::Write as _;
        let mut hasher = Hasher128::default();
        hasher.write_all(b"te").unwrap();
        hasher.write_all(b"xt").unwrap();
        assert_eq!(hasher.finish(), Hash128::of_bytes(b"text"));
    }
}
