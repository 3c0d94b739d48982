//! Several AuthServices, and faulty ones.

use std::sync::Arc;

use legate_config::auth::{Auth, AuthCheck, AuthProtocol};
use legate_config::cluster::{Cluster, UpstreamProtocol};
use legate_config::route::{Action, ProbeKind};
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

/// The check of all policies, the probes' included.
fn auth(c: &Compilation) -> Arc<Auth> {
    let policies = c.snapshot.policies.iter();
    let mut checks = policies.map(|(_, entry)| entry.value.auth.clone().expect("a check"));
    let first = checks.next().expect("a policy");
    assert!(checks.all(|other| other == first));
    first
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
        .filter(|item| item.code != crate::codes::I_NOT_IN_FOLDER)
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

fn asked(c: &Compilation) -> Vec<Arc<Cluster>> {
    let find = |key: &legate_config::ClusterKey| c.snapshot.clusters.entry(key).unwrap();
    let targets = check(c).targets;
    targets
        .iter()
        .map(|target| Arc::clone(&find(&target.cluster).value))
        .collect()
}

#[test]
fn grpc_has_settings_of_its_own() {
    let spec = json!({
        "auth_service": "a", "proto": "grpc", "protocol_version": "v3",
        "path_prefix": "no path", "allowed_request_headers": ["x"], "add_linkerd_headers": true,
        "allowed_authorization_headers": ["y"], "add_auth_headers": {"z": "1"},
    });
    let c = compiler([service("a", spec)]).compile();
    let found = check(&c);
    assert_eq!(found.protocol, AuthProtocol::Grpc);
    assert_eq!(found.path_prefix, "");
    assert!(found.request_headers.is_empty() && found.answer_headers.is_empty());
    assert!(found.add_headers.is_empty() && found.targets[0].linkerd_dst.is_none());
    assert_eq!(asked(&c)[0].protocol, UpstreamProtocol::Http2);
    let mut said = problems(&c);
    said.sort();
    let fields = [
        "add_auth_headers",
        "add_linkerd_headers",
        "allowed_authorization_headers",
        "allowed_request_headers",
        "path_prefix",
    ];
    let expected: Vec<String> = fields
        .iter()
        .map(|field| format!("W-IGNORED spec.{field}"))
        .collect();
    assert_eq!(said, expected);
}

#[test]
fn the_version_of_the_protocol() {
    let spec =
        |version: Value| json!({"auth_service": "a", "proto": "grpc", "protocol_version": version});
    let c = compiler([service("a", spec(Value::Null))]).compile();
    assert_eq!(check(&c).protocol, AuthProtocol::Grpc);
    assert_eq!(problems(&c), ["W-AUTH-PROTOCOL spec.protocol_version"]);
    let c = compiler([service("a", spec("v2".into()))]).compile();
    assert!(refuses(&c));
    assert_eq!(problems(&c), ["E-AUTH-CONFIG spec.protocol_version"]);
}

#[test]
fn who_speaks_another_protocol_is_not_asked() {
    let c = compiler([
        service("a", json!({"auth_service": "a"})),
        service(
            "b",
            json!({"auth_service": "b", "proto": "grpc", "protocol_version": "v3"}),
        ),
    ])
    .compile();
    assert_eq!(check(&c).names, ["default/a"]);
    assert_eq!(problems(&c), ["E-AUTH-SETTINGS spec.proto"]);
}

#[test]
fn limits_are_the_oldest_ones() {
    let limit = |count: u32| json!([{"max_requests": count}]);
    let c = compiler([
        service(
            "a",
            json!({"auth_service": "a", "circuit_breakers": limit(7)}),
        ),
        service(
            "b",
            json!({"auth_service": "b", "circuit_breakers": limit(8)}),
        ),
    ])
    .compile();
    let limits: Vec<u32> = asked(&c)
        .iter()
        .map(|cluster| cluster.breakers.default.max_requests)
        .collect();
    assert_eq!(limits, [7, 7]);
    assert_eq!(problems(&c), ["E-AUTH-SETTINGS spec.circuit_breakers"]);
    let bad = json!({"auth_service": "a", "circuit_breakers": [{"max_requests": -1}]});
    let c = compiler([service("a", bad)]).compile();
    assert!(refuses(&c));
    assert!(problems(&c)[0].ends_with("spec.circuit_breakers[0].max_requests"));
}

#[test]
fn residue_of_a_conversion_says_how_the_service_is_reached() {
    for (auth_service, residue, tls) in [
        ("a", json!({"tls": "bool:true"}), true),
        ("https://a", json!({"tls": "bool:false"}), false),
        (
            "https://a",
            json!({"serviceScheme": "http://", "tls": "bool:true"}),
            true,
        ),
        ("https://a", json!({"serviceScheme": "http://"}), false),
        (
            "a",
            json!({"serviceScheme": "https://", "tls": "null"}),
            true,
        ),
        ("https://a", json!({"tls": "string"}), true),
    ] {
        let spec = json!({"auth_service": auth_service, "v2ExplicitTLS": residue});
        let c = compiler([service("a", spec)]).compile();
        assert_eq!(asked(&c)[0].tls.is_some(), tls, "{auth_service} {residue}");
        assert_eq!(problems(&c), ["I-CONVERTED spec.v2ExplicitTLS"]);
    }
}

#[test]
fn edge_stacks_own_address_closes() {
    for address in ["127.0.0.1:8500", "localhost:8500", "http://127.0.0.1:8500"] {
        let c = compiler([service("a", json!({"auth_service": address}))]).compile();
        assert!(refuses(&c), "{address}");
        assert!(
            c.diagnostics.iter().any(|item| {
                item.code == crate::codes::E_AUTH_CONFIG && item.message.contains("Filters")
            }),
            "{address}"
        );
    }
    let c = compiler([service("a", json!({"auth_service": "127.0.0.1:8501"}))]).compile();
    assert_eq!(check(&c).names, ["default/a"]);
}

/// Probes on the gateway's ports are checked like all else, but for when nobody can be asked.
#[test]
fn probes_are_checked() {
    let probes = |c: &Compilation| -> Vec<bool> {
        let routes = c.snapshot.routes.iter();
        let guarded = routes.filter_map(|(_, entry)| match &entry.value.action {
            Action::Probe(_) => Some(false),
            Action::GuardedProbe { policies, .. } => {
                assert!(
                    c.snapshot
                        .policies
                        .get(policies.as_str())
                        .unwrap()
                        .auth
                        .is_some()
                );
                Some(true)
            }
            _ => None,
        });
        guarded.collect()
    };
    let mut compiler = compiler([]);
    assert_eq!(probes(&compiler.compile()), [false, false]);
    compiler.upsert(service("a", json!({"auth_service": "a"})));
    let c = compiler.compile();
    assert_eq!(probes(&c), [true, true]);
    assert!(c.snapshot.routes.iter().any(|(_, entry)| matches!(
        entry.value.action,
        Action::GuardedProbe {
            probe: ProbeKind::Ready,
            ..
        }
    )));
    assert!(compiler.audit().is_ok());
    compiler.upsert(service("a", json!({"auth_service": "b"})));
    compiler.compile();
    assert!(compiler.audit().is_ok());
    let key = service("a", json!({"auth_service": "a"})).key();
    compiler.remove(&key);
    let c = compiler.compile();
    assert_eq!(probes(&c), [false, false]);
    assert!(compiler.audit().is_ok());
    assert_eq!(c.snapshot.policies.iter().count(), 1);
    compiler.upsert(service("a", json!({"auth_service": "ftp://a"})));
    assert_eq!(probes(&compiler.compile()), [false, false]);
}

#[test]
fn what_a_mapping_tells_the_check() {
    let told = |spec: Value, extra: Value| {
        let mut compiler = compiler([service("a", spec)]);
        let mut fields = json!({"auth_context_extensions": {"team": "a"}});
        for (name, value) in extra.as_object().unwrap() {
            fields[name] = value.clone();
        }
        compiler.upsert(mapping("m", "/", fields));
        let c = compiler.compile();
        let policies = c.snapshot.policies.iter();
        let told = policies
            .map(|(_, entry)| entry.value.auth_context.len())
            .sum();
        let ignored = c
            .diagnostics
            .iter()
            .any(|item| item.path == "spec.auth_context_extensions");
        (told, ignored)
    };
    let grpc = || json!({"auth_service": "a", "proto": "grpc", "protocol_version": "v3"});
    assert_eq!(told(grpc(), json!({})), (1, false));
    assert_eq!(told(grpc(), json!({"bypass_auth": true})), (0, true));
    assert_eq!(told(json!({"auth_service": "a"}), json!({})), (0, true));
}
