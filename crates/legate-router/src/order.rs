//! Puts the rows of a set in rank order, quickly when most of them were in order before.

use std::cmp::Ordering;
use std::sync::Arc;

use legate_config::route::Rank;

use crate::row::Row;

/// Rows on their way to their order. They are given in key order.
pub(crate) struct Order<'a, P> {
    /// The previous version, in rank order, and for each of its rows whether it stays.
    previous: &'a [Arc<Row<P>>],
    stays: Vec<bool>,
    fresh: Vec<Arc<Row<P>>>,
    by_key: Vec<From>,
}

/// Where a row comes from.
#[derive(Clone, Copy)]
enum From {
    Previous(u32),
    Fresh(u32),
}

/// The result. Ordinals are places in `rows`.
pub(crate) struct Sorted<P> {
    /// In rank order.
    pub(crate) rows: Vec<Arc<Row<P>>>,
    /// Ordinals in key order.
    pub(crate) by_key: Vec<u32>,
    /// By previous ordinal: the new one, if the row stayed.
    pub(crate) moved: Vec<Option<u32>>,
}

// === impl Order ===

impl<'a, P> Order<'a, P> {
    /// `previous` is in rank order.
    pub(crate) fn new(previous: &'a [Arc<Row<P>>]) -> Self {
        Self {
            previous,
            stays: vec![false; previous.len()],
            fresh: Vec::new(),
            by_key: Vec::new(),
        }
    }

    /// The next row in key order is one of the previous version.
    pub(crate) fn keep(&mut self, ordinal: u32) {
        if let Some(stays) = self.stays.get_mut(ordinal as usize) {
            *stays = true;
            self.by_key.push(From::Previous(ordinal));
        }
    }

    /// The next row in key order is a new one.
    pub(crate) fn add(&mut self, row: Arc<Row<P>>) {
        self.by_key.push(From::Fresh(number(self.fresh.len())));
        self.fresh.push(row);
    }

    /// Sorts the fresh rows and merges the others in.
    pub(crate) fn sort(self) -> Sorted<P> {
        let fresh = sorted(&self.fresh);
        let mut rows = Vec::with_capacity(self.by_key.len());
        let mut moved = vec![None; self.previous.len()];
        let mut placed = vec![0; self.fresh.len()];
        let mut old = (self.previous.iter().zip(&self.stays).zip(&mut moved))
            .filter(|((_, stays), _)| **stays)
            .map(|((row, _), moved)| (row, moved))
            .peekable();
        for index in fresh {
            let Some(row) = self.fresh.get(index as usize) else {
                continue;
            };
            while let Some((old, moved)) = old.next_if(|(old, _)| by_rank(old, row).is_lt()) {
                *moved = Some(number(rows.len()));
                rows.push(Arc::clone(old));
            }
            if let Some(placed) = placed.get_mut(index as usize) {
                *placed = number(rows.len());
            }
            rows.push(Arc::clone(row));
        }
        for (old, moved) in old {
            *moved = Some(number(rows.len()));
            rows.push(Arc::clone(old));
        }
        let by_key = (self.by_key.iter())
            .filter_map(|from| match *from {
                From::Previous(ordinal) => moved.get(ordinal as usize).copied().flatten(),
                From::Fresh(index) => placed.get(index as usize).copied(),
            })
            .collect();
        Sorted {
            rows,
            by_key,
            moved,
        }
    }
}

/// The order of rows: by rank, which is total; were it not, by key.
pub(crate) fn by_rank<P>(a: &Row<P>, b: &Row<P>) -> Ordering {
    (a.route.rank.cmp(&b.route.rank)).then_with(|| a.key.cmp(&b.key))
}

/// The indexes of rows in rank order. The rows are in key order.
fn sorted<P>(rows: &[Arc<Row<P>>]) -> Vec<u32> {
    // Ranks are spread over memory; side by side they sort several times as fast.
    let mut bytes = Vec::with_capacity(rows.len() * 64);
    let ends: Vec<usize> = (rows.iter())
        .map(|row| {
            encode(&row.route.rank, &mut bytes);
            bytes.len()
        })
        .collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let mut keys: Vec<(u128, &[u8], u32)> = (starts.zip(&ends).zip(0..))
        .map(|((start, end), index)| {
            let code = bytes.get(start..*end).unwrap_or_default();
            (head(code), code, index)
        })
        .collect();
    // The index decides equal ranks: by key.
    keys.sort();
    keys.into_iter().map(|(_, _, index)| index).collect()
}

/// Appends bytes that order like the rank.
fn encode(rank: &Rank, bytes: &mut Vec<u8>) {
    let tier = !(rank.tier.cast_unsigned() ^ (1 << 63));
    bytes.extend_from_slice(&tier.to_be_bytes());
    for part in &rank.specificity {
        bytes.push(0);
        bytes.extend_from_slice(&(!part).to_be_bytes());
    }
    // Of two lists with a common beginning the longer comes first.
    bytes.push(1);
    bytes.extend_from_slice(&rank.tie);
}

/// The first bytes as a number: most comparisons need no more.
fn head(code: &[u8]) -> u128 {
    let mut head = [0; 16];
    for (to, from) in head.iter_mut().zip(code) {
        *to = *from;
    }
    u128::from_be_bytes(head)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_order_like_ranks() {
        let specificities = [
            vec![],
            vec![0],
            vec![0, 0],
            vec![1],
            vec![0, u32::MAX],
            vec![u32::MAX, 3, 9],
        ];
        let ranks: Vec<Rank> = [i64::MIN, -1, 0, 7, i64::MAX]
            .into_iter()
            .flat_map(|tier| specificities.clone().map(|specificity| (tier, specificity)))
            .flat_map(|(tier, specificity)| {
                [vec![], vec![0], vec![0, 0], vec![1], vec![255]].map(|tie| Rank {
                    tier,
                    specificity: specificity.clone(),
                    tie,
                })
            })
            .collect();
        let key = |rank: &Rank| {
            let mut code = Vec::new();
            encode(rank, &mut code);
            (head(&code), code)
        };
        for a in &ranks {
            for b in &ranks {
                assert_eq!(key(a).cmp(&key(b)), a.cmp(b), "{a:?} {b:?}");
            }
        }
    }
}
