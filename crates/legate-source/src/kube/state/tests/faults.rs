use super::*;

#[test]
fn a_failing_watch_keeps_what_there_is_and_heals() {
    let mut bench = Bench::synced();
    bench.apply(Kind::Mapping, mapping("a", "1", "/"));
    bench.take();
    for status in [429, 500, 503, 410, 403] {
        bench.fail(Kind::Mapping, status);
        bench.pass(1000);
    }
    assert_eq!(
        bench.take(),
        Taken::default(),
        "nothing for the config in that"
    );
    let state = bench.state.snapshot(bench.now);
    assert_eq!(state.kinds[&Kind::Mapping], KindState::Failing);
    assert_eq!(state.kinds[&Kind::Host], KindState::Live);
    assert_eq!(state.restarts[&Kind::Mapping], 5);
    assert_eq!(state.errors[&Kind::Mapping], "answered 403");
    let fault = state.fault.unwrap();
    assert_eq!(
        fault,
        "cannot list mappings.getambassador.io for 5 s: answered 403"
    );

    let feed = bench.feed(Kind::Mapping);
    bench.state.worked(feed, bench.now);
    let state = bench.state.snapshot(bench.now);
    assert_eq!(state.kinds[&Kind::Mapping], KindState::Live);
    assert_eq!(state.fault, None);
    assert!(state.errors.is_empty());
}

#[test]
fn only_a_lasting_403_is_told() {
    let mut bench = Bench::synced();
    bench.fail(Kind::Service, 403);
    bench.pass(59_000);
    bench.fail(Kind::Service, 503);
    bench.fail(Kind::Service, 403);
    bench.pass(59_000);
    bench.fail(Kind::Service, 403);
    assert_eq!(bench.take().codes, Vec::<String>::new());
    bench.pass(1000);
    bench.fail(Kind::Service, 403);
    let update = bench.state.take(bench.now).unwrap();
    let [told] = &update.diagnostics[..] else {
        panic!("{:?}", update.diagnostics);
    };
    assert_eq!(told.code.as_str(), "W-WATCH-FORBIDDEN");
    assert!(
        told.message.contains("may not list services: answered 403"),
        "{told:?}"
    );
    bench.list(Kind::Service, &[]);
    assert!(
        bench
            .state
            .take(bench.now)
            .is_some_and(|update| update.diagnostics.is_empty())
    );
}

#[test]
fn several_failing_watches_are_one_sentence() {
    let mut bench = Bench::synced();
    bench.fail(Kind::Host, 503);
    bench.fail(Kind::Service, 503);
    bench.fail(Kind::Secret, 503);
    let fault = bench.state.snapshot(bench.now).fault.unwrap();
    assert!(
        fault.ends_with("answered 503, and so for 2 more"),
        "{fault}"
    );
}

#[test]
fn all_that_is_forbidden_is_one_diagnostic() {
    let mut bench = Bench::synced();
    let kinds: Vec<Kind> = bench.feeds.iter().map(|feed| feed.kind).collect();
    for _ in 0..2 {
        for kind in &kinds {
            bench.fail(*kind, 403);
        }
        bench.pass(60_000);
    }
    let update = bench.state.take(bench.now).unwrap();
    let [told] = &update.diagnostics[..] else {
        panic!("{:?}", update.diagnostics);
    };
    for kind in kinds {
        let rule = kinds::rule_name(kind);
        assert!(told.message.contains(&format!("list {rule}")), "{told:?}");
    }
}
