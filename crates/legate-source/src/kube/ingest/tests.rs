use serde_json::json;

use super::*;

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other}"),
    }
}

fn read(kind: Kind, value: Value) -> Incoming {
    Incoming::read(kind, fields(value)).unwrap()
}

fn mapping() -> Value {
    json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {
            "namespace": "x", "name": "a", "uid": "u1", "resourceVersion": "7", "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"l": "1"},
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "long",
                "getambassador.io/read": "yes",
            },
            "managedFields": [{
                "manager": "kubectl", "apiVersion": "getambassador.io/v2", "operation": "Update",
                "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {".": {}}},
            }],
        },
        "spec": {"prefix": "/a/", "service": "s", "ambassador_id": "edge"},
        "status": {"state": "Running"},
    })
}

#[test]
fn a_mapping() {
    let incoming = read(Kind::Mapping, mapping());
    let observed = incoming.observed.clone().unwrap();
    assert_eq!(observed.uid, "u1");
    assert_eq!(observed.resource_version, "7");
    assert_eq!(observed.generation, 2);
    assert_eq!(
        observed.status.as_deref(),
        Some(&json!({"state": "Running"}))
    );
    assert_eq!(incoming.key, observed.key);

    let object = incoming.object().unwrap();
    assert_eq!(object.written_as, WrittenAs::V2);
    assert_eq!(object.issues, []);
    assert_eq!(object.ids(), ["edge"]);
    assert_eq!(object.meta.uid.as_deref(), Some("u1"));
    let annotations: Vec<&String> = object.meta.annotations.keys().collect();
    assert_eq!(annotations, ["getambassador.io/read"]);
}

#[test]
fn what_is_kept_decodes_to_the_same() {
    for marked in [false, true] {
        let mut value = mapping();
        if marked {
            value["spec"]["ambassador_id"] = json!(["--apiVersion-v3alpha1-only--edge"]);
        }
        let object = read(Kind::Mapping, value).object().unwrap();
        let raw = object.raw.clone().unwrap();
        for gone in ["managedFields", "status", "last-applied"] {
            assert!(!raw.contains(gone), "{raw}");
        }
        let again = legate_api::decode(serde_json::from_str(&raw).unwrap(), "");
        let Decoded::Object(mut again) = again else {
            panic!("{again:?}");
        };
        again.raw = Some(raw);
        assert_eq!(again, object);
    }
}

#[test]
fn doubt_about_the_version_is_told() {
    let mut value = mapping();
    let owner = |version: &str| {
        json!({
            "apiVersion": format!("getambassador.io/{version}"), "time": "2026-01-01T00:00:00Z",
            "fieldsV1": {"f:spec": {"f:prefix": {}}},
        })
    };
    value["metadata"]["managedFields"] = json!([owner("v2"), owner("v3alpha1")]);
    let object = read(Kind::Mapping, value).object().unwrap();
    assert_eq!(object.written_as, WrittenAs::V3Alpha1);
    let codes: Vec<&str> = object.issues.iter().map(|issue| issue.code).collect();
    assert!(codes.contains(&"W-WRITTEN-AS"), "{codes:?}");
    assert!(!object.is_rejected());
}

/// What may differ without making the object look changed, and what may not.
#[test]
fn only_what_counts_changes_the_content() {
    type Edit = fn(&mut Value);
    let content = |edit: Edit| {
        let mut value = mapping();
        edit(&mut value);
        read(Kind::Mapping, value).content
    };
    let before = content(|_| {});
    let same: [Edit; 4] = [
        |v| v["status"] = json!({"state": "Failed"}),
        |v| v["metadata"]["resourceVersion"] = json!("8"),
        |v| v["metadata"]["annotations"]["unread"] = json!("x"),
        |v| v["metadata"]["managedFields"][0]["manager"] = json!("other"),
    ];
    for edit in same {
        assert_eq!(content(edit), before);
    }
    let changed: [Edit; 5] = [
        |v| v["spec"]["prefix"] = json!("/b/"),
        |v| v["metadata"]["labels"]["l"] = json!("2"),
        |v| v["metadata"]["annotations"]["getambassador.io/read"] = json!("no"),
        |v| v["metadata"]["generation"] = json!(3),
        |v| v["metadata"]["managedFields"] = json!([]),
    ];
    for (index, edit) in changed.into_iter().enumerate() {
        assert_ne!(content(edit), before, "{index}");
    }
}

#[test]
fn slices_are_reduced() {
    let slice = |label: &str, ready: bool| {
        json!({
            "metadata": {
                "namespace": "x", "name": "s-1", "uid": "u", "resourceVersion": "1",
                "labels": {"kubernetes.io/service-name": "s", "other": label},
                "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": label},
            },
            "addressType": "IPv4",
            "endpoints": [{
                "addresses": ["10.0.0.1"], "conditions": {"ready": ready},
                "targetRef": {"name": label},
            }],
            "ports": [{"name": "http", "port": 80}],
        })
    };
    let one = read(Kind::EndpointSlice, slice("1", true));
    assert_eq!(
        one.content,
        read(Kind::EndpointSlice, slice("2", true)).content
    );
    assert_ne!(
        one.content,
        read(Kind::EndpointSlice, slice("1", false)).content
    );
    assert_eq!(one.observed, None);
    let object = one.object().unwrap();
    assert!(object.meta.labels.is_empty() && object.meta.annotations.is_empty());
    let Body::EndpointSlice(body) = object.body else {
        panic!("{:?}", object.body);
    };
    assert_eq!(body.service.as_deref(), Some("s"));
}

#[test]
fn a_namespace_comes_as_metadata() {
    let incoming = read(
        Kind::Namespace,
        json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "x", "uid": "u", "labels": {"team": "a"}},
        }),
    );
    let object = incoming.object().unwrap();
    assert_eq!(
        object.meta.labels.get("team").map(String::as_str),
        Some("a")
    );
    assert_eq!(object.key().to_string(), "Namespace x");
}

#[test]
fn of_a_secret_the_data_counts() {
    let secret = |data: &str, label: &str| {
        read(
            Kind::Secret,
            json!({
                "metadata": {
                    "namespace": "x", "name": "tls", "uid": "u", "labels": {"l": label},
                    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": data},
                },
                "type": "kubernetes.io/tls", "data": {"tls.crt": data},
            }),
        )
    };
    let one = secret("cGxhbnRlZA==", "1");
    assert_eq!(one.content, secret("cGxhbnRlZA==", "2").content);
    assert_ne!(one.content, secret("b3RoZXI=", "1").content);
    let shown = format!("{one:?}");
    assert!(
        !shown.contains("planted") && !shown.contains("cGxh"),
        "{shown}"
    );
    let object = one.object().unwrap();
    assert!(object.meta.annotations.is_empty());
    assert!(!format!("{object:?}").contains("cGxh"));
}

#[test]
fn nonsense_is_left_out() {
    for value in [json!({}), json!({"metadata": {}}), json!({"metadata": "x"})] {
        assert!(Incoming::read(Kind::Mapping, fields(value.clone())).is_none());
        assert!(Incoming::read(Kind::Service, fields(value)).is_none());
    }
}
