use super::*;

#[test]
fn a_needed_kind_that_is_absent_at_start() {
    let mut bench = Bench::new(&options());
    bench.discovered(&[Kind::Mapping, Kind::Host]);
    bench.list_all();
    assert!(bench.state.take(bench.now).is_none());
    let state = bench.state.snapshot(bench.now);
    assert_eq!(
        state.missing.into_iter().collect::<Vec<_>>(),
        [Kind::Host, Kind::Mapping]
    );
    assert_eq!(state.kinds[&Kind::Mapping], KindState::Absent);
    let fault = state.fault.unwrap();
    assert!(
        fault.contains("Host, Mapping") && fault.contains("kubectl apply"),
        "{fault}"
    );
}

#[test]
fn absent_kinds_are_looked_for_every_ten_seconds() {
    let mut bench = Bench::new(&options());
    assert_eq!(bench.state.ask_at(), Some(bench.now));
    bench.discovered(&[Kind::ConsulResolver]);
    let after = Some(bench.now + Duration::from_secs(10));
    assert_eq!(bench.state.ask_at(), after);
    assert!(!bench.state.may_watch(Kind::ConsulResolver));
    for kind in kinds::feeds(&options()).iter().map(|feed| feed.kind) {
        if kind != Kind::ConsulResolver {
            bench.list(kind, &[]);
        }
    }
    assert_eq!(bench.take().codes, ["I-KIND-ABSENT"]);
    bench.pass(10_000);
    bench.discovered(&[]);
    assert!(bench.state.may_watch(Kind::ConsulResolver));
    assert_eq!(bench.state.ask_at(), None);
    assert_eq!(bench.take().codes, Vec::<String>::new());
    let state = bench.state.snapshot(bench.now);
    assert_eq!(state.kinds[&Kind::ConsulResolver], KindState::Listing);
}

#[test]
fn a_refusal_to_tell_is_no_absence() {
    let mut bench = Bench::new(&options());
    for status in [403, 429, 503] {
        bench
            .state
            .discovered(Err(fault(status)), bench.now, bench.now);
        assert!(bench.state.missing().is_empty());
        assert!(
            bench.state.may_watch(Kind::Mapping),
            "so that a list can tell"
        );
        assert!(bench.state.ask_at() > Some(bench.now), "not at once");
        bench.pass(20_000);
    }
    let fault = bench.state.snapshot(bench.now).fault.unwrap();
    assert!(fault.contains("answered 503"), "{fault}");
}

#[test]
fn a_crd_deleted_while_serving_and_put_back() {
    let mut bench = Bench::synced();
    for name in ["a", "b"] {
        bench.apply(Kind::Mapping, mapping(name, "1", "/"));
    }
    bench.take();
    bench.delete("a", "1");
    assert_eq!(
        bench.state.ask_at(),
        Some(bench.now + Duration::from_millis(50))
    );
    bench.pass(50);
    bench.discovered(&[Kind::Mapping]);
    bench.delete("b", "1");
    bench.fail(Kind::Mapping, 404);
    // A list that finds nothing, because there is nothing to find.
    bench.list(Kind::Mapping, &[]);
    let taken = bench.take();
    assert_eq!(
        (taken.removals.len(), taken.codes),
        (0, vec!["W-KIND-FROZEN".to_owned()])
    );
    let state = bench.state.snapshot(bench.now);
    assert_eq!(state.kinds[&Kind::Mapping], KindState::Frozen);
    assert_eq!(state.objects[&Kind::Mapping], 2);
    assert!(!bench.state.may_watch(Kind::Mapping));

    bench.pass(60_000);
    bench.discovered(&[]);
    bench.list(Kind::Mapping, &[mapping("a", "2", "/new")]);
    bench.pass(100);
    bench.discovered(&[]);
    let taken = bench.take();
    assert_eq!(taken.upserts, ["a"]);
    assert_eq!(taken.removals, Vec::<String>::new());
    assert_eq!(taken.codes, ["W-KIND-FROZEN"], "b is not back");
    assert_eq!(
        bench.state.snapshot(bench.now).kinds[&Kind::Mapping],
        KindState::Live
    );

    let end = bench.state.wakes_at().unwrap();
    bench.state.tick(end - Duration::from_millis(1));
    assert!(bench.state.take(end).is_none());
    bench.now = end;
    bench.state.tick(end);
    let taken = bench.take();
    assert_eq!(
        (taken.removals, taken.codes),
        (vec!["b".to_owned()], vec![])
    );
    assert_eq!(bench.state.wakes_at(), None);
}

#[test]
fn a_relist_of_nothing_while_the_kind_is_gone_removes_nothing() {
    let mut bench = Bench::synced();
    bench.apply(Kind::Host, {
        let mut host = mapping("h", "1", "/");
        host["spec"] = json!({"hostname": "a.example"});
        host
    });
    bench.take();
    bench.list(Kind::Host, &[]);
    bench.pass(50);
    bench.discovered(&[Kind::Host]);
    assert_eq!(bench.take().removals, Vec::<String>::new());
}

#[test]
fn a_404_asks_soon() {
    let mut bench = Bench::synced();
    assert_eq!(bench.state.ask_at(), None);
    bench.pass(5000);
    bench.fail(Kind::Module, 404);
    assert!(bench.state.ask_at() <= Some(bench.now));
    bench.fail(Kind::Service, 404);
    bench.discovered(&[]);
    assert_eq!(bench.state.ask_at(), None);
}

/// An API server that starts may not have all kinds in its discovery for a moment, while a watch
/// goes on and has nothing to say.
#[test]
fn a_kind_that_only_seemed_gone_loses_nothing() {
    let mut bench = Bench::synced();
    bench.apply(Kind::Mapping, mapping("a", "1", "/"));
    bench.take();
    bench.pass(10);
    bench.discovered(&[Kind::Mapping]);
    bench.pass(2000);
    bench.discovered(&[]);
    assert_eq!(bench.state.returns(Kind::Mapping), 1);
    bench.pass(3_600_000);
    bench.state.tick(bench.now);
    assert_eq!(bench.take().removals, Vec::<String>::new());
    bench.list(Kind::Mapping, &[mapping("a", "1", "/")]);
    assert_eq!(bench.state.wakes_at(), None);
    bench.state.tick(bench.now);
    let taken = bench.take();
    assert_eq!((taken.removals, taken.codes), (vec![], vec![]));
}
