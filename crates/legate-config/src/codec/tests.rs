mod limits;
mod sample;

use super::*;
use crate::table::Table;
use sample::everything;

fn encoded(snapshot: &Snapshot) -> String {
    String::from_utf8(encode(snapshot).unwrap()).unwrap()
}

fn same<K: Ord + fmt::Debug, T: PartialEq + fmt::Debug>(a: &Table<K, T>, b: &Table<K, T>) {
    assert!(!a.is_empty());
    assert_eq!(a.len(), b.len());
    for ((a_key, a), (b_key, b)) in a.iter().zip(b.iter()) {
        assert_eq!((a_key, &a.value), (b_key, &b.value));
        assert_eq!((a.hash, &a.origins), (b.hash, &b.origins), "{a_key:?}");
    }
}

#[test]
fn everything_comes_back() {
    let (before, after) = {
        let snapshot = everything();
        let after = decode(encoded(&snapshot).as_bytes()).unwrap();
        (snapshot, after)
    };
    assert_eq!((before.id, before.root), (after.id, after.root));
    assert_eq!(
        serde_json::to_string(&before).unwrap(),
        serde_json::to_string(&after).unwrap()
    );
    same(&before.listeners, &after.listeners);
    same(&before.chains, &after.chains);
    same(&before.virtual_hosts, &after.virtual_hosts);
    same(&before.route_sets, &after.route_sets);
    same(&before.routes, &after.routes);
    same(&before.policies, &after.policies);
    same(&before.clusters, &after.clusters);
    same(&before.endpoint_sets, &after.endpoint_sets);
    // Keys are compared with their bytes.
    same(&before.certificates, &after.certificates);
    same(&before.ca_bundles, &after.ca_bundles);
    same(&before.revocation_lists, &after.revocation_lists);
    same(&before.limits, &after.limits);
    same(&before.credentials, &after.credentials);
}

#[test]
fn an_empty_config_comes_back() {
    let mut empty = Snapshot::default();
    // Nothing could read back what names a root that is not its own.
    assert!(matches!(encode(&empty), Err(EncodeError::Root)));
    empty.root = empty.compute_root();
    assert_eq!(decode(&encode(&empty).unwrap()).unwrap().root, empty.root);
}

#[test]
fn keys_are_written_here_and_nowhere_else() {
    let snapshot = everything();
    assert!(encoded(&snapshot).contains("deadbeef"));
    let shown = format!("{snapshot:?} {}", serde_json::to_string(&snapshot).unwrap());
    assert!(shown.contains("<redacted "));
    // In no form: digits, base64, a list of numbers.
    for key in ["deadbeef", "3q2+7w", "222, 173", "222,173", "-password"] {
        assert!(!shown.contains(key), "{key}");
    }
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    let text = encoded(&everything());
    let (head, tables) = text.split_once('\n').unwrap();
    let mut value: serde_json::Value = serde_json::from_str(tables).unwrap();
    let mut objects = 0;
    add_everywhere(&mut value.clone(), &mut objects, usize::MAX);
    let mut refused = 0;
    for at in 0..objects {
        let mut changed = value.clone();
        let mut count = 0;
        add_everywhere(&mut changed, &mut count, at);
        let text = format!("{head}\n{changed}");
        assert!(decode(text.as_bytes()).is_err(), "{changed}");
        refused += 1;
    }
    assert!(refused > 200, "{refused}");
    // The text is fine without them, in whatever order.
    value.sort_all_objects();
    assert!(decode(format!("{head}\n{value}").as_bytes()).is_ok());
}

/// Adds an unknown field to the object with this number.
fn add_everywhere(value: &mut serde_json::Value, count: &mut usize, at: usize) {
    match value {
        serde_json::Value::Object(members) => {
            for member in members.values_mut() {
                add_everywhere(member, count, at);
            }
            if *count == at {
                members.insert("from_the_future".into(), serde_json::json!(1));
            }
            *count += 1;
        }
        serde_json::Value::Array(items) => {
            for item in items {
                add_everywhere(item, count, at);
            }
        }
        _ => {}
    }
}

#[test]
fn other_schemas_are_refused_before_their_content_is_read() {
    let text = encoded(&everything());
    let written = r#""schema":{"major":1,"minor":1}"#;
    assert!(text.contains(written), "{}", &text[..80]);
    for (major, minor) in [(1, 2), (2, 0), (0, 9)] {
        let schema = format!(r#""more":[],"schema":{{"major":{major},"minor":{minor}}}"#);
        let head = text.replace(written, &schema);
        let (head, _) = head.split_once('\n').unwrap();
        assert_eq!(
            decode(format!("{head}\n{{\"new\":1}}").as_bytes()).unwrap_err(),
            DecodeError::Schema(Schema { major, minor })
        );
    }
}

/// What no addition of 1.1 is used in has the same text and root in 1.0.
#[test]
fn a_config_of_the_former_schema_is_read() {
    let mut before = everything();
    before.limits = crate::Table::default();
    before.credentials = crate::Table::default();
    before.root = before.compute_root();
    let text = encoded(&before);
    let former = text.replacen(r#""minor":1"#, r#""minor":0"#, 1);
    assert_eq!(decode(former.as_bytes()).unwrap().root, before.root);
}

#[test]
fn older_minor_versions_are_read() {
    let schema = |major, minor| Schema { major, minor };
    assert!(schema(2, 3).reads(schema(2, 3)));
    assert!(schema(2, 3).reads(schema(2, 0)));
    for newer in [schema(2, 4), schema(3, 0), schema(1, 3)] {
        assert!(!schema(2, 3).reads(newer), "{newer}");
    }
}

#[test]
fn other_content_than_the_root_says_is_refused() {
    let text = encoded(&everything());
    for (from, to) in [
        ("\"0102\"", "\"0103\""),
        ("\"port\":8443", "\"port\":8444"),
        ("\"key-1\":", "\"key-9\":"),
        ("\"x-r\"", "\"x-s\""),
    ] {
        assert!(text.contains(from), "{from}");
        let error = decode(text.replace(from, to).as_bytes()).unwrap_err();
        assert!(matches!(error, DecodeError::Root { .. }), "{from}: {error}");
    }
}

#[test]
fn broken_texts_are_errors_that_do_not_quote_them() {
    let text = encoded(&everything());
    for end in (0..text.len()).step_by(97) {
        assert!(decode(&text.as_bytes()[..end]).is_err(), "{end}");
    }
    for broken in [
        format!("{text}x"),
        text.replace("{\"form\":\"pkcs8\"", "{\"form\":\"deadbeef\""),
        text.replace("\"der\":\"deadbeef\"", "\"der\":\"deadbeefg\""),
        text.replace("\"der\":\"deadbeef\"", "\"der\":[\"deadbeef\"]"),
        text.replace("\"names\":[", "\"names\":\"deadbeef\",\"x\":["),
    ] {
        assert_ne!(broken, text);
        let error = decode(broken.as_bytes()).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("deadbeef"));
    }
}
