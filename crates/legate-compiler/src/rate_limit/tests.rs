//! Versions of RateLimitServices, and what changes with them.

use std::sync::Arc;

use legate_config::limit::RateLimit;
use serde_json::{Value, json};

use crate::testing::{base, crd, mapping};
use crate::{Compilation, Compiler, Effect, Options};

fn compiler(services: impl IntoIterator<Item = legate_api::Object>) -> Compiler {
    let mut compiler = Compiler::new(Options::default());
    for object in base().into_iter().chain(services) {
        compiler.upsert(object);
    }
    let labels = json!({"labels": {"ambassador": [{"g": ["x"]}]}});
    compiler.upsert(mapping("m", "/", labels));
    compiler
}

fn service(name: &str, spec: Value) -> legate_api::Object {
    crd("RateLimitService", name, spec)
}

/// Who is asked, by the only policy.
fn asked(c: &Compilation) -> Option<Arc<RateLimit>> {
    let mut policies = c.snapshot.policies.iter();
    let (_, entry) = policies.next().expect("a policy");
    assert!(policies.next().is_none());
    assert_eq!(
        entry.value.rate_limit.is_some(),
        entry.value.labels.is_some()
    );
    entry.value.rate_limit.clone()
}

fn at(mut object: legate_api::Object, time: &str) -> legate_api::Object {
    object.meta.creation_timestamp = Some(time.to_owned());
    object
}

#[test]
fn the_oldest_is_asked() {
    let young = service("a", json!({"service": "a"}));
    let old = service("b", json!({"service": "b", "domain": "ambassador"}));
    let c = compiler([
        at(young, "2026-01-02T00:00:00Z"),
        at(old, "2026-01-01T00:00:00Z"),
    ])
    .compile();
    let limit = asked(&c).unwrap();
    assert_eq!((limit.name.as_str(), limit.timeout_ms), ("default/b", 20));
    assert!(c.snapshot.clusters.get(limit.cluster.as_str()).is_some());
    let refused = c
        .diagnostics
        .iter()
        .find(|item| item.code == crate::codes::E_RL_DUPLICATE);
    let object = refused.and_then(|item| item.object.as_ref()).unwrap();
    assert_eq!(object.name, "a");
}

#[test]
fn faults_open_unless_there_is_a_good_version() {
    for spec in [
        json!({"service": "ftp://a"}),
        json!({"service": ""}),
        json!({"service": "a", "tls": "nowhere"}),
        json!({"service": "a", "protocol_version": "v2"}),
    ] {
        let mut compiler = compiler([service("a", spec.clone())]);
        assert_eq!(asked(&compiler.compile()), None, "{spec}");
        // A good version, then the faulty one again: the good one serves on.
        compiler.upsert(service("a", json!({"service": "good"})));
        let good = asked(&compiler.compile()).unwrap();
        compiler.upsert(service("a", spec.clone()));
        let c = compiler.compile();
        assert_eq!(asked(&c), Some(good), "{spec}");
        assert!(compiler.audit().is_ok());
        let last_good = |item: &crate::Diagnostic| item.effect == Effect::ServingLastGood;
        assert!(c.diagnostics.iter().any(last_good), "{spec}");
    }
}

#[test]
fn the_modules_domain_is_the_default() {
    let mut compiler = compiler([service("a", json!({"service": "a"}))]);
    assert!(asked(&compiler.compile()).is_some());
    let module = |config: Value| crd("Module", "ambassador", json!({"config": config}));
    compiler.upsert(module(json!({"default_label_domain": "other"})));
    let c = compiler.compile();
    assert_eq!(asked(&c), None);
    let unlimited = |item: &crate::Diagnostic| item.code == crate::codes::I_RL_DOMAIN;
    assert!(c.diagnostics.iter().any(unlimited));
    compiler.upsert(module(
        json!({"default_labels": {"ambassador": {"defaults": ["d"]}}}),
    ));
    assert!(asked(&compiler.compile()).is_some());
    assert!(compiler.audit().is_ok());
}

#[test]
fn its_service_is_wanted() {
    let mut compiler = compiler([service("a", json!({"service": "limiter.apps:80"}))]);
    compiler.compile();
    assert!(compiler.wants_service("apps", "limiter"));
    assert!(!compiler.wants_service("apps", "other"));
}
