use legate_config::rules::LimitRule;

use super::*;

fn rule(name: &str, requests: u32, unit_seconds: u32) -> LimitRule {
    LimitRule {
        name: name.into(),
        request_headers: vec![("x-up".into(), "1".into())],
        response_headers: vec![("x-down".into(), "2".into())],
        ..tests_support::rule(&format!("key-{requests}"), requests, unit_seconds)
    }
}

fn snapshot(rules: Vec<LimitRule>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let domain = LimitDomain {
        headers: true,
        rules,
        ..LimitDomain::default()
    };
    let entry = legate_config::Entry::new(domain, Vec::new());
    snapshot.limits.insert("d".into(), entry);
    snapshot
}

fn build(limiter: &Limiter, snapshot: &Snapshot) -> (Limits, Vec<String>) {
    let mut rejected = Vec::new();
    let limits = limiter.build(snapshot, &|_| None, |key, _| rejected.push(key));
    (limits, rejected)
}

fn hits<'a>(limiter: &Limiter, limits: &'a Limits, keys: &[&str]) -> Hits<'a> {
    tests_support::hits(limiter, limits.domain("d").unwrap(), keys)
}

#[test]
fn headers_tell_of_the_scarcest_limit_first() {
    let limiter = Limiter::new(LimitOptions::default());
    let (limits, _) = build(
        &limiter,
        &snapshot(vec![rule("per-ip", 10, 60), rule("", 5, 1000)]),
    );
    let mut hits = hits(&limiter, &limits, &["key-10", "key-5"]);
    assert!(!waits(&mut hits));
    admit(&limiter, &mut hits).unwrap();
    let extra = extra(&limiter, &hits).unwrap();
    let text = |name: &str| -> String {
        let found = extra.response.iter().find(|(known, _)| known == name);
        found.unwrap().1.to_str().unwrap().to_owned()
    };
    assert_eq!(
        text("x-ratelimit-limit"),
        "5, 10;w=60;name=\"per-ip\", 5;w=1000"
    );
    assert_eq!(text("x-ratelimit-remaining"), "4");
    assert_eq!(text("x-ratelimit-reset"), "200");
    assert_eq!(text("x-down"), "2");
    assert_eq!(extra.request.len(), 2);
}

#[test]
fn tallies_stay_with_their_rule() {
    let limiter = Limiter::new(LimitOptions::default());
    let (limits, _) = build(&limiter, &snapshot(vec![rule("a", 10, 60)]));
    admit(&limiter, &mut hits(&limiter, &limits, &["key-10"])).unwrap();
    let (_again, _) = build(
        &limiter,
        &snapshot(vec![rule("b", 10, 60), rule("c", 5, 1)]),
    );
    let counts: BTreeMap<String, u64> = limiter
        .counts()
        .into_iter()
        .map(|rule| (rule.label, rule.counts[0]))
        .collect();
    assert_eq!(counts, [("b".into(), 1), ("c".into(), 0)].into());
    build(&limiter, &Snapshot::default());
    assert!(limiter.counts().is_empty());
}

#[test]
fn limits_that_want_a_store_which_is_not_there_count_here() {
    let limiter = Limiter::new(LimitOptions::default());
    let shared = LimitRule {
        place: LimitPlace::OwnStore,
        ..rule("a", 10, 60)
    };
    let (limits, rejected) = build(&limiter, &snapshot(vec![shared]));
    assert_eq!(rejected, ["limits/d"]);
    let mut hits = hits(&limiter, &limits, &["key-10"]);
    assert!(!waits(&mut hits));
    assert!(admit(&limiter, &mut hits).is_ok());
}

#[test]
fn store_urls_are_checked_and_never_repeated() {
    for fine in ["redis://h", "rediss://h:1", "h:6379", "redis://:pw@h:1/2"] {
        assert_eq!(check_store_url(fine), Ok(()), "{fine}");
    }
    let error = check_store_url("http://user:hunter2@h").unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}
