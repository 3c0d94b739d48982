use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::publish::Reached;
use crate::status::testing::{Lab, acked, acked_but, gateway, key, mapping, ours, route_of};

/// A tracker with objects, and a clock that is moved by hand.
struct Rig {
    lab: Lab,
    tracker: Tracker,
    now: Instant,
}

impl Rig {
    /// Leads since a minute; nothing was compiled.
    fn new() -> Self {
        let now = Instant::now();
        let mut tracker = Tracker::default();
        tracker.lead(now);
        let now = now + Duration::from_secs(60);
        tracker.tick(now);
        Self {
            lab: Lab::new(),
            tracker,
            now,
        }
    }

    fn compile(&mut self) -> Arc<Batch> {
        let batch = self.lab.batch();
        self.tracker.batches(&[Arc::clone(&batch)], self.now);
        batch
    }

    fn event(&mut self, event: GatewayEvent) -> BTreeSet<ObjectKey> {
        self.tracker.gateway(event, self.now)
    }

    fn pass(&mut self, time: Duration) -> BTreeSet<ObjectKey> {
        self.now += time;
        self.tracker.tick(self.now).1
    }

    fn desired(&mut self, key: &ObjectKey) -> Desired {
        let seen = self.lab.seen(key);
        match self.tracker.wish(key, &seen, &ours(), self.now) {
            Wish::Ours(desired) => desired,
            other => panic!("{other:?}"),
        }
    }

    /// `True Reason` of a condition.
    fn is(&mut self, key: &ObjectKey, type_: &str) -> String {
        let desired = self.desired(key);
        let found = desired.verdicts.iter().find(|v| v.type_ == type_);
        let found = found.expect("the condition");
        format!("{} {}", found.truth.as_str(), found.reason)
    }

    fn programmed(&mut self) -> String {
        self.is(&key(Kind::Mapping, "m"), "Programmed")
    }

    fn message(&mut self) -> String {
        let desired = self.desired(&key(Kind::Mapping, "m"));
        desired.verdicts.last().unwrap().message.clone()
    }
}

/// A status with one condition of ours.
fn written(type_: &str, status: &str, generation: i64) -> Value {
    json!({ "instances": [{
        "ambassadorId": "default", "controllerNamespace": "legate",
        "conditions": [{ "type": type_, "status": status, "observedGeneration": generation }],
    }]})
}

#[test]
fn programmed_needs_every_counted_gateway() {
    let mut rig = Rig::new();
    let batch = rig.compile();
    assert_eq!(rig.programmed(), "Unknown NoGateway");
    rig.event(acked("a", &batch));
    assert_eq!(rig.programmed(), "True Programmed");
    rig.event(acked("b", &batch));

    rig.lab.put(Kind::Mapping, "m", mapping("/other/"));
    let batch = rig.compile();
    assert_eq!(rig.programmed(), "Unknown Pending");
    // One of two changes nothing that were worth a write.
    assert_eq!(rig.event(acked("a", &batch)), BTreeSet::new());
    assert_eq!(rig.programmed(), "Unknown Pending");
    assert_eq!(rig.message(), "1 of 2 gateways applied generation 2");
    let dirty = rig.event(acked("b", &batch));
    assert_eq!(dirty, BTreeSet::from([key(Kind::Mapping, "m")]));
    assert_eq!(rig.programmed(), "True Programmed");
    assert_eq!(rig.message(), "");
}

#[test]
fn joins_leaves_and_restarts_withdraw_nothing() {
    let mut rig = Rig::new();
    let first = rig.compile();
    rig.event(acked("a", &first));
    assert_eq!(rig.programmed(), "True Programmed");
    rig.lab.put(Kind::Mapping, "n", mapping("/n/"));
    let second = rig.compile();
    let n = key(Kind::Mapping, "n");
    assert_eq!(rig.is(&n, "Programmed"), "Unknown Pending");
    rig.event(acked("a", &second));
    assert_eq!(rig.is(&n, "Programmed"), "True Programmed");
    // One that joins with an old snapshot, one that leaves, one that starts again.
    for event in [
        acked("late", &first),
        GatewayEvent::Goodbye(gateway("a")),
        GatewayEvent::Broken(gateway("late")),
        acked("a", &first),
    ] {
        let dirty = rig.event(event);
        assert!(!dirty.contains(&n) || rig.is(&n, "Programmed") == "True Programmed");
        assert_eq!(rig.is(&n, "Programmed"), "True Programmed");
    }
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.programmed(), "True Programmed");
}

#[test]
fn a_gateway_that_leaves_is_waited_for_no_more() {
    let mut rig = Rig::new();
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    rig.event(acked("b", &batch));
    rig.lab.put(Kind::Mapping, "m", mapping("/other/"));
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    rig.event(GatewayEvent::Broken(gateway("b")));
    assert_eq!(rig.programmed(), "Unknown Pending");
    assert_eq!(rig.pass(Duration::from_secs(14)), BTreeSet::new());
    assert_eq!(rig.programmed(), "Unknown Pending");
    assert!(
        rig.pass(Duration::from_secs(1))
            .contains(&key(Kind::Mapping, "m"))
    );
    assert_eq!(rig.programmed(), "True Programmed");
}

#[test]
fn a_rejection_withdraws_and_heals() {
    let mut rig = Rig::new();
    let m = key(Kind::Mapping, "m");
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    assert_eq!(rig.programmed(), "True Programmed");
    let route = route_of(&batch, &m);
    let dirty = rig.event(acked_but("a", &batch, &[&route], &[]));
    assert!(dirty.contains(&m));
    assert_eq!(rig.programmed(), "False RejectedByGateway");
    let message = rig.message();
    for part in [
        "gateway a rejects route/",
        "it is broken",
        "1 of 1 gateways",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(rig.event(acked("a", &batch)).contains(&m));
    assert_eq!(rig.programmed(), "True Programmed");

    // What was rejected of an older generation says nothing about the new one.
    rig.event(acked_but("a", &batch, &[&route], &[]));
    assert_eq!(rig.programmed(), "False RejectedByGateway");
    rig.lab.put(Kind::Mapping, "m", mapping("/other/"));
    let batch = rig.compile();
    assert_eq!(rig.programmed(), "Unknown Pending");
    rig.event(acked("a", &batch));
    assert_eq!(rig.programmed(), "True Programmed");
}

#[test]
fn a_rejection_that_comes_before_the_compile_is_understood_after_it() {
    let mut rig = Rig::new();
    let m = key(Kind::Mapping, "m");
    let batch = rig.lab.batch();
    rig.event(acked_but("a", &batch, &[&route_of(&batch, &m)], &[]));
    rig.tracker.batches(&[batch], rig.now);
    assert_eq!(rig.programmed(), "False RejectedByGateway");
}

#[test]
fn a_new_leader_says_nothing_for_five_seconds() {
    let mut rig = Rig::new();
    rig.tracker.lead(rig.now);
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    let m = key(Kind::Mapping, "m");
    let desired = rig.desired(&m);
    assert_eq!(rig.programmed(), "Unknown NoGateway");
    // It would be true by then: one write is enough.
    assert_eq!(desired.hold, Some(rig.now + NEW_LEADER));
    assert_eq!(rig.tracker.deadline(), Some(rig.now + NEW_LEADER));
    assert!(rig.pass(NEW_LEADER).contains(&m));
    assert_eq!(rig.programmed(), "True Programmed");
}

#[test]
fn what_is_written_survives_a_restart() {
    let mut rig = Rig::new();
    let m = key(Kind::Mapping, "m");
    let (host, listener) = (key(Kind::Host, "a"), key(Kind::Listener, "http"));
    rig.lab
        .set_status(&m, Some(written("Programmed", "True", 1)));
    rig.lab.set_status(&host, Some(written("Bound", "True", 1)));
    rig.lab
        .set_status(&listener, Some(written("Bound", "True", 1)));
    rig.tracker.lead(rig.now);
    rig.compile();
    assert_eq!(rig.programmed(), "True Programmed");
    assert_eq!(rig.is(&host, "Bound"), "True Bound");
    assert_eq!(rig.is(&listener, "Bound"), "True Bound");
    assert_eq!(rig.pass(Duration::from_secs(60)), BTreeSet::new());
    // Not the word of an older generation.
    rig.lab.put(Kind::Mapping, "m", mapping("/other/"));
    rig.compile();
    assert_eq!(rig.programmed(), "Unknown NoGateway");
}

#[test]
fn words_of_others_or_of_older_generations_count_for_nothing() {
    let m = key(Kind::Mapping, "m");
    let foreign = json!({ "instances": [{
        "ambassadorId": "default", "controllerNamespace": "elsewhere",
        "conditions": [{ "type": "Programmed", "status": "True", "observedGeneration": 1 }],
    }]});
    let other = json!({ "instances": [{
        "ambassadorId": "other", "controllerNamespace": "legate",
        "conditions": [{ "type": "Programmed", "status": "True", "observedGeneration": 1 }],
    }]});
    for status in [
        foreign,
        other,
        written("Programmed", "True", 0),
        written("Programmed", "False", 1),
        written("Accepted", "True", 1),
        json!({ "instances": "odd" }),
        json!("odd"),
    ] {
        let mut rig = Rig::new();
        rig.lab.set_status(&m, Some(status.clone()));
        rig.compile();
        assert_eq!(rig.programmed(), "Unknown NoGateway", "{status}");
    }
}

#[test]
fn our_own_withdrawal_is_not_undone_by_what_was_written_before() {
    let mut rig = Rig::new();
    let m = key(Kind::Mapping, "m");
    rig.lab
        .set_status(&m, Some(written("Programmed", "True", 1)));
    let batch = rig.compile();
    assert_eq!(rig.programmed(), "True Programmed");
    let route = route_of(&batch, &m);
    rig.event(acked_but("a", &batch, &[&route], &[]));
    assert_eq!(rig.programmed(), "False RejectedByGateway");
    rig.event(GatewayEvent::Goodbye(gateway("a")));
    assert_eq!(rig.programmed(), "Unknown NoGateway");
}

#[test]
fn what_the_compiler_takes_back_has_to_be_applied_again() {
    let mut rig = Rig::new();
    let (m, host) = (key(Kind::Mapping, "m"), key(Kind::Host, "a"));
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    assert_eq!(rig.programmed(), "True Programmed");
    let spec = json!({ "hostname": "b.example.com" });
    rig.lab.put(Kind::Host, "a", spec);
    let batch = rig.compile();
    assert_eq!(rig.is(&m, "ResolvedRefs"), "False NoHostMatches");
    assert_eq!(rig.programmed(), "False RefsNotResolved");
    rig.event(acked("a", &batch));
    let spec = json!({
        "hostname": "a.example.com",
        "requestPolicy": { "insecure": { "action": "Route" } },
    });
    rig.lab.put(Kind::Host, "a", spec);
    let batch = rig.compile();
    // The generation is the same, but the gateway has no route of it.
    assert_eq!(rig.programmed(), "Unknown Pending");
    assert_eq!(rig.is(&host, "Bound"), "Unknown Pending");
    rig.event(acked("a", &batch));
    assert_eq!(rig.programmed(), "True Programmed");
    assert_eq!(rig.is(&host, "Bound"), "True Bound");
}

#[test]
fn a_generation_without_effect_for_gateways_is_programmed_at_once() {
    let mut rig = Rig::new();
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    assert_eq!(rig.programmed(), "True Programmed");
    rig.lab.put(Kind::Mapping, "m", mapping("/m/"));
    let again = rig.compile();
    assert_eq!(again.snapshot.id, batch.snapshot.id);
    assert_eq!(rig.programmed(), "True Programmed");
    assert_eq!(rig.desired(&key(Kind::Mapping, "m")).generation, 2);
}

#[test]
fn last_good_is_not_the_generation_that_was_written() {
    let mut rig = Rig::new();
    let m = key(Kind::Mapping, "m");
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    rig.lab.put(
        Kind::Mapping,
        "m",
        json!({ "hostname": "a.example.com", "prefix": "/m(", "prefix_regex": true, "service": "b" }),
    );
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    assert_eq!(rig.is(&m, "Accepted"), "False Invalid");
    assert_eq!(rig.programmed(), "False NotAccepted");
    assert_eq!(rig.desired(&m).hold, None);
}

#[test]
fn sockets_decide_bound() {
    let (host, listener) = (key(Kind::Host, "a"), key(Kind::Listener, "http"));
    for (error, reason) in [
        ("Address already in use (os error 98)", "AddressInUse"),
        ("Permission denied (os error 13)", "PermissionDenied"),
        ("odd", "BindFailed"),
    ] {
        let mut rig = Rig::new();
        let batch = rig.compile();
        assert_eq!(rig.is(&listener, "Bound"), "Unknown NoGateway");
        rig.event(acked_but("a", &batch, &[], &[("tcp/*/8080", error)]));
        assert_eq!(rig.is(&listener, "Bound"), format!("False {reason}"));
        assert_eq!(rig.is(&host, "Bound"), "False NoListener");
        let dirty = rig.event(acked("a", &batch));
        assert!(dirty.contains(&listener) && dirty.contains(&host));
        assert_eq!(rig.is(&listener, "Bound"), "True Bound");
        assert_eq!(rig.is(&host, "Bound"), "True Bound");
        // Sockets are not a matter of joining and leaving either.
        rig.event(GatewayEvent::Goodbye(gateway("a")));
        assert_eq!(rig.is(&listener, "Bound"), "True Bound");
    }
}

#[test]
fn a_host_needs_one_of_its_listeners() {
    let mut rig = Rig::new();
    let spec = json!({
        "port": 8081, "protocol": "HTTP", "securityModel": "XFP",
        "hostBinding": { "namespace": { "from": "ALL" } },
    });
    rig.lab.put(Kind::Listener, "other", spec);
    let batch = rig.compile();
    rig.event(acked_but("a", &batch, &[], &[("tcp/*/8081", "in use")]));
    assert_eq!(rig.is(&key(Kind::Host, "a"), "Bound"), "True Bound");
    assert_eq!(rig.is(&key(Kind::Listener, "http"), "Bound"), "True Bound");
    assert_eq!(
        rig.is(&key(Kind::Listener, "other"), "Bound"),
        "False AddressInUse"
    );
}

#[test]
fn only_what_changed_is_looked_at() {
    let mut rig = Rig::new();
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    for name in [
        (Kind::Mapping, "m"),
        (Kind::Host, "a"),
        (Kind::Listener, "http"),
    ] {
        rig.desired(&key(name.0, name.1));
    }
    let unchanged = rig.lab.batch();
    assert_eq!(rig.tracker.batches(&[unchanged], rig.now), BTreeSet::new());
    assert_eq!(rig.event(acked("a", &batch)), BTreeSet::new());
    rig.lab.put(Kind::Mapping, "n", mapping("/n/"));
    let changed = rig.lab.batch();
    let dirty = rig.tracker.batches(&[changed], rig.now);
    assert!(dirty.contains(&key(Kind::Mapping, "n")));
    assert!(!dirty.contains(&key(Kind::Mapping, "m")), "{dirty:?}");
}

#[test]
fn of_several_compiles_none_is_lost() {
    let mut rig = Rig::new();
    let first = rig.compile();
    rig.event(acked("a", &first));
    let (n, o) = (key(Kind::Mapping, "n"), key(Kind::Mapping, "o"));
    rig.lab.put(Kind::Mapping, "n", mapping("/n/"));
    let second = rig.lab.batch();
    rig.lab.put(Kind::Mapping, "o", mapping("/o/"));
    rig.lab.delete(&key(Kind::Mapping, "m"));
    let third = rig.lab.batch();
    let dirty = rig.tracker.batches(&[second, Arc::clone(&third)], rig.now);
    assert!(dirty.contains(&key(Kind::Mapping, "m")));
    rig.event(acked("a", &third));
    assert_eq!(rig.is(&n, "Programmed"), "True Programmed");
    assert_eq!(rig.is(&o, "Programmed"), "True Programmed");
}

#[test]
fn endpoints_are_waited_for() {
    let mut rig = Rig::new();
    let m = key(Kind::Mapping, "m");
    let whole = rig.lab.batch();
    let mut without = legate_compiler::Snapshot::clone(&whole.snapshot);
    without.endpoint_sets = Default::default();
    let mut first = Batch::clone(&whole);
    first.snapshot = Arc::new(without);
    rig.tracker.batches(&[Arc::new(first)], rig.now);
    rig.event(acked("a", &whole));
    assert_eq!(rig.programmed(), "Unknown Pending");
    assert!(rig.message().contains("endpoints"));
    let mut second = Batch::clone(&whole);
    second.versions.clear();
    let mut snapshot = legate_compiler::Snapshot::clone(&whole.snapshot);
    snapshot.id += 1;
    second.snapshot = Arc::new(snapshot);
    let dirty = rig.tracker.batches(&[Arc::new(second.clone())], rig.now);
    assert!(dirty.contains(&m));
    assert_eq!(rig.programmed(), "Unknown Pending");
    rig.event(acked("a", &second));
    assert_eq!(rig.programmed(), "True Programmed");
}

#[test]
fn what_is_not_understood_yet_waits() {
    let mut rig = Rig::new();
    let m = key(Kind::Mapping, "m");
    let seen = rig.lab.seen(&m);
    let wish = |rig: &mut Rig, seen: &Seen| rig.tracker.wish(&m, seen, &ours(), rig.now);
    // Nothing was compiled.
    assert_eq!(wish(&mut rig, &seen), Wish::Later);
    rig.compile();
    assert!(matches!(wish(&mut rig, &seen), Wish::Ours(_)));
    // The watch is ahead of the compile, or behind it, or it is another object.
    for (uid, generation) in [(seen.uid.as_str(), 2), (seen.uid.as_str(), 0), ("other", 1)] {
        let other = Seen {
            uid: uid.to_owned(),
            generation,
            ..seen.clone()
        };
        assert_eq!(wish(&mut rig, &other), Wish::Later);
    }
    // Somebody else leads.
    rig.tracker.follow();
    assert_eq!(wish(&mut rig, &seen), Wish::Later);
}

#[test]
fn objects_of_other_ids_are_foreign() {
    let mut rig = Rig::new();
    let mut spec = mapping("/n/");
    spec["ambassador_id"] = json!(["other"]);
    let n = rig.lab.put(Kind::Mapping, "n", spec);
    rig.compile();
    let seen = rig.lab.seen(&n);
    assert_eq!(rig.tracker.wish(&n, &seen, &ours(), rig.now), Wish::Foreign);
    // It becomes ours, and not ours again.
    rig.lab.put(Kind::Mapping, "n", mapping("/n/"));
    let batch = rig.compile();
    rig.event(acked("a", &batch));
    assert_eq!(rig.is(&n, "Programmed"), "True Programmed");
    let mut spec = mapping("/n/");
    spec["ambassador_id"] = json!(["other"]);
    rig.lab.put(Kind::Mapping, "n", spec);
    let batch = rig.lab.batch();
    assert!(rig.tracker.batches(&[batch], rig.now).contains(&n));
    let seen = rig.lab.seen(&n);
    assert_eq!(rig.tracker.wish(&n, &seen, &ours(), rig.now), Wish::Foreign);
}

/// An acknowledgement that says this of somebody whom the gateway asks.
fn acked_about(name: &str, batch: &Batch, asked: &str, trouble: Option<&str>) -> GatewayEvent {
    let GatewayEvent::Acked(id, mut ack) = acked(name, batch) else {
        unreachable!("it is one");
    };
    ack.reached = vec![Reached {
        key: asked.to_owned(),
        answers: trouble.map_or(Ok(()), |trouble| Err(trouble.to_owned())),
    }];
    GatewayEvent::Acked(id, ack)
}

fn reachable(rig: &mut Rig, key: &ObjectKey) -> Option<(Truth, String)> {
    let verdicts = rig.desired(key).verdicts.into_iter();
    let mut found = verdicts.filter(|verdict| verdict.type_ == "Reachable");
    found.next().map(|verdict| (verdict.truth, verdict.message))
}

/// What becomes of an object that has gateways ask somebody.
fn is_reachable_until_told(rig: &mut Rig, object: &ObjectKey, asked: &str) {
    let batch = rig.compile();
    let fine = Some((Truth::True, String::new()));
    // Whoever comes or goes: nothing that were worth a write.
    assert_eq!(reachable(rig, object), fine);
    rig.event(acked_about("a", &batch, asked, None));
    assert_eq!(reachable(rig, object), fine);
    let dirty = rig.event(acked_about("b", &batch, asked, Some("no answer")));
    assert!(dirty.contains(object), "{dirty:?}");
    let broken = Some((Truth::False, "gateway b: no answer".to_owned()));
    assert_eq!(reachable(rig, object), broken);
    let dirty = rig.event(acked_about("b", &batch, asked, Some("no answer")));
    assert!(!dirty.contains(object), "{dirty:?}");
    let dirty = rig.event(GatewayEvent::Goodbye(gateway("b")));
    assert!(dirty.contains(object), "{dirty:?}");
    assert_eq!(reachable(rig, object), fine);
    assert_eq!(reachable(rig, &key(Kind::Mapping, "m")), None);
}

#[test]
fn a_store_is_reachable_until_a_gateway_says_otherwise() {
    let mut rig = Rig::new();
    let policy = |enforcement: &str| {
        json!({
            "domain": "d", "enforcement": enforcement,
            "descriptors": [{ "key": "k", "rate_limit": { "unit": "second", "requests_per_unit": 1 } }],
        })
    };
    let shared = rig.lab.put(Kind::RateLimitPolicy, "p", policy("shared"));
    is_reachable_until_told(&mut rig, &shared, "limit/d");
    // What needs no store says nothing of one.
    let local = rig.lab.put(Kind::RateLimitPolicy, "p", policy("local"));
    rig.compile();
    assert_eq!(reachable(&mut rig, &local), None);
}

#[test]
fn a_side_service_is_reachable_until_a_gateway_says_otherwise() {
    let mut rig = Rig::new();
    let auth = rig.lab.put(
        Kind::AuthService,
        "auth",
        json!({ "auth_service": "auth.example:3000" }),
    );
    let limits = rig.lab.put(
        Kind::RateLimitService,
        "limits",
        json!({ "service": "limits.example:8081", "protocol_version": "v3" }),
    );
    let mut labelled = mapping("/m/");
    labelled["labels"] = json!({ "ambassador": [{ "g": [{ "remote_address": {} }] }] });
    rig.lab.put(Kind::Mapping, "m", labelled);
    let batch = rig.compile();
    for (object, name) in [(auth, "auth.example"), (limits, "limits.example")] {
        let mut clusters = batch.snapshot.clusters.iter().map(|(key, _)| key.as_str());
        let cluster = clusters.find(|key| key.starts_with(name));
        let asked = format!("cluster/{}", cluster.expect("its cluster"));
        is_reachable_until_told(&mut rig, &object, &asked);
    }
}
