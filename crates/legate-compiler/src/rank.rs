//! Route order: the rank of a group (spec/routing §4.6).
//!
//! Emissary sorts groups in descending order of a list. Its numbers become the tier and the
//! specificity; everything after is encoded into bytes whose ascending order is the list's
//! descending one, so that the data plane compares nothing but integers and bytes.
//!
//! Encoding of the tie: text `t` becomes each byte `b` as `0xfe - b`, then `0xff`. UTF-8 has no
//! byte above `0xf4`, so the terminator is larger than any continuation: a text comes *after* all
//! its extensions, as it must in descending order. A list is `0x01` before each text and `0x02` at
//! its end: the longer of two lists with a common beginning comes first. The name that ends the
//! tie is compared ascending and stands there as it is.

use legate_config::Rank;

/// A condition as the order sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Condition {
    /// Lower-case name; `:authority` and `:method` for host and method.
    pub(crate) name: String,
    /// The text compared with, or the pattern.
    pub(crate) value: String,
    /// Whether the value is a regular expression.
    pub(crate) regex: bool,
}

/// What decides a group's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RankInput<'a> {
    pub(crate) precedence: i64,
    pub(crate) prefix: &'a str,
    pub(crate) method: Option<&'a str>,
    /// In the order: exact by name, regex by name, `:authority`, `:method`.
    pub(crate) headers: &'a [Condition],
    pub(crate) query: &'a [Condition],
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a str,
}

impl Condition {
    /// Emissary reads an empty value as a presence check, which counts like `*`.
    fn text(&self) -> &str {
        if self.value.is_empty() {
            "*"
        } else {
            &self.value
        }
    }

    fn score(&self) -> u32 {
        count(&self.name)
            .saturating_add(count(self.text()))
            .saturating_add(u32::from(self.regex))
    }
}

fn count(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

fn score(conditions: &[Condition]) -> u32 {
    conditions
        .iter()
        .fold(0, |sum, condition| sum.saturating_add(condition.score()))
}

/// The rank of a group.
pub(crate) fn rank(input: &RankInput<'_>) -> Rank {
    let mut tie =
        Vec::with_capacity(input.prefix.len() + input.name.len() + input.namespace.len() * 2 + 32);
    descending(&mut tie, &[input.prefix]);
    descending(&mut tie, &[input.method.unwrap_or("GET")]);
    for condition in input.headers.iter().chain(input.query) {
        tie.push(0x01);
        descending(&mut tie, &[&condition.name, "-", condition.text()]);
    }
    tie.push(0x02);
    tie.extend_from_slice(input.name.as_bytes());
    tie.push(b'.');
    tie.extend_from_slice(input.namespace.as_bytes());
    // Dots in a namespace (no real one has any) could make two objects' names equal.
    tie.push(0);
    tie.extend_from_slice(input.namespace.as_bytes());
    Rank {
        tier: input.precedence,
        specificity: vec![
            count(input.prefix),
            score(input.headers),
            score(input.query),
        ],
        tie,
    }
}

/// Appends the text made of `parts` so that it sorts in descending order.
fn descending(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend(part.bytes().map(|byte| 0xfe - byte.min(0xfe)));
    }
    out.push(0xff);
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Owned {
        precedence: i64,
        prefix: String,
        method: Option<String>,
        headers: Vec<Condition>,
        query: Vec<Condition>,
        name: String,
        namespace: String,
    }

    impl Owned {
        fn rank(&self) -> Rank {
            rank(&RankInput {
                precedence: self.precedence,
                prefix: &self.prefix,
                method: self.method.as_deref(),
                headers: &self.headers,
                query: &self.query,
                name: &self.name,
                namespace: &self.namespace,
            })
        }

        /// Emissary's own list, as it is written down in the specification.
        fn list(&self) -> (i64, usize, u32, u32, String, String, Vec<String>) {
            let keys = self
                .headers
                .iter()
                .chain(&self.query)
                .map(|condition| format!("{}-{}", condition.name, condition.text()))
                .collect();
            (
                self.precedence,
                self.prefix.chars().count(),
                score(&self.headers),
                score(&self.query),
                self.prefix.clone(),
                self.method.clone().unwrap_or_else(|| "GET".to_owned()),
                keys,
            )
        }
    }

    fn conditions() -> impl Strategy<Value = Vec<Condition>> {
        let one = ("[a-b]{1,2}", "[a-b\u{0}é]{0,2}", any::<bool>())
            .prop_map(|(name, value, regex)| Condition { name, value, regex });
        proptest::collection::vec(one, 0..3)
    }

    fn inputs() -> impl Strategy<Value = Owned> {
        (
            -1..2i64,
            "[/ab\u{0}\u{10ffff}]{0,3}",
            proptest::option::of("(GET|GE|POST|)"),
            conditions(),
            conditions(),
            "[ab]{1,2}",
            "[ab]{1,2}",
        )
            .prop_map(
                |(precedence, prefix, method, headers, query, name, namespace)| Owned {
                    precedence,
                    prefix,
                    method,
                    headers,
                    query,
                    name,
                    namespace,
                },
            )
    }

    proptest! {
        #[test]
        fn the_encoding_orders_like_the_list(a in inputs(), b in inputs()) {
            let direct = b.list().cmp(&a.list()).then_with(|| {
                let key = |o: &Owned| (format!("{}.{}", o.name, o.namespace), o.namespace.clone());
                key(&a).cmp(&key(&b))
            });
            prop_assert_eq!(a.rank().cmp(&b.rank()), direct);
        }
    }

    #[test]
    fn longer_prefixes_first_then_scores_then_text() {
        let base = Owned {
            precedence: 0,
            prefix: "/b/".into(),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
            name: "a".into(),
            namespace: "default".into(),
        };
        let with = |change: fn(&mut Owned)| {
            let mut owned = base.clone();
            change(&mut owned);
            owned.rank()
        };
        let plain = base.rank();
        assert!(with(|o| o.prefix = "/b/c".into()) < plain);
        assert!(
            with(|o| o.prefix = "/z/".into()) < plain,
            "reverse byte order"
        );
        assert!(with(|o| o.precedence = -1) > plain);
        assert!(with(|o| o.name = "b".into()) > plain, "names ascend");
        let host = |text: &str| Condition {
            name: ":authority".into(),
            value: text.into(),
            regex: false,
        };
        let mut star = base.clone();
        star.headers = vec![host("*")];
        let mut long = base.clone();
        long.headers = vec![host("*.example.com")];
        assert_eq!(star.rank().specificity, vec![3, 11, 0]);
        assert_eq!(long.rank().cmp(&star.rank()), Ordering::Less);
    }
}
