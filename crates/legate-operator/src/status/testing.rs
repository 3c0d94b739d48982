//! For tests: a compiler with objects, gateways that acknowledge, and an API server that keeps
//! status, all in memory and without a clock of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use legate_api::{Decoded, Kind, ObjectKey};
use legate_compiler::{Compiler, MissingRefs, Mode, Options};
use legate_source::Observed;
use serde_json::{Value, json};

use super::board::{Board, Job, Method, Outcome};
use super::counters::StatusCounters;
use super::faults::Fault;
use super::index::object_key;
use super::observed::Seen;
use crate::identity::Identity;
use crate::publish::{Ack, Batch, GatewayEvent, GatewayId, ListenerBind, RejectedEntry, Version};

/// Our instance in all tests.
pub(super) fn ours() -> Identity {
    Identity {
        ambassador_id: "default".to_owned(),
        namespace: "legate".to_owned(),
        pod_name: "legate-0".to_owned(),
    }
}

/// The key of an object in the namespace of all tests.
pub(super) fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: "apps".to_owned(),
        name: name.to_owned(),
    }
}

/// A Mapping of the Host that [`Lab::new`] makes.
pub(super) fn mapping(prefix: &str) -> Value {
    json!({ "hostname": "a.example.com", "prefix": prefix, "service": "backend" })
}

/// Objects and their compiler.
pub(super) struct Lab {
    compiler: Compiler,
    number: u64,
    objects: BTreeMap<ObjectKey, Observed>,
    versions: Vec<Version>,
    removed: Vec<ObjectKey>,
    serial: u64,
}

impl Lab {
    /// A Listener `http`, a Host `a` for `a.example.com` without TLS, and a Mapping `m`.
    pub(super) fn new() -> Self {
        let mut lab = Self::empty();
        lab.put(
            Kind::Listener,
            "http",
            json!({
                "port": 8080, "protocol": "HTTP", "securityModel": "XFP",
                "hostBinding": { "namespace": { "from": "ALL" } },
            }),
        );
        lab.put(
            Kind::Host,
            "a",
            json!({
                "hostname": "a.example.com",
                "requestPolicy": { "insecure": { "action": "Route" } },
            }),
        );
        lab.put(Kind::Mapping, "m", mapping("/m/"));
        lab
    }

    pub(super) fn empty() -> Self {
        let options = Options {
            namespace: "legate".to_owned(),
            mode: Mode::Cluster,
            missing: MissingRefs::Error,
            ..Options::default()
        };
        Self {
            compiler: Compiler::new(options),
            number: 0,
            objects: BTreeMap::new(),
            versions: Vec::new(),
            removed: Vec::new(),
            serial: 100,
        }
    }

    /// Creates an object, or changes its spec, which makes a new generation.
    pub(super) fn put(&mut self, kind: Kind, name: &str, spec: Value) -> ObjectKey {
        let key = key(kind, name);
        self.serial += 1;
        let old = self.objects.get(&key);
        let observed = Observed {
            key: key.clone(),
            uid: old.map_or_else(|| format!("uid-{}", self.serial), |old| old.uid.clone()),
            resource_version: self.serial.to_string(),
            generation: old.map_or(0, |old| old.generation) + 1,
            status: old.and_then(|old| old.status.clone()),
        };
        let document = json!({
            "apiVersion": kind.stored_version(), "kind": kind.as_str(),
            "metadata": {
                "namespace": key.namespace, "name": name, "uid": observed.uid,
                "resourceVersion": observed.resource_version, "generation": observed.generation,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": spec,
        });
        let Decoded::Object(object) = legate_api::decode(document, "") else {
            panic!("{kind} {name} is no object");
        };
        self.versions.push(Version {
            key: key.clone(),
            uid: observed.uid.clone(),
            generation: observed.generation,
        });
        self.compiler.upsert(*Box::new(object));
        self.objects.insert(key.clone(), observed);
        key
    }

    /// Deletes an object.
    pub(super) fn delete(&mut self, key: &ObjectKey) {
        self.compiler.remove(key);
        self.objects.remove(key);
        self.removed.push(key.clone());
    }

    /// Compiles.
    pub(super) fn batch(&mut self) -> Arc<Batch> {
        self.number += 1;
        let compilation = self.compiler.compile();
        Arc::new(Batch {
            number: self.number,
            snapshot: compilation.snapshot,
            status: compilation.status,
            diagnostics: compilation.diagnostics,
            versions: std::mem::take(&mut self.versions),
            removed: std::mem::take(&mut self.removed),
        })
    }

    /// How an object stands.
    pub(super) fn observed(&self, key: &ObjectKey) -> Observed {
        self.objects[key].clone()
    }

    /// How an object stands.
    pub(super) fn seen(&self, key: &ObjectKey) -> Seen {
        self.observed(key).into()
    }

    /// How all objects stand.
    pub(super) fn all(&self) -> Vec<Observed> {
        self.objects.values().cloned().collect()
    }

    /// Sets a status at the API server.
    pub(super) fn set_status(&mut self, key: &ObjectKey, status: Option<Value>) -> Observed {
        self.serial += 1;
        let object = self.objects.get_mut(key).expect("the object exists");
        object.status = status.map(Arc::new);
        object.resource_version = self.serial.to_string();
        object.clone()
    }

    /// The status at the API server.
    pub(super) fn status(&self, key: &ObjectKey) -> Option<&Value> {
        self.objects[key].status.as_deref()
    }
}

/// A gateway's name.
pub(super) fn gateway(name: &str) -> GatewayId {
    GatewayId(name.into())
}

/// A gateway applied a batch's snapshot whole, its sockets included.
pub(super) fn acked(name: &str, batch: &Batch) -> GatewayEvent {
    acked_but(name, batch, &[], &[])
}

/// A gateway applied a batch's snapshot, but for these entries and sockets.
pub(super) fn acked_but(
    name: &str,
    batch: &Batch,
    rejected: &[&str],
    unbound: &[(&str, &str)],
) -> GatewayEvent {
    let listeners = batch.snapshot.listeners.iter().map(|(key, _)| {
        let error = unbound
            .iter()
            .find(|(listener, _)| *listener == key.as_str());
        ListenerBind {
            key: key.as_str().to_owned(),
            bound: error.map_or(Ok("10.0.0.1:8080".to_owned()), |(_, error)| {
                Err((*error).to_owned())
            }),
        }
    });
    let rejected = rejected.iter().map(|key| RejectedEntry {
        key: (*key).to_owned(),
        code: "E-GATEWAY-REJECTED".to_owned(),
        message: "it is broken".to_owned(),
    });
    GatewayEvent::Acked(
        gateway(name),
        Ack {
            snapshot: batch.snapshot.id,
            root: batch.snapshot.root,
            rejected: rejected.collect(),
            listeners: listeners.collect(),
            reached: Vec::new(),
        },
    )
}

/// The key of a batch's only route of an object, as gateways name it.
pub(super) fn route_of(batch: &Batch, object: &ObjectKey) -> String {
    let mut found = batch.snapshot.routes.iter().filter(|(_, entry)| {
        entry
            .origins
            .iter()
            .any(|origin| object_key(&origin.object).as_ref() == Some(object))
    });
    format!("route/{}", found.next().expect("a route").0)
}

/// A board before an API server in memory.
pub(super) struct World {
    pub(super) lab: Lab,
    pub(super) board: Board,
    pub(super) counters: Arc<StatusCounters>,
    pub(super) now: Instant,
    /// What was written, in order.
    pub(super) written: Vec<(ObjectKey, Method, Value)>,
    /// What the API server answers to the next writes, instead of doing them.
    pub(super) faults: Vec<Fault>,
    /// What it answers to every write of a kind, instead of doing it.
    pub(super) broken: BTreeMap<Kind, (Method, Fault)>,
}

impl World {
    /// Not leading, nothing fed.
    pub(super) fn new(lab: Lab) -> Self {
        let counters = Arc::new(StatusCounters::default());
        Self {
            lab,
            board: Board::new(ours(), Arc::clone(&counters)),
            counters,
            now: Instant::now(),
            written: Vec::new(),
            faults: Vec::new(),
            broken: BTreeMap::new(),
        }
    }

    /// Leading for longer than a new leader, with one gateway that applied everything; all written.
    pub(super) fn settled(lab: Lab) -> Self {
        let mut world = Self::new(lab);
        world.board.lead(true, world.now);
        world.feed();
        let batch = world.compile();
        world.board.gateway(acked("gw", &batch), world.now);
        world.pass(Duration::from_secs(30));
        world.written.clear();
        world
    }

    /// Tells the board how all objects stand.
    pub(super) fn feed(&mut self) {
        self.board.observed(self.lab.all(), &[]);
    }

    /// Compiles and tells the board.
    pub(super) fn compile(&mut self) -> Arc<Batch> {
        let batch = self.lab.batch();
        self.board.batches(&[Arc::clone(&batch)], self.now);
        batch
    }

    /// Changes an object, as the watch and the compiler see it.
    pub(super) fn put(&mut self, kind: Kind, name: &str, spec: Value) -> (ObjectKey, Arc<Batch>) {
        let key = self.lab.put(kind, name, spec);
        self.board.observed(vec![self.lab.observed(&key)], &[]);
        (key, self.compile())
    }

    /// Does all that is due now.
    pub(super) fn work(&mut self) {
        self.board.tick(self.now);
        loop {
            while self.board.is_dirty() {
                self.board.look(self.now);
            }
            let mut jobs = Vec::new();
            while let Some(job) = self.board.next(self.now) {
                jobs.push(job);
            }
            if jobs.is_empty() {
                return;
            }
            for job in jobs {
                let outcome = self.serve(&job);
                self.board.finished(job, outcome, self.now);
            }
        }
    }

    /// Lets time pass, and does what comes due on the way.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.work();
        while let Some(at) = self.board.deadline().filter(|at| *at <= end) {
            assert!(at >= self.now, "the board wants to go back in time");
            self.now = at;
            self.work();
        }
        self.now = end;
    }

    /// What the API server does.
    fn serve(&mut self, job: &Job) -> Outcome {
        if !self.faults.is_empty() {
            return Outcome::Failed(self.faults.remove(0));
        }
        if let Some((method, fault)) = self.broken.get(&job.key.kind)
            && *method == job.method
        {
            return Outcome::Failed(fault.clone());
        }
        let Some(current) = self.lab.objects.get(&job.key).cloned() else {
            return Outcome::Failed(Fault::Gone);
        };
        let version = job.body.pointer("/metadata/resourceVersion");
        if version != Some(&json!(current.resource_version)) {
            return Outcome::Failed(Fault::Conflict);
        }
        self.written
            .push((job.key.clone(), job.method, job.body.clone()));
        let sent = job.body.get("status");
        let status = match job.method {
            Method::Apply => sent.cloned(),
            Method::Merge => {
                let mut status = current.status.as_deref().cloned().unwrap_or(json!({}));
                if let (Some(fields), Some(Value::Object(sent))) = (status.as_object_mut(), sent) {
                    for (name, value) in sent {
                        fields.insert(name.clone(), value.clone());
                    }
                    fields.retain(|_, value| !value.is_null());
                }
                Some(status)
            }
        };
        let observed = self.lab.set_status(&job.key, status);
        Outcome::Done {
            uid: observed.uid,
            resource_version: observed.resource_version,
            generation: observed.generation,
            status: observed.status,
        }
    }

    /// `status reason` of a condition of ours at the API server; empty when there is none.
    pub(super) fn condition(&self, key: &ObjectKey, type_: &str) -> String {
        let Some(found) = self.found(key, type_) else {
            return String::new();
        };
        let text = |field| found[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("status"), text("reason"))
    }

    /// The message of a condition of ours at the API server.
    pub(super) fn message(&self, key: &ObjectKey, type_: &str) -> String {
        let found = self.found(key, type_);
        found
            .and_then(|found| found["message"].as_str())
            .unwrap_or_default()
            .to_owned()
    }

    fn found(&self, key: &ObjectKey, type_: &str) -> Option<&Value> {
        let entry = self
            .lab
            .status(key)?
            .get("instances")?
            .as_array()?
            .iter()
            .find(|entry| entry["ambassadorId"] == "default")?;
        entry["conditions"]
            .as_array()?
            .iter()
            .find(|condition| condition["type"] == type_)
    }

    /// How often an object was written.
    pub(super) fn writes(&self, key: &ObjectKey) -> usize {
        self.written
            .iter()
            .filter(|(other, ..)| other == key)
            .count()
    }
}
