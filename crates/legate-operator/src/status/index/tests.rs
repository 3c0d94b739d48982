use legate_api::Kind;
use serde_json::json;

use super::*;
use crate::status::testing::{Lab, key, mapping, route_of};

#[test]
fn objects_are_found_by_their_entries() {
    let mut lab = Lab::new();
    let mut index = Index::default();
    let batch = lab.batch();
    let touched = index.update(&batch.snapshot);
    let all = [
        (Kind::Host, "a"),
        (Kind::Listener, "http"),
        (Kind::Mapping, "m"),
    ];
    for (kind, name) in all {
        assert!(touched.contains(&key(kind, name)), "{kind} {name}");
    }
    let (host, listener) = (key(Kind::Host, "a"), key(Kind::Listener, "http"));
    for object in [&host, &listener] {
        let keys: Vec<&str> = index.listeners(object).map(ListenerKey::as_str).collect();
        assert_eq!(keys, ["tcp/*/8080"], "{object}");
    }
    let on: BTreeSet<_> = index.on_listener("tcp/*/8080").cloned().collect();
    assert_eq!(on, BTreeSet::from([host.clone(), listener]));
    assert!(!index.has_tls(&host));
    assert_eq!(index.rows(&key(Kind::Mapping, "m")), Rows::Serving);
    assert_eq!(index.rows(&key(Kind::Mapping, "none")), Rows::None);
}

#[test]
fn updates_touch_what_differs_and_forget_what_is_gone() {
    let mut lab = Lab::new();
    let mut index = Index::default();
    index.update(&lab.batch().snapshot);
    let (m, n) = (key(Kind::Mapping, "m"), key(Kind::Mapping, "n"));

    lab.put(Kind::Mapping, "n", mapping("/n/"));
    let touched = index.update(&lab.batch().snapshot);
    assert!(touched.contains(&n) && !touched.contains(&m), "{touched:?}");
    assert_eq!(index.rows(&n), Rows::Serving);

    lab.delete(&m);
    let touched = index.update(&lab.batch().snapshot);
    assert!(touched.contains(&m) && !touched.contains(&n), "{touched:?}");
    assert_eq!(
        (index.rows(&m), index.rows(&n)),
        (Rows::None, Rows::Serving)
    );

    lab.delete(&key(Kind::Host, "a"));
    let batch = lab.batch();
    index.update(&batch.snapshot);
    assert_eq!(index.listeners(&key(Kind::Host, "a")).count(), 0);
    assert!(index.update(&batch.snapshot).is_empty());
}

#[test]
fn rejected_entries_lead_to_objects() {
    let mut lab = Lab::new();
    lab.put(Kind::Mapping, "n", mapping("/n/"));
    let batch = lab.batch();
    let mut index = Index::default();
    index.update(&batch.snapshot);
    let (m, n) = (key(Kind::Mapping, "m"), key(Kind::Mapping, "n"));
    assert_eq!(
        index.behind(&route_of(&batch, &m)),
        BTreeSet::from([m.clone()])
    );
    // Both go to the same cluster with the same policies.
    let (cluster, _) = batch.snapshot.clusters.iter().next().unwrap();
    let (policy, _) = batch.snapshot.policies.iter().next().unwrap();
    for entry in [format!("cluster/{cluster}"), format!("policy/{policy}")] {
        let found = index.behind(&entry);
        assert!(
            found.contains(&m) && found.contains(&n),
            "{entry}: {found:?}"
        );
    }
    for nothing in ["", "route", "route/none", "what/ever"] {
        assert!(index.behind(nothing).is_empty(), "{nothing}");
    }
}

#[test]
fn a_route_that_only_fails_does_not_serve() {
    let mut lab = Lab::new();
    let mut lost = mapping("/lost/");
    lost["resolver"] = json!("nowhere");
    lab.put(Kind::Mapping, "lost", lost);
    let mut index = Index::default();
    index.update(&lab.batch().snapshot);
    assert_eq!(index.rows(&key(Kind::Mapping, "lost")), Rows::Failing);
}

#[test]
fn endpoint_sets_count() {
    let mut lab = Lab::new();
    let batch = lab.batch();
    let mut without = Snapshot::clone(&batch.snapshot);
    without.endpoint_sets = Table::default();
    let mut index = Index::default();
    index.update(&Arc::new(without));
    assert_eq!(index.rows(&key(Kind::Mapping, "m")), Rows::WithoutEndpoints);
    index.update(&batch.snapshot);
    assert_eq!(index.rows(&key(Kind::Mapping, "m")), Rows::Serving);
}
