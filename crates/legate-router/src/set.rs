//! The rows of one route set in rank order, with their index.
//!
//! A set is built once and shared by all virtual hosts that list it, and by the next version of
//! the router when none of its rows changed.

use std::cmp::Ordering;
use std::sync::Arc;

use legate_config::route::{PathMatch, Rank, Route};
use legate_config::{Entry, RouteKey};

use crate::list::Best;
use crate::matcher::Cache;
use crate::paths::PathIndex;
use crate::request::RequestView;
use crate::row::{Draw, Row, Terms, Tests};

/// The set. Rows are numbered by their place in the order.
pub(crate) struct SetIndex<P> {
    rows: Box<[Arc<Row<P>>]>,
    /// Ordinals in key order, to compare with the next version.
    by_key: Box<[u32]>,
    paths: PathIndex,
    /// Rows that cannot be served, and why.
    pub(crate) rejected: Vec<(RouteKey, String)>,
}

/// The entries of a set, in key order.
pub(crate) type Entries<'a> = Vec<(&'a RouteKey, &'a Entry<Route>)>;

// === impl SetIndex ===

impl<P> SetIndex<P> {
    pub(crate) fn build(
        entries: &Entries<'_>,
        previous: Option<&Arc<Self>>,
        cache: &mut Cache,
        attach: &mut dyn FnMut(&RouteKey, &Route) -> P,
    ) -> Arc<Self> {
        if let Some(previous) = previous
            && previous.holds(entries)
        {
            return Arc::clone(previous);
        }
        let mut rejected = Vec::new();
        let mut known = previous
            .map(|set| set.in_key_order())
            .into_iter()
            .flatten()
            .peekable();
        let mut rows = Vec::with_capacity(entries.len());
        for &(key, entry) in entries {
            while known.next_if(|row| row.key < *key).is_some() {}
            match known.next_if(|row| is_same(row, key, entry)) {
                Some(row) => rows.push(Arc::clone(row)),
                None => match Row::compile(key, entry, cache, attach) {
                    Ok(row) => rows.push(Arc::new(row)),
                    Err(why) => rejected.push((key.clone(), why)),
                },
            }
        }
        Arc::new(Self::index(rows, rejected, cache))
    }

    fn index(
        rows: Vec<Arc<Row<P>>>,
        mut rejected: Vec<(RouteKey, String)>,
        cache: &mut Cache,
    ) -> Self {
        let (rows, by_key) = in_rank_order(rows);
        let matches: Vec<&PathMatch> = rows.iter().map(|row| &row.route.matches.path).collect();
        let tests: Vec<&Tests> = rows.iter().map(|row| &row.tests).collect();
        let (paths, refused) = PathIndex::build(&matches, &tests, cache);
        if refused.is_empty() {
            return Self {
                rows: rows.into(),
                by_key: by_key.into(),
                paths,
                rejected,
            };
        }
        // Cannot happen with a compiled config. Without the refused rows nothing more is refused.
        let mut kept: Vec<Option<Arc<Row<P>>>> = rows.into_iter().map(Some).collect();
        for (row, why) in refused {
            if let Some(row) = kept.get_mut(row as usize).and_then(Option::take) {
                rejected.push((row.key.clone(), why));
            }
        }
        let mut kept: Vec<_> = kept.into_iter().flatten().collect();
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        Self::index(kept, rejected, cache)
    }

    /// The first row in rank order that takes the request, and the chosen target.
    pub(crate) fn find(
        &self,
        request: &RequestView<'_>,
        terms: Terms,
    ) -> Option<(&Arc<Row<P>>, u32)> {
        let Best { ordinal, target } = (self.paths).search(request, |ordinal| {
            self.row(ordinal)?.accepts(request, terms)
        });
        Some((self.row(ordinal)?, target))
    }

    /// The rows whose path condition holds, in no order.
    pub(crate) fn with_path(&self, path: &str) -> Vec<&Arc<Row<P>>> {
        let mut rows = Vec::new();
        (self.paths).each(path, |ordinal| rows.extend(self.row(ordinal)));
        rows
    }

    /// All rows, in rank order.
    pub(crate) fn rows(&self) -> &[Arc<Row<P>>] {
        &self.rows
    }

    fn row(&self, ordinal: u32) -> Option<&Arc<Row<P>>> {
        self.rows.get(ordinal as usize)
    }

    fn in_key_order(&self) -> impl Iterator<Item = &Arc<Row<P>>> {
        self.by_key.iter().filter_map(|ordinal| self.row(*ordinal))
    }

    /// Whether the set consists of exactly these entries.
    fn holds(&self, entries: &Entries<'_>) -> bool {
        self.rejected.is_empty()
            && self.rows.len() == entries.len()
            && (self.in_key_order().zip(entries))
                .all(|(row, (key, entry))| is_same(row, key, entry))
    }
}

// === impl Row ===

impl<P> Row<P> {
    fn compile(
        key: &RouteKey,
        entry: &Entry<Route>,
        cache: &mut Cache,
        attach: &mut dyn FnMut(&RouteKey, &Route) -> P,
    ) -> Result<Self, String> {
        let route = &entry.value;
        Ok(Self {
            tests: Tests::compile(route, cache)?,
            draw: Draw::compile(&route.action),
            payload: attach(key, route),
            key: key.clone(),
            route: Arc::clone(route),
            origins: Arc::clone(&entry.origins),
            hash: entry.hash,
        })
    }
}

fn is_same<P>(row: &Row<P>, key: &RouteKey, entry: &Entry<Route>) -> bool {
    row.hash == entry.hash
        && row.key == *key
        && (Arc::ptr_eq(&row.origins, &entry.origins) || row.origins == entry.origins)
}

/// The order of rows: by rank, which is total; were it not, by key.
pub(crate) fn by_rank<P>(a: &Row<P>, b: &Row<P>) -> Ordering {
    (a.route.rank.cmp(&b.route.rank)).then_with(|| a.key.cmp(&b.key))
}

/// Rows in rank order, and where each went.
fn in_rank_order<P>(rows: Vec<Arc<Row<P>>>) -> (Vec<Arc<Row<P>>>, Vec<u32>) {
    let mut order: Vec<(u128, u32)> = (rows.iter().map(|row| coarse(&row.route.rank)))
        .zip(0..)
        .collect();
    let rank = |index: u32| rows.get(index as usize).map(|row| &row.route.rank);
    // The input is in key order, so that the index decides equal ranks by key.
    order.sort_unstable_by(|(a, left), (b, right)| {
        a.cmp(b)
            .then_with(|| rank(*left).cmp(&rank(*right)))
            .then_with(|| left.cmp(right))
    });
    let mut by_key = vec![0; rows.len()];
    for (ordinal, (_, index)) in (0_u32..).zip(&order) {
        if let Some(place) = by_key.get_mut(*index as usize) {
            *place = ordinal;
        }
    }
    let sorted = (order.iter())
        .filter_map(|(_, index)| rows.get(*index as usize).map(Arc::clone))
        .collect();
    (sorted, by_key)
}

/// A number that orders like the rank, as far as it goes: most comparisons need no more.
fn coarse(rank: &Rank) -> u128 {
    let tier = !(rank.tier.cast_unsigned() ^ (1 << 63));
    let part = |index| !rank.specificity.get(index).copied().unwrap_or(0);
    (u128::from(tier) << 64) | (u128::from(part(0)) << 32) | u128::from(part(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_never_contradicts() {
        let ranks: Vec<Rank> = [i64::MIN, -1, 0, 7, i64::MAX]
            .into_iter()
            .flat_map(|tier| {
                [
                    vec![],
                    vec![0],
                    vec![0, 0],
                    vec![1],
                    vec![0, u32::MAX],
                    vec![u32::MAX, 3, 9],
                ]
                .map(move |specificity| Rank {
                    tier,
                    specificity,
                    tie: vec![],
                })
            })
            .collect();
        for a in &ranks {
            for b in &ranks {
                let coarse = coarse(a).cmp(&coarse(b));
                assert!(
                    coarse == Ordering::Equal || coarse == a.cmp(b),
                    "{a:?} {b:?}"
                );
            }
        }
    }
}
