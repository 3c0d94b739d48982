//! Finds the text of a field: a path such as `spec.hosts[2]` to a line and column.
//!
//! Works on the text of one document; not here: which document an object came from.

use crate::yaml::tree::{Mark, Node, NodeKind, Tree};

/// Which side of a `key: value` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The value, as when it is wrong. A value written as a block, or none, shows its key.
    Value,
    /// The key, as when the field is unknown.
    Key,
}

/// A place in a document: 1-based line and column, length in characters, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

/// Finds `path` in the object that the list indexes `items` lead to; falls back to the object's
/// `kind` line, then to its first line.
pub(crate) fn locate(text: &str, items: &[usize], path: &str, side: Side) -> Place {
    locate_parsed(Tree::parse(text).as_ref(), text, items, path, side)
}

/// As [`locate`], with the document's tree, if it has one.
pub(crate) fn locate_parsed(
    tree: Option<&Tree>,
    text: &str,
    items: &[usize],
    path: &str,
    side: Side,
) -> Place {
    let found = tree.and_then(|tree| locate_in(tree, items, path, side));
    let mark = found.unwrap_or_else(|| first_line(text));
    Place {
        line: mark.line,
        column: mark.column,
        length: mark
            .length
            .unwrap_or_else(|| rest_of_line(text, &mark))
            .max(1),
    }
}

fn locate_in(tree: &Tree, items: &[usize], path: &str, side: Side) -> Option<Mark> {
    let mut object = &tree.root;
    for index in items {
        let list = child(tree, object, "items")?.1;
        let NodeKind::Seq(nodes) = &tree.target(list)?.kind else {
            return None;
        };
        object = nodes.get(*index)?;
    }
    let object = tree.target(object)?;
    let found = if path.is_empty() {
        None
    } else {
        Search::new(tree).find(object, None, path)
    };
    if let Some((key, value)) = found {
        return Some(match key {
            Some(key) if side == Side::Key || value.mark.block || is_empty(value) => key.mark,
            _ => value.mark,
        });
    }
    Some(kind_line(tree, object).unwrap_or(object.mark))
}

fn kind_line(tree: &Tree, object: &Node) -> Option<Mark> {
    let (key, value) = child(tree, object, "kind")?;
    let mut mark = key.mark;
    if key.mark.line == value.mark.line {
        let end = value.mark.column.saturating_add(value.mark.length?);
        mark.length = Some(end.saturating_sub(mark.column));
    }
    Some(mark)
}

/// The pair named `name`.
fn child<'t>(tree: &'t Tree, node: &'t Node, name: &str) -> Option<(&'t Node, &'t Node)> {
    let NodeKind::Map(pairs) = &tree.target(node)?.kind else {
        return None;
    };
    pairs
        .iter()
        .map(|(key, value)| (key, value))
        .find(|(key, _)| matches!(&key.kind, NodeKind::Scalar(text) if text == name))
}

/// Steps that one search may take: aliases and merge keys can make a small text a large one, and
/// even a circle.
const MAX_STEPS: u32 = 1000;

type Pair<'t> = (Option<&'t Node>, &'t Node);

struct Search<'t> {
    tree: &'t Tree,
    steps_left: u32,
}

impl<'t> Search<'t> {
    fn new(tree: &'t Tree) -> Self {
        Self {
            tree,
            steps_left: MAX_STEPS,
        }
    }

    /// Follows the rest of a path. Keys may hold dots and brackets, so the longest key that fits
    /// is tried first.
    fn find(&mut self, node: &'t Node, key: Option<&'t Node>, rest: &str) -> Option<Pair<'t>> {
        self.steps_left = self.steps_left.checked_sub(1)?;
        let rest = rest.strip_prefix('.').unwrap_or(rest);
        if rest.is_empty() {
            return Some((key, node));
        }
        match &self.tree.target(node)?.kind {
            // The field was written in another shape, e.g. a string where a list is meant.
            NodeKind::Scalar(_) => Some((key, node)),
            NodeKind::Alias(_) => None,
            NodeKind::Seq(items) => {
                let (index, rest) = rest.strip_prefix('[')?.split_once(']')?;
                self.find(items.get(index.parse::<usize>().ok()?)?, None, rest)
            }
            NodeKind::Map(pairs) => self.find_in_map(pairs, rest),
        }
    }

    fn find_in_map(&mut self, pairs: &'t [(Node, Node)], rest: &str) -> Option<Pair<'t>> {
        self.steps_left = self.steps_left.checked_sub(1)?;
        let mut fitting: Vec<_> = pairs
            .iter()
            .filter_map(|(key, value)| match &key.kind {
                NodeKind::Scalar(text) => {
                    let after = rest.strip_prefix(text.as_str())?;
                    (after.is_empty() || after.starts_with(['.', '['])).then_some((
                        text.len(),
                        key,
                        value,
                        after,
                    ))
                }
                _ => None,
            })
            .collect();
        fitting.sort_by_key(|(length, ..)| std::cmp::Reverse(*length));
        fitting
            .into_iter()
            .find_map(|(_, key, value, after)| self.find(value, Some(key), after))
            .or_else(|| self.find_merged(pairs, rest))
    }

    fn find_merged(&mut self, pairs: &'t [(Node, Node)], rest: &str) -> Option<Pair<'t>> {
        let merged = pairs
            .iter()
            .find(|(key, _)| matches!(&key.kind, NodeKind::Scalar(text) if text == "<<"));
        match &self.tree.target(&merged?.1)?.kind {
            NodeKind::Map(pairs) => self.find_in_map(pairs, rest),
            NodeKind::Seq(items) => {
                items
                    .iter()
                    .find_map(|item| match &self.tree.target(item)?.kind {
                        NodeKind::Map(pairs) => self.find_in_map(pairs, rest),
                        _ => None,
                    })
            }
            _ => None,
        }
    }
}

fn is_empty(node: &Node) -> bool {
    node.mark.length == Some(0)
}

/// The first line that says something.
fn first_line(text: &str) -> Mark {
    let lines = || (1u32..).zip(text.lines());
    let says = |line: &str| {
        let line = line.trim();
        !(line.is_empty() || line.starts_with('#') || line == "---")
    };
    let (number, line) = lines()
        .find(|(_, line)| says(line))
        .or_else(|| lines().next())
        .unwrap_or((1, ""));
    let indent = line.len() - line.trim_start().len();
    Mark {
        line: number,
        column: u32::try_from(indent).unwrap_or(0).saturating_add(1),
        length: None,
        block: false,
    }
}

fn rest_of_line(text: &str, mark: &Mark) -> u32 {
    let line = usize::try_from(mark.line.saturating_sub(1)).unwrap_or(0);
    let before = usize::try_from(mark.column.saturating_sub(1)).unwrap_or(0);
    let line = text.lines().nth(line).unwrap_or_default().trim_end();
    let length = line.chars().count().saturating_sub(before);
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
