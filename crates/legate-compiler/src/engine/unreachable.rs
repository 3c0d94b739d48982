//! Mappings that never get a request, because an earlier one always matches first.
//!
//! Only what is cheap and certain is found: a plain prefix without further conditions, lifted over
//! longer prefixes by its precedence, with all of its share served.

use std::collections::BTreeMap;

use legate_config::route::{Action, PathMatch, Route};
use legate_config::{Diagnostic, HostPattern};

use super::groups::Groups;
use crate::codes;
use crate::group::Row;

/// Most lifted rows that are looked at, those with the shortest prefixes: a bound on the work.
const MAX_LIFTED: usize = 64;

/// One notice for each Mapping that founds an unreachable row.
pub(super) fn unreachable(groups: &Groups) -> Vec<Diagnostic> {
    let rows = || {
        let assembled = groups.groups.values().map(|group| &group.assembled);
        assembled.filter_map(|assembled| assembled.row.as_ref())
    };
    let Some(lowest) = rows().map(|row| row.route.value.rank.tier).min() else {
        return Vec::new();
    };
    let mut lifted: BTreeMap<(usize, &str), &Row> = BTreeMap::new();
    for row in rows().filter(|row| row.route.value.rank.tier > lowest) {
        if let Some(prefix) = takes_all(&row.route.value) {
            let known = lifted.entry((prefix.len(), prefix)).or_insert(row);
            if row.route.value.rank < known.route.value.rank {
                *known = row;
            }
        }
    }
    if lifted.is_empty() {
        return Vec::new();
    }
    rows()
        .filter_map(|row| {
            let earlier = lifted
                .values()
                .take(MAX_LIFTED)
                .find(|earlier| hides(groups, earlier, row))?;
            notice(row, earlier)
        })
        .collect()
}

/// The prefix of a row that takes every request under it.
fn takes_all(route: &Route) -> Option<&str> {
    let matches = &route.matches;
    let served = match &route.action {
        Action::Forward(split) => {
            split
                .targets
                .iter()
                .map(|target| target.weight)
                .sum::<u32>()
                >= split.of
        }
        _ => true,
    };
    match &matches.path {
        PathMatch::Prefix { value, .. }
            if served
                && matches.method.is_none()
                && matches.headers.is_empty()
                && matches.query.is_empty() =>
        {
            Some(value)
        }
        _ => None,
    }
}

fn hides(groups: &Groups, earlier: &Row, later: &Row) -> bool {
    let (first, second) = (&earlier.route.value, &later.route.value);
    let (
        Some(prefix),
        PathMatch::Prefix { value, ignore_case } | PathMatch::Exact { value, ignore_case },
    ) = (takes_all(first), &second.matches.path)
    else {
        return false;
    };
    first.rank < second.rank
        && !ignore_case
        && value.starts_with(prefix)
        && (earlier.set == later.set
            || (earlier.set.pattern() == HostPattern::Any && covers(groups, earlier, later)))
}

/// Whether every Host that takes the later row takes the earlier one.
fn covers(groups: &Groups, earlier: &Row, later: &Row) -> bool {
    match (groups.sets.get(&earlier.set), groups.sets.get(&later.set)) {
        (Some(first), Some(second)) => {
            !second.takers.is_empty()
                && second
                    .takers
                    .iter()
                    .all(|host| first.takers.binary_search(host).is_ok())
        }
        _ => false,
    }
}

fn notice(row: &Row, earlier: &Row) -> Option<Diagnostic> {
    let object = row.route.origins.first()?.object.clone();
    let other = earlier.route.origins.first()?.object.clone();
    Some(
        Diagnostic::new(
            codes::I_MAP_UNREACHABLE,
            object,
            "",
            format!(
                "Mapping {} has a higher precedence and takes every request that this one matches",
                earlier.route.value.name
            ),
        )
        .related(other, "takes them"),
    )
}
