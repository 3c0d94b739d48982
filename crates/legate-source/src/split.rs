//! Cuts a file into documents before anything is parsed, so that a syntax error costs only the
//! document it is in.
//!
//! Cutting at lines is exact for YAML: `---` and `...` at column 0 end a document even inside a
//! quoted or block scalar (YAML 1.2, `c-forbidden`). Not here: reading the documents.

use std::ops::Range;

/// One document's text inside its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Bytes of the file.
    pub(crate) range: Range<usize>,
    /// The file's line, 1-based, on which the text starts.
    pub(crate) first_line: u32,
}

/// Cuts YAML text. Comments and directives before a `---` belong to the document it opens.
pub(crate) fn split(text: &str) -> Vec<Piece> {
    let mut cutter = Cutter::default();
    let mut offset = 0;
    for (number, line) in (1u32..).zip(text.split_inclusive('\n')) {
        cutter.line(offset, number, line);
        offset += line.len();
    }
    cutter.finish(text.len());
    cutter.pieces
}

#[derive(Default)]
struct Cutter {
    pieces: Vec<Piece>,
    start: usize,
    first_line: u32,
    /// The current document has its `---`.
    opened: bool,
    /// The current document has more than comments and directives.
    content: bool,
}

impl Cutter {
    fn line(&mut self, offset: usize, number: u32, line: &str) {
        if self.first_line == 0 {
            self.first_line = number;
        }
        if is_marker(line, "---") {
            if self.opened || self.content {
                self.finish(offset);
                self.begin(offset, number);
            }
            self.opened = true;
        } else if is_marker(line, "...") {
            self.finish(offset + line.len());
            self.begin(offset + line.len(), 0);
        } else if !self.content {
            let text = line.trim();
            let directive = !self.opened && line.starts_with('%');
            self.content = !(text.is_empty() || text.starts_with('#') || directive);
        }
    }

    fn finish(&mut self, end: usize) {
        if (self.opened || self.content) && end > self.start {
            self.pieces.push(Piece {
                range: self.start..end,
                first_line: self.first_line,
            });
        }
    }

    fn begin(&mut self, offset: usize, number: u32) {
        self.start = offset;
        self.first_line = number;
        self.opened = false;
        self.content = false;
    }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(u32, &str)> {
        split(text)
            .into_iter()
            .map(|piece| (piece.first_line, text.get(piece.range).unwrap()))
            .collect()
    }

    #[test]
    fn documents_are_cut_at_markers() {
        assert_eq!(texts(""), []);
        assert_eq!(texts("a: 1\n"), [(1, "a: 1\n")]);
        assert_eq!(texts("a: 1\n---\nb: 2"), [(1, "a: 1\n"), (2, "---\nb: 2")]);
        assert_eq!(
            texts("---\na: 1\n---\n---\nb: 2\n"),
            [(1, "---\na: 1\n"), (3, "---\n"), (4, "---\nb: 2\n")]
        );
        assert_eq!(texts("a: 1\r\n---\r\nb: 2\r\n").len(), 2);
        assert_eq!(texts("--- {a: 1}\n--- # x\nb: 2\n").len(), 2);
    }

    #[test]
    fn a_marker_needs_column_0_and_a_space() {
        assert_eq!(texts("a: |\n  ---\n  x\n").len(), 1);
        assert_eq!(texts("a: 1\n---b: 2\n").len(), 1);
        assert_eq!(texts("a: |\n  x\n---\nb: 1\n").len(), 2);
        assert_eq!(texts("a: \"x\n---\ny: 1\n").len(), 2);
    }

    #[test]
    fn comments_and_directives_stay_with_their_document() {
        assert_eq!(texts("# only a comment\n\n"), []);
        assert_eq!(texts("# licence\n---\na: 1\n").len(), 1);
        assert_eq!(
            texts("%YAML 1.2\n---\na: 1\n...\n%YAML 1.2\n---\nb: 2\n"),
            [
                (1, "%YAML 1.2\n---\na: 1\n...\n"),
                (5, "%YAML 1.2\n---\nb: 2\n")
            ]
        );
        assert_eq!(texts("a: 1\n...\nb: 2\n").len(), 2);
        assert_eq!(texts("a: 1\n...\n# end\n").len(), 1);
    }
}
