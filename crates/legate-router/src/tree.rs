//! A radix tree over path bytes, laid out flat.
//!
//! Texts end in nodes. Each node knows the nearest node above it where something applies, and the
//! lowest ordinal from itself upwards, so that a search starts at the longest match and stops as
//! soon as nothing above can be better.

use std::ops::Range;

use crate::list::{Lists, Slot};
use crate::row::Tests;

const NONE: u32 = u32::MAX;

/// What ends at a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// A row for paths that start with the text.
    Prefix(u32),
    /// A row for exactly this path.
    Exact(u32),
    /// A regex group whose matches all start with the text.
    Group {
        /// Index of the group.
        group: u32,
        /// Its lowest ordinal.
        first: u32,
    },
}

/// The tree.
#[derive(Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// First byte of each node's label, by node: the children of a node are found in one scan.
    firsts: Vec<u8>,
    labels: Vec<u8>,
    groups: Vec<u32>,
    /// Whether paths are compared without regard to ASCII case; labels are lower-case then.
    fold: bool,
}

struct Node {
    label: Range<u32>,
    children: Range<u32>,
    groups: Range<u32>,
    prefix: Slot,
    exact: Slot,
    /// Nearest node above with a prefix or group.
    up: u32,
    /// Lowest ordinal of prefixes and groups here and above.
    floor: u32,
}

/// Where a path leads.
pub(crate) struct Reached<'a> {
    /// Rows for exactly the path.
    pub(crate) exact: Slot,
    tree: &'a Tree,
    node: u32,
}

/// What applies at a node.
pub(crate) struct Applies<'a> {
    pub(crate) prefix: Slot,
    pub(crate) groups: &'a [u32],
    /// Lowest ordinal here and in all that follow.
    pub(crate) floor: u32,
}

// === impl Tree ===

impl Tree {
    /// Builds the tree. The order of `ends` does not matter; it is quickest when sorted by text.
    pub(crate) fn build(
        ends: &[(&[u8], End)],
        fold: bool,
        lists: &mut Lists,
        tests: &[&Tests],
    ) -> Self {
        let mut tree = Self {
            fold,
            ..Self::default()
        };
        if ends.is_empty() {
            return tree;
        }
        // Texts are spread over memory; side by side they sort several times as fast.
        let texts: Vec<&[u8]> = ends.iter().map(|(text, _)| *text).collect();
        let bytes = texts.concat();
        let mut rest = bytes.as_slice();
        let mut ends: Vec<(&[u8], End)> = (ends.iter())
            .map(|(text, end)| {
                let (copy, after) = rest.split_at_checked(text.len()).unwrap_or_default();
                rest = after;
                (copy, *end)
            })
            .collect();
        ends.sort();
        tree.nodes.push(Node::new());
        tree.firsts.push(0);
        // Breadth first, so that the children of a node are neighbours.
        let mut queue = std::collections::VecDeque::from([(0_usize, 0, 0..ends.len())]);
        while let Some((index, depth, range)) = queue.pop_front() {
            let texts = ends.get(range.clone()).unwrap_or_default();
            let depth = tree.label(index, depth, texts);
            let here = texts.partition_point(|(text, _)| text.len() == depth);
            let (here, below) = texts.split_at(here);
            tree.fill(index, here, lists, tests);
            let up = match tree.nodes.get(index) {
                Some(node) if node.prefix.is_none() && node.groups.is_empty() => node.up,
                _ => number(index),
            };
            let mut start = range.start + here.len();
            let children = number(tree.nodes.len());
            for group in below.chunk_by(|(a, _), (b, _)| a.get(depth) == b.get(depth)) {
                let first = group.first().and_then(|(text, _)| text.get(depth));
                queue.push_back((tree.nodes.len(), depth, start..start + group.len()));
                start += group.len();
                tree.nodes.push(Node { up, ..Node::new() });
                tree.firsts.push(first.copied().unwrap_or_default());
            }
            let end = number(tree.nodes.len());
            if let Some(node) = tree.nodes.get_mut(index) {
                node.children = children..end;
            }
        }
        tree
    }

    /// Follows a path as far as it goes.
    pub(crate) fn reach(&self, path: &[u8]) -> Reached<'_> {
        let mut reached = Reached {
            exact: Slot::NONE,
            tree: self,
            node: NONE,
        };
        let mut rest = path;
        let mut at = 0;
        while let Some(node) = self.nodes.get(at as usize) {
            let label = slice(&self.labels, &node.label);
            let Some((start, after)) = rest.split_at_checked(label.len()) else {
                break;
            };
            let same = if self.fold {
                start.eq_ignore_ascii_case(label)
            } else {
                start == label
            };
            if !same {
                break;
            }
            reached.node = at;
            rest = after;
            let Some(&next) = rest.first() else {
                reached.exact = node.exact;
                break;
            };
            let next = if self.fold {
                next.to_ascii_lowercase()
            } else {
                next
            };
            let firsts = slice(&self.firsts, &node.children);
            let Some(child) = memchr::memchr(next, firsts) else {
                break;
            };
            at = node.children.start + number(child);
        }
        reached
    }

    /// Calls back with what ends at each text, in the order of the texts.
    pub(crate) fn in_text_order(&self, mut found: impl FnMut(Slot)) {
        let mut stack = vec![0];
        while let Some(at) = stack.pop() {
            if let Some(node) = self.nodes.get(at as usize) {
                found(node.prefix);
                found(node.exact);
                stack.extend(node.children.clone().rev());
            }
        }
    }

    /// Sets the label of a node from the texts below it; the length of the text it stands for.
    fn label(&mut self, index: usize, depth: usize, texts: &[(&[u8], End)]) -> usize {
        let [Some((first, _)), Some((last, _))] = [texts.first(), texts.last()] else {
            return depth;
        };
        // Sorted: what the first and the last share, all share.
        let first = first.get(depth..).unwrap_or_default();
        let last = last.get(depth..).unwrap_or_default();
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let start = number(self.labels.len());
        self.labels
            .extend_from_slice(first.get(..common).unwrap_or_default());
        if let Some(node) = self.nodes.get_mut(index) {
            node.label = start..number(self.labels.len());
        }
        depth + common
    }

    /// Fills a node with what ends there. Its `up` is set already.
    fn fill(&mut self, index: usize, ends: &[(&[u8], End)], lists: &mut Lists, tests: &[&Tests]) {
        let up = self.nodes.get(index).map_or(NONE, |node| node.up);
        let mut floor = self.nodes.get(up as usize).map_or(NONE, |up| up.floor);
        let (mut prefix, mut exact) = (Vec::new(), Vec::new());
        let groups = number(self.groups.len());
        for (_, end) in ends {
            match *end {
                End::Prefix(row) => {
                    floor = floor.min(row);
                    prefix.push(row);
                }
                End::Exact(row) => exact.push(row),
                End::Group { group, first } => {
                    floor = floor.min(first);
                    self.groups.push(group);
                }
            }
        }
        let groups = groups..number(self.groups.len());
        if let Some(node) = self.nodes.get_mut(index) {
            node.prefix = lists.add(&prefix, tests);
            node.exact = lists.add(&exact, tests);
            node.groups = groups;
            node.floor = floor;
        }
    }
}

// === impl Node ===

impl Node {
    fn new() -> Self {
        Self {
            label: 0..0,
            children: 0..0,
            groups: 0..0,
            prefix: Slot::NONE,
            exact: Slot::NONE,
            up: NONE,
            floor: NONE,
        }
    }
}

// === impl Reached ===

/// What applies to the path besides exact rows, longest text first.
impl<'a> Iterator for Reached<'a> {
    type Item = Applies<'a>;

    fn next(&mut self) -> Option<Applies<'a>> {
        let node = self.tree.nodes.get(self.node as usize)?;
        self.node = node.up;
        Some(Applies {
            prefix: node.prefix,
            groups: slice_u32(&self.tree.groups, &node.groups),
            floor: node.floor,
        })
    }
}

/// Tables beyond the range of `u32` do not fit in memory.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

fn slice<'a>(all: &'a [u8], range: &Range<u32>) -> &'a [u8] {
    all.get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

fn slice_u32<'a>(all: &'a [u32], range: &Range<u32>) -> &'a [u32] {
    all.get(range.start as usize..range.end as usize)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(tree: &Tree, path: &str) -> (Slot, Vec<Slot>) {
        let mut reached = tree.reach(path.as_bytes());
        let exact = reached.exact;
        let prefixes = reached
            .by_ref()
            .map(|applies| applies.prefix)
            .filter(|slot| !slot.is_none())
            .collect();
        (exact, prefixes)
    }

    fn build(texts: &[(&'static str, bool)], fold: bool) -> (Tree, Vec<Slot>) {
        let tests: Vec<Tests> = texts.iter().map(|_| Tests::default()).collect();
        let tests: Vec<&Tests> = tests.iter().collect();
        let mut lists = Lists::default();
        let slots = (0..number(texts.len()))
            .map(|row| lists.add(&[row], &tests))
            .collect();
        let ends: Vec<_> = (0..)
            .zip(texts)
            .map(|(row, (text, exact))| {
                let end = if *exact {
                    End::Exact(row)
                } else {
                    End::Prefix(row)
                };
                (text.as_bytes(), end)
            })
            .collect();
        (Tree::build(&ends, fold, &mut lists, &tests), slots)
    }

    #[test]
    fn longest_first_and_exact_apart() {
        let (tree, slot) = build(
            &[
                ("/", false),
                ("/api", false),
                ("/api/v2", false),
                ("/api", true),
                ("/apx", false),
                ("", false),
            ],
            false,
        );
        assert_eq!(
            found(&tree, "/api/v2x"),
            (Slot::NONE, vec![slot[2], slot[1], slot[0], slot[5]])
        );
        assert_eq!(
            found(&tree, "/api"),
            (slot[3], vec![slot[1], slot[0], slot[5]])
        );
        assert_eq!(found(&tree, "/ap"), (Slot::NONE, vec![slot[0], slot[5]]));
        assert_eq!(
            found(&tree, "/apx/"),
            (Slot::NONE, vec![slot[4], slot[0], slot[5]])
        );
        assert_eq!(found(&tree, "x"), (Slot::NONE, vec![slot[5]]));
        assert_eq!(found(&tree, "/API"), (Slot::NONE, vec![slot[0], slot[5]]));
    }

    #[test]
    fn folded_paths() {
        let (tree, slot) = build(&[("/a/", false), ("/ab", true)], true);
        assert_eq!(found(&tree, "/A/x"), (Slot::NONE, vec![slot[0]]));
        assert_eq!(found(&tree, "/AB"), (slot[1], vec![]));
        assert_eq!(found(&tree, "/"), (Slot::NONE, vec![]));
    }

    #[test]
    fn nothing_matches_an_empty_tree() {
        let (tree, _) = build(&[], false);
        assert_eq!(found(&tree, "/"), (Slot::NONE, vec![]));
    }
}
