use legate_api::Object;
use legate_config::Effect;
use serde_json::{Value, json};

use super::{failure, find, only, row};
use crate::testing::{about, base, crd, listener, mapping, object, problems, with_base};
use crate::{Compiler, ObjectState, Options, Resources, compile};

fn with_id(id: &str, extra: Value) -> bool {
    let options = Options {
        ambassador_id: id.to_owned(),
        ..Options::default()
    };
    let automatic = json!({"ambassador_id": ["_automatic_"], "hostname": "*"});
    let mut front = listener();
    if let legate_api::Body::Listener(spec) = &mut front.body {
        spec.ambassador_id = vec!["_automatic_".to_owned()];
    }
    let resources: Resources = [front, crd("Host", "h", automatic), mapping("a", "/", extra)]
        .into_iter()
        .collect();
    let c = compile(&resources, &options);
    let taken = find(&c, "a").is_some();
    let skipped = c
        .diagnostics
        .iter()
        .any(|d| d.code.as_str() == "I-ID-SKIPPED");
    assert_ne!(taken, skipped, "{:?}", c.diagnostics);
    taken
}

#[test]
fn id_01_to_07_11_whose_objects_are_taken() {
    assert!(with_id("default", json!({})));
    assert!(!with_id("edge", json!({})));
    assert!(with_id("edge", json!({"ambassador_id": ["edge", "other"]})));
    assert!(with_id("default", json!({"ambassador_id": []})));
    assert!(with_id("edge", json!({"ambassador_id": ["_automatic_"]})));
    assert!(!with_id("edge", json!({"ambassador_id": ["Edge"]})));
}

#[test]
fn id_04_09_v2_strings() {
    for id in [json!("edge"), json!(["--apiVersion-v3alpha1-only--edge"])] {
        let v2 = object(json!({
            "apiVersion": "getambassador.io/v2", "kind": "Mapping", "metadata": {"name": "a"},
            "spec": {"prefix": "/", "service": "s", "ambassador_id": id},
        }));
        assert_eq!(v2.ids(), ["edge"]);
    }
}

#[test]
fn er_01_02_03_faults_stay_local() {
    let good = || mapping("g", "/g/", json!({}));
    let c = with_base([good(), mapping("x", "/x/(", json!({"prefix_regex": true}))]);
    assert!(find(&c, "x").is_none(), "what it matches is not known");
    assert!(find(&c, "g").is_some());
    assert_eq!(problems(&c), ["E-MAP-REGEX x spec.prefix"]);
    let fault = c
        .diagnostics
        .iter()
        .find(|d| d.code.as_str() == "E-MAP-REGEX");
    assert!(
        fault.is_some_and(|d| d.message.contains("at character 4")),
        "{fault:?}"
    );
    let c = with_base([
        good(),
        mapping("x", "/x/", json!({"outlier_detection": "…"})),
    ]);
    assert_eq!(problems(&c), ["W-IGNORED x spec.outlier_detection"]);
    assert_eq!(only(&c, "x").1.timeout_ms, 3000);
}

#[test]
fn what_the_schema_rejects_answers_500_where_the_match_is_known() {
    let c = with_base([mapping("x", "/x/", json!({"timeout_ms": "soon"}))]);
    assert_eq!(failure(&c, "x"), (500, "E-SCHEMA".into()));
    assert_eq!(problems(&c), ["E-SCHEMA x spec.timeout_ms"]);
    assert_eq!(c.diagnostics[0].effect, Effect::Answering(500));
    let c = with_base([mapping("x", "/x/", json!({"headers": 5}))]);
    assert!(find(&c, "x").is_none());
    let c = with_base([mapping("x", "/x/", json!({"prefix": null}))]);
    assert!(find(&c, "x").is_none());
    let c = with_base([mapping("x", "/x/", json!({"service": null}))]);
    assert_eq!(failure(&c, "x").0, 500);
}

fn compiler(objects: Vec<Object>) -> Compiler {
    let mut compiler = Compiler::new(Options::default());
    for object in base().into_iter().chain(objects) {
        compiler.upsert(object);
    }
    compiler
}

#[test]
fn er_06_the_last_good_version_keeps_serving() {
    let mut compiler = compiler(vec![mapping("g", "/g/", json!({}))]);
    let first = compiler.compile();
    let bad = || mapping("g", "/g/(", json!({"prefix_regex": true}));
    compiler.upsert(bad());
    let second = compiler.compile();
    assert_eq!(first.snapshot.root, second.snapshot.root);
    assert_eq!(about(&second, "g"), ["E-MAP-REGEX spec.prefix"]);
    assert_eq!(second.diagnostics[0].effect, Effect::ServingLastGood);
    let key = bad().key();
    assert_eq!(second.status[&key].state, ObjectState::Rejected);
    assert!(second.status[&key].serving_last_good);
    compiler.audit().expect("the same");
    // A second bad version still falls back to the good one; others change all the while.
    compiler.upsert(mapping("g", "/h/", json!({"service": "ftp://x"})));
    compiler.upsert(mapping("n", "/n/", json!({})));
    let third = compiler.compile();
    assert!(find(&third, "n").is_some());
    assert_eq!(row(&third, "g").matches, row(&first, "g").matches);
    // A good version ends it.
    compiler.upsert(mapping("g", "/h/", json!({})));
    let fourth = compiler.compile();
    assert_ne!(row(&fourth, "g").matches, row(&first, "g").matches);
    assert_eq!(about(&fourth, "g"), ["I-NOT-IN-FOLDER spec.service"]);
}

#[test]
fn a_broken_reference_does_not_bring_back_an_older_version() {
    let context = crd("TLSContext", "c", json!({"sni": "x.test"}));
    let key = context.key();
    let mut compiler = compiler(vec![context, mapping("g", "/g/", json!({}))]);
    compiler.compile();
    compiler.upsert(mapping("g", "/g/", json!({"tls": "c"})));
    compiler.compile();
    compiler.remove(&key);
    let c = compiler.compile();
    assert_eq!(failure(&c, "g"), (500, "E-TLS-CONTEXT".into()));
    compiler.audit().expect("the same");
}
