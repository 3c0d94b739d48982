//! Where a client's HTTP/2 byte stream stands: whether headers have begun and not ended.
//!
//! hyper gives no deadline for that: a client could send the beginning of a header block and then
//! nothing. Only frame boundaries are looked at; whether frames are right is hyper's business.

/// Bytes of a frame's head.
const HEAD: usize = 9;
const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Bytes that belong to the frame under way (at first, to the preface).
    left: usize,
    head: [u8; HEAD],
    have: usize,
    /// The frame under way is part of a header block.
    of_headers: bool,
    /// The header block goes on in another frame.
    more_headers: bool,
}

impl Frames {
    /// A connection before its preface.
    pub(crate) fn new() -> Self {
        Self {
            left: PREFACE,
            head: [0; HEAD],
            have: 0,
            of_headers: false,
            more_headers: false,
        }
    }

    /// Takes the next bytes. Whether a header block, or a frame's head, has begun and not ended.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let skip = self.left.min(bytes.len());
            self.left -= skip;
            bytes = bytes.get(skip..).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            for slot in self.head.iter_mut().skip(self.have) {
                let Some((first, rest)) = bytes.split_first() else {
                    break;
                };
                *slot = *first;
                bytes = rest;
                self.have += 1;
            }
            if self.have == HEAD {
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.of_headers = kind == HEADERS || kind == CONTINUATION;
                if self.of_headers {
                    self.more_headers = flags & END_HEADERS == 0;
                }
            }
        }
        self.have > 0 || self.more_headers || (self.of_headers && self.left > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + usize::from(length), 7);
        frame
    }

    #[test]
    fn headers_are_open_until_their_last_byte() {
        let mut frames = Frames::new();
        assert!(!frames.take(&[0; PREFACE]));
        assert!(!frames.take(&frame(4, 0, 6)));
        let headers = frame(HEADERS, END_HEADERS, 5);
        for byte in &headers[..headers.len() - 1] {
            assert!(frames.take(&[*byte]));
        }
        assert!(!frames.take(&headers[headers.len() - 1..]));
        // A frame of data that is half there is not our business.
        assert!(!frames.take(&frame(0, 0, 200)[..100]));
        assert!(!frames.take(&[7; 109]));
        // Continued headers, with the end in one piece with another frame.
        assert!(frames.take(&frame(HEADERS, 0, 5)));
        let mut end = frame(CONTINUATION, END_HEADERS, 0);
        end.extend(frame(6, 0, 8));
        assert!(!frames.take(&end));
    }
}
