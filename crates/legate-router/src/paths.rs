//! The path index of one route set: from a path to the rows whose path condition holds.

use std::sync::Arc;

use legate_config::route::PathMatch;
use regex_syntax::hir::{Hir, HirKind};

use crate::list::{Best, Lists, Slot};
use crate::matcher::{Cache, Matcher, parse, split_literal};
use crate::request::RequestView;
use crate::row::Tests;
use crate::tree::{End, Tree};

/// Patterns per automaton. Larger ones are quicker to run and slower to build.
const GROUP: usize = 16;

/// The index.
#[derive(Default)]
pub(crate) struct PathIndex {
    plain: Tree,
    folded: Tree,
    groups: Vec<Group>,
    lists: Lists,
}

/// Regexes with one literal beginning, run together on what follows it.
struct Group {
    matcher: Arc<Matcher>,
    /// Length of the beginning.
    start: usize,
    /// The rows of each.
    slots: Box<[Slot]>,
    /// Lowest ordinal.
    first: u32,
}

/// One pattern with its rows.
struct Pattern {
    literal: Vec<u8>,
    rest: Hir,
    rows: Vec<u32>,
}

// === impl PathIndex ===

impl PathIndex {
    /// Builds the index over rows in rank order. `hint` names rows in the order of their texts, as
    /// far as that is known: it only saves time. Rows whose pattern does not compile are left out
    /// and named.
    pub(crate) fn build(
        paths: &[&PathMatch],
        tests: &[&Tests],
        hint: Vec<u32>,
        cache: &mut Cache,
    ) -> (Self, Vec<(u32, String)>) {
        let mut index = Self::default();
        let (mut plain, mut regexes) = (Vec::with_capacity(paths.len()), Vec::new());
        for (row, path) in hinted(hint, paths) {
            match path {
                PathMatch::Regex { value } => regexes.push((value.as_str(), row)),
                PathMatch::Prefix {
                    value,
                    ignore_case: false,
                } => {
                    plain.push((value.as_bytes(), End::Prefix(row)));
                }
                PathMatch::Exact {
                    value,
                    ignore_case: false,
                } => {
                    plain.push((value.as_bytes(), End::Exact(row)));
                }
                PathMatch::Prefix { .. } | PathMatch::Exact { .. } => {}
            }
        }
        let lower = lower_case(paths);
        let folded: Vec<_> = lower
            .iter()
            .map(|(text, end)| (text.as_bytes(), *end))
            .collect();
        let (patterns, mut rejected) = patterns(regexes);
        let groups = index.add_groups(&patterns, tests, cache, &mut rejected);
        plain.extend((groups.iter()).map(|(literal, end)| (literal.as_slice(), *end)));
        index.plain = Tree::build(&plain, false, &mut index.lists, tests);
        index.folded = Tree::build(&folded, true, &mut index.lists, tests);
        (index, rejected)
    }

    /// The first row in rank order that `test` accepts.
    pub(crate) fn search(
        &self,
        request: &RequestView<'_>,
        mut test: impl FnMut(u32) -> Option<u32>,
    ) -> Best {
        let path = request.path.as_bytes();
        let mut best = Best::NONE;
        for tree in [&self.plain, &self.folded] {
            let reached = tree.reach(path);
            (self.lists).search(reached.exact, request, &mut best, &mut test);
            for applies in reached {
                if applies.floor >= best.ordinal {
                    break;
                }
                (self.lists).search(applies.prefix, request, &mut best, &mut test);
                for group in applies.groups {
                    let Some(group) = self.groups.get(*group as usize) else {
                        continue;
                    };
                    if group.first < best.ordinal {
                        group.each(path, |slot| {
                            (self.lists).search(slot, request, &mut best, &mut test);
                        });
                    }
                }
            }
        }
        best
    }

    /// Rows in the order of their texts; those with regexes and those that ignore case are missing.
    pub(crate) fn in_text_order(&self) -> Vec<u32> {
        let mut rows = Vec::new();
        (self.plain).in_text_order(|slot| rows.extend_from_slice(self.lists.all(&slot)));
        rows
    }

    /// Every row whose path condition holds, in no order.
    pub(crate) fn each(&self, path: &str, mut found: impl FnMut(u32)) {
        let mut all = |slot: Slot| self.lists.all(&slot).iter().for_each(|row| found(*row));
        for tree in [&self.plain, &self.folded] {
            let reached = tree.reach(path.as_bytes());
            all(reached.exact);
            for applies in reached {
                all(applies.prefix);
                for group in applies.groups {
                    if let Some(group) = self.groups.get(*group as usize) {
                        group.each(path.as_bytes(), &mut all);
                    }
                }
            }
        }
    }

    /// Puts patterns with the same beginning together; the texts with their groups. A pattern that
    /// is nothing but text is an exact path.
    fn add_groups(
        &mut self,
        patterns: &[Pattern],
        tests: &[&Tests],
        cache: &mut Cache,
        rejected: &mut Vec<(u32, String)>,
    ) -> Vec<(Vec<u8>, End)> {
        let mut ends = Vec::new();
        let (exact, patterns): (Vec<&Pattern>, Vec<&Pattern>) =
            (patterns.iter()).partition(|pattern| *pattern.rest.kind() == HirKind::Empty);
        for pattern in exact {
            let rows = pattern.rows.iter();
            ends.extend(rows.map(|row| (pattern.literal.clone(), End::Exact(*row))));
        }
        let mut add = |matcher, members: &[&Pattern]| {
            let slots: Box<[Slot]> = (members.iter())
                .map(|pattern| self.lists.add(&pattern.rows, tests))
                .collect();
            let first = slots.iter().map(|slot| self.lists.first(*slot)).min();
            let first = first.unwrap_or(u32::MAX);
            let literal = members
                .first()
                .map(|one| one.literal.clone())
                .unwrap_or_default();
            let group = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
            self.groups.push(Group {
                matcher,
                start: literal.len(),
                slots,
                first,
            });
            ends.push((literal, End::Group { group, first }));
        };
        let same = patterns.chunk_by(|a, b| a.literal == b.literal);
        for members in same.flat_map(|same| same.chunks(GROUP)) {
            let rests: Vec<&Hir> = members.iter().map(|pattern| &pattern.rest).collect();
            if let Ok(matcher) = cache.group(&rests) {
                add(matcher, members);
                continue;
            }
            for member in members {
                match cache.group(&[&member.rest]) {
                    Ok(matcher) => add(matcher, &[*member]),
                    Err(why) => rejected.extend(member.rows.iter().map(|row| (*row, why.clone()))),
                }
            }
        }
        ends
    }
}

// === impl Group ===

impl Group {
    /// Calls back with the rows of each pattern that matches the path.
    fn each(&self, path: &[u8], mut found: impl FnMut(Slot)) {
        self.matcher.each(path, self.start, |index| {
            if let Some(slot) = self.slots.get(index) {
                found(*slot);
            }
        });
    }
}

/// All rows: first those of the hint, in its order.
fn hinted<'a>(hint: Vec<u32>, paths: &[&'a PathMatch]) -> Vec<(u32, &'a PathMatch)> {
    let mut rest = vec![true; paths.len()];
    let mut rows = Vec::with_capacity(paths.len());
    let hint = hint.into_iter();
    for row in hint.chain((0..).take(paths.len())) {
        let (Some(rest), Some(path)) = (rest.get_mut(row as usize), paths.get(row as usize)) else {
            continue;
        };
        if std::mem::take(rest) {
            rows.push((row, *path));
        }
    }
    rows
}

/// The texts that are compared without regard to case, in lower case.
fn lower_case(paths: &[&PathMatch]) -> Vec<(String, End)> {
    let folded = |(row, path): (u32, &&PathMatch)| match path {
        PathMatch::Prefix {
            value,
            ignore_case: true,
        } => Some((value.to_ascii_lowercase(), End::Prefix(row))),
        PathMatch::Exact {
            value,
            ignore_case: true,
        } => Some((value.to_ascii_lowercase(), End::Exact(row))),
        _ => None,
    };
    (0..).zip(paths).filter_map(folded).collect()
}

/// Distinct patterns sorted by their literal beginning, and the rows of those that are wrong.
fn patterns(mut regexes: Vec<(&str, u32)>) -> (Vec<Pattern>, Vec<(u32, String)>) {
    let (mut patterns, mut rejected) = (Vec::new(), Vec::new());
    regexes.sort_unstable();
    for same in regexes.chunk_by(|(a, _), (b, _)| a == b) {
        let rows = same.iter().map(|(_, row)| *row);
        match parse(same.first().map_or("", |(text, _)| text)) {
            Ok(hir) => {
                let (literal, rest) = split_literal(&hir);
                patterns.push(Pattern {
                    literal,
                    rest,
                    rows: rows.collect(),
                });
            }
            Err(why) => rejected.extend(rows.map(|row| (row, why.clone()))),
        }
    }
    // Stable: within one beginning the patterns stay in the order of their texts.
    patterns.sort_by(|a, b| a.literal.cmp(&b.literal));
    (patterns, rejected)
}
