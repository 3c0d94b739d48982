//! Incremental equals full, whatever the events and their order.

use legate_api::Object;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::testing::{crd, mapping, object};
use crate::{Compilation, Compiler, Options, compile};

#[derive(Debug, Clone)]
enum Event {
    Put(Object),
    /// Removes the object that this one names.
    Remove(Object),
    Compile,
}

fn pick<T: Clone + std::fmt::Debug + 'static>(options: Vec<T>) -> impl Strategy<Value = T> {
    proptest::sample::select(options)
}

/// A small alphabet, so that objects meet: same prefixes, shared services, few hosts.
fn mappings() -> impl Strategy<Value = Object> {
    let name = pick(vec!["a", "b", "c", "d.apps"]);
    let prefix = pick(vec!["/", "/x/", "/x(", "/.well-known/acme-challenge/"]);
    let host = pick(vec![
        json!("*"),
        json!("a.test"),
        json!("*.test"),
        Value::Null,
    ]);
    let service = pick(vec![
        "s",
        "s:81",
        "https://s",
        "ftp://s",
        "t.apps",
        "10.0.0.1",
    ]);
    let extra = pick(vec![
        json!({}),
        json!({"weight": 60}),
        json!({"weight": 0}),
        json!({"weight": 150}),
        json!({"precedence": 1}),
        json!({"prefix_regex": true}),
        json!({"prefix_exact": true}),
        json!({"tls": "c"}),
        json!({"resolver": "endpoint"}),
        json!({"resolver": "mine"}),
        json!({"host_redirect": true}),
        json!({"shadow": true}),
        json!({"bypass_auth": true}),
        json!({"ambassador_id": ["other"]}),
        json!({"add_request_headers": {"x-a": {"value": "1"}}}),
        json!({"connect_timeout_ms": 5}),
        json!({"load_balancer": {"policy": "round_robin"}}),
        json!({"timeout_ms": "soon"}),
    ]);
    let label = pick(vec!["", "x", "y"]);
    (name, prefix, host, service, extra, label).prop_map(
        |(name, prefix, host, service, extra, label)| {
            let mut all = json!({"hostname": host, "service": service});
            all.as_object_mut()
                .expect("object")
                .extend(extra.as_object().expect("object").clone());
            let mut object = mapping(name, prefix, all);
            if !label.is_empty() {
                object.meta.labels.insert("team".into(), label.into());
            }
            object
        },
    )
}

fn hosts() -> impl Strategy<Value = Object> {
    let name = pick(vec!["h", "i"]);
    let hostname = pick(vec!["*", "a.test", "*.test"]);
    let selector = pick(vec![
        json!({}),
        json!({"matchLabels": {"team": "x"}}),
        json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}),
    ]);
    let action = pick(vec!["Route", "Redirect", "Reject"]);
    (name, hostname, selector, action).prop_map(|(name, hostname, selector, action)| {
        crd(
            "Host",
            name,
            json!({
                "hostname": hostname, "mappingSelector": selector,
                "requestPolicy": {"insecure": {"action": action}},
            }),
        )
    })
}

fn slice(name: &str, service: &str, address: &str, ready: bool) -> Object {
    object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"port": 80}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}],
    }))
}

fn others() -> impl Strategy<Value = Object> {
    let service = |spec: Value| {
        object(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec,
        }))
    };
    let listener = |port: u16, protocol: &str| {
        crd(
            "Listener",
            "l",
            json!({
                "port": port, "protocol": protocol, "securityModel": "XFP",
                "hostBinding": {"namespace": {"from": "ALL"}},
            }),
        )
    };
    let module = |config: Value| crd("Module", "ambassador", json!({"config": config}));
    pick(vec![
        slice("e1", "s", "10.1.0.1", true),
        slice("e1", "s", "10.1.0.2", false),
        slice("e1", "t", "10.1.0.1", true),
        slice("e2", "s", "10.1.0.3", true),
        service(json!({"clusterIP": "10.9.0.1", "ports": [{"port": 80}]})),
        service(json!({"clusterIP": "None", "ports": [{"port": 81}]})),
        service(json!({"type": "ExternalName", "externalName": "x.test"})),
        listener(8080, "HTTP"),
        listener(8081, "HTTPS"),
        module(json!({"resolver": "endpoint"})),
        module(json!({"cluster_request_timeout_ms": 1, "liveness_probe": {"enabled": false}})),
        module(json!({"defaults": {"add_request_headers": {"x-m": {"value": "m"}}}})),
        crd("TLSContext", "c", json!({"sni": "c.test"})),
        crd(
            "TLSContext",
            "c",
            json!({"min_tls_version": "v1.3", "max_tls_version": "v1.2"}),
        ),
        crd("TLSContext", "c.apps", json!({"sni": "apps.test"})),
        crd("AuthService", "auth", json!({"auth_service": "auth"})),
        crd(
            "AuthService",
            "auth",
            json!({"auth_service": "s", "tls": "c"}),
        ),
        crd("AuthService", "auth", json!({"auth_service": "ftp://s"})),
        crd(
            "AuthService",
            "auth",
            json!({"auth_service": "s", "proto": "grpc"}),
        ),
        crd(
            "AuthService",
            "other",
            json!({"auth_service": "t:81", "timeout_ms": 1}),
        ),
        crd("KubernetesEndpointResolver", "mine", json!({})),
        crd("ConsulResolver", "mine", json!({"datacenter": "dc1"})),
        object(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}})),
    ])
}

fn objects() -> impl Strategy<Value = Object> {
    prop_oneof![6 => mappings(), 2 => hosts(), 3 => others()]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => objects().prop_map(Event::Put),
        2 => objects().prop_map(Event::Remove),
        3 => Just(Event::Compile),
    ];
    proptest::collection::vec(event, 1..40)
}

fn same(a: &Compilation, b: &Compilation) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        serde_json::to_value(&*a.snapshot).expect("json"),
        serde_json::to_value(&*b.snapshot).expect("json")
    );
    prop_assert_eq!(a.snapshot.root, b.snapshot.root);
    prop_assert_eq!(&a.diagnostics, &b.diagnostics);
    prop_assert_eq!(&a.status, &b.status);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn incremental_equals_full(events in events()) {
        let mut compiler = Compiler::new(Options::default());
        for event in events.into_iter().chain([Event::Compile]) {
            match event {
                Event::Put(object) => compiler.upsert(object),
                Event::Remove(object) => compiler.remove(&object.key()),
                Event::Compile => {
                    // Over the pair of current and last good versions, as they are before.
                    let full = compile(compiler.resources(), compiler.options());
                    let incremental = compiler.compile();
                    same(&incremental, &full)?;
                    prop_assert!(compiler.audit().is_ok());
                    let again = compiler.compile();
                    prop_assert_eq!(again.snapshot.id, incremental.snapshot.id);
                }
            }
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(
        objects in proptest::collection::vec(objects(), 1..12),
        seed in any::<u64>(),
    ) {
        let mut distinct: Vec<Object> = Vec::new();
        for object in objects {
            if distinct.iter().all(|other| other.key() != object.key()) {
                distinct.push(object);
            }
        }
        let mut shuffled = distinct.clone();
        // A poor man's shuffle, good enough to change neighbours.
        shuffled.sort_by_key(|object| {
            legate_config::Hash128::of_bytes(format!("{seed}{}", object.key()).as_bytes())
        });
        let mut one = Compiler::new(Options::default());
        for object in distinct {
            one.upsert(object);
        }
        let mut two = Compiler::new(Options::default());
        for (index, object) in shuffled.into_iter().enumerate() {
            two.upsert(object);
            if index % 3 == 0 {
                two.compile();
            }
        }
        let one = one.compile();
        let two = two.compile();
        same(&one, &two)?;
    }
}
