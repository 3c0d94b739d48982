use super::*;

const DOCUMENT: &str = "\
# a comment
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata:
  name: quote
  labels:
    app.kubernetes.io/name: quote
spec:
  hosts: [a.example.com, 'b.example.com']
  prefix: \"/quote/\"
  headers:
    x-ä.b: änd
    x-a: true
  empty:
  text: |
    one
    two
  deep:
  - name: first
    value: 1
  - name: second
  base: &base
    weight: 10
  shared: *base
  merged:
    <<: *base
    other: 1
  ambassador_id: team
";

fn marked(text: &str, items: &[usize], path: &str, side: Side) -> (u32, String) {
    let place = locate(text, items, path, side);
    let line = text.lines().nth(place.line as usize - 1).unwrap();
    let start = place.column as usize - 1;
    let marked = line.chars().skip(start).take(place.length as usize);
    (place.line, marked.collect())
}

#[test]
fn fields_are_found() {
    let cases: &[(&str, Side, u32, &str)] = &[
        ("", Side::Value, 3, "kind: Mapping"),
        ("kind", Side::Value, 3, "Mapping"),
        ("metadata.name", Side::Value, 5, "quote"),
        (
            "metadata.labels.app.kubernetes.io/name",
            Side::Value,
            7,
            "quote",
        ),
        (
            "spec.hosts",
            Side::Value,
            9,
            "[a.example.com, 'b.example.com']",
        ),
        ("spec.hosts[1]", Side::Value, 9, "'b.example.com'"),
        ("spec.hosts[2]", Side::Value, 3, "kind: Mapping"),
        ("spec.prefix", Side::Value, 10, "\"/quote/\""),
        ("spec.prefix", Side::Key, 10, "prefix"),
        ("spec.headers", Side::Value, 11, "headers"),
        ("spec.headers.x-ä.b", Side::Value, 12, "änd"),
        ("spec.headers.x-a", Side::Value, 13, "true"),
        ("spec.headers.x-a.value", Side::Value, 13, "true"),
        ("spec.empty", Side::Value, 14, "empty"),
        ("spec.text", Side::Value, 16, "one"),
        ("spec.deep[0].value", Side::Value, 20, "1"),
        ("spec.deep[1]", Side::Value, 21, "name: second"),
        ("spec.deep[1].value", Side::Value, 3, "kind: Mapping"),
        ("spec.shared", Side::Value, 24, "*base"),
        ("spec.shared.weight", Side::Value, 23, "10"),
        ("spec.merged.weight", Side::Value, 23, "10"),
        ("spec.ambassador_id[0]", Side::Value, 28, "team"),
        ("spec.missing", Side::Value, 3, "kind: Mapping"),
        ("spec.missing[", Side::Value, 3, "kind: Mapping"),
    ];
    for (path, side, line, text) in cases {
        let found = marked(DOCUMENT, &[], path, *side);
        assert_eq!(found, (*line, (*text).to_owned()), "{path}");
    }
}

#[test]
fn list_items_are_found() {
    let text = "\
kind: List
items:
- kind: Mapping
  spec: {prefix: /a/}
- kind: List
  items:
  - spec: {prefix: /b/}
    kind: Host
";
    assert_eq!(
        marked(text, &[0], "spec.prefix", Side::Value),
        (4, "/a/".into())
    );
    assert_eq!(
        marked(text, &[1, 0], "spec.prefix", Side::Value),
        (7, "/b/".into())
    );
    assert_eq!(
        marked(text, &[1, 0], "spec.x", Side::Value),
        (8, "kind: Host".into())
    );
    assert_eq!(
        marked(text, &[7], "spec.x", Side::Value),
        (1, "kind: List".into())
    );
}

#[test]
fn json_and_what_is_no_document_have_places_too() {
    let text = "{\n  \"kind\": \"Mapping\",\n  \"spec\": {\"a.b\": [1,\n    22]}}";
    assert_eq!(
        marked(text, &[], "spec.a.b[1]", Side::Value),
        (4, "22".into())
    );
    assert_eq!(
        marked(text, &[], "spec.x", Side::Value),
        (2, "\"kind\": \"Mapping\"".into())
    );
    assert_eq!(
        marked("\n# x\n  just text\n", &[], "spec", Side::Value),
        (3, "just text".into())
    );
    assert_eq!(locate("", &[], "spec", Side::Value).line, 1);
    assert_eq!(marked("a: [\n", &[], "a", Side::Value), (1, "a: [".into()));
}

#[test]
fn circles_end() {
    for text in [
        "a: &x {<<: *x}",
        "a: &x {\"\": *x}",
        "&x a: [*x]",
        "a: &x [[*x]]",
        "&x {<<: [*x, *x], b: *x}",
    ] {
        for path in ["a.b", "a[0][0][0]", "[0]", "b.b.b.c", "a[0][0][0][0][0][0]"] {
            assert_eq!(locate(text, &[], path, Side::Value).line, 1);
        }
    }
}
