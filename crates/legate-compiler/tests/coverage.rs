//! No field is silently ignored (design §4): for each leaf of each kind's schema, some value makes
//! the config differ, or some diagnostic names the field.
//!
//! There is no list of fields here. Leaves and the types of their values come from the schemas;
//! what a field needs beside it comes from a handful of base configurations.

mod coverage {
    pub(crate) mod bases;
    pub(crate) mod leaves;
}

use std::collections::BTreeSet;

use legate_api::{Decoded, Kind, Object, decode};
use legate_compiler::{Compilation, Diagnostic, MissingRefs, Options, Resources, compile};
use serde_json::Value;

use coverage::bases::{Base, bases};
use coverage::leaves::{Leaf, Surroundings, leaves};

#[test]
fn every_leaf_is_honoured_or_named() {
    let mut silent = BTreeSet::new();
    let mut count = 0;
    for kind in Kind::ALL.iter().copied() {
        let Some(schema) = legate_api::schema::for_kind(kind) else {
            continue;
        };
        let bases = bases(kind);
        assert!(!bases.is_empty(), "no base configuration for {kind}");
        for leaf in leaves(&schema) {
            count += 1;
            if !bases.iter().any(|base| is_heard(base, &leaf)) {
                silent.insert(format!("{kind} {}", leaf.path()));
            }
        }
    }
    assert!(
        count > 200,
        "only {count} leaves: the schemas were not walked"
    );
    let list: Vec<&str> = silent.iter().map(String::as_str).collect();
    assert!(
        silent.is_empty(),
        "{} of {count} leaves are silently ignored:\n{}",
        silent.len(),
        list.join("\n")
    );
}

/// Base configurations must be in order by themselves, or they prove nothing.
#[test]
fn the_base_configurations_are_clean() {
    for kind in Kind::ALL.iter().copied() {
        if legate_api::schema::for_kind(kind).is_none() {
            continue;
        }
        for base in bases(kind) {
            let out = run(&base.documents(None));
            let said: Vec<&Diagnostic> = out
                .diagnostics
                .iter()
                .filter(|diagnostic| {
                    let code = diagnostic.code.as_str();
                    code.starts_with("E-") && !code.ends_with("-UNSUPPORTED")
                })
                .collect();
            assert!(said.is_empty(), "{kind} {}: {said:#?}", base.name);
        }
    }
}

/// Whether some value at the leaf changes the config or is named by a diagnostic.
fn is_heard(base: &Base, leaf: &Leaf) -> bool {
    let alone = run(&base.documents(None));
    // Of a kind that is not honoured at all everything is named by one diagnostic.
    if alone.diagnostics.iter().any(|diagnostic| {
        base.is_about(diagnostic)
            && diagnostic.path == "spec"
            && diagnostic.code.as_str().ends_with("-UNSUPPORTED")
    }) {
        return true;
    }
    [Surroundings::Least, Surroundings::Full]
        .into_iter()
        .any(|surroundings| is_heard_among(base, &alone, leaf, surroundings))
}

fn is_heard_among(base: &Base, alone: &Compilation, leaf: &Leaf, around: Surroundings) -> bool {
    let without = run(&base.documents(Some(leaf.without(&base.spec, around))));
    leaf.candidates().into_iter().any(|value| {
        let documents = base.documents(Some(leaf.with(&base.spec, around, value)));
        // A value that the schema refuses says nothing about the compiler.
        if decoded(&documents).iter().any(Object::is_rejected) {
            return false;
        }
        let with = run(&documents);
        with.snapshot.root != without.snapshot.root
            || with
                .diagnostics
                .iter()
                .filter(|diagnostic| !alone.diagnostics.contains(diagnostic))
                .any(|diagnostic| base.is_about(diagnostic) && leaf.is_named(&diagnostic.path))
    })
}

fn decoded(documents: &[Value]) -> Vec<Object> {
    let objects: Vec<Object> = documents
        .iter()
        .filter_map(|document| match decode(document.clone(), "default") {
            Decoded::Object(object) => Some(object),
            _ => None,
        })
        .collect();
    assert_eq!(objects.len(), documents.len(), "a document is no object");
    objects
}

fn run(documents: &[Value]) -> Compilation {
    let resources: Resources = decoded(documents).into_iter().collect();
    let options = Options {
        missing: MissingRefs::Error,
        ..Options::default()
    };
    compile(&resources, &options)
}
