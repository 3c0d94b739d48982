use std::collections::BTreeSet;

use legate_api::schema;
use serde_json::json;

use super::*;

fn entry(version: &str, time: &str, fields: Value) -> Value {
    json!({
        "manager": "m", "operation": "Update", "apiVersion": format!("getambassador.io/{version}"),
        "time": format!("2026-01-01T00:00:{time}Z"), "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": fields},
    })
}

fn mapping(spec: &Value, managed_fields: &Value) -> (WrittenAs, bool) {
    let verdict = written_as(Kind::Mapping, spec, managed_fields);
    (verdict.version, verdict.doubtful)
}

fn plain() -> Value {
    json!({"prefix": "/", "service": "s"})
}

#[test]
fn the_mark_wins_over_everything() {
    let owned = json!([entry("v2", "00", json!({".": {}, "f:prefix": {}}))]);
    for ids in [
        json!("--apiVersion-v3alpha1-only--edge"),
        json!(["--apiVersion-v3alpha1-only--edge"]),
    ] {
        let spec = json!({"prefix": "/", "service": "s", "ambassador_id": ids, "v3StatsName": "x"});
        assert_eq!(mapping(&spec, &owned), (WrittenAs::V3Alpha1, false));
    }
}

#[test]
fn telling_fields_win_over_owners() {
    let as_v2 = json!([entry("v2", "00", json!({".": {}}))]);
    let as_v3 = json!([entry("v3alpha1", "00", json!({".": {}}))]);
    let new = json!({"hostname": "a", "prefix": "/", "service": "s"});
    let old = json!({"v3StatsName": "a", "prefix": "/", "service": "s"});
    assert_eq!(mapping(&new, &as_v2), (WrittenAs::V3Alpha1, false));
    assert_eq!(mapping(&old, &as_v3), (WrittenAs::V2, false));
    let both = json!({"hostname": "a", "v3StatsName": "a", "prefix": "/", "service": "s"});
    assert_eq!(mapping(&both, &as_v2), (WrittenAs::V2, false));
    assert_eq!(mapping(&both, &as_v3), (WrittenAs::V3Alpha1, false));
    let null = json!({"hostname": null, "prefix": "/", "service": "s"});
    assert_eq!(mapping(&null, &as_v2), (WrittenAs::V2, false));
    let residue = json!({"add_request_headers": {"x": {"value": "", "v2Representation": "null"}}});
    assert_eq!(mapping(&residue, &as_v2), (WrittenAs::V3Alpha1, false));
}

#[test]
fn shapes_do_not_tell() {
    let spec = json!({"prefix": "/", "service": "s", "ambassador_id": "edge", "tls": true});
    let as_v3 = json!([entry("v3alpha1", "00", json!({".": {}}))]);
    assert_eq!(mapping(&spec, &as_v3), (WrittenAs::V3Alpha1, false));
}

#[test]
fn the_owner_of_the_spec_counts_not_who_edited_later() {
    for (created, edited, expected) in [
        ("v2", "v3alpha1", WrittenAs::V2),
        ("v3alpha1", "v2", WrittenAs::V3Alpha1),
        ("v1", "v2", WrittenAs::V1),
    ] {
        let owned = json!([
            entry(edited, "01", json!({"f:prefix": {}, "f:service": {}})),
            entry(created, "00", json!({".": {}})),
        ]);
        assert_eq!(mapping(&plain(), &owned), (expected, false));
    }
}

#[test]
fn applied_objects_go_by_the_oldest_owner_of_the_prefix() {
    let owned = json!([
        entry("v3alpha1", "09", json!({"f:prefix": {}})),
        entry("v2", "01", json!({"f:prefix": {}, "f:service": {}})),
        entry("v3alpha1", "00", json!({"f:service": {}})),
    ]);
    assert_eq!(mapping(&plain(), &owned), (WrittenAs::V2, false));
}

#[test]
fn owners_that_disagree() {
    let guess = (WrittenAs::V3Alpha1, true);
    for fields in [
        json!({".": {}}),
        json!({"f:prefix": {}}),
        json!({"f:service": {}}),
    ] {
        let owned = json!([
            entry("v2", "01", fields.clone()),
            entry("v3alpha1", "01", fields.clone()),
        ]);
        assert_eq!(mapping(&plain(), &owned), guess, "{fields}");
        let owned = json!([entry("v2", "01", fields.clone()), entry("v2", "02", fields)]);
        assert_eq!(mapping(&plain(), &owned), (WrittenAs::V2, false));
    }
}

#[test]
fn nobody_owns_anything() {
    let status = json!({
        "manager": "legate", "operation": "Apply", "apiVersion": "getambassador.io/v2",
        "subresource": "status", "fieldsV1": {"f:status": {}},
    });
    for owned in [
        json!(null),
        json!([]),
        json!([{}]),
        json!([status]),
        json!("x"),
    ] {
        assert_eq!(mapping(&plain(), &owned), (WrittenAs::V3Alpha1, false));
    }
}

#[test]
fn a_listener_has_one_version() {
    let owned = json!([entry("v2", "00", json!({".": {}}))]);
    let verdict = written_as(Kind::Listener, &json!({"port": 80}), &owned);
    assert_eq!(verdict.version, WrittenAs::V3Alpha1);
}

/// The paths of the fields of a JSON schema.
fn paths(schema: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    if let Some(Value::Object(fields)) = schema.get("properties") {
        for (name, field) in fields {
            let path = format!("{prefix}{name}");
            paths(field, &format!("{path}."), into);
            into.insert(path);
        }
    }
    if let Some(values) = schema.get("additionalProperties") {
        paths(values, &format!("{prefix}*."), into);
    }
}

/// Names that v2 had and v3alpha1 has not are exactly those of the table: the wide schema has them
/// and the strict one has not.
#[test]
fn the_table_agrees_with_the_schemas() {
    for kind in Kind::ALL
        .iter()
        .copied()
        .filter(|kind| kind.is_ambassador())
    {
        let (Some(strict), Some(wide)) = (schema::for_kind(kind), schema::wide_for_kind(kind))
        else {
            continue;
        };
        let (mut new, mut all) = (BTreeSet::new(), BTreeSet::new());
        paths(&strict, "", &mut new);
        paths(&wide, "", &mut all);
        let mut only_v2: BTreeSet<String> = all.difference(&new).cloned().collect();
        // Another name of ours for `idle_time`, in both versions.
        only_v2.remove("keepalive.time");
        let of = |version| -> BTreeSet<String> {
            TELLTALES
                .iter()
                .filter(|telltale| telltale.kind == kind && telltale.version == version)
                .map(|telltale| telltale.path.join("."))
                .collect()
        };
        assert_eq!(of(WrittenAs::V2), only_v2, "{kind}");
        for path in of(WrittenAs::V3Alpha1) {
            assert!(new.contains(&path), "{kind} has no {path}");
        }
    }
}
