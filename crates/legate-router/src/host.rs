//! An index over host patterns. All texts are lower-case.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use legate_config::HostPattern;
use smallvec::SmallVec;

use crate::matcher::{Cache, Matcher};

/// Numbers by host pattern.
#[derive(Default)]
pub(crate) struct HostIndex {
    exact: HashMap<Box<[u8]>, Numbers, RandomState>,
    suffixes: Globs,
    prefixes: Globs,
    regexes: Vec<(Arc<Matcher>, u32)>,
    any: Numbers,
}

type Numbers = SmallVec<[u32; 2]>;

/// Texts at one end of the host, by length.
#[derive(Default)]
struct Globs {
    /// Longest first.
    lengths: Vec<usize>,
    texts: HashMap<Box<[u8]>, Numbers, RandomState>,
}

impl HostIndex {
    /// Adds a number under a pattern; an error says what is wrong with the pattern.
    pub(crate) fn add(
        &mut self,
        pattern: &HostPattern,
        number: u32,
        cache: &mut Cache,
    ) -> Result<(), String> {
        match pattern {
            HostPattern::Any => self.any.push(number),
            HostPattern::Exact(text) => {
                let numbers = self.exact.entry(text.as_bytes().into()).or_default();
                numbers.push(number);
            }
            HostPattern::Suffix(text) => self.suffixes.add(text, number),
            HostPattern::Prefix(text) => self.prefixes.add(text, number),
            HostPattern::Regex(pattern) => self.regexes.push((cache.matcher(pattern)?, number)),
        }
        Ok(())
    }

    /// All numbers whose pattern matches.
    pub(crate) fn each(&self, host: &str, mut found: impl FnMut(u32)) {
        let mut all = |numbers: &Numbers| numbers.iter().for_each(|number| found(*number));
        if let Some(numbers) = self.exact.get(host.as_bytes()) {
            all(numbers);
        }
        self.suffixes(host).for_each(|(_, numbers)| all(numbers));
        self.prefixes(host).for_each(|(_, numbers)| all(numbers));
        all(&self.any);
        for (matcher, number) in &self.regexes {
            if matcher.is_match(host.as_bytes()) {
                found(*number);
            }
        }
    }

    /// The choice among virtual hosts: exact, longest suffix, longest prefix, any.
    pub(crate) fn best(&self, host: &str) -> Option<u32> {
        let exact = self.exact.get(host.as_bytes());
        let numbers = exact
            .or_else(|| self.suffixes(host).next().map(|(_, numbers)| numbers))
            .or_else(|| self.prefixes(host).next().map(|(_, numbers)| numbers))
            .unwrap_or(&self.any);
        numbers.first().copied()
    }

    /// The choice among server names: exact, longest `*.suffix`, longest other glob, any.
    pub(crate) fn best_name(&self, name: &str) -> Option<u32> {
        if let Some(numbers) = self.exact.get(name.as_bytes()) {
            return numbers.first().copied();
        }
        let dotted = |length: usize| {
            let start = name.len().checked_sub(length);
            start.and_then(|start| name.as_bytes().get(start)) == Some(&b'.')
        };
        let mut other = None;
        for (length, numbers) in self.suffixes(name) {
            if dotted(length) {
                return numbers.first().copied();
            }
            other = other.or(Some((length, numbers)));
        }
        let prefix = self.prefixes(name).next();
        let numbers = match (other, prefix) {
            (Some((suffix, numbers)), Some((prefix, _))) if suffix >= prefix => numbers,
            (_, Some((_, numbers))) | (Some((_, numbers)), None) => numbers,
            (None, None) => &self.any,
        };
        numbers.first().copied()
    }

    fn suffixes<'a>(&'a self, host: &'a str) -> impl Iterator<Item = (usize, &'a Numbers)> {
        self.suffixes.matching(host.len(), move |length| {
            host.as_bytes().get(host.len().checked_sub(length)?..)
        })
    }

    fn prefixes<'a>(&'a self, host: &'a str) -> impl Iterator<Item = (usize, &'a Numbers)> {
        (self.prefixes).matching(host.len(), move |length| host.as_bytes().get(..length))
    }
}

impl Globs {
    fn add(&mut self, text: &str, number: u32) {
        self.texts
            .entry(text.as_bytes().into())
            .or_default()
            .push(number);
        let place = self.lengths.partition_point(|length| *length > text.len());
        if self.lengths.get(place) != Some(&text.len()) {
            self.lengths.insert(place, text.len());
        }
    }

    /// What matches a host of a length, longest first. The star stands for at least one character.
    fn matching<'a>(
        &'a self,
        length: usize,
        part: impl Fn(usize) -> Option<&'a [u8]> + 'a,
    ) -> impl Iterator<Item = (usize, &'a Numbers)> {
        let start = self.lengths.partition_point(|text| *text >= length);
        (self.lengths.get(start..).unwrap_or_default().iter()).filter_map(move |length| {
            let numbers = self.texts.get(part(*length)?)?;
            Some((*length, numbers))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(patterns: &[&str]) -> HostIndex {
        let mut index = HostIndex::default();
        for (number, text) in (0..).zip(patterns) {
            let pattern = match text.strip_prefix('*') {
                Some("") => HostPattern::Any,
                Some(rest) => HostPattern::Suffix(rest.to_owned()),
                None => match text.strip_suffix('*') {
                    Some(rest) => HostPattern::Prefix(rest.to_owned()),
                    None => HostPattern::Exact((*text).to_owned()),
                },
            };
            index
                .add(&pattern, number, &mut Cache::default())
                .expect("no regex");
        }
        index
    }

    #[test]
    fn as_20_virtual_hosts() {
        let index = index(&["foo.test", "foo.*", "*.test", "*"]);
        assert_eq!(index.best("foo.test"), Some(0));
        assert_eq!(index.best("foo.dev"), Some(1));
        assert_eq!(index.best("x.test"), Some(2));
        assert_eq!(index.best("z"), Some(3));
        assert_eq!(
            index.best(".test"),
            Some(3),
            "the star stands for something"
        );
    }

    #[test]
    fn suffix_before_prefix_and_longest_first() {
        let index = index(&["*.b.test", "*.test", "app.a.*", "app.*"]);
        assert_eq!(index.best("app.a.b.test"), Some(0));
        assert_eq!(index.best("app.a.test"), Some(1));
        assert_eq!(index.best("app.a.dev"), Some(2));
        assert_eq!(index.best("app.x:81"), Some(3));
        assert_eq!(index.best("dev"), None);
    }

    #[test]
    fn server_names() {
        let index = index(&["*.test", "*example.test", "a.example.*", "*"]);
        assert_eq!(index.best_name("myexample.test"), Some(0));
        let index = self::index(&["*example.test", "a.example.t*", "my*"]);
        assert_eq!(index.best_name("myexample.test"), Some(0));
        assert_eq!(index.best_name("a.example.test"), Some(0));
        assert_eq!(index.best_name("my.dev"), Some(2));
        assert_eq!(index.best_name("dev"), None);
    }

    #[test]
    fn every_match() {
        let index = index(&[
            "a.test", "*.test", "a.*", "*", "a.test", "b.test", "*a.test",
        ]);
        let mut found = Vec::new();
        index.each("a.test", |number| found.push(number));
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 4]);
    }
}
