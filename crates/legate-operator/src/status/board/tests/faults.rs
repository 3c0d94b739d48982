//! Writes that fail.

use super::*;

#[test]
fn faults_are_retried_with_the_newest_word() {
    for fault in [
        Fault::Unreachable("refused".to_owned()),
        Fault::Busy(Some(seconds(3.0))),
        Fault::Server("etcd".to_owned()),
    ] {
        let mut world = World::settled(Lab::new());
        world.faults = vec![fault.clone(); 4];
        let batch = world.compile();
        let route = route_of(&batch, &m());
        let reject = acked_but("gw", &batch, &[&route], &[]);
        world.board.gateway(reject, world.now);
        world.pass(seconds(0.1));
        // Meanwhile the object changes.
        let (_, batch) = world.put(Kind::Mapping, "m", invalid());
        world.board.gateway(acked("gw", &batch), world.now);
        world.pass(seconds(120.0));
        assert_eq!(
            world.condition(&m(), "Accepted"),
            "False Invalid",
            "{fault:?}"
        );
        assert_eq!(world.writes(&m()), 1, "{fault:?}");
        assert_eq!(world.counters.write_errors.load(Relaxed), 4, "{fault:?}");
    }
}

/// So many Mappings besides what every lab has.
fn crowd(count: usize) -> Lab {
    let mut lab = Lab::new();
    for number in 0..count {
        lab.put(
            Kind::Mapping,
            &format!("m{number}"),
            mapping(&format!("/{number}/")),
        );
    }
    lab
}

#[test]
fn one_request_at_a_time_tries_a_server_that_is_away() {
    let mut world = World::new(crowd(200));
    world.board.lead(true, world.now);
    world.feed();
    world.compile();
    world.faults = vec![Fault::Unreachable("refused".to_owned()); 1000];
    world.pass(seconds(60.0));
    let tries = 1000 - world.faults.len();
    assert!((17..60).contains(&tries), "{tries}");
    world.faults.clear();
    world.pass(seconds(60.0));
    assert_eq!(world.written.len(), 202 + 1);
}

#[test]
fn no_right_is_no_reason_to_hammer() {
    let mut world = World::new(crowd(200));
    let forbidden = (Method::Apply, Fault::Forbidden("no".to_owned()));
    world.broken.insert(Kind::Mapping, forbidden);
    world.board.lead(true, world.now);
    world.feed();
    world.compile();
    world.pass(seconds(120.0));
    // Other kinds are written.
    assert_eq!(world.written.len(), 2);
    let errors = world.counters.write_errors.load(Relaxed);
    assert!((17..32).contains(&errors), "{errors}");
    world.broken.clear();
    world.pass(seconds(120.0));
    assert_eq!(world.written.len(), 203);
}

#[test]
fn a_right_that_is_missing_for_a_moment_is_asked_for_soon() {
    let mut world = World::settled(Lab::new());
    world.faults = vec![Fault::Forbidden("the server is starting".to_owned()); 2];
    world.put(Kind::Mapping, "m", invalid());
    world.pass(seconds(3.0));
    assert_eq!(world.condition(&m(), "Accepted"), "False Invalid");
}

#[test]
fn a_crd_that_comes_back_is_noticed_by_its_objects() {
    let mut world = World::settled(Lab::new());
    let gone = (Method::Apply, Fault::NoSubresource);
    world.broken.insert(Kind::Mapping, gone);
    world.put(Kind::Mapping, "m", invalid());
    world.pass(seconds(5.0));
    world.broken.clear();
    // The CRD was put back, and the objects with it.
    world.lab.delete(&m());
    world.put(Kind::Mapping, "m", invalid());
    world.pass(seconds(1.0));
    assert_eq!(world.condition(&m(), "Accepted"), "False Invalid");
}

#[test]
fn crds_without_conditions_get_words_until_ours_come() {
    let mut world = World::new(Lab::new());
    for kind in [Kind::Mapping, Kind::Host, Kind::Listener] {
        world
            .broken
            .insert(kind, (Method::Apply, Fault::Undeclared));
    }
    world.board.lead(true, world.now);
    world.feed();
    let batch = world.compile();
    world.board.gateway(acked("gw", &batch), world.now);
    world.pass(seconds(20.0));
    assert_eq!(world.lab.status(&m()).unwrap()["state"], "Running");
    assert_eq!(world.lab.status(&m()).unwrap().get("instances"), None);
    let host = world.lab.status(&key(Kind::Host, "a")).unwrap();
    assert_eq!(host["state"], "Ready");
    assert_eq!(world.lab.status(&key(Kind::Listener, "http")), None);
    assert!(
        world
            .written
            .iter()
            .all(|(_, method, _)| *method == Method::Merge)
    );
    assert_eq!(world.written.len(), 2);
    // Probes are few and harmless.
    world.pass(seconds(300.0));
    assert_eq!(world.written.len(), 2);
    world.broken.clear();
    world.pass(seconds(60.0));
    assert_eq!(world.condition(&m(), "Programmed"), "True Programmed");
    assert_eq!(
        world.condition(&key(Kind::Listener, "http"), "Bound"),
        "True Bound"
    );
}

#[test]
fn a_kind_without_a_subresource_has_no_status() {
    without_status(Fault::NoSubresource, 24);
    // As the API server says it of a CRD that has none; a few may ask at the same time.
    without_status(Fault::Gone, 1);
}

fn without_status(fault: Fault, most: u64) {
    let mut world = World::new(crowd(50));
    world.broken.insert(Kind::Mapping, (Method::Apply, fault));
    world.board.lead(true, world.now);
    world.feed();
    world.compile();
    world.pass(seconds(120.0));
    assert_eq!(world.written.len(), 2);
    let errors = world.counters.write_errors.load(Relaxed);
    assert!(errors < most, "{errors}");
    world.broken.clear();
    world.pass(seconds(60.0));
    assert_eq!(world.written.len(), 53);
}

#[test]
fn an_object_of_a_version_that_is_gone_is_patched() {
    let mut world = World::new(Lab::new());
    let fault = (Method::Apply, Fault::Unconvertible);
    world.broken.insert(Kind::Mapping, fault);
    world.board.lead(true, world.now);
    world.feed();
    let batch = world.compile();
    world.board.gateway(acked("gw", &batch), world.now);
    world.pass(seconds(60.0));
    assert_eq!(world.condition(&m(), "Programmed"), "True Programmed");
    assert_eq!(world.counters.write_errors.load(Relaxed), 1);
    let method = |world: &World| {
        world
            .written
            .iter()
            .find(|(key, ..)| *key == m())
            .unwrap()
            .1
    };
    assert_eq!(method(&world), Method::Merge);
    // If that does not work either, it is left alone.
    let fault = (Method::Merge, Fault::Unconvertible);
    world.broken.insert(Kind::Mapping, fault);
    world.put(Kind::Mapping, "m", invalid());
    world.pass(seconds(600.0));
    assert_eq!(world.counters.write_errors.load(Relaxed), 2);
}

#[test]
fn what_is_refused_is_not_sent_again_until_it_is_something_else() {
    let mut world = World::settled(Lab::new());
    let refused = (Method::Apply, Fault::Refused("bad".to_owned()));
    world.broken.insert(Kind::Mapping, refused);
    world.put(Kind::Mapping, "m", invalid());
    world.pass(seconds(600.0));
    assert_eq!(world.counters.write_errors.load(Relaxed), 1);
    world.broken.clear();
    let (_, batch) = world.put(Kind::Mapping, "m", mapping("/new/"));
    world.board.gateway(acked("gw", &batch), world.now);
    world.pass(seconds(60.0));
    assert_eq!(world.condition(&m(), "Programmed"), "True Programmed");
}
