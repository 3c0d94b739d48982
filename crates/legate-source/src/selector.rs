//! Label selectors in kubectl's text form: `a=b,c!=d,e,!f,g in (x,y),h notin (z)`.

use std::collections::BTreeMap;

/// A parsed selector; the empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    key: String,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl LabelSelector {
    /// Parses a selector.
    ///
    /// # Errors
    /// The text is no selector; the message quotes the part that is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let terms = split(text)
            .into_iter()
            .map(|part| term(part.trim()))
            .collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// Whether labels satisfy every term.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| {
            let value = labels.get(&term.key);
            match &term.condition {
                Condition::Exists => value.is_some(),
                Condition::Absent => value.is_none(),
                Condition::In(values) => value.is_some_and(|value| values.contains(value)),
                Condition::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .filter(|part| !part.trim().is_empty())
    .collect()
}

fn term(text: &str) -> Result<Term, String> {
    let bad = || format!("`{text}` is no label selector term");
    let named = |key: &str, condition| {
        let key = key.trim();
        let plain =
            !key.is_empty() && !key.contains(|c: char| c.is_whitespace() || "()!=,".contains(c));
        plain
            .then(|| Term {
                key: key.to_owned(),
                condition,
            })
            .ok_or_else(bad)
    };
    let list = |text: &str| {
        let inner = text
            .trim()
            .strip_prefix('(')
            .and_then(|text| text.strip_suffix(')'));
        inner
            .map(|inner| {
                inner
                    .split(',')
                    .map(|item| item.trim().to_owned())
                    .collect::<Vec<_>>()
            })
            .ok_or_else(bad)
    };
    if let Some((key, values)) = text.split_once(" notin ") {
        return named(key, Condition::NotIn(list(values)?));
    }
    if let Some((key, values)) = text.split_once(" in ") {
        return named(key, Condition::In(list(values)?));
    }
    if let Some((key, value)) = text.split_once("!=") {
        return named(key, Condition::NotIn(vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return named(key, Condition::In(vec![value.trim().to_owned()]));
    }
    match text.strip_prefix('!') {
        Some(key) => named(key, Condition::Absent),
        None => named(text, Condition::Exists),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms() {
        let labels: BTreeMap<String, String> = [("a", "b"), ("g", "x")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        for (text, expected) in [
            ("", true),
            ("a=b", true),
            ("a==b,g", true),
            ("a!=b", false),
            ("c!=d", true),
            ("!c", true),
            ("!a", false),
            ("g in (x, y),a", true),
            ("g notin (x,y)", false),
            ("h notin (x)", true),
            ("h in (x)", false),
        ] {
            assert_eq!(
                LabelSelector::parse(text).unwrap().matches(&labels),
                expected,
                "{text}"
            );
        }
        for text in ["=b", "a in x", "a b", "!", "a=b,(c"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }
}
