//! Copies of the few headers that templates name, made while the message is there.
//!
//! A message has few headers and their names are long, so that one walk over all of them is quicker
//! than to hash each name that is wanted. Values are copied byte by byte into one buffer, which is
//! used again: to share them would cost more than to copy the usual ones.

use http::HeaderMap;
use http::header::HeaderName;

/// Names of headers to copy while they are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CaptureNames {
    names: Vec<HeaderName>,
    /// Bit `n` is set where a name's length is `n` modulo 64.
    lengths: u64,
}

/// A name and its place among the copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CapturedName {
    pub(super) name: HeaderName,
    slot: usize,
}

/// Copies of headers, in the order of their [`CaptureNames`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Captured {
    bytes: Vec<u8>,
    /// Where each value begins and ends.
    places: Vec<Option<(usize, usize)>>,
}

// === impl CaptureNames ===

impl CaptureNames {
    pub(super) fn slot(&mut self, name: HeaderName) -> CapturedName {
        let slot = self.names.iter().position(|known| *known == name);
        let slot = slot.unwrap_or_else(|| {
            self.lengths |= length_bit(&name);
            self.names.push(name.clone());
            self.names.len() - 1
        });
        CapturedName { name, slot }
    }

    /// Copies the headers with these names.
    pub(crate) fn capture(&self, headers: &HeaderMap) -> Captured {
        let mut captured = Captured::default();
        self.capture_into(headers, &mut captured);
        captured
    }

    /// Copies the headers with these names to where others were.
    pub(crate) fn capture_into(&self, headers: &HeaderMap, into: &mut Captured) {
        into.clear();
        if self.names.is_empty() {
            return;
        }
        into.places.resize(self.names.len(), None);
        for (name, value) in headers {
            if self.lengths & length_bit(name) == 0 {
                continue;
            }
            let wanted = self.names.iter().zip(&mut into.places);
            let place = wanted.into_iter().find(|(wanted, _)| *wanted == name);
            // Of several with one name the first counts.
            if let Some((_, place @ None)) = place {
                let start = into.bytes.len();
                into.bytes.extend_from_slice(value.as_bytes());
                *place = Some((start, into.bytes.len()));
            }
        }
    }
}

fn length_bit(name: &HeaderName) -> u64 {
    1 << (name.as_str().len() % 64)
}

// === impl Captured ===

impl Captured {
    /// The value of a name, if there was one.
    pub(super) fn get(&self, wanted: &CapturedName) -> Option<&[u8]> {
        let (start, end) = (*self.places.get(wanted.slot)?)?;
        self.bytes.get(start..end)
    }

    /// Forgets the copies, and keeps their room.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// Bytes that values have room in.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests_support::headers;

    #[test]
    fn the_first_value_of_each_name_is_copied_and_nothing_of_a_message_before() {
        let mut names = CaptureNames::default();
        let long = "x-".repeat(40);
        // The last has the length of the first modulo 64.
        let slots = ["host", "x-a", "x-b", "x-a", &"y".repeat(68), &long]
            .map(|name| names.slot(HeaderName::try_from(name).unwrap()));
        assert_eq!(slots[1].slot, slots[3].slot);
        let mut copies = Captured::default();
        let map = headers(&[
            ("x-b", "1"),
            ("x-c", "2"),
            ("x-a", "first"),
            ("x-b", "3"),
            (&long, ""),
        ]);
        names.capture_into(&map, &mut copies);
        let found = slots.each_ref().map(|slot| copies.get(slot));
        let expected: [Option<&[u8]>; 6] = [
            None,
            Some(b"first"),
            Some(b"1"),
            Some(b"first"),
            None,
            Some(b""),
        ];
        assert_eq!(found, expected);
        names.capture_into(&headers(&[("x-c", "2")]), &mut copies);
        assert!(slots.iter().all(|slot| copies.get(slot).is_none()));
    }
}
