//! YAML text of one document to a JSON value; the one place that knows which YAML library we use.
//!
//! Not here: cutting files into documents (`split`), finding fields (`locate`). There are two
//! readers: the fast one handles the plain documents that manifests are made of and gives up on
//! everything else; the full one (serde-saphyr) is the authority, also on what an error says.

mod fast;
pub(crate) mod tree;

use serde_json::Value;

/// Why a document cannot be read, with the place inside the document's own text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// One sentence, without the position.
    pub(crate) message: String,
    /// 1-based, counted from the first line of the document's text.
    pub(crate) line: u32,
    /// 1-based, in characters.
    pub(crate) column: u32,
}

/// Reads one document as kubectl would; an empty one is `null`.
pub(crate) fn parse(text: &str) -> Result<Value, SyntaxError> {
    match fast::read(text) {
        Some(value) => Ok(value),
        None => parse_full(text),
    }
}

fn parse_full(text: &str) -> Result<Value, SyntaxError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |place| {
            (
                u32::try_from(place.line()).unwrap_or(u32::MAX),
                u32::try_from(place.column()).unwrap_or(u32::MAX),
            )
        });
        let text = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let suffix = format!(" at line {line}, column {column}");
        let message = text.strip_suffix(&suffix).unwrap_or(&text).to_owned();
        SyntaxError {
            message,
            line: line.max(1),
            column: column.max(1),
        }
    })
}

/// Untyped reading that agrees with kubectl: `017` is 15, `no` is false. The node budget is raised
/// because a file of the user's own may hold a generated list of many thousand objects; what
/// aliases may multiply stays small.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        emit_comments: false,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
        },
        budget: serde_saphyr::budget! {
            max_events: 40_000_000,
            max_nodes: 20_000_000,
        },
    }
}

#[cfg(test)]
mod tests;
