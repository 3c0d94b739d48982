//! The first hour of an instance: it serves a Mapping and says so.

use std::sync::Arc;
use std::time::Duration;

use legate_testkit::client::Error;
use legate_testkit::kube::{AuditMark, Launch, Namespace, eventually};
use libtest_mimic::Trial;
use serde_json::json;

use crate::bench::Bench;
use crate::instance;
use crate::samples::V3;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("first_mapping_is_served_and_true", first_mapping),
        bench.trial("first_every_kind_has_a_status", every_kind),
        bench.trial("first_event_that_repeats_is_counted_up", repeated_event),
    ]
}

/// One object of each kind, well or not: each says what this instance makes of it.
async fn every_kind(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    let _legate = Launch::new(&space, account.kubeconfig()).ready().await?;
    for (kind, _, spec) in V3 {
        // The only Module that counts has this name.
        let name = if *kind == "Module" {
            "ambassador"
        } else {
            "sample"
        };
        space
            .apply(&format!(
                "apiVersion: getambassador.io/v3alpha1\nkind: {kind}\n\
                 metadata: {{name: {name}}}\nspec: {spec}\n"
            ))
            .await?;
        let what = format!("{kind} has an entry of ours");
        eventually(&what, PATIENCE, async || {
            let object = space.get(kind, name).await.ok()??;
            let entry = object.pointer("/status/instances/0")?;
            let conditions = entry["conditions"].as_array()?;
            let accepted = conditions.iter().find(|c| c["type"] == "Accepted")?;
            let current = accepted["observedGeneration"] == object["metadata"]["generation"];
            (current && entry["ambassadorId"] == space.id()).then_some(())
        })
        .await?;
    }
    Ok(())
}

/// A Mapping that goes back and forth makes one event with a count, not one event each time.
async fn repeated_event(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    let _legate = Launch::new(&space, account.kubeconfig()).ready().await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    let mark = space.server().audit_mark().await?;
    let mut bad = space.mapping("shop", "/shop/", "shop").await?;
    bad["metadata"] = json!({"name": "shop"});
    // A series is told of at most every ten seconds: as often as it takes.
    eventually("an event is counted up", 3 * PATIENCE, async || {
        for (resolver, status) in [("nosuch", "False"), ("kubernetes-service", "True")] {
            bad["spec"]["resolver"] = json!(resolver);
            space.apply(&bad.to_string()).await.ok()?;
            let wanted = ("Accepted", status);
            space
                .wait_for("Mapping", "shop", wanted, PATIENCE)
                .await
                .ok()?;
        }
        let events = space.server().audit_of(&account.user(), mark).await.ok()?;
        let mut events = events.iter().filter(|event| event.resource == "events");
        events.any(|event| event.verb == "patch").then_some(())
    })
    .await
}

async fn first_mapping(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shop", "/shop/", "shop").await?;
    let mut legate = Launch::new(&space, account.kubeconfig())
        .args(["--drain-delay", "0"])
        .ready()
        .await?;
    let answer = legate.get("any.example", "/shop/a").await?;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["name"]),
        (200, &"shop".into())
    );
    for (kind, name, type_) in [
        ("Mapping", "shop", "Programmed"),
        ("Host", "any", "Bound"),
        ("Listener", "http", "Bound"),
    ] {
        let wanted = (type_, "True");
        space.wait_for(kind, name, wanted, PATIENCE).await?;
    }

    // A cluster IP is used as it is.
    let _origin = space.cluster_backend("cluster").await?;
    space.mapping("cluster", "/cluster/", "cluster").await?;
    let answer = legate
        .serves("any.example", "/cluster/", 200, PATIENCE)
        .await?;
    assert_eq!(answer.json()["name"], "cluster");

    // Later ones as well: whoever waits for the condition may send a request at once.
    space.mapping("late", "/late/", "shop").await?;
    let args = [
        "wait",
        "-n",
        space.name(),
        "--for=condition=Programmed",
        "mapping/late",
    ];
    space.server().kubectl(&args, "")?.success()?;
    assert_eq!(legate.get("any.example", "/late/a").await?.status, 200);
    space.delete("Mapping", "late").await?;
    legate
        .serves("any.example", "/late/a", 404, PATIENCE)
        .await?;

    let events = space
        .server()
        .audit_of(&account.user(), AuditMark::START)
        .await?;
    let statuses = events
        .iter()
        .filter(|event| event.writes_status() && event.complete());
    assert!(
        statuses
            .clone()
            .all(|event| event.namespace == space.name())
    );
    assert!(legate.terminate(PATIENCE)?.success(), "{}", legate.log());
    Ok(())
}
