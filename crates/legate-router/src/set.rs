//! The rows of one route set in rank order, with their index.
//!
//! A set is built once and shared by all virtual hosts that list it, and by the next version of
//! the router when none of its rows changed.

use std::sync::Arc;

use legate_config::route::{PathMatch, Route};
use legate_config::{Entry, RouteKey};

use crate::list::Best;
use crate::matcher::Cache;
use crate::order::{Order, Sorted};
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
        let mut order = Order::new(previous.map(|set| set.rows()).unwrap_or_default());
        let mut rejected = Vec::new();
        let mut known = (previous.map(|set| set.in_key_order()).into_iter().flatten()).peekable();
        for &(key, entry) in entries {
            while known.next_if(|(_, row)| row.key < *key).is_some() {}
            match known.next_if(|(_, row)| is_same(row, key, entry)) {
                Some((ordinal, _)) => order.keep(ordinal),
                None => match Row::compile(key, entry, cache, attach) {
                    Ok(row) => order.add(Arc::new(row)),
                    Err(why) => rejected.push((key.clone(), why)),
                },
            }
        }
        let Sorted {
            rows,
            by_key,
            moved,
        } = order.sort();
        let texts = previous
            .map(|set| set.paths.in_text_order())
            .unwrap_or_default();
        let hint = (texts.iter())
            .filter_map(|row| moved.get(*row as usize).copied().flatten())
            .collect();
        Arc::new(Self::index(rows, by_key, hint, rejected, cache))
    }

    /// `hint` names rows in the order of their path texts, as far as that is known.
    fn index(
        rows: Vec<Arc<Row<P>>>,
        by_key: Vec<u32>,
        hint: Vec<u32>,
        mut rejected: Vec<(RouteKey, String)>,
        cache: &mut Cache,
    ) -> Self {
        let matches: Vec<&PathMatch> = rows.iter().map(|row| &row.route.matches.path).collect();
        let tests: Vec<&Tests> = rows.iter().map(|row| &row.tests).collect();
        let (paths, refused) = PathIndex::build(&matches, &tests, hint, cache);
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
        let mut order = Order::new(&[]);
        let mut kept: Vec<_> = kept.into_iter().flatten().collect();
        kept.sort_by(|a, b| a.key.cmp(&b.key));
        kept.into_iter().for_each(|row| order.add(row));
        let Sorted { rows, by_key, .. } = order.sort();
        Self::index(rows, by_key, Vec::new(), rejected, cache)
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

    fn in_key_order(&self) -> impl Iterator<Item = (u32, &Arc<Row<P>>)> {
        (self.by_key.iter()).filter_map(|ordinal| Some((*ordinal, self.row(*ordinal)?)))
    }

    /// Whether the set consists of exactly these entries.
    fn holds(&self, entries: &Entries<'_>) -> bool {
        self.rejected.is_empty()
            && self.rows.len() == entries.len()
            && (self.in_key_order().zip(entries))
                .all(|((_, row), (key, entry))| is_same(row, key, entry))
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
