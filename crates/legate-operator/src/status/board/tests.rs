use legate_api::Kind;
use serde_json::json;

use super::*;
use crate::publish::GatewayEvent;
use crate::status::faults::Fault;
use crate::status::testing::{Lab, World, acked, acked_but, gateway, key, mapping, route_of};

mod faults;

fn seconds(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

fn m() -> ObjectKey {
    key(Kind::Mapping, "m")
}

/// A spec that no compiler takes.
fn invalid() -> Value {
    json!({ "hostname": "a.example.com", "prefix": "/(", "prefix_regex": true, "service": "b" })
}

#[test]
fn a_normal_change_is_one_write() {
    let mut world = World::settled(Lab::new());
    let (n, batch) = world.put(Kind::Mapping, "n", mapping("/n/"));
    world.pass(seconds(0.3));
    assert_eq!(world.writes(&n), 0);
    world.board.gateway(acked("gw", &batch), world.now);
    world.work();
    assert_eq!(world.writes(&n), 1);
    assert_eq!(world.condition(&n, "Programmed"), "True Programmed");
    world.feed();
    world.pass(seconds(600.0));
    assert_eq!(world.written.len(), 1);
}

#[test]
fn the_first_write_waits_a_second_for_acknowledgements_and_no_longer() {
    let mut world = World::settled(Lab::new());
    let (n, batch) = world.put(Kind::Mapping, "n", mapping("/n/"));
    world.pass(seconds(0.9));
    assert_eq!(world.writes(&n), 0);
    world.pass(seconds(0.2));
    assert_eq!(world.condition(&n, "Programmed"), "Unknown Pending");
    assert_eq!(
        world.message(&n, "Programmed"),
        "0 of 1 gateways applied generation 1"
    );
    world.pass(seconds(60.0));
    world.board.gateway(acked("gw", &batch), world.now);
    world.work();
    assert_eq!(world.condition(&n, "Programmed"), "True Programmed");
    assert_eq!(world.writes(&n), 2);
    // What needs no gateway does not wait.
    world.put(Kind::Mapping, "n", invalid());
    world.work();
    assert_eq!(world.condition(&n, "Accepted"), "False Invalid");
}

#[test]
fn held_back_publishing_is_not_programmed() {
    let mut world = World::new(Lab::new());
    world.board.lead(true, world.now);
    world.feed();
    world.compile();
    world.pass(seconds(120.0));
    assert_eq!(world.condition(&m(), "Programmed"), "Unknown NoGateway");
    assert_eq!(world.writes(&m()), 1);
}

#[test]
fn a_restart_writes_nothing() {
    let lab = || {
        let mut lab = Lab::new();
        for number in 0..100 {
            let prefix = format!("/{number}/");
            lab.put(Kind::Mapping, &format!("m{number}"), mapping(&prefix));
        }
        lab
    };
    let before = World::settled(lab());
    // Whatever comes first.
    for order in 0..3 {
        let mut lab = lab();
        for observed in lab.all() {
            lab.set_status(&observed.key, before.lab.status(&observed.key).cloned());
        }
        let mut world = World::new(lab);
        world.board.lead(order == 0, world.now);
        world.feed();
        world.board.lead(order <= 1, world.now);
        let batch = world.compile();
        world.board.lead(true, world.now);
        world.pass(seconds(8.0));
        world.board.gateway(acked("gw", &batch), world.now);
        world.pass(seconds(60.0));
        assert_eq!(world.written, [], "order {order}");
    }
}

#[test]
fn gateways_that_come_and_go_cause_no_writes() {
    let mut world = World::settled(Lab::new());
    let batch = world.compile();
    for round in 0..20 {
        let name = format!("gw{round}");
        world.board.gateway(acked(&name, &batch), world.now);
        world.pass(seconds(1.0));
        world
            .board
            .gateway(GatewayEvent::Broken(gateway(&name)), world.now);
        world.pass(seconds(20.0));
    }
    world
        .board
        .gateway(GatewayEvent::Goodbye(gateway("gw")), world.now);
    world.pass(seconds(60.0));
    assert_eq!(world.written, []);
    assert_eq!(world.counters.gateways_lost.load(Relaxed), 20);
    let told = world.board.take_news();
    assert_eq!(told.len(), 20);
    assert_eq!(told[0].0, About::Ourselves);
}

#[test]
fn flapping_is_slowed_to_one_write_in_ten_seconds() {
    let mut world = World::settled(Lab::new());
    let batch = world.compile();
    let route = route_of(&batch, &m());
    for round in 0..120 {
        let event = match round % 2 {
            0 => acked_but("gw", &batch, &[&route], &[]),
            _ => acked("gw", &batch),
        };
        world.board.gateway(event, world.now);
        world.pass(seconds(0.5));
    }
    // A minute: two at once, then one per ten seconds at most.
    let writes = world.writes(&m());
    assert!((4..=8).contains(&writes), "{writes}");
    // The last word is written in the end.
    world.pass(seconds(30.0));
    assert_eq!(world.condition(&m(), "Programmed"), "True Programmed");
}

#[test]
fn only_the_leader_writes() {
    let mut world = World::new(Lab::new());
    world.feed();
    let batch = world.compile();
    world.board.gateway(acked("gw", &batch), world.now);
    world.pass(seconds(60.0));
    assert_eq!(world.written, []);
    world.board.lead(true, world.now);
    world.pass(seconds(60.0));
    assert_eq!(world.writes(&m()), 1);
    world.board.lead(false, world.now);
    world.put(Kind::Mapping, "m", mapping("/other/"));
    world.pass(seconds(60.0));
    assert_eq!(world.writes(&m()), 1);
    // A hand-over: only what differs is sent.
    world.written.clear();
    world.board.lead(true, world.now);
    let batch = world.compile();
    world.board.gateway(acked("gw", &batch), world.now);
    world.pass(seconds(60.0));
    let keys: Vec<&ObjectKey> = world.written.iter().map(|(key, ..)| key).collect();
    assert_eq!(keys, [&m()]);
}

#[test]
fn a_conflict_waits_for_a_newer_look() {
    let mut world = World::settled(Lab::new());
    let batch = world.compile();
    // Somebody writes labels; the watch has not said so.
    let status = world.lab.status(&m()).cloned();
    let newer = world.lab.set_status(&m(), status);
    let route = route_of(&batch, &m());
    world
        .board
        .gateway(acked_but("gw", &batch, &[&route], &[]), world.now);
    world.work();
    assert_eq!(world.written, []);
    world.board.observed(vec![newer], &[]);
    world.work();
    assert_eq!(
        world.condition(&m(), "Programmed"),
        "False RejectedByGateway"
    );
    assert_eq!(world.counters.write_errors.load(Relaxed), 0);
}

#[test]
fn an_older_look_than_our_own_write_is_ignored() {
    let mut world = World::settled(Lab::new());
    let old = world.lab.observed(&m());
    let batch = world.compile();
    let route = route_of(&batch, &m());
    world
        .board
        .gateway(acked_but("gw", &batch, &[&route], &[]), world.now);
    world.work();
    assert_eq!(world.written.len(), 1);
    world.board.observed(vec![old], &[]);
    world.pass(seconds(60.0));
    assert_eq!(world.written.len(), 1);
}

#[test]
fn our_entry_leaves_an_object_that_is_not_ours_any_more() {
    let mut world = World::settled(Lab::new());
    let mut spec = mapping("/m/");
    spec["ambassador_id"] = json!(["other"]);
    world.put(Kind::Mapping, "m", spec);
    world.pass(seconds(20.0));
    assert_eq!(world.lab.status(&m()), None);
    let body = &world.written.last().unwrap().2;
    assert_eq!(body.get("status"), None);
    assert_eq!(world.writes(&m()), 1);
}

#[test]
fn entries_of_a_former_life_are_removed_at_start() {
    let mut lab = Lab::new();
    let mut spec = mapping("/n/");
    spec["ambassador_id"] = json!(["other"]);
    let n = lab.put(Kind::Mapping, "n", spec.clone());
    let o = lab.put(Kind::Mapping, "o", spec);
    let entry = |namespace: &str| {
        json!({ "instances": [
            { "ambassadorId": "default", "controllerNamespace": namespace, "conditions": [] },
            { "ambassadorId": "other", "controllerNamespace": "x", "conditions": [] },
        ]})
    };
    lab.set_status(&n, Some(entry("legate")));
    // Not ours to remove.
    lab.set_status(&o, Some(entry("elsewhere")));
    let mut world = World::new(lab);
    world.board.lead(true, world.now);
    world.feed();
    world.pass(seconds(30.0));
    // Nobody knows yet what is foreign.
    assert_eq!(world.written, []);
    world.compile();
    world.pass(seconds(30.0));
    let left = &world.lab.status(&n).unwrap()["instances"];
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(left[0]["ambassadorId"], "other");
    assert_eq!(world.writes(&o), 0);
}

#[test]
fn a_rival_is_given_in_to_after_three_overwrites() {
    let mut world = World::settled(Lab::new());
    let rival = json!({ "instances": [
        { "ambassadorId": "default", "controllerNamespace": "elsewhere", "conditions": [] },
    ]});
    for _ in 0..30 {
        let seen = world.lab.set_status(&m(), Some(rival.clone()));
        world.board.observed(vec![seen], &[]);
        world.pass(seconds(3.0));
    }
    assert_eq!(world.writes(&m()), 3);
    assert_eq!(world.counters.conflicts.load(Relaxed), 1);
    let told = world.board.take_news();
    let conflicts = told
        .iter()
        .filter(|(_, news)| news.reason == "StatusConflict");
    assert_eq!(conflicts.count(), 1);
    // The rival is gone: our turn.
    let seen = world.lab.set_status(&m(), None);
    world.board.observed(vec![seen], &[]);
    world.pass(seconds(20.0));
    assert_eq!(world.condition(&m(), "Programmed"), "True Programmed");
}

#[test]
fn an_object_deleted_and_made_anew_is_another_one() {
    let mut world = World::settled(Lab::new());
    world.lab.delete(&m());
    world.board.observed(Vec::new(), &[m()]);
    let (_, batch) = world.put(Kind::Mapping, "m", mapping("/m/"));
    world.pass(seconds(2.0));
    world.board.gateway(acked("gw", &batch), world.now);
    world.pass(seconds(2.0));
    assert_eq!(world.condition(&m(), "Programmed"), "True Programmed");
    // Even if only the new one is seen.
    world.lab.delete(&m());
    let (_, batch) = world.put(Kind::Mapping, "m", mapping("/m/"));
    world.board.gateway(acked("gw", &batch), world.now);
    world.pass(seconds(20.0));
    assert_eq!(world.condition(&m(), "Programmed"), "True Programmed");
}

#[test]
fn transitions_are_told_once_they_are_written() {
    let mut world = World::settled(Lab::new());
    assert_eq!(world.board.take_news(), []);
    world.faults = vec![Fault::Server("etcd".to_owned())];
    world.put(Kind::Mapping, "m", invalid());
    world.work();
    assert_eq!(world.board.take_news(), []);
    world.pass(seconds(20.0));
    let told = world.board.take_news();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].1.tone, told[0].1.reason.as_str()),
        (Tone::Warning, "Invalid")
    );
    let (_, batch) = world.put(Kind::Mapping, "m", mapping("/m/"));
    world.board.gateway(acked("gw", &batch), world.now);
    world.pass(seconds(30.0));
    let told = world.board.take_news();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].1.tone, told[0].1.reason.as_str()),
        (Tone::Normal, "Accepted")
    );
}
