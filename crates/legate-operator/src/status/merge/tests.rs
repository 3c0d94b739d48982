use std::sync::Arc;

use super::*;
use crate::status::testing::ours;

const THEN: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-01-02T00:00:00Z";

fn seen(status: Option<Value>) -> Seen {
    Seen {
        uid: "u".to_owned(),
        resource_version: "1".to_owned(),
        generation: 3,
        status: status.map(Arc::new),
    }
}

fn verdict(type_: &'static str, truth: Truth, reason: &'static str, message: &str) -> Verdict {
    Verdict {
        type_,
        truth,
        reason,
        message: message.to_owned(),
    }
}

fn desired(programmed: (Truth, &'static str, &str)) -> Desired {
    Desired {
        generation: 3,
        verdicts: vec![
            verdict("Accepted", Truth::True, "Accepted", ""),
            verdict("Programmed", programmed.0, programmed.1, programmed.2),
        ],
        tls: false,
        hold: None,
    }
}

fn fine() -> Desired {
    desired((Truth::True, "Programmed", ""))
}

fn condition(type_: &str, status: &str, generation: i64, time: &str) -> Value {
    json!({
        "type": type_, "status": status, "observedGeneration": generation,
        "lastTransitionTime": time, "reason": type_, "message": "",
    })
}

fn entry(id: &str, namespace: &str, conditions: Value) -> Value {
    json!({ "ambassadorId": id, "controllerNamespace": namespace, "conditions": conditions })
}

fn merged(status: Option<Value>, desired: &Desired, now: &str) -> Merged {
    set(Kind::Mapping, &seen(status), desired, &ours(), now)
}

fn document(change: Change) -> Value {
    match change {
        Change::Set(status) => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_first_write_says_everything() {
    let status = document(merged(None, &fine(), NOW).change);
    let conditions = json!([
        condition("Accepted", "True", 3, NOW),
        condition("Programmed", "True", 3, NOW),
    ]);
    assert_eq!(
        status,
        json!({
            "state": "Running", "reason": "",
            "instances": [entry("default", "legate", conditions.clone())],
            "conditions": conditions,
        })
    );
}

#[test]
fn the_same_again_is_no_write() {
    let status = document(merged(None, &fine(), THEN).change);
    let again = merged(Some(status.clone()), &fine(), NOW);
    assert_eq!((again.change, again.news), (Change::None, None));
    // Neither the order of lists nor fields of others matter.
    let mut shuffled = status;
    shuffled["conditions"].as_array_mut().unwrap().reverse();
    shuffled["instances"][0]["conditions"]
        .as_array_mut()
        .unwrap()
        .reverse();
    shuffled["somebody"] = json!("else");
    assert_eq!(merged(Some(shuffled), &fine(), NOW).change, Change::None);
}

#[test]
fn times_are_kept_while_the_status_is_equal() {
    let status = document(merged(None, &fine(), THEN).change);
    let mut newer = fine();
    newer.generation = 4;
    let bad = desired((Truth::False, "RejectedByGateway", "no"));
    for (desired, programmed) in [(newer, THEN), (bad, NOW)] {
        let status = document(merged(Some(status.clone()), &desired, NOW).change);
        for conditions in [&status["conditions"], &status["instances"][0]["conditions"]] {
            assert_eq!(conditions[0]["lastTransitionTime"], THEN);
            assert_eq!(conditions[1]["lastTransitionTime"], programmed);
            for condition in conditions.as_array().unwrap() {
                assert_eq!(condition["observedGeneration"], desired.generation);
            }
        }
    }
}

#[test]
fn entries_of_other_ids_are_carried_unchanged() {
    // With a field that we do not know, and an odd order.
    let mut other = entry(
        "zeta",
        "elsewhere",
        json!([condition("Programmed", "True", 3, THEN)]),
    );
    other["new"] = json!({ "a": [1, 2] });
    let status = json!({ "instances": [other.clone()] });
    let status = document(merged(Some(status), &fine(), NOW).change);
    let instances = status["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 2);
    assert_eq!(instances[1], other);
    assert_eq!(instances[0]["ambassadorId"], "default");
}

#[test]
fn the_root_is_the_worst_of_all_entries() {
    let root = |theirs: Value, ours: &Desired| {
        let status = json!({ "instances": [entry("zeta", "elsewhere", theirs)] });
        let status = document(merged(Some(status), ours, NOW).change);
        let words: Vec<String> = status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| {
                let text = |name| found[name].as_str().unwrap().to_owned();
                format!(
                    "{}={}@{}",
                    text("type"),
                    text("status"),
                    found["observedGeneration"]
                )
            })
            .collect();
        (
            words.join(" "),
            status["state"].clone(),
            status["reason"].clone(),
        )
    };
    let bad = json!([
        condition("Accepted", "True", 3, THEN),
        condition("Programmed", "False", 3, THEN),
    ]);
    assert_eq!(
        root(bad, &fine()),
        (
            "Accepted=True@3 Programmed=False@3".to_owned(),
            json!("Inactive"),
            json!("Programmed")
        )
    );
    let waiting = desired((Truth::Unknown, "Pending", "1 of 2"));
    let good = json!([condition("Programmed", "True", 3, THEN)]);
    assert_eq!(
        root(good.clone(), &waiting),
        (
            "Accepted=True@3 Programmed=Unknown@3".to_owned(),
            json!("Inactive"),
            json!("Pending: 1 of 2")
        )
    );
    // `kubectl wait` must not believe in what speaks of an older version.
    let stale = json!([condition("Programmed", "True", 2, THEN)]);
    assert_eq!(root(stale, &fine()).0, "Accepted=True@3 Programmed=True@2");
    // Types that only the other one has stay.
    let more = json!([condition("Zebra", "True", 3, THEN)]);
    assert_eq!(
        root(more, &fine()).0,
        "Accepted=True@3 Programmed=True@3 Zebra=True@3"
    );
}

#[test]
fn two_instances_do_not_answer_each_other() {
    let other = Identity {
        ambassador_id: "zeta".to_owned(),
        namespace: "elsewhere".to_owned(),
        pod_name: "p".to_owned(),
    };
    let bad = desired((Truth::False, "NoRoute", "no"));
    let first = document(merged(None, &fine(), THEN).change);
    let theirs = set(Kind::Mapping, &seen(Some(first)), &bad, &other, NOW);
    let both = document(theirs.change);
    let later = "2027-01-01T00:00:00Z";
    assert_eq!(
        merged(Some(both.clone()), &fine(), later).change,
        Change::None
    );
    let again = set(Kind::Mapping, &seen(Some(both)), &bad, &other, later);
    assert_eq!(again.change, Change::None);
}

#[test]
fn counting_gateways_is_no_reason_to_write() {
    let waiting = |count| desired((Truth::Unknown, "Pending", count));
    let status = document(merged(None, &waiting("0 of 1"), THEN).change);
    let again = merged(Some(status.clone()), &waiting("1 of 2"), NOW);
    assert_eq!(again.change, Change::None);
    let mut newer = waiting("1 of 2");
    newer.generation = 4;
    let status = document(merged(Some(status.clone()), &newer, NOW).change);
    assert_eq!(status["conditions"][1]["message"], "1 of 2");
    let bad = |message| desired((Truth::False, "RejectedByGateway", message));
    let status = document(merged(None, &bad("a"), THEN).change);
    assert_ne!(merged(Some(status), &bad("b"), NOW).change, Change::None);
}

#[test]
fn a_foreign_controller_with_our_id_is_a_rival() {
    let theirs = json!({ "instances": [entry("default", "elsewhere", json!([]))] });
    let found = merged(Some(theirs), &fine(), NOW);
    assert_eq!(found.rival.as_deref(), Some("elsewhere"));
    let status = document(found.change);
    assert_eq!(status["instances"].as_array().unwrap().len(), 1);
    assert_eq!(status["instances"][0]["controllerNamespace"], "legate");
    let nameless = json!({ "instances": [{ "ambassadorId": "default", "conditions": [] }] });
    assert_eq!(merged(Some(nameless), &fine(), NOW).rival, None);
}

#[test]
fn our_entry_is_removed_and_only_ours() {
    let conditions = || json!([condition("Accepted", "True", 3, THEN)]);
    let mine = entry("default", "legate", conditions());
    let other = entry("zeta", "elsewhere", conditions());
    let removed = |instances: Value| {
        let status = json!({ "instances": instances, "state": "Inactive" });
        remove(Kind::Mapping, &seen(Some(status)), &ours())
    };
    assert_eq!(removed(json!([mine])), Change::Clear);
    let left = document(removed(json!([mine, other])));
    assert_eq!(left["instances"], json!([other]));
    assert_eq!(
        (&left["conditions"], &left["state"]),
        (&conditions(), &json!("Running"))
    );
    // A rival's, or nobody's.
    let rival = entry("default", "elsewhere", conditions());
    for instances in [json!([rival]), json!([other]), json!([]), json!("odd")] {
        assert_eq!(removed(instances), Change::None);
    }
    assert_eq!(remove(Kind::Mapping, &seen(None), &ours()), Change::None);
}

#[test]
fn hosts_have_their_old_fields() {
    let host = |tls_ready: Verdict, tls| {
        let desired = Desired {
            generation: 3,
            verdicts: vec![
                verdict("Accepted", Truth::True, "Accepted", ""),
                tls_ready,
                verdict("Bound", Truth::True, "Bound", ""),
            ],
            tls,
            hold: None,
        };
        let status = document(set(Kind::Host, &seen(None), &desired, &ours(), NOW).change);
        ["state", "errorReason", "reason", "tlsCertificateSource"]
            .map(|name| status[name].as_str().unwrap().to_owned())
    };
    let ready = verdict("TLSReady", Truth::True, "Ready", "");
    assert_eq!(host(ready.clone(), true), ["Ready", "", "", "Other"]);
    assert_eq!(host(ready, false), ["Ready", "", "", "None"]);
    let missing = verdict("TLSReady", Truth::False, "SecretNotFound", "none");
    assert_eq!(
        host(missing, true),
        ["Error", "SecretNotFound: none", "SecretNotFound", "Other"]
    );
    let waiting = verdict("TLSReady", Truth::Unknown, "Pending", "");
    assert_eq!(host(waiting, true), ["Pending", "", "Pending", "Other"]);
}

#[test]
fn old_crds_get_few_words() {
    let bad = desired((Truth::False, "NoRoute", "none"));
    let words = legacy(Kind::Mapping, &seen(None), &bad, NOW).unwrap();
    assert_eq!(
        words,
        json!({ "state": "Inactive", "reason": "NoRoute: none" })
    );
    assert_eq!(legacy(Kind::Mapping, &seen(Some(words)), &bad, NOW), None);
    let words = legacy(Kind::Host, &seen(None), &fine(), NOW).unwrap();
    assert_eq!(
        words,
        json!({ "state": "Ready", "errorReason": "", "tlsCertificateSource": "None" })
    );
    assert_eq!(legacy(Kind::Listener, &seen(None), &fine(), NOW), None);
}

#[test]
fn a_merge_patch_takes_out_what_is_gone() {
    let old = json!({ "instances": [], "conditions": [], "state": "Running", "else": 1 });
    assert_eq!(
        as_merge_patch(&seen(Some(old)), json!({ "state": "Inactive" })),
        json!({ "state": "Inactive", "instances": null, "conditions": null })
    );
}

#[test]
fn news_are_transitions() {
    let tell = |old: Option<&Desired>, new: &Desired| {
        let status = old.map(|old| document(merged(None, old, THEN).change));
        let news = merged(status, new, NOW).news;
        news.map(|news| (news.tone, news.reason))
    };
    let rejected = desired((Truth::False, "RejectedByGateway", "no"));
    let gone = desired((Truth::False, "NoRoute", "no"));
    let waiting = desired((Truth::Unknown, "Pending", ""));
    let mut invalid = desired((Truth::False, "NotAccepted", ""));
    invalid.verdicts[0] = verdict("Accepted", Truth::False, "Invalid", "bad");
    let warning = |reason: &str| Some((Tone::Warning, reason.to_owned()));
    let normal = |reason: &str| Some((Tone::Normal, reason.to_owned()));

    assert_eq!(tell(None, &fine()), None);
    assert_eq!(tell(None, &waiting), None);
    assert_eq!(tell(Some(&waiting), &fine()), None);
    assert_eq!(tell(None, &rejected), warning("RejectedByGateway"));
    assert_eq!(tell(Some(&fine()), &rejected), warning("RejectedByGateway"));
    assert_eq!(tell(Some(&rejected), &rejected), None);
    assert_eq!(tell(Some(&rejected), &gone), warning("NoRoute"));
    // The cause is told, not what follows from it.
    assert_eq!(tell(Some(&fine()), &invalid), warning("Invalid"));
    assert_eq!(tell(Some(&invalid), &fine()), normal("Accepted"));
    assert_eq!(tell(Some(&rejected), &fine()), normal("Programmed"));
}
