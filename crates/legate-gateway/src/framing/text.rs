//! Base64 of gRPC-Web's text form. Clients pad each of their pieces, so padding may stand anywhere
//! that a piece may end; and pieces may be cut anywhere on the way.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::messages::Messages;

/// It is no base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Decodes a stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Up to three digits that wait for a fourth.
    rest: Vec<u8>,
}

/// Encodes a stream of messages; what is complete does not wait.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    /// Up to two bytes that wait for a third.
    rest: Vec<u8>,
    messages: Messages,
}

impl Decoder {
    /// Takes text and gives the bytes that it is.
    pub(crate) fn push(&mut self, data: &[u8]) -> Result<Bytes, Malformed> {
        let mut text = std::mem::take(&mut self.rest);
        text.extend_from_slice(data);
        self.rest = text.split_off(text.len() / 4 * 4);
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
        let mut left = text.as_slice();
        while !left.is_empty() {
            let padded = left.iter().position(|digit| *digit == b'=');
            let end = padded.map_or(left.len(), |at| at / 4 * 4 + 4);
            let (piece, next) = left.split_at_checked(end).ok_or(Malformed)?;
            STANDARD
                .decode_vec(piece, &mut bytes)
                .map_err(|_| Malformed)?;
            left = next;
        }
        Ok(Bytes::from(bytes))
    }

    /// Whether the text may end here.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

impl Encoder {
    /// Takes bytes of messages and gives text. Only the last bytes of a message that goes on stay.
    pub(super) fn push(&mut self, mut data: &[u8]) -> Bytes {
        let mut text = String::with_capacity(data.len().div_ceil(3) * 4 + 4);
        while let Some(end) = self.messages.take(data) {
            let (last, next) = data.split_at_checked(end).unwrap_or((data, &[]));
            self.whole(last, &mut text);
            self.flush(&mut text);
            data = next;
        }
        self.whole(data, &mut text);
        Bytes::from(text)
    }

    /// Gives what was kept, and further bytes.
    pub(super) fn finish(&mut self, data: &[u8]) -> Bytes {
        let mut text = String::with_capacity(data.len() / 3 * 4 + 8);
        self.flush(&mut text);
        STANDARD.encode_string(data, &mut text);
        Bytes::from(text)
    }

    /// Encodes as much as needs no padding.
    fn whole(&mut self, data: &[u8], text: &mut String) {
        let wanted = if self.rest.is_empty() {
            0
        } else {
            3 - self.rest.len()
        };
        let (first, data) = data.split_at(wanted.min(data.len()));
        self.rest.extend_from_slice(first);
        if self.rest.len() == 3 {
            self.flush(text);
        }
        let (whole, rest) = data.split_at(data.len() / 3 * 3);
        STANDARD.encode_string(whole, text);
        self.rest.extend_from_slice(rest);
    }

    fn flush(&mut self, text: &mut String) {
        STANDARD.encode_string(&self.rest, text);
        self.rest.clear();
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not base64")
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &[u8], step: usize) -> Result<Vec<u8>, Malformed> {
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        for piece in text.chunks(step) {
            bytes.extend_from_slice(&decoder.push(piece)?);
        }
        decoder.end()?;
        Ok(bytes)
    }

    fn message(length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0, length];
        bytes.extend(0..length);
        bytes
    }

    #[test]
    fn text_is_decoded_wherever_it_is_cut_and_padded() {
        let text = b"QQ==QUI=QUJDQQ==";
        for step in 1..=text.len() {
            assert_eq!(
                decode(text, step).unwrap(),
                b"AABABCA",
                "in steps of {step}"
            );
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in [
            "QQ", "QQ=", "Q===", "Q=Q=", "====", "QU I", "QUJD!", "QQ===",
        ] {
            for step in [1, 3, 100] {
                assert_eq!(decode(text.as_bytes(), step), Err(Malformed), "{text}");
            }
        }
        assert_eq!(decode(b"", 1).unwrap(), b"");
    }

    #[test]
    fn each_message_is_text_as_soon_as_it_ends() {
        let stream: Vec<u8> = (0..9).flat_map(message).collect();
        for step in 1..=stream.len() {
            let mut encoder = Encoder::default();
            let mut text = Vec::new();
            let mut taken = 0;
            for piece in stream.chunks(step) {
                text.extend_from_slice(&encoder.push(piece));
                taken += piece.len();
                let complete = {
                    let mut messages = Messages::default();
                    let mut end = 0;
                    while let Some(next) = messages.take(&stream[end..taken]) {
                        end += next;
                    }
                    end
                };
                assert!(decode(&text, 5).unwrap().len() >= complete);
                assert!(encoder.rest.len() < 3);
            }
            text.extend_from_slice(&encoder.finish(b"end"));
            let expected = [stream.as_slice(), b"end"].concat();
            assert_eq!(decode(&text, 7).unwrap(), expected, "in steps of {step}");
        }
    }
}
