//! Golden tests of the compiler: `golden/<feature>/<case>.in.yaml` and `.out.yaml`.
//!
//! The input is complete and could be applied with kubectl; its first comment says what it proves.
//! The output is what `legate compile` prints. Each case is also compiled with its documents in
//! other orders: same bytes. `LEGATE_BLESS=1` writes the outputs; read them before you commit them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise; the helpers are not marked as tests"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use legate::compile::{document, yaml};
use legate_api::{Decoded, Object};
use legate_compiler::{Compilation, Compiler, Options};
use legate_config::Snapshot;
use legate_config::codec::{decode, encode};
use legate_source::folder::{FolderOptions, FolderSource};
use legate_testkit::{Authority, Pair};

/// Dates of certificates must not make a case fail one day.
const NOW: i64 = 1_790_000_000;

fn options() -> Options {
    Options {
        now: Some(NOW),
        ..Options::default()
    }
}

fn cases() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    for feature in std::fs::read_dir(root).unwrap() {
        let feature = feature.unwrap().path();
        if feature.is_dir() {
            for case in std::fs::read_dir(feature).unwrap() {
                found.push(case.unwrap().path());
            }
        }
    }
    found.sort();
    found
}

fn compile(objects: impl IntoIterator<Item = Object>) -> Compilation {
    let mut compiler = Compiler::new(options());
    for object in objects {
        compiler.upsert(object);
    }
    compiler.compile()
}

/// The case's output, and its objects for the shuffles.
fn output(input: &Path) -> (String, Vec<Object>) {
    let (source, update) = FolderSource::load(&[input.to_owned()], FolderOptions::default());
    let compilation = compile(update.upserts.iter().cloned());
    let mut items = legate::input::merged(&source, update.diagnostics, &compilation.diagnostics);
    for item in &mut items {
        let related = item
            .related
            .iter_mut()
            .filter_map(|related| related.location.as_mut());
        for location in item.location.iter_mut().chain(related) {
            location.file = input.file_name().unwrap().to_string_lossy().into_owned();
        }
    }
    (yaml(&document(&compilation, &items)), update.upserts)
}

#[test]
fn every_case() {
    let bless = std::env::var_os("LEGATE_BLESS").is_some();
    let only = std::env::var("LEGATE_CASE").ok();
    let mut wrong = Vec::new();
    let mut count = 0;
    for input in cases() {
        let name = input.to_string_lossy().into_owned();
        if !name.ends_with(".in.yaml") || only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        count += 1;
        let expected_path = PathBuf::from(name.replace(".in.yaml", ".out.yaml"));
        let (actual, objects) = output(&input);
        if bless {
            std::fs::write(&expected_path, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if actual != expected {
            wrong.push(format!("{name}:\n{}", first_difference(&expected, &actual)));
        }
        shuffled(&name, objects);
    }
    assert!(
        wrong.is_empty(),
        "LEGATE_BLESS=1 rewrites them:\n{}",
        wrong.join("\n")
    );
    assert!(count > 0 || only.is_some(), "no cases");
}

/// The first line that differs, with its number and what stands before it.
fn first_difference(expected: &str, actual: &str) -> String {
    let mut before = "";
    let mut expected = expected.lines();
    for (index, line) in actual.lines().enumerate() {
        let wanted = expected.next();
        if wanted != Some(line) {
            return format!(
                "line {}\n  {before}\n- {}\n+ {line}",
                index + 1,
                wanted.unwrap_or("(end)")
            );
        }
        before = line;
    }
    format!("- {}\n+ (end)", expected.next().unwrap_or("(end)"))
}

/// The same objects in other orders give the same snapshot and the same diagnostics.
fn shuffled(name: &str, objects: Vec<Object>) {
    let first = compile(objects.iter().cloned());
    let mut order = objects;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..4 {
        for index in (1..order.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let other = usize::try_from(seed >> 33).unwrap() % (index + 1);
            order.swap(index, other);
        }
        let again = compile(order.iter().cloned());
        assert_eq!(
            first.snapshot.root, again.snapshot.root,
            "{name}: root depends on order"
        );
        assert_eq!(
            first.diagnostics, again.diagnostics,
            "{name}: diagnostics depend on order"
        );
    }
}

/// What every case compiles to comes back from its encoded form with the same hashes.
#[test]
fn every_case_survives_the_codec() {
    let mut count = 0;
    for input in cases() {
        if input.to_string_lossy().ends_with(".in.yaml") {
            let (_, update) = FolderSource::load(&[input], FolderOptions::default());
            survives(&compile(update.upserts).snapshot);
            count += 1;
        }
    }
    assert!(count > 0, "no cases");
}

/// So do keys, authorities and revocation lists, which no golden case has.
#[test]
fn secrets_survive_the_codec() {
    let authority = Authority::new("clients");
    let client = authority.issue(&["client.test"]);
    let server = Pair::self_signed(&["a.test", "*.b.test"]);
    let list = legate_testkit::certs::indent(&authority.revoke(&[7]));
    let manifests = [
        server.secret("default", "server"),
        client.secret("default", "client"),
        authority.secret("default", "ca"),
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: crl}}\ntype: Opaque\nstringData:\n  crl.pem: |\n{list}"
        ),
        "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {name: l}\nspec: {port: 8443, protocol: HTTPS, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}".into(),
        "apiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: h}\nspec: {hostname: a.test, tlsSecret: {name: server}, tls: {ca_secret: ca, cert_required: true, crl_secret: crl}}".into(),
        "apiVersion: getambassador.io/v3alpha1\nkind: TLSContext\nmetadata: {name: up}\nspec: {hosts: [], secret: client, ca_secret: ca}".into(),
        "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: m}\nspec: {hostname: a.test, prefix: /, service: \"https://s\", tls: up}".into(),
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.yaml"), manifests.join("\n---\n")).unwrap();
    let paths = [folder.path().to_owned()];
    let (_, update) = FolderSource::load(&paths, FolderOptions::default());
    let snapshot = compile(update.upserts).snapshot;
    assert_eq!(
        (
            snapshot.certificates.len(),
            snapshot.ca_bundles.len(),
            snapshot.revocation_lists.len()
        ),
        (2, 1, 1)
    );
    survives(&snapshot);
    let dump = serde_json::to_string(&snapshot).unwrap();
    let encoded = String::from_utf8(encode(&snapshot).unwrap()).unwrap();
    for (_, certificate) in snapshot.certificates.iter() {
        let mut hex = String::new();
        for byte in certificate.value.key.der() {
            write!(hex, "{byte:02x}").unwrap();
        }
        assert!(encoded.contains(&hex));
        assert!(!dump.contains(&hex));
    }
}

fn survives(snapshot: &Snapshot) {
    let decoded = decode(&encode(snapshot).unwrap()).unwrap();
    assert_eq!((decoded.id, decoded.root), (snapshot.id, snapshot.root));
    assert_eq!(
        serde_json::to_string(&decoded).unwrap(),
        serde_json::to_string(snapshot).unwrap()
    );
    macro_rules! same {
        ($($table:ident),*) => {$(
            for ((_, a), (key, b)) in snapshot.$table.iter().zip(decoded.$table.iter()) {
                assert_eq!(a.value, b.value, "{key}");
                assert_eq!((a.hash, &a.origins), (b.hash, &b.origins), "{key}");
            }
        )*};
    }
    same!(
        listeners,
        chains,
        virtual_hosts,
        route_sets,
        routes,
        policies,
        clusters,
        endpoint_sets,
        certificates,
        ca_bundles,
        revocation_lists
    );
}

#[test]
fn no_orphans() {
    let names: BTreeSet<String> = cases()
        .iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    for name in &names {
        let partner = match name.strip_suffix(".out.yaml") {
            Some(stem) => format!("{stem}.in.yaml"),
            None => name.replace(".in.yaml", ".out.yaml"),
        };
        assert!(names.contains(&partner), "{name} has no partner {partner}");
    }
}

/// Every example compiles without an error: what the folder lacks is only noted.
#[test]
fn examples_compile_without_errors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for example in std::fs::read_dir(root).unwrap() {
        let path = example.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let (source, update) =
            FolderSource::load(std::slice::from_ref(&path), FolderOptions::default());
        let compilation = compile(update.upserts);
        let items = legate::input::merged(&source, update.diagnostics, &compilation.diagnostics);
        let bad: Vec<_> = items
            .iter()
            .filter(|item| !item.code.as_str().starts_with('I'))
            .collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", path.display());
    }
}

/// What a user might feed by accident: nothing panics.
#[test]
fn hostile_documents_do_not_panic() {
    for value in [
        serde_json::json!(null),
        serde_json::json!([]),
        serde_json::json!({"apiVersion": 1, "kind": {}}),
        serde_json::json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping"}),
        serde_json::json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping", "metadata": {"name": "m"}, "spec": []}),
        serde_json::json!({"apiVersion": "getambassador.io/v3alpha1", "kind": "Module", "metadata": {"name": "ambassador"}, "spec": {"config": []}}),
    ] {
        if let Decoded::Object(object) = legate_api::decode(value, "default") {
            let _ = compile([object]);
        }
    }
}
