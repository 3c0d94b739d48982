//! Compiled regular expressions that must match a whole text.
//!
//! A pattern becomes a small dense DFA where it can: that needs no scratch space, shares nothing
//! between threads and gives up at the first byte that no match can have. Several patterns share
//! one DFA ([`Bundle`]), so that a hundred regexes cost one walk. What would explode goes to the
//! general engine, one by one.

use std::collections::HashMap;
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

type Patterns = Box<[Box<str>]>;

/// One pattern.
pub(crate) struct Matcher(Engine);

enum Engine {
    Dense(Box<Dfa>),
    General(meta::Regex),
}

/// Several patterns in one automaton.
pub(crate) struct Bundle(Dfa);

/// Compiled patterns, so that equal ones are compiled once and survive into the next version.
#[derive(Default)]
pub(crate) struct Cache {
    single: HashMap<Box<str>, Weak<Matcher>, RandomState>,
    /// `None` for what is too large.
    bundles: HashMap<Patterns, Option<Weak<Bundle>>, RandomState>,
}

// === impl Matcher ===

impl Matcher {
    fn new(pattern: &str) -> Result<Self, String> {
        let hir = parse(pattern)?;
        if let Some(dfa) = dense(std::slice::from_ref(&hir)) {
            return Ok(Self(Engine::Dense(Box::new(dfa))));
        }
        let whole = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        meta::Builder::new()
            .configure(
                meta::Config::new()
                    .utf8_empty(false)
                    .nfa_size_limit(Some(NFA_LIMIT))
                    .which_captures(WhichCaptures::None),
            )
            .build_from_hir(&whole)
            .map(|regex| Self(Engine::General(regex)))
            .map_err(|error| error.to_string())
    }

    /// Whether the pattern matches the whole text.
    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        match &self.0 {
            Engine::Dense(dfa) => walk(dfa, std::iter::once(text)).is_some(),
            Engine::General(regex) => regex.is_match(Input::new(text).anchored(Anchored::Yes)),
        }
    }

    /// Whether the pattern matches the whole of the parts.
    pub(crate) fn is_match_parts<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> bool {
        match &self.0 {
            Engine::Dense(dfa) => walk(dfa, parts).is_some(),
            Engine::General(_) => {
                let mut text = SmallVec::<[u8; 512]>::new();
                parts.for_each(|part| text.extend_from_slice(part));
                self.is_match(&text)
            }
        }
    }
}

// === impl Bundle ===

impl Bundle {
    /// Calls back with the index of each pattern that matches the whole text, in no order.
    pub(crate) fn each(&self, text: &[u8], mut found: impl FnMut(usize)) {
        let Some(end) = walk(&self.0, std::iter::once(text)) else {
            return;
        };
        for index in 0..self.0.match_len(end) {
            found(self.0.match_pattern(end, index).as_usize());
        }
    }
}

// === impl Cache ===

impl Cache {
    /// A cache with what is still in use of another one.
    pub(crate) fn renewed(previous: &Self) -> Self {
        Self {
            single: (previous.single.iter())
                .filter(|(_, matcher)| matcher.strong_count() > 0)
                .map(|(pattern, matcher)| (pattern.clone(), Weak::clone(matcher)))
                .collect(),
            // A failure to bundle is not worth keeping: it is retried only when its set changes.
            bundles: (previous.bundles.iter())
                .filter(|(_, bundle)| bundle.as_ref().is_some_and(|it| it.strong_count() > 0))
                .map(|(patterns, bundle)| (patterns.clone(), bundle.clone()))
                .collect(),
        }
    }

    /// The matcher of a pattern, or why it cannot be compiled.
    pub(crate) fn matcher(&mut self, pattern: &str) -> Result<Arc<Matcher>, String> {
        if let Some(known) = self.single.get(pattern).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let matcher = Arc::new(Matcher::new(pattern)?);
        self.single.insert(pattern.into(), Arc::downgrade(&matcher));
        Ok(matcher)
    }

    /// All the patterns in one automaton, unless it would be too large.
    pub(crate) fn bundle(&mut self, patterns: &[(&str, Hir)]) -> Option<Arc<Bundle>> {
        let key: Box<[Box<str>]> = patterns.iter().map(|(text, _)| (*text).into()).collect();
        match self.bundles.get(&key) {
            Some(None) => return None,
            Some(Some(known)) => {
                if let Some(known) = known.upgrade() {
                    return Some(known);
                }
            }
            None => {}
        }
        let hirs: Vec<Hir> = patterns.iter().map(|(_, hir)| hir.clone()).collect();
        let bundle = dense(&hirs).map(|dfa| Arc::new(Bundle(dfa)));
        self.bundles
            .insert(key, bundle.as_ref().map(Arc::downgrade));
        bundle
    }
}

/// Parses a pattern.
pub(crate) fn parse(pattern: &str) -> Result<Hir, String> {
    regex_syntax::Parser::new()
        .parse(pattern)
        .map_err(|error| error.to_string())
}

/// The text with which every match must start.
pub(crate) fn literal_prefix(hir: &Hir) -> Vec<u8> {
    let mut text = Vec::new();
    push_literal(hir, &mut text);
    text
}

/// Appends the leading literal; says whether the whole expression was literal.
fn push_literal(hir: &Hir, text: &mut Vec<u8>) -> bool {
    match hir.kind() {
        HirKind::Empty => true,
        HirKind::Literal(literal) => {
            text.extend_from_slice(&literal.0);
            true
        }
        HirKind::Capture(capture) => push_literal(&capture.sub, text),
        HirKind::Concat(parts) => parts.iter().all(|part| push_literal(part, text)),
        _ => false,
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

/// Runs an automaton over a text; the state at its end, if that is a match.
fn walk<'a>(dfa: &Dfa, parts: impl Iterator<Item = &'a [u8]>) -> Option<StateID> {
    let start = start::Config::new().anchored(Anchored::Yes);
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
    fn bundles_tell_all() {
        let mut cache = Cache::default();
        let patterns = ["/a.*", "/b", "/.b", "/ab"];
        let parsed: Vec<_> = patterns
            .iter()
            .map(|pattern| (*pattern, parse(pattern).expect("valid")))
            .collect();
        let bundle = cache.bundle(&parsed).expect("small");
        let found = |text: &str| {
            let mut all = Vec::new();
            bundle.each(text.as_bytes(), |index| all.push(index));
            all.sort_unstable();
            all
        };
        assert_eq!(found("/ab"), [0, 2, 3]);
        assert_eq!(found("/bb"), [2]);
        assert_eq!(found("/b"), [1]);
        assert_eq!(found("/c"), [] as [usize; 0]);
        assert!(Arc::ptr_eq(&bundle, &cache.bundle(&parsed).expect("known")));
    }

    #[test]
    fn literal_prefixes() {
        let of = |pattern| {
            String::from_utf8(literal_prefix(&parse(pattern).expect("valid"))).expect("text")
        };
        assert_eq!(of("/api/v[0-9]+/x"), "/api/v");
        assert_eq!(of("(/api)/x.*"), "/api/x");
        assert_eq!(of("(?i)/api"), "/");
        assert_eq!(of("/a|/b"), "");
        assert_eq!(of("^/a"), "");
        assert_eq!(of(".*"), "");
    }
}
