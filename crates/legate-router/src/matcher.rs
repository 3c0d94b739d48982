//! Compiled regular expressions that must match a whole text.
//!
//! A pattern becomes a small dense DFA where it can: that needs no scratch space, shares nothing
//! between threads and gives up at the first byte that no match can have. Several patterns share
//! one DFA, so that a hundred regexes cost one walk. What would explode goes to the
//! general engine, one by one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, Input, MatchKind, meta};
use regex_syntax::hir::{Hir, HirKind, Look};
use smallvec::SmallVec;

/// Most memory of one DFA, and of the work to make it. Small, because the time to fail grows with
/// it too.
const DFA_LIMIT: usize = 256 * 1024;
const DETERMINIZE_LIMIT: usize = 512 * 1024;
/// NFAs above this size are not tried as a DFA.
const NFA_STATES: usize = 4_000;
/// Most memory of one NFA; the compiler of the config refuses patterns beyond 1 MiB.
const NFA_LIMIT: usize = 8 * 1024 * 1024;

type Dfa = dense::DFA<Vec<u32>>;

/// One pattern, or several in one automaton.
pub(crate) struct Matcher(Engine);

enum Engine {
    Dense(Box<Dfa>),
    /// One pattern.
    General(meta::Regex),
}

/// Compiled patterns, so that equal ones are compiled once and survive into the next version.
#[derive(Default)]
pub(crate) struct Cache {
    texts: HashMap<Box<str>, Weak<Matcher>, RandomState>,
    groups: HashMap<Box<[String]>, Weak<Matcher>, RandomState>,
}

// === impl Matcher ===

impl Matcher {
    /// One pattern.
    fn one(hir: Hir) -> Result<Self, String> {
        if let Some(dfa) = dense(std::slice::from_ref(&hir)) {
            return Ok(Self(Engine::Dense(Box::new(dfa))));
        }
        meta::Builder::new()
            .configure(
                meta::Config::new()
                    .utf8_empty(false)
                    .nfa_size_limit(Some(NFA_LIMIT))
                    .which_captures(WhichCaptures::None),
            )
            .build_from_hir(&Hir::concat(vec![hir, Hir::look(Look::End)]))
            .map(|regex| Self(Engine::General(regex)))
            .map_err(|error| error.to_string())
    }

    /// Whether the pattern matches the whole text.
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        let mut matches = false;
        self.each(text, 0, |_| matches = true);
        matches
    }

    /// Whether the pattern matches the whole of the parts.
    pub(crate) fn is_match_parts<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> bool {
        match &self.0 {
            Engine::Dense(dfa) => walk(dfa, None, parts).is_some(),
            Engine::General(_) => {
                let mut text = SmallVec::<[u8; 512]>::new();
                parts.for_each(|part| text.extend_from_slice(part));
                self.is_match(&text)
            }
        }
    }

    /// Calls back with the index of each pattern that matches the text from `start` to its end, in
    /// no order.
    pub(crate) fn each(&self, text: &[u8], start: usize, mut found: impl FnMut(usize)) {
        let Some((before, rest)) = text.split_at_checked(start) else {
            return;
        };
        match &self.0 {
            Engine::Dense(dfa) => {
                let end = walk(dfa, before.last().copied(), std::iter::once(rest));
                for index in 0..end.map_or(0, |end| dfa.match_len(end)) {
                    if let Some(end) = end {
                        found(dfa.match_pattern(end, index).as_usize());
                    }
                }
            }
            Engine::General(regex) => {
                let input = Input::new(text).span(start..text.len());
                if regex.is_match(input.anchored(Anchored::Yes)) {
                    found(0);
                }
            }
        }
    }
}

// === impl Cache ===

impl Cache {
    /// A cache with what is still in use of another one.
    pub(crate) fn renewed(previous: &Self) -> Self {
        Self {
            texts: alive(&previous.texts),
            groups: alive(&previous.groups),
        }
    }

    /// The matcher of a pattern, or why it cannot be compiled.
    pub(crate) fn matcher(&mut self, pattern: &str) -> Result<Arc<Matcher>, String> {
        if let Some(known) = self.texts.get(pattern).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let matcher = Arc::new(Matcher::one(parse(pattern)?)?);
        (self.texts).insert(pattern.into(), Arc::downgrade(&matcher));
        Ok(matcher)
    }

    /// The matcher of several patterns. Fails when they are too large together; one alone only
    /// when it cannot be compiled at all.
    pub(crate) fn group(&mut self, patterns: &[&Hir]) -> Result<Arc<Matcher>, String> {
        // Equal texts mean equal expressions: printing is the inverse of parsing.
        let key: Box<[String]> = patterns.iter().map(ToString::to_string).collect();
        if let Some(known) = self.groups.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let matcher = match patterns {
            [one] => Matcher::one((*one).clone())?,
            _ => {
                let hirs: Vec<Hir> = patterns.iter().copied().cloned().collect();
                let dfa = dense(&hirs).ok_or("too large")?;
                Matcher(Engine::Dense(Box::new(dfa)))
            }
        };
        let matcher = Arc::new(matcher);
        self.groups.insert(key, Arc::downgrade(&matcher));
        Ok(matcher)
    }
}

fn alive<K: Clone + Eq + Hash>(
    known: &HashMap<K, Weak<Matcher>, RandomState>,
) -> HashMap<K, Weak<Matcher>, RandomState> {
    (known.iter())
        .filter(|(_, matcher)| matcher.strong_count() > 0)
        .map(|(key, matcher)| (key.clone(), Weak::clone(matcher)))
        .collect()
}

/// Parses a pattern.
pub(crate) fn parse(pattern: &str) -> Result<Hir, String> {
    regex_syntax::Parser::new()
        .parse(pattern)
        .map_err(|error| error.to_string())
}

/// Splits off the text with which every match starts.
pub(crate) fn split_literal(hir: &Hir) -> (Vec<u8>, Hir) {
    let mut text = Vec::new();
    let rest = strip_literal(hir, &mut text);
    (text, rest)
}

fn strip_literal(hir: &Hir, text: &mut Vec<u8>) -> Hir {
    match hir.kind() {
        HirKind::Literal(literal) => {
            text.extend_from_slice(&literal.0);
            Hir::empty()
        }
        // Nobody asks for groups here.
        HirKind::Capture(capture) => strip_literal(&capture.sub, text),
        HirKind::Concat(parts) => {
            let mut parts = parts.iter();
            while let Some(part) = parts.next() {
                let rest = strip_literal(part, text);
                if *rest.kind() != HirKind::Empty {
                    let rest = std::iter::once(rest).chain(parts.cloned());
                    return Hir::concat(rest.collect());
                }
            }
            Hir::empty()
        }
        _ => hir.clone(),
    }
}

/// The patterns as one DFA that reports all of them, anchored at the start.
fn dense(hirs: &[Hir]) -> Option<Dfa> {
    let nfa = thompson::Compiler::new()
        .configure(
            thompson::Config::new()
                .utf8(false)
                .nfa_size_limit(Some(NFA_LIMIT))
                .which_captures(WhichCaptures::None),
        )
        .build_many_from_hir(hirs)
        .ok()?;
    if nfa.states().len() > NFA_STATES {
        return None;
    }
    dense::Builder::new()
        .configure(
            dense::Config::new()
                .accelerate(false)
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Anchored)
                .dfa_size_limit(Some(DFA_LIMIT))
                .determinize_size_limit(Some(DETERMINIZE_LIMIT)),
        )
        .build_from_nfa(&nfa)
        .ok()
}

/// Runs an automaton over a text; the state at its end, if that is a match. `before` is the byte in
/// front of the text.
fn walk<'a>(
    dfa: &Dfa,
    before: Option<u8>,
    parts: impl Iterator<Item = &'a [u8]>,
) -> Option<StateID> {
    let start = start::Config::new()
        .anchored(Anchored::Yes)
        .look_behind(before);
    let mut state = dfa.start_state(&start).ok()?;
    for part in parts {
        for &byte in part {
            state = dfa.next_state(state, byte);
            if dfa.is_special_state(state) && (dfa.is_dead_state(state) || dfa.is_quit_state(state))
            {
                return None;
            }
        }
    }
    let end = dfa.next_eoi_state(state);
    dfa.is_match_state(end).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_whole() {
        let mut cache = Cache::default();
        let matcher = cache.matcher("/v[0-9]+|/x").expect("valid");
        assert!(matcher.is_match(b"/v12"));
        assert!(matcher.is_match(b"/x"));
        assert!(!matcher.is_match(b"/v12/x"));
        assert!(!matcher.is_match(b"a/x"));
        assert!(matcher.is_match_parts([&b"/v"[..], b"", b"1"].into_iter()));
    }

    #[test]
    fn preference_order_does_not_hide_whole_matches() {
        let mut cache = Cache::default();
        assert!(cache.matcher("a|ab").expect("valid").is_match(b"ab"));
        assert!(cache.matcher("a*?").expect("valid").is_match(b"aaa"));
        assert!(cache.matcher("").expect("valid").is_match(b""));
        assert!(!cache.matcher("").expect("valid").is_match(b"a"));
    }

    #[test]
    fn what_explodes_goes_to_the_general_engine() {
        let mut cache = Cache::default();
        let pattern = "(?:a|b)*a(?:a|b){18}";
        let matcher = cache.matcher(pattern).expect("valid");
        assert!(matches!(matcher.0, Engine::General(_)));
        assert!(matcher.is_match(b"bbaaaaaaaaaaaaaaaaaaa"));
        assert!(!matcher.is_match(b"bbaaaaaaaaaaaaaaaaaaac"));
        assert!(cache.matcher("(").is_err());
    }

    #[test]
    fn groups_tell_all() {
        let mut cache = Cache::default();
        let hirs = ["/a.*", "/b", "/.b", "/ab"].map(|text| parse(text).expect("valid"));
        let hirs: Vec<&Hir> = hirs.iter().collect();
        let group = cache.group(&hirs).expect("small");
        let found = |text: &str| {
            let mut all = Vec::new();
            group.each(text.as_bytes(), 0, |index| all.push(index));
            all.sort_unstable();
            all
        };
        assert_eq!(found("/ab"), [0, 2, 3]);
        assert_eq!(found("/bb"), [2]);
        assert_eq!(found("/b"), [1]);
        assert_eq!(found("/c"), [] as [usize; 0]);
        assert!(Arc::ptr_eq(&group, &cache.group(&hirs).expect("known")));
    }

    #[test]
    fn literals_are_split_off() {
        let of = |pattern| {
            let (text, rest) = split_literal(&parse(pattern).expect("valid"));
            (String::from_utf8(text).expect("text"), rest.to_string())
        };
        let is =
            |text: &str, rest: &str| (text.to_owned(), parse(rest).expect("valid").to_string());
        assert_eq!(of("/api/v[0-9]+/x"), is("/api/v", "[0-9]+/x"));
        assert_eq!(of("(/api(/x).*)b"), is("/api/x", ".*b"));
        assert_eq!(of("(/a(p)i)"), is("/api", ""));
        assert_eq!(of("(?i)/a"), is("/", "[Aa]"));
        assert_eq!(of("^/a"), is("", "^/a"));
        assert_eq!(of("/a|/b"), is("", "/a|/b"));
    }

    #[test]
    fn assertions_see_what_stands_before() {
        let mut cache = Cache::default();
        for pattern in ["a(?-u:\\b)b*", "a\\b.*", "a^b", "a(?m:^)b", "a$", "a\\B.*"] {
            let hir = parse(pattern).expect("valid");
            let whole = cache.matcher(pattern).expect("valid");
            let (text, rest) = split_literal(&hir);
            assert_eq!(text, b"a");
            let rest = cache.group(&[&rest]).expect("valid");
            for text in ["a", "ab", "a b", "abb", "a\nb"] {
                let mut found = false;
                rest.each(text.as_bytes(), 1, |_| found = true);
                assert_eq!(found, whole.is_match(text.as_bytes()), "{pattern} {text:?}");
            }
        }
    }
}
