//! The status writer by itself against a real API server: what it writes, how often, and what it
//! does where it cannot. Compiles and acknowledgements are made here, one by one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use legate_api::{Decoded, ObjectKey};
use legate_compiler::{Compiler, MissingRefs, Mode, Options};
use legate_operator::publish::{Ack, Batch, GatewayEvent, GatewayId, ListenerBind, Version};
use legate_operator::status::{StatusHandle, StatusManager};
use legate_source::Observed;
use legate_testkit::client::Error;
use legate_testkit::kube::{ApiServer, FaultProxy, Injection, Namespace, Rule, eventually};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::bench::{Bench, crds};
use crate::rights::{client, identity, own_namespace};

const PATIENCE: Duration = Duration::from_secs(20);
const VERSION: &str = "getambassador.io/v3alpha1";
const KINDS: [&str; 3] = ["Listener", "Host", "Mapping"];

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("status_is_one_write_per_change", one_write),
        bench.trial("status_survives_edits_in_between", edited_in_between),
        bench.trial("status_leaves_what_is_not_ours_any_more", not_ours),
        bench.trial("status_goes_on_after_refusals", refusals),
        bench.trial("status_transitions_are_events", events),
        bench.alone("status_of_crds_that_are_not_ours", other_crds),
    ]
}

/// A status writer and what feeds it.
struct Rig {
    space: Namespace,
    status: StatusHandle,
    leader: watch::Sender<bool>,
    compiler: Compiler,
    known: BTreeMap<ObjectKey, (String, i64)>,
    /// Seen, and not compiled yet.
    versions: Vec<Version>,
    number: u64,
}

impl Rig {
    /// Leads; a Listener, a Host and a Mapping `m` are there and have their status.
    async fn start(space: Namespace, client: kube::Client) -> Result<Self, Error> {
        let (leader, leading) = watch::channel(true);
        let status = StatusManager::start(
            client,
            identity(&space, "pod-0"),
            leading,
            &Handle::current(),
        );
        let options = Options {
            ambassador_id: space.id().to_owned(),
            namespace: space.name().to_owned(),
            mode: Mode::Cluster,
            missing: MissingRefs::Error,
            ..Options::default()
        };
        space.cleartext().await?;
        space.mapping("m", "/m/", "backend").await?;
        Ok(Self {
            space,
            status,
            leader,
            compiler: Compiler::new(options),
            known: BTreeMap::new(),
            versions: Vec::new(),
            number: 0,
        })
    }

    /// Reads all objects, compiles, and tells of both.
    async fn sync(&mut self) -> Result<Arc<Batch>, Error> {
        let mut observed = Vec::new();
        for kind in KINDS {
            let server = self.space.server();
            let api = server.api(VERSION, kind, self.space.name()).await?;
            for object in api.list(&ListParams::default()).await?.items {
                let mut object = serde_json::to_value(object)?;
                object["apiVersion"] = json!(VERSION);
                object["kind"] = json!(kind);
                let meta = object["metadata"].clone();
                let text = |name: &str| meta[name].as_str().unwrap_or_default().to_owned();
                let generation = meta["generation"].as_i64().unwrap_or_default();
                let status = object.get("status").cloned().map(Arc::new);
                let Decoded::Object(decoded) = legate_api::decode(object, "") else {
                    return Err("no object".into());
                };
                let key = decoded.key();
                observed.push(Observed {
                    key: key.clone(),
                    uid: text("uid"),
                    resource_version: text("resourceVersion"),
                    generation,
                    status,
                });
                let version = (text("uid"), generation);
                if self.known.get(&key) != Some(&version) {
                    self.known.insert(key.clone(), version);
                    self.versions.push(Version {
                        key,
                        uid: text("uid"),
                        generation,
                    });
                    self.compiler.upsert(decoded);
                }
            }
        }
        self.status.observed(observed, Vec::new());
        self.number += 1;
        let compilation = self.compiler.compile();
        let batch = Arc::new(Batch {
            number: self.number,
            snapshot: compilation.snapshot,
            status: compilation.status,
            diagnostics: compilation.diagnostics,
            versions: std::mem::take(&mut self.versions),
            removed: Vec::new(),
        });
        self.status.batch(Arc::clone(&batch));
        Ok(batch)
    }

    /// Acknowledges a compile, sockets included.
    fn ack(&self, batch: &Batch) {
        let listeners = batch.snapshot.listeners.iter();
        let listeners = listeners.map(|(key, _)| ListenerBind {
            key: key.to_string(),
            bound: Ok("here".to_owned()),
        });
        let ack = Ack {
            snapshot: batch.snapshot.id,
            root: batch.snapshot.root,
            rejected: Vec::new(),
            listeners: listeners.collect(),
            reached: Vec::new(),
        };
        self.status
            .gateway(GatewayEvent::Acked(GatewayId("gw".into()), ack));
    }

    async fn put(&self, spec: Value) -> Result<(), Error> {
        let object = json!({
            "apiVersion": VERSION, "kind": "Mapping", "metadata": {"name": "m"}, "spec": spec,
        });
        self.space.apply(&object.to_string()).await.map(drop)
    }

    async fn status_of(&self, kind: &str, name: &str) -> Result<Value, Error> {
        let object = self.space.get(kind, name).await?.ok_or("gone")?;
        Ok(object.get("status").cloned().unwrap_or(Value::Null))
    }

    /// Waits until `m` has a condition like this at its current generation.
    async fn is(&self, type_: &str, status: &str) -> Result<Value, Error> {
        self.space
            .wait_for("Mapping", "m", (type_, status), PATIENCE)
            .await
    }
}

async fn one_write(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let mark = space.server().audit_mark().await?;
    let mut rig = Rig::start(space, client(account.kubeconfig()).await?).await?;
    let batch = rig.sync().await?;
    rig.ack(&batch);
    let object = rig.is("Programmed", "True").await?;
    let status = &object["status"];
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&json!("Running"), &json!(""))
    );
    let entry = &status["instances"][0];
    assert_eq!(entry["ambassadorId"], rig.space.id());
    assert_eq!(entry["controllerNamespace"], rig.space.name());
    assert_eq!(entry["conditions"], status["conditions"]);
    let types: Vec<&str> = entry["conditions"]
        .as_array()
        .ok_or("no conditions")?
        .iter()
        .filter_map(|condition| condition["type"].as_str())
        .collect();
    assert_eq!(types, ["Accepted", "ResolvedRefs", "Programmed"]);
    for (kind, name) in [("Listener", "http"), ("Host", "any")] {
        rig.space
            .wait_for(kind, name, ("Bound", "True"), PATIENCE)
            .await?;
    }
    // Told again of what is written already, it writes nothing more.
    rig.sync().await?;
    rig.put(json!({"hostname": "*", "prefix": "/new/", "service": "backend"}))
        .await?;
    let batch = rig.sync().await?;
    rig.ack(&batch);
    let object = rig.is("Programmed", "True").await?;
    assert_eq!(object["metadata"]["generation"], 2);
    let counters = rig.status.counters();
    rig.status.shutdown().await;
    assert_eq!(counters.writes.load(Relaxed), 4);
    let patches = rig.space.server().audit_of(&account.user(), mark).await?;
    assert_eq!(patches.len(), 4);
    for event in patches {
        assert_eq!(
            (event.verb.as_str(), event.subresource.as_str(), event.code),
            ("patch", "status", 200)
        );
    }
    Ok(())
}

async fn edited_in_between(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let mut rig = Rig::start(space, client(account.kubeconfig()).await?).await?;
    let batch = rig.sync().await?;
    // A label leaves the generation alone, but not the resourceVersion.
    let label = json!({
        "apiVersion": VERSION, "kind": "Mapping",
        "metadata": {"name": "m", "labels": {"a": "b"}},
        "spec": {"hostname": "*", "prefix": "/m/", "service": "backend"},
    });
    rig.space.apply(&label.to_string()).await?;
    rig.ack(&batch);
    rig.space
        .wait_for("Host", "any", ("Bound", "True"), PATIENCE)
        .await?;
    assert_eq!(rig.status_of("Mapping", "m").await?, Value::Null);
    rig.sync().await?;
    rig.is("Programmed", "True").await?;
    // Deleted and made anew: the entry of the former object is no word on this one.
    rig.space.delete("Mapping", "m").await?;
    rig.space.mapping("m", "/m/", "backend").await?;
    let batch = rig.sync().await?;
    rig.ack(&batch);
    rig.is("Programmed", "True").await?;
    rig.status.shutdown().await;
    Ok(())
}

async fn not_ours(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let mut rig = Rig::start(space, client(account.kubeconfig()).await?).await?;
    let batch = rig.sync().await?;
    rig.ack(&batch);
    let object = rig.is("Programmed", "True").await?;
    // Another instance joins, as it would write it.
    let id = rig.space.id().to_owned();
    let mut theirs = object["status"].clone();
    let mut entry = theirs["instances"][0].clone();
    entry["ambassadorId"] = json!("other");
    theirs["instances"] = json!([theirs["instances"][0], entry]);
    let body = json!({
        "apiVersion": VERSION, "kind": "Mapping",
        "metadata": {"name": "m", "namespace": rig.space.name()}, "status": theirs,
    });
    rig.space.server().apply_status("legate", &body).await?;
    let spec = |ids: Value| json!({"ambassador_id": ids, "hostname": "*", "prefix": "/m/", "service": "backend"});
    rig.put(spec(json!([id, "other"]))).await?;
    let batch = rig.sync().await?;
    rig.ack(&batch);
    eventually("our entry is new", PATIENCE, async || {
        let status = rig.status_of("Mapping", "m").await.ok()?;
        let all = status["instances"].as_array()?;
        let generations = all
            .iter()
            .map(|e| &e["conditions"][0]["observedGeneration"]);
        let generations: Vec<i64> = generations.filter_map(Value::as_i64).collect();
        (generations.contains(&1) && generations.contains(&2)).then_some(())
    })
    .await?;
    // The root is the worst: the other one has not seen the new version.
    let status = rig.status_of("Mapping", "m").await?;
    assert_eq!(status["conditions"][0]["observedGeneration"], 1);

    rig.put(spec(json!(["other"]))).await?;
    rig.sync().await?;
    let alone = eventually("our entry is gone", PATIENCE, async || {
        let status = rig.status_of("Mapping", "m").await.ok()?;
        let all = status["instances"].as_array()?;
        (all.len() == 1).then(|| status.clone())
    })
    .await?;
    assert_eq!(alone["instances"][0]["ambassadorId"], "other");

    // The last entry goes with the whole status.
    rig.put(spec(json!([id]))).await?;
    let mut last = alone.clone();
    last["instances"][0]["ambassadorId"] = json!(id);
    let mut body = body;
    body["status"] = last;
    rig.space.server().apply_status("legate", &body).await?;
    rig.put(spec(json!(["nobody"]))).await?;
    rig.sync().await?;
    eventually("the status is gone", PATIENCE, async || {
        let status = rig.status_of("Mapping", "m").await.ok()?;
        (status == Value::Null || status == json!({})).then_some(())
    })
    .await?;
    rig.status.shutdown().await;
    Ok(())
}

async fn refusals(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let proxy = FaultProxy::start(space.server()).await?;
    let client = client(&account.kubeconfig_through(&proxy)?).await?;
    let busy = Injection::Status(http::StatusCode::INTERNAL_SERVER_ERROR);
    let failing = proxy.place(Rule::new(busy).path("/mappings/m/status").times(2));
    let closing = proxy.place(Rule::new(Injection::Close).path("/status").times(2));
    let mut rig = Rig::start(space, client).await?;
    let batch = rig.sync().await?;
    rig.ack(&batch);
    rig.is("Programmed", "True").await?;
    assert_eq!((failing.hits(), closing.hits()), (2, 2));
    assert!(rig.status.counters().write_errors.load(Relaxed) >= 3);
    let counters = rig.status.counters();
    eventually("all three are written", PATIENCE, async || {
        (counters.writes.load(Relaxed) == 3).then_some(())
    })
    .await?;
    // While another one leads, nothing is written, and then only what differs.
    rig.leader.send_replace(false);
    rig.put(json!({"hostname": "*", "prefix": "/(", "prefix_regex": true, "service": "b"}))
        .await?;
    rig.sync().await?;
    rig.leader.send_replace(true);
    rig.is("Accepted", "False").await?;
    rig.status.shutdown().await;
    assert_eq!(counters.writes.load(Relaxed), 4);
    Ok(())
}

async fn events(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let mut rig = Rig::start(space, client(account.kubeconfig()).await?).await?;
    rig.put(json!({"hostname": "*", "prefix": "/(", "prefix_regex": true, "service": "b"}))
        .await?;
    let batch = rig.sync().await?;
    rig.ack(&batch);
    rig.is("Accepted", "False").await?;
    let api: Api<Event> = Api::namespaced(rig.space.server().client(), rig.space.name());
    let find = async |type_: &str| {
        eventually("an event", PATIENCE, async || {
            let all = api.list(&ListParams::default()).await.ok()?.items;
            all.into_iter()
                .find(|event| event.type_.as_deref() == Some(type_))
        })
        .await
    };
    let event = find("Warning").await?;
    assert_eq!(event.reason.as_deref(), Some("Invalid"));
    let object = rig.space.get("Mapping", "m").await?.ok_or("gone")?;
    let about = event.regarding.ok_or("about nothing")?;
    assert_eq!(about.uid.as_deref(), object["metadata"]["uid"].as_str());
    assert_eq!(event.reporting_instance.as_deref(), Some("pod-0"));
    rig.put(json!({"hostname": "*", "prefix": "/m/", "service": "b"}))
        .await?;
    let batch = rig.sync().await?;
    rig.ack(&batch);
    rig.is("Programmed", "True").await?;
    assert_eq!(find("Normal").await?.reason.as_deref(), Some("Accepted"));
    rig.status.shutdown().await;
    Ok(())
}

/// CRDs as Emissary's are, with v1 served; and ours, without v1.
fn shaped_crds() -> (Vec<Value>, Vec<Value>) {
    let ours = crds();
    let status = "/schema/openAPIV3Schema/properties/status/properties";
    let mut emissary = ours.clone();
    for crd in &mut emissary {
        let versions = crd.pointer_mut("/spec/versions");
        for version in versions.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(Value::Object(fields)) = version.pointer_mut(status) {
                fields.retain(|name, _| !matches!(name.as_str(), "instances" | "conditions"));
            }
            if version["name"] == "v1" {
                version["served"] = json!(true);
            }
        }
    }
    let mut without_v1 = ours;
    for crd in &mut without_v1 {
        if let Some(Value::Array(versions)) = crd.pointer_mut("/spec/versions") {
            versions.retain(|version| version["name"] != "v1");
        }
    }
    (emissary, without_v1)
}

/// Emissary's CRDs declare no conditions, and objects may have been written in a version that the
/// CRD does not list any more.
async fn other_crds(server: Arc<ApiServer>) -> Result<(), Error> {
    let (emissary, without_v1) = shaped_crds();
    server.apply_crds(&emissary).await?;
    let space = Namespace::create(&server, "crds").await?;
    let mut rig = Rig::start(space, server.client()).await?;
    let v1 = |name: &str| {
        json!({
            "apiVersion": "getambassador.io/v1", "kind": "Mapping",
            "metadata": {"name": name, "namespace": rig.space.name()},
            "spec": {
                "ambassador_id": [rig.space.id()], "hostname": "*",
                "prefix": format!("/{name}/"), "service": "backend",
            },
        })
    };
    let old = v1("old");
    eventually("v1 is served", PATIENCE, async || {
        server.apply(std::slice::from_ref(&old)).await.ok()
    })
    .await?;
    let batch = eventually("objects are read", PATIENCE, async || rig.sync().await.ok()).await?;
    rig.ack(&batch);
    let words = eventually("a state", PATIENCE, async || {
        let status = rig.status_of("Mapping", "m").await.ok()?;
        (status["state"] == "Running").then_some(status)
    })
    .await?;
    assert_eq!(words.get("conditions"), None, "{words}");
    eventually("a state", PATIENCE, async || {
        let status = rig.status_of("Host", "any").await.ok()?;
        (status["state"] == "Ready").then_some(())
    })
    .await?;
    assert_eq!(rig.status_of("Listener", "http").await?, Value::Null);

    // Our CRDs, but without the version that one object was written in.
    server.apply_crds(&without_v1).await?;
    eventually("objects are read", PATIENCE, async || rig.sync().await.ok()).await?;
    let heals = Duration::from_secs(60);
    rig.space
        .wait_for("Mapping", "m", ("Programmed", "True"), heals)
        .await?;
    rig.space
        .wait_for("Mapping", "old", ("Programmed", "True"), heals)
        .await?;
    rig.space
        .wait_for("Listener", "http", ("Bound", "True"), heals)
        .await?;
    // What cannot be applied was patched, and only that.
    for (name, applied) in [("m", true), ("old", false)] {
        let object = rig.space.get("Mapping", name).await?.ok_or("gone")?;
        let managers = object["metadata"]["managedFields"].as_array();
        let found = managers
            .into_iter()
            .flatten()
            .any(|entry| entry["manager"] == "legate" && entry["operation"] == "Apply");
        assert_eq!(found, applied, "{name}: {object}");
    }
    rig.status.shutdown().await;
    Ok(())
}
