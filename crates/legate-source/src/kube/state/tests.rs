use std::time::Duration;

use serde_json::{Map, Value, json};

use super::*;
use crate::kube::tests::{key, options};
use crate::kube::{KindState, kinds};

mod faults;
mod kinds_come_and_go;
mod objects;

/// A state with its clock, and the answers of an API server that is made up by the test.
pub(super) struct Bench {
    pub(super) state: State,
    pub(super) now: Instant,
    feeds: Vec<Feed>,
}

impl Bench {
    pub(super) fn new(options: &KubeOptions) -> Self {
        let now = Instant::now();
        let feeds = kinds::feeds(options);
        Self {
            state: State::new(options, &feeds, now),
            now,
            feeds,
        }
    }

    /// Everything is there and was listed, and the first update was taken.
    pub(super) fn synced() -> Self {
        let mut bench = Self::new(&options());
        bench.discovered(&[]);
        bench.list_all();
        assert!(bench.state.take(bench.now).is_some());
        bench
    }

    pub(super) fn feed(&self, kind: Kind) -> usize {
        self.feeds
            .iter()
            .position(|feed| feed.kind == kind)
            .unwrap()
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
    }

    /// The API server says which kinds it has: all but these.
    pub(super) fn discovered(&mut self, without: &[Kind]) {
        let all = Kind::ALL.iter().filter(|kind| !without.contains(kind));
        let usable = all.map(|kind| kinds::plural(*kind).to_owned()).collect();
        self.state.discovered(Ok(&usable), self.now, self.now);
    }

    pub(super) fn list(&mut self, kind: Kind, objects: &[Value]) {
        let feed = self.feed(kind);
        self.state.list_begun(feed, self.now);
        for object in objects {
            self.apply(kind, object.clone());
        }
        self.state.list_done(feed, self.now);
    }

    pub(super) fn list_all(&mut self) {
        for index in 0..self.feeds.len() {
            self.state.list_begun(index, self.now);
            self.state.list_done(index, self.now);
        }
    }

    /// An event as the feed handles it.
    pub(super) fn apply(&mut self, kind: Kind, object: Value) {
        let feed = self.feed(kind);
        let incoming = incoming(kind, object);
        if self.state.unchanged(feed, &incoming) {
            return;
        }
        let (uid, content) = (incoming.uid.clone(), incoming.content);
        let observed = incoming.observed.clone();
        let object = incoming.object().unwrap();
        self.state.changed(feed, uid, content, observed, object);
    }

    pub(super) fn delete(&mut self, name: &str, uid: &str) {
        self.state.deleted(&key(name), uid, self.now);
    }

    pub(super) fn fail(&mut self, kind: Kind, status: u16) {
        let feed = self.feed(kind);
        self.state.failed(feed, fault(status), self.now);
    }

    pub(super) fn take(&mut self) -> Taken {
        let update = self.state.take(self.now).unwrap_or_default();
        let names = |keys: Vec<ObjectKey>| keys.into_iter().map(|key| key.name).collect();
        Taken {
            upserts: update.upserts.iter().map(|o| o.meta.name.clone()).collect(),
            removals: names(update.removals),
            observed: names(update.observed.iter().map(|o| o.key.clone()).collect()),
            codes: update
                .diagnostics
                .iter()
                .map(|d| d.code.to_string())
                .collect(),
        }
    }
}

/// An update in short.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) upserts: Vec<String>,
    pub(super) removals: Vec<String>,
    pub(super) observed: Vec<String>,
    pub(super) codes: Vec<String>,
}

pub(super) fn incoming(kind: Kind, object: Value) -> Incoming {
    let Value::Object(fields): Value = object else {
        panic!("no object");
    };
    let fields: Map<String, Value> = fields;
    Incoming::read(kind, fields).unwrap()
}

pub(super) fn fault(status: u16) -> Fault {
    Fault {
        verb: "list",
        status: Some(status),
        message: format!("answered {status}"),
        unreadable: false,
    }
}

/// A Mapping whose prefix tells its content.
pub(super) fn mapping(name: &str, uid: &str, prefix: &str) -> Value {
    json!({
        "metadata": {"namespace": "x", "name": name, "uid": uid, "resourceVersion": "1"},
        "spec": {"prefix": prefix, "service": "s", "hostname": "*"},
    })
}
