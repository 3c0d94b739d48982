//! What policies and limits come to, and what is said about faulty ones.

use legate_config::rules::{LimitDepth, LimitDomain, LimitPlace, LimitRule, LimitValue};
use legate_config::{LimitDomainKey, Snapshot};
use serde_json::{Value, json};

use crate::testing::{crd, mapping};
use crate::{Compilation, Compiler, Options};

fn policy(name: &str, created: u32, spec: Value) -> legate_api::Object {
    if spec.get("limits").is_some() {
        return object(
            "RateLimit",
            "getambassador.io/v3alpha1",
            name,
            created,
            spec,
        );
    }
    object(
        "RateLimitPolicy",
        "legate.dev/v1alpha1",
        name,
        created,
        spec,
    )
}

fn object(kind: &str, version: &str, name: &str, created: u32, spec: Value) -> legate_api::Object {
    let document = json!({
        "apiVersion": version, "kind": kind,
        "metadata": {"name": name, "namespace": "default",
                     "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
        "spec": spec,
    });
    match legate_api::decode(document, "default") {
        legate_api::Decoded::Object(object) => object,
        other => panic!("{other:?}"),
    }
}

fn compiled(objects: impl IntoIterator<Item = legate_api::Object>) -> Compilation {
    let mut compiler = Compiler::new(Options::default());
    compiler.upsert(crd("Host", "h", json!({"hostname": "*"})));
    let labels = json!({"ambassador": [{"g": [{"remote_address": {"key": "ip"}}]}]});
    compiler.upsert(mapping(
        "m",
        "/",
        json!({"hostname": "*", "labels": labels}),
    ));
    for object in objects {
        compiler.upsert(object);
    }
    let compilation = compiler.compile();
    compiler.audit().unwrap();
    compilation
}

fn domain<'a>(snapshot: &'a Snapshot, name: &str) -> &'a LimitDomain {
    snapshot.limits.get(name).unwrap()
}

fn rules(compilation: &Compilation) -> Vec<String> {
    let domain = domain(&compilation.snapshot, "ambassador");
    domain.rules.iter().map(LimitRule::label).collect()
}

fn said(compilation: &Compilation, code: &str) -> Vec<(String, String)> {
    let of_code = |d: &&legate_config::Diagnostic| d.code.as_str() == code;
    let found = compilation.diagnostics.iter().filter(of_code);
    found
        .map(|d| {
            let name = d.object.as_ref().map_or("", |object| &object.name);
            (name.to_owned(), d.path.clone())
        })
        .collect()
}

fn limit(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value, "rate_limit": {"unit": "minute", "requests_per_unit": 5}})
}

#[test]
fn a_tree_becomes_rules_and_every_node_is_one() {
    let tree = json!([
        limit("remote_address", ""),
        {"key": "plan", "value": "free", "descriptors": [
            {"key": "path", "value": "/a*", "share_threshold": true, "shadow_mode": true,
             "rate_limit": {"unit": "week", "requests_per_unit": 1000, "name": "free"}},
        ]},
        {"key": "partner", "rate_limit": {"unlimited": true}},
    ]);
    let compilation = compiled([policy("p", 0, json!({"descriptors": tree}))]);
    assert_eq!(
        rules(&compilation),
        ["remote_address", "plan=free", "free", "partner"]
    );
    let domain = domain(&compilation.snapshot, "ambassador");
    let [_, parent, free, _] = &domain.rules[..] else {
        panic!();
    };
    assert_eq!(parent.limit, None);
    assert!(free.shadow && free.items[1].shared);
    assert_eq!(
        free.items[1].any_of[0].value,
        LimitValue::StartsWith("/a".into())
    );
    // The labels of the domain count now.
    let labels: Vec<_> = compilation
        .snapshot
        .policies
        .iter()
        .filter_map(|(_, entry)| entry.value.labels.clone())
        .collect();
    assert!(labels[0].domains.contains_key("ambassador"));
    assert!(said(&compilation, "I-RL-DOMAIN").is_empty());
}

#[test]
fn of_two_limits_in_one_place_the_older_one_counts() {
    let tree = |limits: Value| json!({"descriptors": limits});
    let old = policy("z-old", 1, tree(json!([limit("a", "1"), limit("b", "")])));
    let young = policy(
        "a-young",
        2,
        tree(json!([limit("c", ""), limit("b", "*"), limit("c", "")])),
    );
    let compilation = compiled([young, old]);
    assert_eq!(rules(&compilation), ["a=1", "b", "c"]);
    let at = |path: &str| ("a-young".to_owned(), path.to_owned());
    assert_eq!(
        said(&compilation, "E-RL-DUPLICATE"),
        [at("spec.descriptors[1]"), at("spec.descriptors[2]")]
    );
}

#[test]
fn the_oldest_policy_says_how_clients_are_answered() {
    let old = json!({"headers": "draft03", "grpc_resource_exhausted": true, "descriptors": []});
    let compilation = compiled([
        policy("young", 2, json!({"descriptors": [limit("a", "")]})),
        policy("old", 1, old),
        policy(
            "other",
            3,
            json!({"domain": "other", "honour_label_keys": true}),
        ),
    ]);
    let domain = domain(&compilation.snapshot, "ambassador");
    assert!(domain.headers && domain.grpc_resource_exhausted && !domain.honour_label_keys);
    let paths: Vec<String> = said(&compilation, "E-RL-SETTINGS")
        .into_iter()
        .map(|(name, path)| format!("{name} {path}"))
        .collect();
    assert_eq!(
        paths,
        ["young spec.grpc_resource_exhausted", "young spec.headers"]
    );
}

#[test]
fn edge_stack_limits_are_prefixes() {
    let compilation = compiled([policy(
        "r",
        0,
        json!({"limits": [
            {"pattern": [{"generic_key": "a", "other": "*"}, {"remote_address": ""}],
             "rate": 5, "unit": "Minute", "burstFactor": 3, "action": "logonly",
             "injectResponseHeaders": [{"name": "X-A", "value": "b"},
                                       {"name": "x-t", "value": "{{ .RateLimitResponse }}"}]},
            {"pattern": [], "rate": 5, "unit": "minute"},
            {"pattern": {"k": "v"}, "rate": 0, "unit": "day", "name": "closed",
             "errorResponse": {"bodyTemplate": "x"}},
        ]}),
    )]);
    let domain = domain(&compilation.snapshot, "ambassador");
    let [first, closed] = &domain.rules[..] else {
        panic!("{:?}", domain.rules);
    };
    assert_eq!(
        (first.name.as_str(), first.depth),
        ("r.default-0", LimitDepth::Prefix)
    );
    assert!(first.shadow);
    assert_eq!(first.place, LimitPlace::IfStore);
    assert_eq!(first.response_headers, [("x-a".to_owned(), "b".to_owned())]);
    assert_eq!(first.items[0].any_of.len(), 2);
    let limits = serde_json::to_value([first.limit, closed.limit]).unwrap();
    assert_eq!(
        limits,
        json!([{"rate": {"requests": 5, "unit_seconds": 60, "burst": 15}},
               {"rate": {"requests": 0, "unit_seconds": 86400, "burst": 0}}])
    );
    let paths = |code| -> Vec<String> {
        said(&compilation, code)
            .into_iter()
            .map(|(_, path)| path)
            .collect()
    };
    assert_eq!(paths("E-RL-LIMIT"), ["spec.limits[1].pattern"]);
    assert_eq!(
        paths("W-UNSUPPORTED"),
        [
            "spec.limits[0].injectResponseHeaders[1].value",
            "spec.limits[2].errorResponse"
        ]
    );
    assert_eq!(paths("I-RL-WINDOW"), ["spec.limits"]);
}

#[test]
fn a_faulty_limit_loses_itself_only() {
    let compilation = compiled([policy(
        "p",
        0,
        json!({"descriptors": [
            {"key": "a", "rate_limit": {"requests_per_unit": 5}},
            {"key": "b", "rate_limit": {"unit": "second", "requests_per_unit": 5_000_000_000_i64}},
            {"key": "c", "rate_limit": {"unlimited": true, "unit": "day"}},
            {"key": "", "rate_limit": {"unlimited": true}},
            {"key": "d", "rate_limit": {"unlimited": true, "name": "n", "replaces": [{"name": "n"}]}},
            limit("e", ""),
        ]}),
    )]);
    assert_eq!(rules(&compilation), ["a", "b", "c", "n", "e"]);
    assert_eq!(said(&compilation, "E-RL-LIMIT").len(), 4);
    assert_eq!(said(&compilation, "W-RL-RATE").len(), 1);
}

#[test]
fn a_store_is_a_cluster_with_a_password_that_is_never_shown() {
    let secret = match legate_api::decode(
        json!({"apiVersion": "v1", "kind": "Secret",
               "metadata": {"name": "redis-auth", "namespace": "default"},
               "stringData": {"username": "u", "password": "hunter2\n"}}),
        "default",
    ) {
        legate_api::Decoded::Object(object) => object,
        other => panic!("{other:?}"),
    };
    let spec = json!({
        "enforcement": "shared",
        "store": {"service": "redis.infra", "secretName": "redis-auth", "timeout_ms": 50},
        "descriptors": [limit("a", "")],
    });
    let compilation = compiled([secret, policy("p", 0, spec.clone())]);
    let snapshot = &compilation.snapshot;
    let domain = domain(snapshot, "ambassador");
    assert_eq!(domain.rules[0].place, LimitPlace::Store(0));
    let store = &domain.stores[0];
    assert_eq!(store.timeout_ms, 50);
    let cluster = snapshot.clusters.get(store.cluster.as_str()).unwrap();
    assert!(cluster.endpoints.as_str().ends_with("6379"), "{cluster:?}");
    assert!(
        snapshot
            .endpoint_sets
            .get(cluster.endpoints.as_str())
            .is_some()
    );
    let credential = snapshot.credentials.get("default/redis-auth").unwrap();
    assert_eq!(credential.username, "u");
    assert_eq!(credential.password.reveal(), "hunter2");
    let shown = format!(
        "{snapshot:?}{}",
        serde_json::to_string(&**snapshot).unwrap()
    );
    assert!(!shown.contains("hunter2"));
    // Without the Secret the limits count all the same.
    let without = compiled([policy("p", 0, spec)]);
    assert_eq!(
        said(&without, "I-NOT-IN-FOLDER").len(),
        2,
        "{:#?}",
        without.diagnostics
    );
    assert_eq!(without.snapshot.limits.len(), 1);
}

#[test]
fn a_changed_limit_touches_no_route() {
    let with = |requests: u32| {
        let mut limit = limit("remote_address", "");
        limit["rate_limit"]["requests_per_unit"] = requests.into();
        policy("p", 0, json!({"descriptors": [limit]}))
    };
    let mut compiler = Compiler::new(Options::default());
    compiler.upsert(crd("Host", "h", json!({"hostname": "*"})));
    let labels = json!({"ambassador": [{"g": [{"remote_address": {"key": "ip"}}]}]});
    compiler.upsert(mapping(
        "m",
        "/",
        json!({"hostname": "*", "labels": labels}),
    ));
    compiler.upsert(with(5));
    let before = compiler.compile().snapshot;
    compiler.upsert(with(6));
    let after = compiler.compile().snapshot;
    compiler.audit().unwrap();
    let hash = |snapshot: &Snapshot| {
        snapshot
            .limits
            .entry(&LimitDomainKey::from("ambassador"))
            .unwrap()
            .hash
    };
    assert_ne!(hash(&before), hash(&after));
    let keys = |snapshot: &Snapshot| -> Vec<String> {
        snapshot
            .policies
            .iter()
            .map(|(key, _)| key.to_string())
            .collect()
    };
    assert_eq!(keys(&before), keys(&after));
    compiler.remove(&with(6).key());
    assert!(compiler.compile().snapshot.limits.is_empty());
    compiler.audit().unwrap();
}
