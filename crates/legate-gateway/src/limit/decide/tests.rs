use legate_config::rules::{Limit, LimitDomain, LimitPlace, LimitRule};

use super::*;
use crate::limit::{LimitOptions, Place, tests_support};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;

fn rule(key: &str, requests: u32) -> LimitRule {
    tests_support::rule(key, requests, 100)
}

fn domain(rules: Vec<LimitRule>) -> Domain {
    let config = LimitDomain {
        rules,
        ..LimitDomain::default()
    };
    let place = |_: &LimitDomain, place| match place {
        LimitPlace::Divided => Place::Divided,
        _ => Place::Process,
    };
    Domain::build("d", &config, place, |_| Arc::default())
}

struct Outcome {
    admitted: bool,
    overdrawn: Option<Overdrawn>,
}

/// Asks for one descriptor per key, all with one value.
fn ask(limiter: &Limiter, domain: &Domain, keys: &[&str], now: u64) -> Outcome {
    let mut hits = tests_support::hits(limiter, domain, keys);
    replace(&mut hits);
    let gateways = limiter.gateways();
    let admitted = decide(limiter, &mut hits, now, |hit| {
        Some(crate::limit::here(hit, gateways))
    });
    Outcome {
        admitted,
        overdrawn: conclude(&hits, admitted),
    }
}

fn admitted(limiter: &Limiter, domain: &Domain, keys: &[&str], now: u64) -> usize {
    (0..50)
        .filter(|_| ask(limiter, domain, keys, now).admitted)
        .count()
}

fn limiter() -> Arc<Limiter> {
    Limiter::new(LimitOptions {
        cells: 1024,
        ..LimitOptions::default()
    })
}

#[test]
fn several_limits_are_charged_all_or_none() {
    let limiter = limiter();
    let domain = domain(vec![rule("a", 10), rule("b", 4)]);
    assert_eq!(admitted(&limiter, &domain, &["a", "b"], START), 4);
    // What `b` refused was not charged to `a`.
    assert_eq!(admitted(&limiter, &domain, &["a"], START), 6);
    // One descriptor twice is one hit.
    let domain = self::domain(vec![rule("c", 10)]);
    assert_eq!(admitted(&limiter, &domain, &["c", "c"], START), 10);
}

#[test]
fn the_longest_wait_counts() {
    let limiter = limiter();
    let domain = domain(vec![rule("a", 1), rule("b", 2), rule("c", 100)]);
    assert!(ask(&limiter, &domain, &["a", "b", "c"], START).admitted);
    assert!(ask(&limiter, &domain, &["b"], START).admitted);
    let refused = ask(&limiter, &domain, &["a", "b", "c"], START + SECOND / 2);
    let (name, value) = refused.overdrawn.unwrap().retry_after().unwrap();
    assert_eq!((name.as_str(), value), ("retry-after", 100.into()));
}

#[test]
fn shadows_are_charged_and_never_decide() {
    let limiter = limiter();
    let shadow = LimitRule {
        shadow: true,
        ..rule("s", 3)
    };
    let domain = domain(vec![shadow, rule("a", 10)]);
    assert_eq!(admitted(&limiter, &domain, &["s", "a"], START), 10);
    let counts = |key: &str| {
        let rule = domain.rules().find(|rule| rule.config.name == key).unwrap();
        rule.tally.counts()
    };
    assert_eq!(counts("a"), [10, 40, 0]);
    assert_eq!(counts("s"), [3, 0, 47]);
}

#[test]
fn never_and_always() {
    let limiter = limiter();
    let unlimited = LimitRule {
        limit: Some(Limit::Unlimited),
        ..rule("u", 1)
    };
    let domain = domain(vec![rule("never", 0), unlimited, rule("a", 5)]);
    assert_eq!(admitted(&limiter, &domain, &["u"], START), 50);
    assert_eq!(admitted(&limiter, &domain, &["never", "a"], START), 0);
    assert_eq!(admitted(&limiter, &domain, &["a"], START), 5);
    let refused = ask(&limiter, &domain, &["never"], START);
    // No time helps.
    assert_eq!(refused.overdrawn.unwrap().retry_after(), None);
}

#[test]
fn a_limit_replaces_others_by_name() {
    let limiter = limiter();
    let special = LimitRule {
        replaces: vec!["a".into()],
        ..rule("special", 20)
    };
    let domain = domain(vec![special, rule("a", 2)]);
    assert_eq!(admitted(&limiter, &domain, &["special", "a"], START), 20);
    assert_eq!(admitted(&limiter, &domain, &["a"], START), 2);
}

#[test]
fn divided_limits_follow_the_number_of_gateways() {
    let limiter = limiter();
    let divided = LimitRule {
        place: LimitPlace::Divided,
        ..rule("a", 20)
    };
    let domain = domain(vec![divided]);
    let spent = (0..10).filter(|_| ask(&limiter, &domain, &["a"], START).admitted);
    assert_eq!(spent.count(), 10);
    // Ten are owed; a fourth of the limit has room for none of them.
    limiter.set_gateways(4);
    assert_eq!(admitted(&limiter, &domain, &["a"], START), 0);
    limiter.set_gateways(1);
    // What was refused meanwhile changed nothing.
    assert_eq!(admitted(&limiter, &domain, &["a"], START), 10);
}

#[test]
fn counters_survive_other_numbers_and_other_rules() {
    let limiter = limiter();
    let before = domain(vec![rule("a", 10)]);
    assert_eq!(admitted(&limiter, &before, &["a"], START), 10);
    let after = domain(vec![rule("b", 1), rule("a", 10)]);
    assert_eq!(admitted(&limiter, &after, &["a"], START), 0);
    let wider = domain(vec![rule("a", 15)]);
    assert_eq!(admitted(&limiter, &wider, &["a"], START), 5);
}
