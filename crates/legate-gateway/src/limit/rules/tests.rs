use super::*;
use crate::limit::tests_support;

fn item(key: &str, value: &str) -> LimitItem {
    let value = match value.strip_suffix('*') {
        _ if value.is_empty() => LimitValue::Any,
        Some(start) => LimitValue::StartsWith(start.into()),
        None => LimitValue::Is(value.into()),
    };
    LimitItem {
        any_of: vec![LimitEntry {
            key: key.into(),
            value,
        }],
        shared: false,
    }
}

fn rule(name: &str, depth: LimitDepth, items: Vec<LimitItem>) -> LimitRule {
    LimitRule {
        items,
        depth,
        ..tests_support::rule(name, 1, 1)
    }
}

fn domain(rules: Vec<LimitRule>) -> Domain {
    let config = LimitDomain {
        rules,
        ..LimitDomain::default()
    };
    Domain::build("d", &config, |_, _| Place::Process, |_| Arc::default())
}

fn entries<'a>(descriptor: &[(&'a str, &'a str)]) -> Vec<DescriptorEntry<'a>> {
    let entry = |(key, value): &(&'a str, &'a str)| DescriptorEntry {
        key,
        value: (*value).into(),
    };
    descriptor.iter().map(entry).collect()
}

fn names(domain: &Domain, descriptor: &[(&str, &str)]) -> Vec<String> {
    let descriptor = entries(descriptor);
    let found = domain.matching(&descriptor);
    found.map(|rule| rule.config.name.clone()).collect()
}

#[test]
fn exact_rules_by_level_the_most_specific_first() {
    let exact = |name, items| rule(name, LimitDepth::Exact, items);
    let domain = domain(vec![
        exact("any", vec![item("k", "")]),
        exact("starts", vec![item("k", "a*")]),
        exact("longer", vec![item("k", "ab*")]),
        exact("is", vec![item("k", "abc")]),
        exact("below", vec![item("k", ""), item("l", "")]),
    ]);
    assert_eq!(names(&domain, &[("k", "abc")]), ["is"]);
    assert_eq!(names(&domain, &[("k", "abd")]), ["longer"]);
    assert_eq!(names(&domain, &[("k", "ax")]), ["starts"]);
    assert_eq!(names(&domain, &[("k", "x")]), ["any"]);
    assert_eq!(names(&domain, &[("k", "x"), ("l", "y")]), ["below"]);
    // No way back: the more specific node has nothing below it.
    assert!(names(&domain, &[("k", "abc"), ("l", "y")]).is_empty());
    assert!(names(&domain, &[("k", "x"), ("m", "y")]).is_empty());
    assert!(names(&domain, &[("l", "x")]).is_empty());
    assert!(names(&domain, &[]).is_empty());
}

#[test]
fn of_prefixes_the_longest_wins() {
    let prefix = |name, items| rule(name, LimitDepth::Prefix, items);
    let mut either = item("k", "1");
    either.any_of.extend(item("other", "").any_of);
    let domain = domain(vec![
        prefix("short", vec![item("k", "")]),
        prefix("long", vec![item("k", ""), item("l", "2")]),
        prefix("either", vec![either, item("l", "3"), item("m", "")]),
    ]);
    assert_eq!(names(&domain, &[("k", "1")]), ["short"]);
    assert_eq!(names(&domain, &[("k", "1"), ("x", "2")]), ["short"]);
    assert_eq!(
        names(&domain, &[("k", "1"), ("l", "2"), ("m", "")]),
        ["long"]
    );
    let long = [("other", "9"), ("l", "3"), ("m", "4"), ("n", "5")];
    assert_eq!(names(&domain, &long), ["either"]);
    assert!(names(&domain, &[("l", "2")]).is_empty());
}

#[test]
fn cells_differ_by_what_is_counted() {
    let mut shared = item("k", "a*");
    shared.shared = true;
    let domain = domain(vec![
        rule("apart", LimitDepth::Prefix, vec![item("l", "")]),
        rule("together", LimitDepth::Exact, vec![shared]),
    ]);
    let digest = |descriptor: &[(&str, &str)]| {
        let descriptor = entries(descriptor);
        let rule = domain.matching(&descriptor).next().unwrap();
        rule.digest(&descriptor)
    };
    assert_eq!(digest(&[("k", "a1")]), digest(&[("k", "a2")]));
    assert_ne!(digest(&[("l", "1")]), digest(&[("l", "2")]));
    // What comes after a prefix does not count.
    assert_eq!(digest(&[("l", "1")]), digest(&[("l", "1"), ("m", "2")]));
}

#[test]
fn identity_is_where_a_rule_stands_not_what_it_says() {
    let identity = |rule: LimitRule| {
        let domain = domain(vec![rule]);
        let descriptor = entries(&[("k", "v")]);
        let mut found = domain.matching(&descriptor);
        found.next().unwrap().identity
    };
    let one = rule("one", LimitDepth::Exact, vec![item("k", "v")]);
    let mut other = LimitRule {
        name: "other".into(),
        shadow: true,
        ..one.clone()
    };
    other.limit = Some(Limit::Rate {
        requests: 5,
        unit_seconds: 60,
        burst: 9,
    });
    assert_eq!(identity(one.clone()), identity(other));
    let wild = rule("one", LimitDepth::Exact, vec![item("k", "")]);
    assert_ne!(identity(one), identity(wild));
}

#[test]
fn shares_are_never_nothing() {
    let shapes = |gateways| {
        let mut config = rule("r", LimitDepth::Exact, vec![item("k", "")]);
        config.limit = Some(Limit::Rate {
            requests: 10,
            unit_seconds: 1,
            burst: 20,
        });
        let domain = domain(vec![config]);
        let found = domain
            .matching(&entries(&[("k", "v")]))
            .next()
            .unwrap()
            .shape(gateways);
        found.unwrap()
    };
    assert_eq!(shapes(0), Shape::new(10, 1, 20));
    assert_eq!(shapes(2), Shape::new(5, 1, 10));
    assert_eq!(shapes(100), Shape::new(1, 1, 1));
}
