use serde_json::{Value, json};

use super::*;
use crate::core::SecretBody;
use crate::mapping::MappingSpec;

mod hostile;

fn object(value: Value) -> Object {
    match decode(value, "ns") {
        Decoded::Object(object) => object,
        other => panic!("{other:?}"),
    }
}

fn v3(kind: &str, spec: &Value) -> Object {
    object(json!({
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": kind,
        "metadata": {"name": "n"},
        "spec": spec,
    }))
}

fn found(object: &Object) -> Vec<(&str, &str)> {
    let issues = object.issues.iter();
    issues
        .map(|issue| (issue.code, issue.path.as_str()))
        .collect()
}

fn mapping_of(object: &Object) -> &MappingSpec {
    match &object.body {
        Body::Mapping(spec) => spec,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_mapping_is_read() {
    let object = v3(
        "Mapping",
        &json!({
            "ambassador_id": "edge", "prefix": "/a/", "service": "a:8080", "weight": 10,
            "add_request_headers": {"x-a": "v"}, "circuit_breakers": [{"priority": "high"}],
            "load_balancer": {"policy": "ring_hash", "cookie": {"name": "c"}},
            "labels": {"ambassador": [{"g": ["remote_address"]}]}, "rewrite": "",
        }),
    );
    assert_eq!(found(&object), []);
    assert_eq!(object.ids(), ["edge"]);
    assert_eq!(object.key().to_string(), "Mapping ns/n");
    assert_eq!(object.written_as, WrittenAs::V3Alpha1);
    let spec = mapping_of(&object);
    assert_eq!(spec.weight, Some(10));
    assert_eq!(spec.rewrite.as_deref(), Some(""));
    assert_eq!(spec.add_response_headers, None);
    let labels = spec.labels.as_ref().unwrap();
    let expected = crate::LabelSpecifier::RemoteAddress {
        key: Some("remote_address".to_owned()),
    };
    assert_eq!(labels["ambassador"][0]["g"], [expected]);
}

#[test]
fn unknown_fields_are_pruned_and_the_nearest_named() {
    let object = v3(
        "Mapping",
        &json!({"prefix": "/", "service": "s", "prefx": 1, "cors": {"orgins": []}}),
    );
    let expected = [
        ("W-UNKNOWN-FIELD", "spec.prefx"),
        ("W-UNKNOWN-FIELD", "spec.cors.orgins"),
    ];
    assert_eq!(found(&object), expected);
    assert!(!object.is_rejected());
    let help: Vec<_> = object
        .issues
        .iter()
        .map(|issue| issue.help.as_deref())
        .collect();
    assert_eq!(
        help,
        [
            Some("did you mean `prefix`?"),
            Some("did you mean `origins`?")
        ]
    );
}

#[test]
fn one_mistake_is_one_issue_and_the_rest_is_readable() {
    let good = json!({"prefix": "/a/", "service": "s"});
    for (name, value, path) in [
        ("service", json!(5), "spec.service"),
        ("weight", json!("ten"), "spec.weight"),
        ("weight", json!(1.5), "spec.weight"),
        ("weight", json!(u64::MAX), "spec.weight"),
        ("headers", json!({"a": 1}), "spec.headers.a"),
        ("headers", json!([]), "spec.headers"),
        ("grpc", json!("yes"), "spec.grpc"),
        ("allow_upgrade", json!("websocket"), "spec.allow_upgrade"),
        ("allow_upgrade", json!(["a", 1]), "spec.allow_upgrade[1]"),
        (
            "redirect_response_code",
            json!(300),
            "spec.redirect_response_code",
        ),
        ("load_balancer", json!({}), "spec.load_balancer.policy"),
        (
            "load_balancer",
            json!({"policy": "random"}),
            "spec.load_balancer.policy",
        ),
        ("health_checks", json!([]), "spec.health_checks"),
        (
            "v3health_checks",
            json!([{}]),
            "spec.v3health_checks[0].health_check",
        ),
        ("ambassador_id", json!(7), "spec.ambassador_id"),
        ("tls", json!(7), "spec.tls"),
        (
            "add_request_headers",
            json!({"x": 7}),
            "spec.add_request_headers.x",
        ),
    ] {
        let mut spec = good.clone();
        spec[name] = value;
        let object = v3("Mapping", &spec);
        assert_eq!(found(&object), [("E-SCHEMA", path)], "{name}");
        assert!(object.is_rejected());
        assert_eq!(mapping_of(&object).prefix, "/a/");
    }
    let object = v3("Mapping", &json!({"service": "s"}));
    assert_eq!(found(&object), [("E-SCHEMA", "spec.prefix")]);
    assert_eq!(mapping_of(&object).service, "s");
}

#[test]
fn null_is_absent_and_floats_without_fraction_are_integers() {
    let object = v3(
        "Mapping",
        &json!({"prefix": "/", "service": "s", "weight": 1e1, "rewrite": null, "cors": null}),
    );
    assert_eq!(found(&object), []);
    assert_eq!(mapping_of(&object).weight, Some(10));
    assert_eq!(mapping_of(&object).rewrite, None);
    let module = v3("Module", &json!({"config": {"a": [1e3, 0.5, 1e300]}}));
    let Body::Module(module) = module.body else {
        panic!();
    };
    assert_eq!(module.config["a"], json!([1000, 0.5, 1e300]));
}

#[test]
fn a_listener_is_checked() {
    let object = v3(
        "Listener",
        &json!({"port": 70000, "protocol": "HTTP2", "securityModel": "xfp"}),
    );
    let expected = [
        ("E-SCHEMA", "spec.port"),
        ("E-SCHEMA", "spec.protocol"),
        ("E-SCHEMA", "spec.securityModel"),
        ("E-SCHEMA", "spec.hostBinding"),
    ];
    assert_eq!(found(&object), expected);
    assert_eq!(object.issues[0].message, "70000 is not between 1 and 65535");
    assert_eq!(
        object.issues[1].help.as_deref(),
        Some("did you mean `HTTP`?")
    );
    assert_eq!(
        object.issues[2].help.as_deref(),
        Some("did you mean `XFP`?")
    );
}

#[test]
fn versions_and_groups() {
    let version = |api_version: &str, kind: &str| {
        decode(
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "n"}}),
            "ns",
        )
    };
    for (api_version, expected) in [
        ("getambassador.io/v1", WrittenAs::V1),
        ("ambassador/v1", WrittenAs::V1),
        ("getambassador.io/v2", WrittenAs::V2),
        ("ambassador/v2", WrittenAs::V2),
        ("getambassador.io/v3alpha1", WrittenAs::V3Alpha1),
    ] {
        let Decoded::Object(object) = version(api_version, "TLSContext") else {
            panic!("{api_version}");
        };
        assert_eq!(object.written_as, expected);
        assert_eq!(found(&object), []);
    }
    for (api_version, kind) in [
        ("getambassador.io/v0", "Mapping"),
        ("ambassador/v0", "Mapping"),
        ("getambassador.io/v2", "Listener"),
        ("getambassador.io/v1", "Host"),
    ] {
        let Decoded::Object(object) = version(api_version, kind) else {
            panic!("{api_version}");
        };
        assert!(found(&object).contains(&("E-SCHEMA", "apiVersion")));
    }
    for (api_version, kind) in [
        ("getambassador.io/v3alpha1", "Nonsense"),
        ("apps/v1", "Deployment"),
        ("networking.k8s.io/v1beta1", "Ingress"),
    ] {
        let expected = Decoded::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        };
        assert_eq!(version(api_version, kind), expected);
    }
    let Decoded::Object(portal) = version("getambassador.io/v2", "DevPortal") else {
        panic!();
    };
    assert_eq!(portal.kind(), Kind::DevPortal);
}

#[test]
fn the_version_may_come_from_elsewhere() {
    let value = json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": "n"}, "spec": {"prefix": "/", "service": "s"},
    });
    let Decoded::Object(object) = decode_written_as(value, "ns", Some(WrittenAs::V2)) else {
        panic!();
    };
    assert_eq!(mapping_of(&object).hostname.as_deref(), Some("*"));
    assert_eq!(object.written_as, WrittenAs::V2);
}

#[test]
fn metadata_of_an_api_server_is_nothing_to_report() {
    let object = object(json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "KubernetesEndpointResolver",
        "metadata": {
            "name": "n", "namespace": "other", "uid": "u", "resourceVersion": "5",
            "generation": 3, "creationTimestamp": "2025-01-01T00:00:00Z", "finalizers": [],
            "ownerReferences": [], "managedFields": [{}], "labels": {"a": "b"},
            "annotations": {"c": "d"},
        },
        "status": {"whatever": true},
    }));
    assert_eq!(found(&object), []);
    assert_eq!(object.meta.namespace, "other");
    assert_eq!(object.meta.generation, 3);
    assert_eq!(object.meta.labels["a"], "b");
}

#[test]
fn wrong_metadata_and_stray_fields_are_reported() {
    let value = object(json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "ConsulResolver", "sepc": {},
        "metadata": {"name": "n", "lables": {}, "labels": {"a": 1, "b": "c"}},
    }));
    let expected = [
        ("E-SCHEMA", "metadata.labels.a"),
        ("W-UNKNOWN-FIELD", "metadata.lables"),
        ("W-UNKNOWN-FIELD", "sepc"),
    ];
    assert_eq!(found(&value), expected);
    assert_eq!(value.meta.labels.len(), 1);
    for nameless in [
        json!({}),
        json!({"name": ""}),
        json!({"name": 5}),
        json!(null),
    ] {
        let value = json!({
            "apiVersion": "getambassador.io/v2", "kind": "Mapping", "metadata": nameless,
        });
        assert!(matches!(decode(value, "ns"), Decoded::NotAnObject { .. }));
    }
    for value in [json!(1), json!([]), json!({}), json!({"kind": "Mapping"})] {
        assert!(matches!(decode(value, "ns"), Decoded::NotAnObject { .. }));
    }
}

#[test]
fn core_kinds_are_read_leniently() {
    let secret = object(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": "aGVs\nbG8=\n", "bad": "***"}, "stringData": {"tls.key": "key"},
    }));
    assert_eq!(found(&secret), [("E-SCHEMA", "data.bad")]);
    let expected = SecretBody {
        type_: Some("kubernetes.io/tls".to_owned()),
        data: [
            ("tls.crt".to_owned(), b"hello".to_vec()),
            ("tls.key".to_owned(), b"key".to_vec()),
        ]
        .into(),
    };
    assert_eq!(secret.body, Body::Secret(expected));
    assert!(
        !format!("{secret:?}").contains("104"),
        "contents must not show"
    );
    let slice = object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4", "ports": [{"port": 80}, {"port": "x"}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}, 5],
    }));
    let Body::EndpointSlice(slice) = slice.body else {
        panic!();
    };
    assert_eq!(slice.service.as_deref(), Some("s"));
    assert_eq!(slice.ports[0].port, Some(80));
    assert!(!slice.endpoints[0].is_ready());
    let service = object(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"clusterIP": "None", "ports": [{"port": 80, "targetPort": "web"}, {}]},
    }));
    let Body::Service(service) = service.body else {
        panic!();
    };
    assert_eq!((service.cluster_ip, service.ports.len()), (None, 1));
}
