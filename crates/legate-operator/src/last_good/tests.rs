use legate_api::{Decoded, Kind, WrittenAs, decode_written_as};
use serde_json::{Value, json};

use super::codec::{CAPACITY, Entries, Entry, decode, encode};
use super::*;

fn mapping(name: &str, prefix: &str) -> Value {
    json!({
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": "Mapping",
        "metadata": {"name": name, "namespace": "apps", "uid": "u1", "resourceVersion": "9", "generation": 2},
        "spec": {"hostname": "*", "prefix": prefix, "service": "web"},
    })
}

fn object(value: &Value, written_as: WrittenAs) -> Arc<Object> {
    let Decoded::Object(mut object) = decode_written_as(value.clone(), "default", Some(written_as))
    else {
        panic!("no object: {value}");
    };
    object.raw = Some(Arc::from(value.to_string()));
    Arc::new(object)
}

fn entries(objects: impl IntoIterator<Item = (Arc<Object>, i64)>) -> Entries {
    objects
        .into_iter()
        .map(|(object, since)| (object.key(), Entry { object, since }))
        .collect()
}

#[test]
fn what_was_kept_comes_back_with_its_own_meaning() {
    let mut old = mapping("old", "/old/");
    old["apiVersion"] = json!("getambassador.io/v2");
    old["spec"] = json!({"prefix": "/old/", "service": "web", "ambassador_id": "edge"});
    let kept = entries([
        (object(&mapping("new", "/new/"), WrittenAs::V3Alpha1), 20),
        (object(&old, WrittenAs::V2), 10),
    ]);
    let (text, left_out) = encode(&kept, CAPACITY);
    assert!(left_out.is_empty());
    let (back, diagnostics) = decode(text.as_bytes());
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    assert_eq!(back, kept);
    assert_eq!(encode(&back, CAPACITY).0, text, "and again the same bytes");
}

#[test]
fn a_v2_object_that_was_read_as_v3_stays_v2() {
    // As an API server hands it on: the body is v2's, the version the one that was asked for.
    let mut value = mapping("mixed", "/");
    value["spec"] = json!({"prefix": "/", "service": "web"});
    let kept = entries([(object(&value, WrittenAs::V2), 1)]);
    let (back, _) = decode(encode(&kept, CAPACITY).0.as_bytes());
    let entry = back.values().next().unwrap();
    assert_eq!(entry.object.written_as, WrittenAs::V2);
    assert_eq!(back, kept);
}

#[test]
fn line_breaks_in_an_object_do_not_break_the_lines() {
    let value = mapping("pretty", "/a\nb/");
    let Decoded::Object(mut pretty) = decode_written_as(value.clone(), "default", None) else {
        panic!("no object");
    };
    pretty.raw = Some(Arc::from(serde_json::to_string_pretty(&value).unwrap()));
    let kept = entries([(Arc::new(pretty), 1)]);
    let (text, _) = encode(&kept, CAPACITY);
    assert_eq!(text.lines().count(), 1);
    let (back, diagnostics) = decode(text.as_bytes());
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let (before, after) = (kept.values().next().unwrap(), back.values().next().unwrap());
    assert_eq!(after.object.body, before.object.body);
}

#[test]
fn garbage_costs_only_itself() {
    let kept = entries([
        (object(&mapping("a", "/a/"), WrittenAs::V3Alpha1), 1),
        (object(&mapping("b", "/b/"), WrittenAs::V3Alpha1), 2),
    ]);
    let (text, _) = encode(&kept, CAPACITY);
    let (first, second) = text.split_once('\n').unwrap();
    let planted = "s3cr3t-value";
    let secret = json!({"since": 1, "writtenAs": "v3alpha1", "object": {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "data": {"password": planted}}});
    let rejected = json!({"since": 1, "writtenAs": "v3alpha1", "object": {
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": "r"}, "spec": {"prefix": 7}}});
    let unknown = json!({"since": 1, "writtenAs": "v9", "object": mapping("c", "/")});
    let mut bytes =
        format!("{first}\n{secret}\n{rejected}\n{unknown}\nno json {planted}\n\n").into_bytes();
    bytes.extend([0xff, 0xfe, b'\n']);
    bytes.extend(second.as_bytes());
    let (back, diagnostics) = decode(&bytes);
    assert_eq!(back, kept);
    assert_eq!(diagnostics.len(), 5, "{diagnostics:#?}");
    for diagnostic in &diagnostics {
        assert_eq!(diagnostic.code.as_str(), "W-LAST-GOOD");
        assert!(!diagnostic.message.contains(planted));
    }
    assert!(decode(&[0; 1000]).0.is_empty());
}

#[test]
fn nothing_else_is_kept() {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "s", "namespace": "n"}, "data": {"password": "czNjcjN0"},
    });
    let file = Arc::new(Object {
        raw: None,
        ..(*object(&mapping("file", "/"), WrittenAs::V3Alpha1)).clone()
    });
    let kept = entries([(object(&secret, WrittenAs::V3Alpha1), 1), (file, 1)]);
    assert!(kept.keys().any(|key| key.kind == Kind::Secret));
    assert_eq!(encode(&kept, CAPACITY).0, "");
}

#[test]
fn the_oldest_go_first_when_it_is_full() {
    let filler = "x".repeat(100 * 1024);
    let kept = entries((0..10).map(|i| {
        let mut value = mapping(&format!("m{i}"), "/");
        value["metadata"]["annotations"] = json!({"filler": filler});
        // m3 is the oldest, then m4 …
        (object(&value, WrittenAs::V3Alpha1), (i64::from(i) + 7) % 10)
    }));
    let (text, left_out) = encode(&kept, CAPACITY);
    assert!(text.len() <= CAPACITY);
    let (back, _) = decode(text.as_bytes());
    let names: Vec<&str> = left_out
        .iter()
        .filter_map(|diagnostic| Some(diagnostic.object.as_ref()?.name.as_str()))
        .collect();
    assert_eq!(names, ["m3", "m4"]);
    assert!(
        left_out
            .iter()
            .all(|d| d.code.as_str() == "W-LAST-GOOD-FULL")
    );
    assert_eq!(back.len(), 8);
    assert!(!back.keys().any(|key| key.name == "m3"));
}
