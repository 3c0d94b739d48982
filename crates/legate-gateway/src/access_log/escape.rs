//! Escaping: whatever bytes a client sends, a line stays one line and JSON stays JSON.

/// Appends bytes to a text line: quotes and backslashes get a backslash, everything that is not
/// printable ASCII becomes `\xNN`.
pub(super) fn push_text(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' '..=b'~' => out.push(*byte),
            byte => {
                out.extend_from_slice(b"\\x");
                push_hex(out, *byte);
            }
        }
    }
}

/// Appends bytes to a JSON string, between quotes that the caller writes. What is not UTF-8 becomes
/// U+FFFD.
pub(super) fn push_json(out: &mut Vec<u8>, bytes: &[u8]) {
    // Common: nothing to escape. Without an early end this is done many bytes at a time.
    let plain = bytes.iter().fold(true, |plain, byte| {
        plain & (*byte >= b' ') & (*byte <= b'~') & (*byte != b'"') & (*byte != b'\\')
    });
    if plain {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for byte in chunk.valid().bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..=0x1f | 0x7f => {
                    out.extend_from_slice(b"\\u00");
                    push_hex(out, byte);
                }
                byte => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn push_hex(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for digit in [byte >> 4, byte & 15] {
        out.push(HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_printable_ascii() {
        for (bytes, expected) in [
            (&b"plain /a?b=1"[..], "plain /a?b=1"),
            (b"a\"b\\c", "a\\\"b\\\\c"),
            (b"a\nb\r\0\x7f", "a\\x0ab\\x0d\\x00\\x7f"),
            ("\u{e9}".as_bytes(), "\\xc3\\xa9"),
            (b"\xff\x1b[31m", "\\xff\\x1b[31m"),
        ] {
            let mut out = Vec::new();
            push_text(&mut out, bytes);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn json_strings_survive(bytes: Vec<u8>) {
            let mut out = b"\"".to_vec();
            push_json(&mut out, &bytes);
            out.push(b'"');
            assert!(!out.contains(&b'\n'));
            let parsed: String = serde_json::from_slice(&out).unwrap();
            assert_eq!(parsed, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn text_survives(bytes: Vec<u8>) {
            let mut out = Vec::new();
            push_text(&mut out, &bytes);
            assert!(out.iter().all(|byte| (b' '..=b'~').contains(byte)));
        }
    }
}
