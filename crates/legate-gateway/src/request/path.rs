//! Path normalisation (spec/routing §3.7 step 5, spec/services §5.6).
//!
//! Matching, rewriting, logs and the upstream see the result; the query is never touched. The
//! common path is checked once and borrowed.

use std::borrow::Cow;

use http::{Method, Uri};
use legate_config::http::HttpSettings;

/// A normalised target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathParts<'a> {
    /// The path: ASCII, starts with `/` (or is `*`), without dot segments.
    pub(crate) path: Cow<'a, str>,
    /// The query as received, without `?`.
    pub(crate) query: Option<&'a str>,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathError {
    /// It does not start with `/`.
    NotAbsolute,
    /// It holds `%00`.
    Nul,
    /// It holds an encoded slash or backslash, and those are refused.
    EscapedSlash,
}

/// Normalises the target of a request.
pub(crate) fn normalise_path<'a>(
    uri: &'a Uri,
    method: &Method,
    settings: &HttpSettings,
) -> Result<PathParts<'a>, PathError> {
    let path = uri.path();
    if path == "*" && *method == Method::OPTIONS {
        return Ok(PathParts {
            path: Cow::Borrowed(path),
            query: None,
        });
    }
    Ok(PathParts {
        path: normalise(
            path,
            settings.merge_slashes,
            settings.reject_escaped_slashes,
        )?,
        query: uri.query(),
    })
}

fn normalise(path: &str, merge: bool, reject: bool) -> Result<Cow<'_, str>, PathError> {
    let path = path.split_once('#').map_or(path, |(before, _)| before);
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(path.as_bytes(), merge) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path.as_bytes(), reject)?;
    let mut out = resolve_dots(&decoded);
    if merge {
        out.dedup_by(|next, last| *next == b'/' && *last == b'/');
    }
    if out == path.as_bytes() {
        return Ok(Cow::Borrowed(path));
    }
    // Only ASCII was pushed.
    Ok(Cow::Owned(
        String::from_utf8(out).unwrap_or_else(|_| "/".to_owned()),
    ))
}

/// Whether nothing would change: every byte stands for itself, no segment starts with a dot (those
/// are looked at closely elsewhere), no doubled slash that would be merged.
fn is_normal(path: &[u8], merge: bool) -> bool {
    let mut last = 0;
    for byte in path {
        let class = CLASS.get(usize::from(*byte)).copied().unwrap_or(OTHER);
        let fine = match class {
            PLAIN => true,
            DOT => last != b'/',
            SLASH => !(merge && last == b'/'),
            _ => false,
        };
        if !fine {
            return false;
        }
        last = *byte;
    }
    true
}

const PLAIN: u8 = 0;
const DOT: u8 = 1;
const SLASH: u8 = 2;
const OTHER: u8 = 3;

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated when compiling, where out of bounds is an error"
)]
static CLASS: [u8; 256] = {
    let mut table = [OTHER; 256];
    let mut byte = 0_u8;
    loop {
        if is_legal(byte) {
            table[byte as usize] = PLAIN;
        }
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table[b'.' as usize] = DOT;
    table[b'/' as usize] = SLASH;
    table
};

/// Whether a byte may stand in a path unencoded. `[`, `]` and `|` are left alone, as browsers and
/// Envoy do, although RFC 3986 does not list them.
pub(super) const fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'/'
                | b'['
                | b']'
                | b'|'
        )
}

/// Turns backslashes into slashes, decodes what need not be encoded, encodes what must be.
fn decode(path: &[u8], reject: bool) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len() + 16);
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' => out.push(b'/'),
            b'%' => match escape(after) {
                Some((0, _)) => return Err(PathError::Nul),
                Some((b'/' | b'\\', _)) if reject => return Err(PathError::EscapedSlash),
                Some((value, tail)) if is_unreserved(value) => {
                    out.push(value);
                    rest = tail;
                }
                Some(_) => out.push(b'%'),
                // A lone percent sign is encoded, or `%%32e` would become `%2e` here and a dot at
                // the upstream.
                None => push_escaped(&mut out, b'%'),
            },
            byte if is_legal(*byte) => out.push(*byte),
            byte => push_escaped(&mut out, *byte),
        }
    }
    Ok(out)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that two hexadecimal digits stand for, and what follows them.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, tail) = text.split_at_checked(2)?;
    let mut value = 0;
    for digit in digits {
        value = value * 16 + char::from(*digit).to_digit(16)?;
    }
    Some((u8::try_from(value).ok()?, tail))
}

/// Appends `%XX`.
pub(super) fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push(b'%');
    for digit in [byte >> 4, byte & 15] {
        out.push(HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
    }
}

/// Resolves `.` and `..` segments; `..` above the root stays at the root.
fn resolve_dots(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path
        .strip_prefix(b"/")
        .unwrap_or(path)
        .split(|byte| *byte == b'/')
        .peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    let keep = out.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    out.truncate(keep);
                }
                if last {
                    out.push(b'/');
                }
            }
            segment => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
