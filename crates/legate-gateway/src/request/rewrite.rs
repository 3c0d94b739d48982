//! Path rewriting (spec/routing §4.7) and the replacements that redirects share with it.

use std::borrow::Cow;

use legate_config::policy::{PathRewrite, RegexReplace, Replacement};
use regex_automata::meta::Regex;

use super::path::{is_legal, push_escaped};

/// A rewrite ready to run.
#[derive(Debug, Clone)]
pub(super) enum CompiledRewrite {
    /// Unchanged.
    Keep,
    /// The first bytes replaced.
    Prefix {
        /// How many bytes.
        matched: usize,
        /// What stands there instead.
        with: String,
    },
    /// The whole path replaced.
    Full(String),
    /// Every match replaced.
    Regex(CompiledReplace),
}

/// A regular expression and what its matches become.
#[derive(Debug, Clone)]
pub(super) struct CompiledReplace {
    regex: Regex,
    substitution: Vec<Replacement>,
}

impl CompiledRewrite {
    pub(super) fn build(rewrite: &PathRewrite) -> Result<Self, String> {
        Ok(match rewrite {
            PathRewrite::Keep => Self::Keep,
            PathRewrite::Prefix { matched, with } => Self::Prefix {
                matched: *matched,
                with: legal(with).into_owned(),
            },
            PathRewrite::Full(text) => Self::Full(legal(text).into_owned()),
            PathRewrite::Regex(replace) => Self::Regex(CompiledReplace::build(replace)?),
        })
    }

    /// The new path, or `None` where it stays.
    pub(super) fn apply(&self, path: &str) -> Option<String> {
        let new = match self {
            Self::Keep => return None,
            // The usual rewrite to what is there already makes no new path.
            Self::Prefix { matched, with } if path.get(..*matched) == Some(with) => return None,
            Self::Prefix { matched, with } => replace_prefix(path, *matched, with)?,
            Self::Full(text) if text == path => return None,
            Self::Full(text) => text.clone(),
            Self::Regex(replace) => {
                let new = replace.apply(path)?;
                if new == path {
                    return None;
                }
                new
            }
        };
        Some(new)
    }
}

impl CompiledReplace {
    pub(super) fn build(replace: &RegexReplace) -> Result<Self, String> {
        let regex = Regex::new(&replace.pattern).map_err(|error| error.to_string())?;
        let substitution = replace
            .substitution
            .iter()
            .map(|piece| match piece {
                Replacement::Text(text) => Replacement::Text(legal(text).into_owned()),
                Replacement::Group(group) => Replacement::Group(*group),
            })
            .collect();
        Ok(Self {
            regex,
            substitution,
        })
    }

    /// The path with every match replaced; `None` without any.
    pub(super) fn apply(&self, path: &str) -> Option<String> {
        let mut out = String::with_capacity(path.len() + 16);
        let mut done = 0;
        let mut any = false;
        for captures in self.regex.captures_iter(path) {
            let Some(whole) = captures.get_group(0) else {
                continue;
            };
            any = true;
            out.push_str(path.get(done..whole.start).unwrap_or(""));
            for piece in &self.substitution {
                match piece {
                    Replacement::Text(text) => out.push_str(text),
                    Replacement::Group(group) => {
                        let span = captures.get_group(*group);
                        out.push_str(span.and_then(|span| path.get(span.range())).unwrap_or(""));
                    }
                }
            }
            done = whole.end;
        }
        out.push_str(path.get(done..).unwrap_or(""));
        any.then_some(out)
    }
}

/// `with` instead of the first `matched` bytes; `None` if the path is shorter than that.
pub(super) fn replace_prefix(path: &str, matched: usize, with: &str) -> Option<String> {
    let rest = path.get(matched..)?;
    let mut out = String::with_capacity(with.len() + rest.len());
    out.push_str(with);
    out.push_str(rest);
    Some(out)
}

/// Text from the config as it may stand in a request target: a user's blank or umlaut is encoded,
/// escapes and a query (`?`) are left alone.
pub(super) fn legal(text: &str) -> Cow<'_, str> {
    let fine = |byte: u8| is_legal(byte) || matches!(byte, b'%' | b'?');
    if text.bytes().all(fine) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if fine(byte) {
            out.push(byte);
        } else {
            push_escaped(&mut out, byte);
        }
    }
    // Only ASCII was pushed.
    Cow::Owned(String::from_utf8(out).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(pattern: &str, substitution: Vec<Replacement>) -> PathRewrite {
        PathRewrite::Regex(RegexReplace {
            pattern: pattern.into(),
            substitution,
        })
    }

    fn prefix(matched: usize, with: &str) -> PathRewrite {
        PathRewrite::Prefix {
            matched,
            with: with.into(),
        }
    }

    #[test]
    fn paths_are_rewritten() {
        use Replacement::{Group, Text};
        let text = |text: &str| Text(text.into());
        // RW-01 to RW-08 of the specification, then the corners.
        let rows = [
            (prefix(5, "/v1/"), "/api/x", Some("/v1/x")),
            (prefix(4, "/v1"), "/api/x", Some("/v1/x")),
            (prefix(4, "/v1"), "/apix", Some("/v1x")),
            (prefix(4, "/"), "/api/x", Some("//x")),
            (prefix(4, "/"), "/api", Some("/")),
            (PathRewrite::Keep, "/api/x", None),
            (PathRewrite::Full("/".into()), "/r/long/path", Some("/")),
            (
                regex("^/u/([0-9]+)$", vec![text("/user/"), Group(1)]),
                "/u/42",
                Some("/user/42"),
            ),
            (
                regex("^/u/([0-9]+)$", vec![text("/user/"), Group(1)]),
                "/u/x",
                None,
            ),
            (regex("a", vec![text("b")]), "/aXa", Some("/bXb")),
            (
                regex("/x/(.*)", vec![text("/z/"), Group(1)]),
                "/x/1",
                Some("/z/1"),
            ),
            (prefix(99, "/v1"), "/api", None),
            (prefix(1, "/"), "/api", None),
            (regex("b", vec![Group(0), Group(0)]), "/abc", Some("/abbc")),
            (regex("b", vec![Group(7)]), "/abc", Some("/ac")),
            (
                regex("(x)?b", vec![Group(1), text("-")]),
                "/ab",
                Some("/a-"),
            ),
            (regex("z*", vec![text("-")]), "/a", Some("-/-a-")),
            (
                regex("/", vec![text("/ä b#?c%20")]),
                "/",
                Some("/%C3%A4%20b%23?c%20"),
            ),
            (PathRewrite::Full("/a b".into()), "/", Some("/a%20b")),
        ];
        for (rewrite, path, expected) in rows {
            let compiled = CompiledRewrite::build(&rewrite).unwrap();
            assert_eq!(
                compiled.apply(path).as_deref(),
                expected,
                "{rewrite:?} {path}"
            );
        }
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        assert!(CompiledRewrite::build(&regex("(", Vec::new())).is_err());
    }
}
