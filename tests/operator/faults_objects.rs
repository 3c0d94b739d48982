//! Objects that change under the operator's hands: edits between a look and a status write, objects
//! that come again under the same name, and versions that are rejected.

use std::sync::Arc;

use http::{Method, StatusCode};
use kube::api::ListParams;
use legate_testkit::client::Error;
use legate_testkit::kube::{Injection, Namespace, Rule, eventually};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::faults::{PATIENCE, Scene, YES};

const NO: (&str, &str) = ("Accepted", "False");

/// Edits in a row, and lives of an object.
const EDITS: usize = 40;
const LIVES: usize = 50;

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("fault_status_write_meets_an_edit", conflicts),
        bench.trial("fault_object_comes_again_under_its_name", lives),
        bench.trial("fault_rejected_mapping_harms_itself_only", rejected),
    ]
}

async fn conflicts(space: Namespace) -> Result<(), Error> {
    let scene = Scene::start(space).await?;
    let space = &scene.space;
    // The object is not as it was, says the API server, and the watch has nothing newer to show.
    let conflict = Rule::new(Injection::Status(StatusCode::CONFLICT)).method(Method::PATCH);
    let conflict = scene.proxy.place(conflict.path("/mappings/").times(2));
    scene.heals("fought").await?;
    assert_eq!(conflict.hits(), 2);

    let mark = space.server().audit_mark().await?;
    let mut last = json!(0);
    for round in 0..EDITS {
        let prefix = format!("/edited-{round}/");
        let object = space.mapping("edited", &prefix, "shop").await?;
        last = object["metadata"]["generation"].clone();
    }
    assert_eq!(last, EDITS);
    scene.served(&format!("/edited-{}/", EDITS - 1)).await?;
    // `wait_for` asks for the condition at the current generation.
    let object = space.wait_for("Mapping", "edited", YES, PATIENCE).await?;
    for instance in object["status"]["instances"]
        .as_array()
        .into_iter()
        .flatten()
    {
        for condition in instance["conditions"].as_array().into_iter().flatten() {
            assert_eq!(condition["observedGeneration"], last, "{object}");
        }
    }
    let events = space.server().audit_of(&scene.account.user(), mark).await?;
    let writes = events.iter().filter(|event| event.writes_status());
    let writes = writes.filter(|event| event.name == "edited");
    let done = writes.clone().filter(|event| event.code == 200).count();
    // Two at once, and one for each ten seconds after that.
    assert!(done <= 4, "{done} writes for {EDITS} edits");
    assert!(writes.count() <= EDITS, "more attempts than edits");
    scene.goes_on().await?;
    scene.end().await
}

async fn lives(space: Namespace) -> Result<(), Error> {
    let scene = Scene::start(space).await?;
    let space = &scene.space;
    let mut last = Value::Null;
    for round in 0..LIVES {
        space.delete("Mapping", "phoenix").await?;
        let prefix = format!("/life-{round}/");
        last = space.mapping("phoenix", &prefix, "shop").await?;
    }
    scene.served(&format!("/life-{}/", LIVES - 1)).await?;
    let object = space.wait_for("Mapping", "phoenix", YES, PATIENCE).await?;
    assert_eq!(object["metadata"]["uid"], last["metadata"]["uid"]);
    assert_eq!(object["metadata"]["generation"], 1);
    for round in 0..LIVES - 1 {
        let prefix = format!("/life-{round}/");
        let answer = scene.legate.get("any.example", &prefix).await?;
        assert_eq!(answer.status, 404, "{prefix}");
    }

    // Once more, with something between the two that can be told from both.
    space.delete("Mapping", "phoenix").await?;
    let prefix = format!("/life-{}/", LIVES - 1);
    let gone = scene.legate.serves("any.example", &prefix, 404, PATIENCE);
    gone.await?;
    space.mapping("phoenix", "/again/", "shop").await?;
    scene.served("/again/").await?;
    space.wait_for("Mapping", "phoenix", YES, PATIENCE).await?;
    scene.heals("after").await?;
    scene.end().await
}

async fn rejected(space: Namespace) -> Result<(), Error> {
    let scene = Scene::start(space).await?;
    let space = &scene.space;
    let good = version(space, "shop").await?;
    let bad = "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: bad}\n\
        spec: {hostname: \"*\", prefix: \"/bad/(\", prefix_regex: true, service: shop}\n";
    space.apply(bad).await?;
    let object = space.wait_for("Mapping", "bad", NO, PATIENCE).await?;
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let accepted = conditions.find(|condition| condition["type"] == "Accepted");
    let accepted = accepted.ok_or("no condition")?;
    assert_eq!(accepted["reason"], "Invalid", "{accepted}");
    assert!(!accepted["message"].as_str().unwrap_or_default().is_empty());
    event(space, "bad", "Warning").await?;
    let rejected = [("kind", "Mapping"), ("state", "rejected")];
    let objects = scene.legate.metric("legate_objects", &rejected).await?;
    assert!((objects - 1.0).abs() < f64::EPSILON, "{objects}");
    scene.goes_on().await?;

    // A mended one is good news, and the others never noticed.
    scene.heals("bad").await?;
    event(space, "bad", "Normal").await?;
    assert_eq!(version(space, "shop").await?, good);
    let objects = scene.legate.metric("legate_objects", &rejected).await?;
    assert!(objects < 0.5, "{objects}");
    scene.end().await
}

/// A Mapping's version, which each write of its status would change.
async fn version(space: &Namespace, name: &str) -> Result<Value, Error> {
    let object = space.get("Mapping", name).await?.ok_or("no Mapping")?;
    Ok(object["metadata"]["resourceVersion"].clone())
}

/// Waits until there is an Event of this type about a Mapping.
async fn event(space: &Namespace, name: &str, type_: &str) -> Result<(), Error> {
    let server = space.server();
    let api = server
        .api("events.k8s.io/v1", "Event", space.name())
        .await?;
    let what = format!("an Event {type_} about {name}");
    eventually(&what, PATIENCE, async || {
        let all = api.list(&ListParams::default()).await.ok()?;
        let fits = |event: &Value| {
            event["regarding"]["name"] == name
                && event["regarding"]["kind"] == "Mapping"
                && event["type"] == type_
        };
        let mut events = all.iter().map(|event| &event.data);
        events.any(fits).then_some(())
    })
    .await
}
