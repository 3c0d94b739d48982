//! Several AuthServices, and faulty ones.

use std::sync::Arc;

use legate_config::auth::{Auth, AuthCheck};
use serde_json::{Value, json};

use crate::testing::{crd, mapping};
use crate::{Compilation, Compiler, Options};

fn service(name: &str, spec: Value) -> legate_api::Object {
    crd("AuthService", name, spec)
}

fn compiler(services: impl IntoIterator<Item = legate_api::Object>) -> Compiler {
    let mut compiler = Compiler::new(Options::default());
    compiler.upsert(crd(
        "Listener",
        "l",
        json!({
            "port": 8080, "protocol": "HTTP", "securityModel": "XFP",
            "hostBinding": {"namespace": {"from": "ALL"}},
        }),
    ));
    compiler.upsert(crd("Host", "h", json!({"hostname": "*"})));
    compiler.upsert(mapping("m", "/", json!({"hostname": "*"})));
    for service in services {
        compiler.upsert(service);
    }
    compiler
}

/// The only policy's check.
fn auth(c: &Compilation) -> Arc<Auth> {
    let mut policies = c.snapshot.policies.iter();
    let (_, entry) = policies.next().expect("a policy");
    assert!(policies.next().is_none());
    Arc::clone(entry.value.auth.as_ref().expect("a check"))
}

fn check(c: &Compilation) -> AuthCheck {
    match &*auth(c) {
        Auth::Check(check) => check.clone(),
        Auth::Refuse { message } => panic!("{message}"),
    }
}

fn refuses(c: &Compilation) -> bool {
    matches!(&*auth(c), Auth::Refuse { message } if message.contains("default/"))
}

fn problems(c: &Compilation) -> Vec<String> {
    let about = |item: &&legate_config::Diagnostic| {
        let object = item.object.as_ref();
        object.is_some_and(|object| object.kind == "AuthService")
    };
    c.diagnostics
        .iter()
        .filter(about)
        .map(|item| format!("{} {}", item.code.as_str(), item.path))
        .collect()
}

#[test]
fn the_oldest_gives_the_settings() {
    let mut young = service("a", json!({"auth_service": "a", "timeout_ms": 1}));
    young.meta.creation_timestamp = Some("2026-01-02T00:00:00Z".to_owned());
    let mut old = service("b", json!({"auth_service": "b", "timeout_ms": 2}));
    old.meta.creation_timestamp = Some("2026-01-01T00:00:00Z".to_owned());
    let c = compiler([young, old]).compile();
    let found = check(&c);
    assert_eq!(found.names, ["default/b", "default/a"]);
    assert_eq!((found.timeout_ms, found.targets.len()), (2, 2));
    assert!(problems(&c).contains(&"E-AUTH-SETTINGS spec.timeout_ms".to_owned()));
}

#[test]
fn faults_close() {
    for (spec, path) in [
        (json!({"auth_service": "ftp://a"}), "spec.auth_service"),
        (json!({"auth_service": ""}), "spec.auth_service"),
        (
            json!({"auth_service": "a", "path_prefix": "x"}),
            "spec.path_prefix",
        ),
        (
            json!({"auth_service": "a", "allow_request_body": true,
                   "include_body": {"max_bytes": 1, "allow_partial": true}}),
            "spec.allow_request_body",
        ),
        (
            json!({"auth_service": "a", "include_body": {"max_bytes": 0, "allow_partial": true}}),
            "spec.include_body.max_bytes",
        ),
        (
            json!({"auth_service": "a", "status_on_error": {"code": 99}}),
            "spec.status_on_error.code",
        ),
    ] {
        let c = compiler([service("a", spec)]).compile();
        assert!(refuses(&c), "{path}");
        let found = problems(&c);
        assert!(found.iter().any(|it| it.ends_with(path)), "{found:?}");
    }
    let missing = json!({"auth_service": "a", "tls": "nowhere"});
    assert!(refuses(&compiler([service("a", missing)]).compile()));
}

#[test]
fn a_later_fault_costs_only_itself() {
    let c = compiler([
        service("a", json!({"auth_service": "a"})),
        service("b", json!({"auth_service": "ftp://b"})),
    ])
    .compile();
    assert_eq!(check(&c).names, ["default/a"]);
}

#[test]
fn the_last_good_version_serves_on() {
    let mut compiler = compiler([service("a", json!({"auth_service": "a:1"}))]);
    let good = check(&compiler.compile());
    compiler.upsert(service("a", json!({"auth_service": "ftp://a"})));
    let c = compiler.compile();
    assert_eq!(check(&c), good);
    assert!(compiler.audit().is_ok());
    assert!(c.diagnostics.iter().any(|item| {
        item.code == crate::codes::E_AUTH_CONFIG
            && item.effect == legate_config::Effect::ServingLastGood
    }));
    compiler.upsert(service("a", json!({"auth_service": "a:2"})));
    assert_ne!(check(&compiler.compile()), good);
}

#[test]
fn a_service_of_the_check_is_wanted() {
    let mut compiler = compiler([service("a", json!({"auth_service": "check.apps:80"}))]);
    compiler.compile();
    assert!(compiler.wants_service("apps", "check"));
}
