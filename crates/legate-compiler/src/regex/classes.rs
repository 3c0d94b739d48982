//! RE2 character classes and escapes to Rust syntax.

use super::RegexError;
use super::translate::Cursor;

/// Appends a character as a literal, in or out of a class.
pub(super) fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else if c.is_ascii_graphic() || c == ' ' {
        if regex_syntax::is_escapeable_character(c) {
            out.push('\\');
        }
        out.push(c);
    } else {
        out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
    }
}

/// `\d \D \s \S \w \W` after the backslash. They are ASCII in RE2, and `\s` has no vertical tab.
pub(super) fn perl(cursor: &mut Cursor<'_>, out: &mut String, in_class: bool) -> bool {
    let (ranges, negated) = match cursor.peek() {
        Some(c @ ('d' | 'D')) => ("0-9", c == 'D'),
        Some(c @ ('s' | 'S')) => (r"\t\n\f\r ", c == 'S'),
        Some(c @ ('w' | 'W')) => ("0-9A-Za-z_", c == 'W'),
        _ => return false,
    };
    cursor.next();
    if in_class && !negated {
        out.push_str(ranges);
    } else {
        out.push_str(if negated { "[^" } else { "[" });
        out.push_str(ranges);
        out.push(']');
    }
    true
}

/// `\pN`, `\p{Greek}`, `\p{^Greek}` and their negations, after the backslash.
pub(super) fn unicode(
    cursor: &mut Cursor<'_>,
    out: &mut String,
    start: usize,
) -> Result<bool, RegexError> {
    let mut negated = match cursor.peek() {
        Some('p') => false,
        Some('P') => true,
        _ => return Ok(false),
    };
    cursor.next();
    let name = match cursor.next() {
        Some('{') => {
            let Some((name, _)) = cursor.rest().split_once('}') else {
                return Err(cursor.error(start, "a Unicode class is not closed"));
            };
            cursor.at += name.len() + 1;
            name
        }
        Some(c) if c.is_ascii_alphabetic() => {
            let at = cursor.at - c.len_utf8();
            cursor.pattern.get(at..cursor.at).unwrap_or("")
        }
        _ => return Err(cursor.error(start, "a Unicode class needs a name")),
    };
    let name = match name.strip_prefix('^') {
        Some(name) => {
            negated = !negated;
            name
        }
        None => name,
    };
    // Rust's `key=value` and `key:value` forms are none of RE2's.
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(cursor.error(start, format!("`{name}` is no Unicode class")));
    }
    out.push_str(if negated { "\\P{" } else { "\\p{" });
    out.push_str(if name == "Any" { "any" } else { name });
    out.push('}');
    Ok(true)
}

/// A single escaped character, after the backslash.
pub(super) fn escaped_char(cursor: &mut Cursor<'_>, start: usize) -> Result<char, RegexError> {
    let bad = |cursor: &Cursor<'_>, message: &str| Err(cursor.error(start, message));
    let Some(c) = cursor.next() else {
        return bad(cursor, "the pattern ends in a backslash");
    };
    match c {
        '1'..='7' if !cursor.peek().is_some_and(|next| next.is_digit(8)) => {
            bad(cursor, "back-references are not supported")
        }
        '0'..='7' => {
            let mut code = c.to_digit(8).unwrap_or(0);
            for _ in 0..2 {
                let Some(digit) = cursor.peek().and_then(|next| next.to_digit(8)) else {
                    break;
                };
                cursor.next();
                code = code * 8 + digit;
            }
            match char::from_u32(code) {
                Some(c) => Ok(c),
                None => bad(cursor, "no such character"),
            }
        }
        '8' | '9' => bad(cursor, "back-references are not supported"),
        'x' => hex(cursor, start),
        'a' => Ok('\u{7}'),
        'f' => Ok('\u{c}'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        'v' => Ok('\u{b}'),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
        c => Err(cursor.error(start, format!("unknown escape `\\{c}`"))),
    }
}

/// `\x7F` or `\x{10FFFF}`, after the `x`.
fn hex(cursor: &mut Cursor<'_>, start: usize) -> Result<char, RegexError> {
    let rest = cursor.rest();
    let (digits, skip) = match rest.strip_prefix('{') {
        Some(inner) => match inner.split_once('}') {
            Some((digits, _)) => (digits, digits.len() + 2),
            None => ("", 0),
        },
        None => (rest.get(..2).unwrap_or(""), 2),
    };
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let c = u32::from_str_radix(digits, 16)
        .ok()
        .and_then(char::from_u32);
    match c {
        Some(c) if valid => {
            cursor.at += skip;
            Ok(c)
        }
        _ => Err(cursor.error(start, "a bad hexadecimal escape")),
    }
}

/// A bracket class, after its `[`. Inside, RE2 knows neither nesting nor set operators.
pub(super) fn bracket(
    cursor: &mut Cursor<'_>,
    out: &mut String,
    start: usize,
) -> Result<(), RegexError> {
    out.push('[');
    if cursor.eat("^") {
        out.push('^');
    }
    let mut first = true;
    loop {
        let at = cursor.at;
        match cursor.peek() {
            None => return Err(cursor.error(start, "a class is not closed")),
            Some(']') if !first => {
                cursor.next();
                out.push(']');
                return Ok(());
            }
            _ => {}
        }
        first = false;
        if cursor.rest().starts_with("[:") && posix(cursor, out)? {
            continue;
        }
        if cursor.rest().starts_with('\\') {
            cursor.next();
            if perl(cursor, out, true) || unicode(cursor, out, at)? {
                continue;
            }
            cursor.at = at;
        }
        range(cursor, out, at)?;
    }
}

/// `[:word:]` and the like; false when it is not of that form.
fn posix(cursor: &mut Cursor<'_>, out: &mut String) -> Result<bool, RegexError> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
        "space", "upper", "word", "xdigit",
    ];
    let at = cursor.at;
    let Some((inner, _)) = cursor
        .rest()
        .get(2..)
        .and_then(|rest| rest.split_once(":]"))
    else {
        return Ok(false);
    };
    let name = inner.strip_prefix('^').unwrap_or(inner);
    if !NAMES.contains(&name) {
        return Err(cursor.error(at, format!("`[:{inner}:]` is no class")));
    }
    out.push_str("[:");
    out.push_str(inner);
    out.push_str(":]");
    cursor.at += inner.len() + 4;
    Ok(true)
}

fn range(cursor: &mut Cursor<'_>, out: &mut String, at: usize) -> Result<(), RegexError> {
    let low = class_char(cursor)?;
    let rest = cursor.rest();
    if rest.starts_with('-') && rest.len() > 1 && !rest.starts_with("-]") {
        cursor.next();
        let high = class_char(cursor)?;
        if high < low {
            return Err(cursor.error(at, "a range that runs backwards"));
        }
        push_literal(out, low);
        out.push('-');
        push_literal(out, high);
    } else {
        push_literal(out, low);
    }
    Ok(())
}

fn class_char(cursor: &mut Cursor<'_>) -> Result<char, RegexError> {
    let at = cursor.at;
    match cursor.next() {
        Some('\\') => escaped_char(cursor, at),
        Some(c) => Ok(c),
        None => Err(cursor.error(at, "a class is not closed")),
    }
}
