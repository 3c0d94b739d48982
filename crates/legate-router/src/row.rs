//! One route, with its conditions compiled.

use std::sync::Arc;

use http::header::HeaderName;
use legate_config::hash::Hash128;
use legate_config::route::{Action, NamedMatch, Route, StringMatch};
use legate_config::{Origin, RouteKey};

use crate::matcher::{Cache, Matcher};
use crate::request::{HeaderText, RequestView, joined, parts_equal};

/// A route with what the gateway attached to it.
pub struct Row<P> {
    /// The route's key.
    pub key: RouteKey,
    /// The route.
    pub route: Arc<Route>,
    /// The objects it was made from.
    pub origins: Arc<[Origin]>,
    /// What the gateway attached when the row was built. A row that is unchanged in the next
    /// snapshot keeps it.
    pub payload: P,
    pub(crate) hash: Hash128,
    pub(crate) tests: Tests,
    pub(crate) draw: Draw,
}

/// The conditions besides path and host.
#[derive(Default)]
pub(crate) struct Tests {
    pub(crate) method: Option<Test>,
    pub(crate) headers: Box<[(HeaderName, Test)]>,
    pub(crate) query: Box<[(Box<[u8]>, Test)]>,
}

/// A condition on a text that is present.
pub(crate) enum Test {
    Exact(Box<[u8]>),
    Regex(Arc<Matcher>),
    Present,
}

/// Which condition failed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    Method,
    Header(usize),
    Query(usize),
}

/// Which target a draw chooses.
pub(crate) enum Draw {
    /// The first, or there is none to choose.
    Always,
    /// By running totals in `[0, of)`; a draw beyond the last one chooses none.
    Among { of: u32, ends: Box<[End]> },
}

/// Where the share of a target ends.
pub(crate) struct End {
    total: u32,
    target: u32,
}

/// What of the request is not in the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Only rows that are always routed exist (insecure request, action Reject).
    pub(crate) only_always_routed: bool,
    /// In `[0, 100)`.
    pub(crate) draw: u32,
}

// === impl Row ===

impl<P> Row<P> {
    /// The chosen target, if everything but path and host holds.
    pub(crate) fn accepts(&self, request: &RequestView<'_>, terms: Terms) -> Option<u32> {
        if terms.only_always_routed && !self.route.always_routed {
            return None;
        }
        if self.tests.first_failure(request).is_some() {
            return None;
        }
        self.draw.target(terms.draw)
    }
}

// === impl Tests ===

impl Tests {
    pub(crate) fn compile(route: &Route, cache: &mut Cache) -> Result<Self, String> {
        let method = match &route.matches.method {
            None | Some(StringMatch::Present(_)) => None,
            Some(condition) => Some(Test::compile(condition, cache)?),
        };
        let header = |header: &NamedMatch| {
            let name = HeaderName::from_bytes(header.name.as_bytes())
                .map_err(|_| format!("{:?} is not a header name", header.name))?;
            Ok((name, Test::compile(&header.value, cache)?))
        };
        let headers = (route.matches.headers.iter().map(header)).collect::<Result<_, String>>()?;
        let query = |query: &NamedMatch| {
            let test = Test::compile(&query.value, cache)?;
            Ok((query.name.as_bytes().into(), test))
        };
        let query = (route.matches.query.iter().map(query)).collect::<Result<_, String>>()?;
        Ok(Self {
            method,
            headers,
            query,
        })
    }

    pub(crate) fn first_failure(&self, request: &RequestView<'_>) -> Option<Failed> {
        if let Some(test) = &self.method
            && !test.holds(request.method.as_bytes())
        {
            return Some(Failed::Method);
        }
        for (index, (name, test)) in self.headers.iter().enumerate() {
            if !request
                .header(name)
                .is_some_and(|value| test.holds_for(&value))
            {
                return Some(Failed::Header(index));
            }
        }
        for (index, (name, test)) in self.query.iter().enumerate() {
            if !(request.query_value(name)).is_some_and(|value| test.holds(value)) {
                return Some(Failed::Query(index));
            }
        }
        None
    }
}

// === impl Test ===

impl Test {
    fn compile(condition: &StringMatch, cache: &mut Cache) -> Result<Self, String> {
        Ok(match condition {
            StringMatch::Exact(text) => Self::Exact(text.as_bytes().into()),
            StringMatch::Regex(pattern) => Self::Regex(cache.matcher(pattern)?),
            StringMatch::Present(_) => Self::Present,
        })
    }

    fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => **wanted == *text,
            Self::Regex(matcher) => matcher.is_match(text),
            Self::Present => true,
        }
    }

    fn holds_for(&self, value: &HeaderText<'_>) -> bool {
        match (self, value) {
            (_, HeaderText::One(text)) => self.holds(text),
            (Self::Exact(wanted), HeaderText::Several(all)) => parts_equal(joined(all), wanted),
            (Self::Regex(matcher), HeaderText::Several(all)) => matcher.is_match_parts(joined(all)),
            (Self::Present, HeaderText::Several(_)) => true,
        }
    }
}

// === impl Draw ===

impl Draw {
    pub(crate) fn compile(action: &Action) -> Self {
        let Action::Forward(split) = action else {
            return Self::Always;
        };
        if let [only] = split.targets.as_slice()
            && only.weight >= split.of
            && split.of > 0
        {
            return Self::Always;
        }
        let mut total = 0_u32;
        let mut ends = Vec::with_capacity(split.targets.len());
        for (target, entry) in (0_u32..).zip(&split.targets) {
            total = total.saturating_add(entry.weight);
            ends.push(End { total, target });
        }
        Self::Among {
            of: split.of,
            ends: ends.into(),
        }
    }

    /// The target for a draw in `[0, 100)`, scaled to the split's own range. A target without
    /// weight ends where the one before it ends, and so is never chosen.
    pub(crate) fn target(&self, draw: u32) -> Option<u32> {
        match self {
            Self::Always => Some(0),
            Self::Among { of, ends } => {
                let at = u64::from(draw) * u64::from(*of) / 100;
                let chosen = ends.iter().find(|end| u64::from(end.total) > at)?;
                Some(chosen.target)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use legate_config::route::{Destination, Fail, Split, Target};

    use super::*;

    fn draw(weights: &[u32], of: u32) -> Draw {
        let target = |&weight: &u32| Target {
            name: String::new(),
            weight,
            to: Destination::Fail(Fail {
                status: 500,
                reason: String::new(),
            }),
        };
        Draw::compile(&Action::Forward(Split {
            targets: weights.iter().map(target).collect(),
            of,
            mirror: None,
        }))
    }

    #[test]
    fn shares_follow_running_totals() {
        let split = draw(&[10, 20, 35, 35], 100);
        let chosen = |at| split.target(at);
        assert_eq!(chosen(9), Some(0));
        assert_eq!(chosen(29), Some(1));
        assert_eq!(chosen(64), Some(2));
        assert_eq!(chosen(65), Some(3));
        assert_eq!(chosen(99), Some(3));
    }

    #[test]
    fn missing_and_zero_shares() {
        assert_eq!(draw(&[30, 30], 100).target(60), None);
        assert_eq!(draw(&[0, 100], 100).target(0), Some(1));
        assert_eq!(draw(&[100, 0], 100).target(99), Some(0));
        assert_eq!(draw(&[0], 100).target(0), None);
        assert_eq!(draw(&[], 100).target(0), None);
        assert_eq!(draw(&[1], 0).target(0), Some(0));
        assert_eq!(draw(&[500, 500], 1000).target(50), Some(1));
    }
}
