//! Rows that share a path condition, in rank order.
//!
//! Most paths have one row. Where many rows share a path they differ by method, header or query:
//! long lists are split by the exact value of the condition that tells most of them apart, so that
//! a thousand header-routed rows cost one look-up.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use http::header::HeaderName;
use smallvec::SmallVec;

use crate::request::{HeaderText, RequestView, joined};
use crate::row::{Test, Tests};

/// Lists up to this length are walked.
const SHORT: usize = 16;
/// A split must spare at least this many rows.
const WORTH: usize = 8;
/// Splits of splits.
const DEPTH: usize = 8;
/// Marks a slot that names an entry of [`Lists`] instead of a row.
const MANY: u32 = 1 << 31;

/// Rows by their ordinals: none, one, or an entry of [`Lists`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// All lists of a route set.
#[derive(Default)]
pub(crate) struct Lists(Vec<List>);

struct List {
    /// Every row, lowest first.
    all: Box<[u32]>,
    fan: Option<Fan>,
}

/// A long list, split.
struct Fan {
    by: By,
    values: HashMap<Box<[u8]>, Slot, RandomState>,
    /// Length of the longest value.
    longest: usize,
    /// Rows without an exact condition of this kind.
    rest: Slot,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum By {
    Method,
    Header(HeaderName),
    Query(Box<[u8]>),
}

/// The best row found so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Best {
    /// Its ordinal; `u32::MAX` for none.
    pub(crate) ordinal: u32,
    /// The target chosen in it.
    pub(crate) target: u32,
}

// === impl Slot ===

impl Slot {
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }
}

// === impl Best ===

impl Best {
    pub(crate) const NONE: Self = Self {
        ordinal: u32::MAX,
        target: 0,
    };
}

// === impl Lists ===

impl Lists {
    /// Adds rows with this path condition; `rows` must be sorted. `tests` are those of all rows.
    pub(crate) fn add(&mut self, rows: &[u32], tests: &[&Tests]) -> Slot {
        self.add_at(rows, tests, DEPTH)
    }

    fn add_at(&mut self, rows: &[u32], tests: &[&Tests], depth: usize) -> Slot {
        match rows {
            [] => Slot::NONE,
            [only] => Slot(*only),
            _ => {
                let fan = self.split(rows, tests, depth);
                let index = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
                self.0.push(List {
                    all: rows.into(),
                    fan,
                });
                Slot(MANY | index)
            }
        }
    }

    /// The lowest ordinal; `u32::MAX` for none.
    pub(crate) fn first(&self, slot: Slot) -> u32 {
        self.all(&slot).first().copied().unwrap_or(u32::MAX)
    }

    /// All ordinals, lowest first.
    pub(crate) fn all<'a>(&'a self, slot: &'a Slot) -> &'a [u32] {
        if slot.is_none() {
            return &[];
        }
        match self.list(*slot) {
            Some(list) => &list.all,
            None => std::slice::from_ref(&slot.0),
        }
    }

    /// Improves `best` by the first row below it that passes `test`.
    pub(crate) fn search(
        &self,
        slot: Slot,
        request: &RequestView<'_>,
        best: &mut Best,
        test: &mut impl FnMut(u32) -> Option<u32>,
    ) {
        let Some(list) = self.list(slot) else {
            if slot.0 < best.ordinal {
                try_row(slot.0, best, test);
            }
            return;
        };
        let Some(fan) = &list.fan else {
            for &ordinal in &list.all {
                if ordinal >= best.ordinal || try_row(ordinal, best, test) {
                    return;
                }
            }
            return;
        };
        if list.all.first().is_some_and(|first| *first < best.ordinal) {
            self.search(fan.chosen(request), request, best, test);
            self.search(fan.rest, request, best, test);
        }
    }

    fn list(&self, slot: Slot) -> Option<&List> {
        if slot.0 & MANY == 0 || slot.is_none() {
            return None;
        }
        self.0.get((slot.0 & !MANY) as usize)
    }

    fn split(&mut self, rows: &[u32], tests: &[&Tests], depth: usize) -> Option<Fan> {
        if rows.len() <= SHORT {
            return None;
        }
        let depth = depth.checked_sub(1)?;
        let by = discriminator(rows, tests)?;
        let mut groups: HashMap<&[u8], Vec<u32>, RandomState> = HashMap::default();
        let mut rest = Vec::new();
        for &row in rows {
            match tests.get(row as usize).and_then(|tests| by.value(tests)) {
                Some(value) => groups.entry(value).or_default().push(row),
                None => rest.push(row),
            }
        }
        let longest = groups.keys().map(|value| value.len()).max().unwrap_or(0);
        let mut values = HashMap::with_capacity_and_hasher(groups.len(), RandomState::default());
        for (value, rows) in groups {
            values.insert(value.into(), self.add_at(&rows, tests, depth));
        }
        let rest = self.add_at(&rest, tests, depth);
        Some(Fan {
            by,
            values,
            longest,
            rest,
        })
    }
}

/// Whether the row passes; it is then the best.
fn try_row(ordinal: u32, best: &mut Best, test: &mut impl FnMut(u32) -> Option<u32>) -> bool {
    match test(ordinal) {
        Some(target) => {
            *best = Best { ordinal, target };
            true
        }
        None => false,
    }
}

/// The condition that leaves the fewest rows to walk.
fn discriminator(rows: &[u32], tests: &[&Tests]) -> Option<By> {
    let mut seen: HashMap<By, HashMap<&[u8], usize, RandomState>, RandomState> = HashMap::default();
    for &row in rows {
        let Some(tests) = tests.get(row as usize) else {
            continue;
        };
        for (by, value) in exact_conditions(tests) {
            if by.value(tests) != Some(value) {
                continue;
            }
            *seen.entry(by).or_default().entry(value).or_default() += 1;
        }
    }
    let spared = |values: &HashMap<&[u8], usize, RandomState>| {
        let covered: usize = values.values().sum();
        covered - values.values().max().copied().unwrap_or(0)
    };
    let (by, values) = (seen.iter())
        .max_by(|(a, left), (b, right)| {
            spared(left)
                .cmp(&spared(right))
                .then_with(|| a.order().cmp(&b.order()))
        })
        .filter(|(_, values)| spared(values) >= WORTH)?;
    debug_assert!(values.len() > 1, "one value spares nothing");
    Some(by.clone())
}

fn exact_conditions(tests: &Tests) -> impl Iterator<Item = (By, &[u8])> {
    let method = tests.method.iter().map(|test| (By::Method, test));
    let headers = (tests.headers.iter()).map(|(name, test)| (By::Header(name.clone()), test));
    let query = (tests.query.iter()).map(|(name, test)| (By::Query(name.clone()), test));
    (method.chain(headers).chain(query)).filter_map(|(by, test)| match test {
        Test::Exact(value) => Some((by, &**value)),
        Test::Regex(_) | Test::Present => None,
    })
}

// === impl By ===

impl By {
    /// The exact value that a row demands. Two demands on one name: the first is looked up, both
    /// are tested.
    fn value<'a>(&self, tests: &'a Tests) -> Option<&'a [u8]> {
        exact_conditions(tests)
            .find(|(by, _)| by == self)
            .map(|(_, value)| value)
    }

    /// A fixed order, so that equal tables have equal indexes.
    fn order(&self) -> (u8, &[u8]) {
        match self {
            Self::Method => (0, b""),
            Self::Header(name) => (1, name.as_str().as_bytes()),
            Self::Query(name) => (2, name),
        }
    }
}

// === impl Fan ===

impl Fan {
    /// The rows that demand what the request has.
    fn chosen(&self, request: &RequestView<'_>) -> Slot {
        let found = match &self.by {
            By::Method => self.values.get(request.method.as_bytes()),
            By::Query(name) => (request.query_value(name)).and_then(|value| self.values.get(value)),
            By::Header(name) => match request.header(name) {
                None => None,
                Some(HeaderText::One(value)) => self.values.get(value),
                Some(HeaderText::Several(all)) => {
                    let length: usize = joined(&all).map(<[u8]>::len).sum();
                    if length > self.longest {
                        return Slot::NONE;
                    }
                    let mut value = SmallVec::<[u8; 512]>::new();
                    joined(&all).for_each(|part| value.extend_from_slice(part));
                    self.values.get(&*value)
                }
            },
        };
        found.copied().unwrap_or(Slot::NONE)
    }
}
