//! Regular expressions: RE2, as users write it, to the Rust dialect, within a size limit.
//!
//! The two dialects agree on most texts; [`translate`] rewrites where they do not (ASCII classes,
//! octal escapes, `\Q…\E`, literal braces, brackets and set operators in classes) and refuses what
//! RE2 refuses. Results carry no anchors: who compiles them matches in full, as `\A(?:…)\z`.

mod classes;
mod translate;

use std::fmt;

use legate_config::policy::{RegexReplace, Replacement};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;

use translate::Translated;

/// Longest pattern that is looked at, in bytes.
const MAX_PATTERN: usize = 32 * 1024;
/// Most memory that one compiled pattern may take, in bytes (spec/routing §4.1).
const MAX_COMPILED: usize = 1024 * 1024;

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegexError {
    /// What is wrong.
    pub(crate) message: String,
    /// Character of the pattern where it is wrong, counted from 1.
    pub(crate) position: Option<usize>,
}

impl RegexError {
    fn at(pattern: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = pattern.get(..offset).unwrap_or(pattern);
        Self {
            message: message.into(),
            position: Some(before.chars().count() + 1),
        }
    }
}

impl fmt::Display for RegexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{} (at character {position})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Translates and validates a pattern; the result is in Rust syntax and compiles within the limit.
pub(crate) fn check(pattern: &str) -> Result<String, RegexError> {
    let translated = translate_within_limit(pattern)?;
    compile(pattern, &translated)?;
    Ok(translated.text)
}

/// Translates and validates a replacement (`regex_rewrite`, `regex_redirect`).
///
/// The substitution knows `\0`–`\9` and `\\`. An empty pattern is refused, as is a group that the
/// pattern does not have. The second part of an error says which of the two texts is to blame.
pub(crate) fn check_replace(
    pattern: &str,
    substitution: &str,
) -> Result<RegexReplace, (RegexError, Blame)> {
    if pattern.is_empty() {
        let error = RegexError {
            message: "the pattern is empty".to_owned(),
            position: None,
        };
        return Err((error, Blame::Pattern));
    }
    let blame = |error| (error, Blame::Pattern);
    let translated = translate_within_limit(pattern).map_err(blame)?;
    compile(pattern, &translated).map_err(blame)?;
    let substitution = parse_substitution(substitution, translated.groups)
        .map_err(|error| (error, Blame::Substitution))?;
    Ok(RegexReplace {
        pattern: translated.text,
        substitution,
    })
}

/// Which text of a replacement is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    Pattern,
    Substitution,
}

fn translate_within_limit(pattern: &str) -> Result<Translated, RegexError> {
    if pattern.len() > MAX_PATTERN {
        return Err(RegexError {
            message: format!("the pattern is longer than {MAX_PATTERN} bytes"),
            position: None,
        });
    }
    translate::translate(pattern)
}

/// Compiles the way the data plane does, forwards and backwards, and throws the result away.
fn compile(pattern: &str, translated: &Translated) -> Result<(), RegexError> {
    let hir = regex_syntax::ParserBuilder::new()
        .build()
        .parse(&translated.text)
        .map_err(|error| syntax_error(pattern, translated, &error))?;
    for reverse in [false, true] {
        let config = thompson::Config::new()
            .nfa_size_limit(Some(MAX_COMPILED))
            .which_captures(if reverse {
                thompson::WhichCaptures::None
            } else {
                thompson::WhichCaptures::All
            })
            .reverse(reverse);
        thompson::Compiler::new()
            .syntax(syntax::Config::new())
            .configure(config)
            .build_from_hir(&hir)
            .map_err(|error| RegexError {
                message: if error.size_limit().is_some() {
                    "the compiled pattern exceeds the limit of 1 MiB".to_owned()
                } else {
                    error.to_string()
                },
                position: None,
            })?;
    }
    Ok(())
}

/// An error of the Rust parser, with its position in what the user wrote.
fn syntax_error(pattern: &str, translated: &Translated, error: &regex_syntax::Error) -> RegexError {
    let (message, offset) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => {
            (error.kind().to_string(), error.span().start.offset)
        }
        other => (other.to_string(), 0),
    };
    RegexError::at(pattern, translated.source_offset(offset), message)
}

fn parse_substitution(text: &str, groups: usize) -> Result<Vec<Replacement>, RegexError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            literal.push(c);
            continue;
        }
        match chars.next().map(|(_, c)| (c, c.to_digit(10))) {
            Some(('\\', _)) => literal.push('\\'),
            Some((_, Some(digit))) => {
                let group = usize::try_from(digit).unwrap_or(0);
                if group > groups {
                    let message = format!(
                        "the substitution names group {group}, but the pattern has {groups}"
                    );
                    return Err(RegexError::at(text, at, message));
                }
                if !literal.is_empty() {
                    parts.push(Replacement::Text(std::mem::take(&mut literal)));
                }
                parts.push(Replacement::Group(group));
            }
            _ => {
                let message = "a backslash is followed by a group number or another backslash";
                return Err(RegexError::at(text, at, message));
            }
        }
    }
    if !literal.is_empty() {
        parts.push(Replacement::Text(literal));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
