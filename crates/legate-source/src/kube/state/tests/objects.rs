use super::*;

#[test]
fn nothing_is_handed_on_before_every_kind_was_listed() {
    let mut bench = Bench::new(&options());
    assert!(!bench.state.may_watch(Kind::Mapping));
    assert!(bench.state.may_watch(Kind::Service));
    bench.discovered(&[]);
    assert!(bench.state.may_watch(Kind::Mapping));
    for index in 0..bench.feeds.len() {
        assert!(bench.state.take(bench.now).is_none());
        bench.state.list_begun(index, bench.now);
        if bench.feeds[index].kind == Kind::Mapping {
            bench.apply(Kind::Mapping, mapping("a", "1", "/"));
        }
        bench.state.list_done(index, bench.now);
    }
    assert_eq!(bench.take().upserts, ["a"]);
    assert!(bench.state.snapshot(bench.now).synced);
    assert!(bench.state.take(bench.now).is_none());
}

#[test]
fn an_empty_cluster_is_handed_on_too() {
    let bench = Bench::synced();
    let state = bench.state.snapshot(bench.now);
    assert!(state.kinds.values().all(|kind| *kind == KindState::Live));
    assert_eq!(state.fault, None);
}

#[test]
fn an_own_status_write_is_only_observed() {
    let mut bench = Bench::synced();
    bench.apply(Kind::Mapping, mapping("a", "1", "/"));
    bench.take();
    let mut written = mapping("a", "1", "/");
    written["status"] = json!({"state": "Running"});
    written["metadata"]["resourceVersion"] = json!("2");
    bench.apply(Kind::Mapping, written);
    let taken = bench.take();
    assert_eq!(taken.upserts, Vec::<String>::new());
    assert_eq!(taken.observed, ["a"]);
}

#[test]
fn a_relist_tells_what_went_what_came_and_what_changed() {
    let mut bench = Bench::synced();
    for name in ["a", "b", "c"] {
        bench.apply(Kind::Mapping, mapping(name, "1", "/"));
    }
    bench.take();
    let listed = [
        mapping("b", "1", "/"),
        mapping("c", "2", "/"),
        mapping("d", "1", "/"),
    ];
    bench.list(Kind::Mapping, &listed);
    let taken = bench.take();
    assert_eq!(taken.upserts, ["c", "d"], "c has another uid");
    assert_eq!(taken.removals, Vec::<String>::new(), "the kind may be gone");
    bench.pass(50);
    bench.discovered(&[]);
    assert_eq!(bench.take().removals, ["a"]);
}

#[test]
fn deleted_and_created_again_under_one_name() {
    let mut bench = Bench::synced();
    bench.apply(Kind::Mapping, mapping("a", "1", "/"));
    bench.take();
    bench.delete("a", "1");
    bench.apply(Kind::Mapping, mapping("a", "2", "/"));
    // Of the first one, late.
    bench.delete("a", "1");
    bench.pass(100);
    bench.discovered(&[]);
    let taken = bench.take();
    assert_eq!(
        (taken.upserts, taken.removals),
        (vec!["a".to_owned()], vec![])
    );
}

#[test]
fn objects_of_core_kinds_go_at_once() {
    let mut bench = Bench::synced();
    let service = json!({
        "metadata": {"namespace": "x", "name": "s", "uid": "1", "resourceVersion": "1"},
        "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]},
    });
    bench.list(Kind::Service, std::slice::from_ref(&service));
    assert_eq!(bench.take().upserts, ["s"]);
    let same = {
        let mut same = service.clone();
        same["metadata"]["resourceVersion"] = json!("2");
        same["spec"]["selector"] = json!({"app": "other"});
        same
    };
    bench.apply(Kind::Service, same);
    assert_eq!(bench.take(), Taken::default());
    bench.list(Kind::Service, &[]);
    assert_eq!(bench.take().removals, ["s"]);
    assert_eq!(bench.state.snapshot(bench.now).objects[&Kind::Service], 0);
}
