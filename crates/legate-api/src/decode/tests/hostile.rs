//! Decoding never panics, whatever it is given.

use serde_json::{Map, Value, json};

use super::*;

/// A small generator that gives the same values on each run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }

    fn value(&mut self, depth: usize, names: &[String]) -> Value {
        match self.next(if depth == 0 { 7 } else { 11 }) {
            0 => Value::Null,
            1 => Value::Bool(self.next(2) == 0),
            2 => json!(u64::MAX),
            3 => json!(-1),
            4 => json!([1e300, 1e3, -0.0, 0.5][self.next(4)]),
            5 => json!(["", "a", "*", "é\u{0}…", "true", "https://s://", ","][self.next(7)]),
            6 => json!(self.next(100)),
            7 | 8 => (0..self.next(4))
                .map(|_| self.value(depth - 1, names))
                .collect(),
            _ => {
                let mut object = Map::new();
                for _ in 0..self.next(6) {
                    let name = names[self.next(names.len())].clone();
                    object.insert(name, self.value(depth - 1, names));
                }
                Value::Object(object)
            }
        }
    }
}

/// All field names of a schema, so that the random objects hit the fields.
fn names(schema: &Value, into: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(fields)) = object.get("properties") {
                into.extend(fields.keys().cloned());
            }
            object.values().for_each(|inner| names(inner, into));
        }
        Value::Array(items) => items.iter().for_each(|inner| names(inner, into)),
        _ => {}
    }
}

#[test]
fn random_values_in_every_kind() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for kind in Kind::ALL {
        let mut known = vec!["data".to_owned(), "spec".to_owned(), "zzz".to_owned()];
        if let Some(schema) = schema::wide_for_kind(*kind) {
            names(&schema, &mut known);
        }
        for round in 0..400 {
            let mut document = match random.value(3, &known) {
                Value::Object(document) => document,
                _ => Map::new(),
            };
            let version = kind.api_versions()[round % kind.api_versions().len()];
            document.insert("apiVersion".to_owned(), json!(version));
            document.insert("kind".to_owned(), json!(kind.as_str()));
            document.insert("metadata".to_owned(), json!({"name": "n"}));
            document.insert("spec".to_owned(), random.value(5, &known));
            let object = object(Value::Object(document));
            assert_eq!(object.kind(), *kind);
            let strange = object
                .issues
                .iter()
                .find(|issue| issue.message.contains("cannot be read"));
            assert_eq!(strange, None, "schema and type of {kind} differ");
        }
    }
}

#[test]
fn random_documents() {
    let mut random = Random(42);
    let known: Vec<String> = ["apiVersion", "kind", "metadata", "name", "labels", "spec"]
        .map(str::to_owned)
        .into();
    for _ in 0..2000 {
        let _ = decode(random.value(4, &known), "");
    }
}

#[test]
fn deep_values_are_refused() {
    let mut deep = json!({});
    for _ in 0..300 {
        deep = json!({"a": [deep]});
    }
    let module = v3("Module", &json!({"config": deep.clone()}));
    assert_eq!(found(&module), [("E-SCHEMA", "spec.config")]);
    let mapping = v3(
        "Mapping",
        &json!({"prefix": "/", "service": "s", "labels": {"d": [{"g": [deep.clone()]}]}}),
    );
    assert_eq!(found(&mapping), [("E-SCHEMA", "spec.labels.d[0].g[0]")]);
    let ingress = object(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "n"}, "spec": deep,
    }));
    assert!(ingress.is_rejected());
}

#[test]
fn every_field_in_every_wrong_shape() {
    let wrong = [
        json!(null),
        json!(true),
        json!(1),
        json!(1.5),
        json!("x"),
        json!([]),
        json!([null]),
        json!({}),
        json!({"x": null}),
        json!({"x": []}),
        json!([{}]),
        json!([[[]]]),
    ];
    for kind in Kind::ALL.iter().filter(|kind| kind.is_ambassador()) {
        let Some(schema) = schema::wide_for_kind(*kind) else {
            continue;
        };
        let mut known = Vec::new();
        names(&schema, &mut known);
        known.sort();
        known.dedup();
        let mut values = wrong.iter().cycle();
        for name in &known {
            for value in &wrong {
                let _ = v3(kind.as_str(), &json!({name.as_str(): value}));
            }
            for outer in &known {
                let inner = json!({name.as_str(): values.next()});
                let _ = v3(kind.as_str(), &json!({outer.as_str(): inner}));
            }
        }
    }
}

/// Not a measurement: it only notices a decoder that has become slower by a factor.
#[test]
fn ten_thousand_mappings_take_no_time() {
    let value = json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": "n", "namespace": "a", "labels": {"x": "y"}},
        "spec": {"hostname": "a.test", "prefix": "/a/", "service": "s:80", "timeout_ms": 1000,
            "headers": {"x-a": "1"}, "add_request_headers": {"x-b": {"value": "2"}}},
    });
    let values = vec![value; 10_000];
    let start = std::time::Instant::now();
    let decoded: Vec<Decoded> = values
        .into_iter()
        .map(|value| decode(value, "ns"))
        .collect();
    let took = start.elapsed();
    assert_eq!(decoded.len(), 10_000);
    assert!(took.as_secs() < 5, "{took:?}");
}
