//! Several instances on one API server, and several replicas of one instance (operator.md §3).

use std::sync::Arc;
use std::time::Duration;

use legate_testkit::client::Error;
use legate_testkit::kube::{AuditEvent, Launch, Namespace, eventually};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::bench::{self, Bench};
use crate::instance;

const PATIENCE: Duration = Duration::from_secs(30);

/// How long objects that nobody touches see no write; the long run takes a minute.
const SHORT: Duration = Duration::from_secs(12);
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("two_ids_serve_their_own_and_share_a_status", two_ids),
        bench.trial("status_goes_on_when_the_leader_is_killed", killed_leader),
        bench.trial("one_id_twice_stops_fighting", one_id_twice),
    ]
}

fn mapping(name: &str, ids: &[&str]) -> Value {
    json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": name},
        "spec": {"ambassador_id": ids, "hostname": "*", "prefix": format!("/{name}/"), "service": "shop"},
    })
}

async fn put(space: &Namespace, object: &Value) -> Result<(), Error> {
    space.apply(&object.to_string()).await.map(|_objects| ())
}

/// Ids and truth of `Programmed` in a status.
fn entries(object: &Value) -> Vec<(String, String)> {
    let instances = object.pointer("/status/instances");
    let instances = instances.and_then(Value::as_array).into_iter().flatten();
    let mut all: Vec<_> = instances
        .map(|entry| {
            let conditions = entry["conditions"].as_array().into_iter().flatten();
            let programmed = conditions
                .filter(|condition| condition["type"] == "Programmed")
                .find_map(|condition| condition["status"].as_str());
            (
                entry["ambassadorId"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                programmed.unwrap_or_default().to_owned(),
            )
        })
        .collect();
    all.sort();
    all
}

async fn has_entries(space: &Namespace, name: &str, wanted: &[&str]) -> Result<(), Error> {
    let mut wanted: Vec<_> = wanted
        .iter()
        .map(|id| ((*id).to_owned(), "True".to_owned()))
        .collect();
    wanted.sort();
    let mut last = Vec::new();
    let found = eventually(&format!("{name} has {wanted:?}"), PATIENCE, async || {
        let object = space.get("Mapping", name).await.ok()??;
        last = entries(&object);
        (last == wanted).then_some(())
    })
    .await;
    found.map_err(|error| format!("{error}; last: {last:?}").into())
}

async fn two_ids(public: Namespace) -> Result<(), Error> {
    let private = Namespace::create(public.server(), "private").await?;
    let (a, b) = (public.id(), private.id());
    let _origin = public.backend("shop").await?;
    for space in [&public, &private] {
        space.cleartext().await?;
    }
    for (name, ids) in [("only-a", &[a][..]), ("only-b", &[b]), ("both", &[a, b])] {
        put(&public, &mapping(name, ids)).await?;
    }
    let one = instance::account(&public).await?;
    let two = instance::account(&private).await?;
    let first = Launch::new(&public, one.kubeconfig()).ready().await?;
    let second = Launch::new(&private, two.kubeconfig()).ready().await?;
    has_entries(&public, "only-a", &[a]).await?;
    has_entries(&public, "only-b", &[b]).await?;
    has_entries(&public, "both", &[a, b]).await?;
    for (legate, served, foreign) in [
        (&first, "/only-a/", "/only-b/"),
        (&second, "/only-b/", "/only-a/"),
    ] {
        assert_eq!(legate.get("any.example", served).await?.status, 200);
        assert_eq!(legate.get("any.example", "/both/").await?.status, 200);
        assert_eq!(legate.get("any.example", foreign).await?.status, 404);
    }

    // Nobody writes what nobody touches.
    let mark = public.server().audit_mark().await?;
    tokio::time::sleep(if bench::long() { LONG } else { SHORT }).await;
    for account in [&one, &two] {
        let events = public.server().audit_of(&account.user(), mark).await?;
        let writes: Vec<&AuditEvent> = events.iter().filter(|e| e.writes_status()).collect();
        assert!(writes.is_empty(), "{writes:#?}");
    }

    // An instance that no longer owns an object takes its entry away, and only that.
    put(&public, &mapping("both", &[a])).await?;
    has_entries(&public, "both", &[a]).await?;
    second
        .serves("any.example", "/both/", 404, PATIENCE)
        .await?;
    assert_eq!(first.get("any.example", "/both/").await?.status, 200);

    // Foreign objects cost no writes, from the first to the last.
    let events = public
        .server()
        .audit_of(&two.user(), legate_testkit::kube::AuditMark::START)
        .await?;
    let foreign: Vec<&AuditEvent> = events
        .iter()
        .filter(|event| event.writes_status() && event.name == "only-a")
        .collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
    Ok(())
}

async fn killed_leader(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("before", "/before/", "shop").await?;
    let launch = Launch::new(&space, account.kubeconfig());
    let mut first = launch.clone().pod("first").ready().await?;
    let yes = ("Programmed", "True");
    space.wait_for("Mapping", "before", yes, PATIENCE).await?;
    let second = launch.pod("second").ready().await?;
    assert!((first.metric("legate_leader", &[]).await? - 1.0).abs() < f64::EPSILON);
    assert!(second.metric("legate_leader", &[]).await? < 0.5);
    assert_eq!(second.get("any.example", "/before/").await?.status, 200);

    first.kill();
    space.mapping("after", "/after/", "shop").await?;
    // Up to the Lease's duration, and what is left of patience.
    space
        .wait_for("Mapping", "after", yes, Duration::from_secs(45))
        .await?;
    assert_eq!(second.get("any.example", "/after/").await?.status, 200);
    let leads = second.metric("legate_leader", &[]).await?;
    assert!((leads - 1.0).abs() < f64::EPSILON);
    Ok(())
}

/// Two controllers that both believe to be the instance of one id: a mistake that is told, and that
/// does not wear out the API server.
async fn one_id_twice(space: Namespace) -> Result<(), Error> {
    let twin = space.sibling("twin").await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shared", "/shared/", "shop").await?;
    let one = instance::account(&space).await?;
    let two = instance::account(&twin).await?;
    let first = Launch::new(&space, one.kubeconfig()).ready().await?;
    let second = Launch::new(&twin, two.kubeconfig()).ready().await?;
    let conflict = eventually(
        "one of them gives up",
        Duration::from_secs(90),
        async || {
            for legate in [&first, &second] {
                let conflicts = legate.metric("legate_status_conflicts_total", &[]).await;
                if conflicts.is_ok_and(|count| count > 0.0) {
                    return Some(());
                }
            }
            None
        },
    );
    conflict.await?;
    for legate in [&first, &second] {
        assert_eq!(legate.get("any.example", "/shared/").await?.status, 200);
    }
    Ok(())
}
