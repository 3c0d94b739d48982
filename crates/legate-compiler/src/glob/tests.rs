//! The intersection table of spec/routing §3.4, row by row, and label selectors.

use std::collections::BTreeMap;

use legate_api::{LabelSelector, LabelSelectorRequirement, SelectorOperator};
use legate_config::HostPattern;

use super::{HostGlob, Selector};

fn intersects(a: &str, b: &str) -> bool {
    let (a, b) = (HostGlob::parse(a), HostGlob::parse(b));
    let forth = a.intersects(&b);
    assert_eq!(forth, b.intersects(&a), "{a} and {b}: not symmetric");
    forth
}

#[test]
fn the_intersection_table() {
    for (a, b, expected) in [
        // equal strings, or either is `*`
        ("a.test", "a.test", true),
        ("*.test", "*.test", true),
        (".test", ".test", true),
        ("*", "a.test", true),
        ("*", "*.test", true),
        ("*", "app.*", true),
        ("*", "*", true),
        ("*", ".test", true),
        // either starts with `.`
        (".test", "a.test", false),
        (".test", "*.test", false),
        (".test", "*test", false),
        (".test", ".t*", false),
        (".a.test", "*.test", false),
        // literal and literal
        ("a.test", "b.test", false),
        ("a.test", "a.test:8080", false),
        ("A.test", "a.TEST", true),
        // literal and suffix
        ("a.test", "*.test", true),
        ("x.y.test", "*.test", true),
        ("test", "*.test", false),
        ("example.com", "*example.com", false),
        ("myexample.com", "*example.com", true),
        ("a.test:8443", "*.test", false),
        ("a.test:8443", "*.test:8443", true),
        // literal and prefix
        ("app.dev", "app.*", true),
        ("app.", "app.*", false),
        ("app.dev:80", "app.*", true),
        ("map.dev", "app.*", false),
        // suffix and suffix
        ("*.test", "*.a.test", true),
        ("*.test", "*.dev", false),
        ("*.test", "*test", true),
        // prefix and prefix
        ("app.*", "app.dev.*", true),
        ("app.*", "map.*", false),
        // suffix and prefix
        ("*.test", "app.*", true),
        ("*.test", "z*", true),
        // a star elsewhere, or at both ends, is an ordinary character
        ("a*b", "acb", false),
        ("*a*", "xax", false),
        ("**", "x", false),
        ("a*b", "a*b", true),
    ] {
        assert_eq!(intersects(a, b), expected, "{a} and {b}");
    }
}

#[test]
fn patterns_and_text() {
    for (text, pattern, shown) in [
        ("", HostPattern::Any, "*"),
        ("*", HostPattern::Any, "*"),
        ("A.Test", HostPattern::Exact("a.test".into()), "a.test"),
        ("*.Test", HostPattern::Suffix(".test".into()), "*.test"),
        ("*test", HostPattern::Suffix("test".into()), "*test"),
        ("app.*", HostPattern::Prefix("app.".into()), "app.*"),
        (
            "a.test:8443",
            HostPattern::Exact("a.test:8443".into()),
            "a.test:8443",
        ),
    ] {
        let glob = HostGlob::parse(text);
        assert_eq!(glob.to_pattern(), pattern, "{text}");
        assert_eq!(glob.to_string(), shown, "{text}");
    }
    for (text, dead) in [("a*b", true), ("*a*", true), (".a", true), ("*.a", false)] {
        assert_eq!(HostGlob::parse(text).is_dead(), dead, "{text}");
    }
}

#[test]
fn names_outside_ascii_become_a_labels() {
    for (text, expected) in [
        ("bücher.test", "xn--bcher-kva.test"),
        ("*.Bücher.test", "*.xn--bcher-kva.test"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("bücher.test:8443", "xn--bcher-kva.test:8443"),
        ("faß。test", "xn--fa-hia.test"),
    ] {
        assert_eq!(HostGlob::parse(text).to_string(), expected, "{text}");
    }
}

#[test]
fn the_port_is_no_part_of_a_server_name() {
    for (text, expected) in [
        ("a.test:8443", "a.test"),
        ("*.test:8443", "*.test"),
        ("a.test", "a.test"),
        ("*:8443", "*"),
        ("[::1]:443", "[::1]"),
        ("app.*", "app.*"),
    ] {
        assert_eq!(
            HostGlob::parse(text).without_port().to_string(),
            expected,
            "{text}"
        );
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn selector(
    pairs: &[(&str, &str)],
    expressions: &[(&str, Option<SelectorOperator>, &[&str])],
) -> Selector {
    let expressions = expressions
        .iter()
        .map(|(key, operator, values)| LabelSelectorRequirement {
            key: (*key).to_owned(),
            operator: *operator,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        })
        .collect();
    Selector::of(&LabelSelector {
        match_labels: Some(labels(pairs)),
        match_expressions: Some(expressions),
    })
    .expect("a selector")
}

#[test]
fn an_empty_selector_is_none() {
    assert_eq!(Selector::of(&LabelSelector::default()), None);
    let empty = LabelSelector {
        match_labels: Some(BTreeMap::new()),
        match_expressions: Some(Vec::new()),
    };
    assert_eq!(Selector::of(&empty), None);
}

#[test]
fn match_labels_strict_and_any() {
    let both = selector(&[("a", "1"), ("b", "2")], &[]);
    assert!(both.matches(&labels(&[("a", "1"), ("b", "2"), ("c", "3")]), true));
    assert!(!both.matches(&labels(&[("a", "1")]), true));
    assert!(both.matches(&labels(&[("a", "1")]), false));
    assert!(!both.matches(&labels(&[("a", "2")]), false));
}

#[test]
fn match_expressions() {
    let team_x = labels(&[("team", "x")]);
    let none = labels(&[]);
    for (operator, values, on_x, on_none) in [
        (Some(SelectorOperator::In), &["x", "y"][..], true, false),
        (Some(SelectorOperator::In), &["y"], false, false),
        (Some(SelectorOperator::NotIn), &["x"], false, true),
        (Some(SelectorOperator::NotIn), &["y"], true, true),
        (Some(SelectorOperator::Exists), &[], true, false),
        (Some(SelectorOperator::DoesNotExist), &[], false, true),
        (None, &["x"], false, false),
    ] {
        let selector = selector(&[], &[("team", operator, values)]);
        assert_eq!(selector.matches(&team_x, true), on_x, "{selector}");
        assert_eq!(selector.matches(&none, true), on_none, "{selector}");
        // The any-label mode is about matchLabels only.
        assert_eq!(selector.matches(&none, false), on_none, "{selector}");
    }
}

#[test]
fn canonical_text_is_independent_of_order() {
    let one = selector(
        &[("a", "1")],
        &[
            ("k", Some(SelectorOperator::In), &["y", "x"]),
            ("j", Some(SelectorOperator::Exists), &[]),
        ],
    );
    let two = selector(
        &[("a", "1")],
        &[
            ("j", Some(SelectorOperator::Exists), &[]),
            ("k", Some(SelectorOperator::In), &["x", "y"]),
        ],
    );
    assert_eq!(one, two);
    assert_eq!(one.to_string(), "a=1,j,k in (x,y)");
}
