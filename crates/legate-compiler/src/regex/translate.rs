//! RE2 syntax to Rust syntax, outside of bracket classes.

use std::collections::BTreeSet;

use super::RegexError;
use super::classes;

/// Largest repetition count that RE2 takes.
const MAX_REPEAT: u32 = 1000;

/// A translated pattern.
#[derive(Debug)]
pub(super) struct Translated {
    /// The pattern in Rust syntax.
    pub(super) text: String,
    /// Number of capture groups.
    pub(super) groups: usize,
    /// Pairs of (offset in `text`, offset in what the user wrote), ascending.
    map: Vec<(usize, usize)>,
}

impl Translated {
    /// Where in the user's text an offset of the translation comes from.
    pub(super) fn source_offset(&self, offset: usize) -> usize {
        let after = self.map.partition_point(|&(out, _)| out <= offset);
        after
            .checked_sub(1)
            .and_then(|place| self.map.get(place))
            .map_or(0, |&(_, source)| source)
    }
}

/// Reads a pattern character by character.
pub(super) struct Cursor<'a> {
    pub(super) pattern: &'a str,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn rest(&self) -> &'a str {
        self.pattern.get(self.at..).unwrap_or("")
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    pub(super) fn error(&self, at: usize, message: impl Into<String>) -> RegexError {
        RegexError::at(self.pattern, at, message)
    }
}

/// Translates a pattern, or says what RE2 would not take either.
pub(super) fn translate(pattern: &str) -> Result<Translated, RegexError> {
    let mut pass = Pass {
        cursor: Cursor { pattern, at: 0 },
        out: String::with_capacity(pattern.len() + 8),
        map: Vec::new(),
        groups: 0,
        names: BTreeSet::new(),
        repeated: false,
    };
    while pass.cursor.at < pattern.len() {
        pass.map.push((pass.out.len(), pass.cursor.at));
        pass.step()?;
    }
    Ok(Translated {
        text: pass.out,
        groups: pass.groups,
        map: pass.map,
    })
}

struct Pass<'a> {
    cursor: Cursor<'a>,
    out: String,
    map: Vec<(usize, usize)>,
    groups: usize,
    names: BTreeSet<&'a str>,
    /// Whether the last element was a repetition: RE2 refuses another one on top.
    repeated: bool,
}

impl Pass<'_> {
    fn step(&mut self) -> Result<(), RegexError> {
        let start = self.cursor.at;
        let Some(c) = self.cursor.next() else {
            return Ok(());
        };
        let repeated = std::mem::take(&mut self.repeated);
        match c {
            '*' | '+' | '?' => {
                self.out.push(c);
                self.repetition(start, repeated)?;
            }
            '{' => match self.counted(start)? {
                Some(text) => {
                    self.out.push_str(&text);
                    self.repetition(start, repeated)?;
                }
                None => self.out.push_str("\\{"),
            },
            '(' => self.group(start)?,
            '[' => classes::bracket(&mut self.cursor, &mut self.out, start)?,
            '\\' => self.escape(start)?,
            // Literal in RE2 when nothing opened them.
            '}' | ']' => {
                self.out.push('\\');
                self.out.push(c);
            }
            _ => self.out.push(c),
        }
        Ok(())
    }

    /// The rest of a repetition: the lazy mark, and the ban on doubling.
    fn repetition(&mut self, start: usize, repeated: bool) -> Result<(), RegexError> {
        if repeated {
            return Err(self.cursor.error(start, "a repetition cannot be repeated"));
        }
        if self.cursor.eat("?") {
            self.out.push('?');
        }
        self.repeated = true;
        Ok(())
    }

    /// `{n}`, `{n,}` or `{n,m}` after the brace; anything else is a literal brace.
    fn counted(&mut self, start: usize) -> Result<Option<String>, RegexError> {
        let Some((inner, _)) = self.cursor.rest().split_once('}') else {
            return Ok(None);
        };
        let (low, high) = match inner.split_once(',') {
            Some((low, high)) => (low, Some(high)),
            None => (inner, None),
        };
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(low) || !high.is_none_or(|high| high.is_empty() || digits(high)) {
            return Ok(None);
        }
        for bound in std::iter::once(low).chain(high.filter(|high| !high.is_empty())) {
            if bound
                .parse::<u32>()
                .map_or(true, |count| count > MAX_REPEAT)
            {
                let message = format!("a repetition count is at most {MAX_REPEAT}");
                return Err(self.cursor.error(start, message));
            }
        }
        self.cursor.at += inner.len() + 1;
        Ok(Some(format!("{{{inner}}}")))
    }

    fn group(&mut self, start: usize) -> Result<(), RegexError> {
        if !self.cursor.eat("?") {
            self.groups += 1;
            self.out.push('(');
            return Ok(());
        }
        for lookaround in ["=", "!", "<=", "<!"] {
            if self.cursor.rest().starts_with(lookaround) {
                return Err(self.cursor.error(start, "look-around is not supported"));
            }
        }
        if self.cursor.eat("P<") || self.cursor.eat("<") {
            return self.named_group(start);
        }
        let flags_end = self
            .cursor
            .rest()
            .find([':', ')'])
            .ok_or_else(|| self.cursor.error(start, "a group is not closed"))?;
        let flags = self.cursor.rest().get(..flags_end).unwrap_or("");
        let known = |c: char| matches!(c, 'i' | 'm' | 's' | 'U' | '-');
        if !flags.chars().all(known) || flags.matches('-').count() > 1 || flags.ends_with('-') {
            return Err(self
                .cursor
                .error(start, format!("unknown group `(?{flags}`")));
        }
        self.out.push_str("(?");
        self.out.push_str(flags);
        self.cursor.at += flags_end;
        if self.cursor.next() == Some(')') {
            if flags.is_empty() {
                return Err(self.cursor.error(start, "a group without flags"));
            }
            self.out.push(')');
        } else {
            self.out.push(':');
        }
        Ok(())
    }

    /// Nothing refers to names, and RE2 is more liberal with them: they become plain groups.
    fn named_group(&mut self, start: usize) -> Result<(), RegexError> {
        let Some((name, _)) = self.cursor.rest().split_once('>') else {
            return Err(self
                .cursor
                .error(start, "the name of a group is not closed"));
        };
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(self
                .cursor
                .error(start, format!("`{name}` is no group name")));
        }
        if !self.names.insert(name) {
            return Err(self
                .cursor
                .error(start, format!("group name `{name}` twice")));
        }
        self.cursor.at += name.len() + 1;
        self.groups += 1;
        self.out.push('(');
        Ok(())
    }

    fn escape(&mut self, start: usize) -> Result<(), RegexError> {
        match self.cursor.peek() {
            Some('Q') => {
                self.cursor.next();
                let rest = self.cursor.rest();
                let (quoted, skip) = match rest.split_once("\\E") {
                    Some((quoted, _)) => (quoted, quoted.len() + 2),
                    None => (rest, rest.len()),
                };
                self.out.push_str(&regex_syntax::escape(quoted));
                self.cursor.at += skip;
            }
            Some('b') => {
                self.cursor.next();
                self.out.push_str(r"(?-u:\b)");
            }
            Some(c @ ('A' | 'B' | 'z')) => {
                self.cursor.next();
                self.out.push('\\');
                self.out.push(c);
            }
            Some('C') => {
                return Err(self
                    .cursor
                    .error(start, r"`\C` (any byte) is not supported"));
            }
            _ if classes::perl(&mut self.cursor, &mut self.out, false) => {}
            _ if classes::unicode(&mut self.cursor, &mut self.out, start)? => {}
            _ => {
                let c = classes::escaped_char(&mut self.cursor, start)?;
                classes::push_literal(&mut self.out, c);
            }
        }
        Ok(())
    }
}
