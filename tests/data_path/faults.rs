//! ER: faults stay local (spec/routing §8). Base as MA with a good Mapping g{/g/}, which always
//! keeps working; and edits, broken and mended files under load.

use legate_testkit::Pair;

use crate::harness::{Case, Gate, base, empty, manifest, short};

fn with_g() -> Case {
    base().map("g", "prefix: /g/")
}

#[tokio::test]
async fn er_01() {
    let gate = with_g()
        .map("x", "prefix: \"/x/(\"\nprefix_regex: true")
        .check(&[("/g/", "g:/"), ("/x/", "404")])
        .await;
    gate.diagnoses(&["E-MAP-REGEX"]);
}

#[tokio::test]
async fn er_02() {
    let gate = with_g()
        .map("x", "prefix: /x/\noutlier_detection: anything")
        .check(&[("/g/", "g:/"), ("/x/", "x:/")])
        .await;
    gate.diagnoses(&["W-IGNORED"]);
}

#[tokio::test]
async fn er_04() {
    let gate = with_g()
        .listener("late", 8080, "protocol: HTTP\nsecurityModel: XFP")
        .check(&[("/g/", "g:/")])
        .await;
    gate.diagnoses(&["E-LISTENER-DUPLICATE"]);
}

#[tokio::test]
async fn er_05() {
    let gate = empty()
        .l8080()
        .host("h", "hostname: a.test\ntlsSecret: {name: missing}")
        .map("g", "prefix: /g/")
        .check(&[
            ("/g/ host=a.test", "301 https://a.test/g/"),
            ("/g/ host=b.test", "404"),
        ])
        .await;
    gate.diagnoses(&["E-SECRET-MISSING"]);
}

/// Waits until the gateway runs something compiled after `change`.
async fn after(gate: &Gate, change: impl FnOnce()) {
    let mut changes = gate.running.changes();
    changes.mark_unchanged();
    change();
    tokio::time::timeout(std::time::Duration::from_secs(20), changes.changed())
        .await
        .expect("a new config within 20 s")
        .unwrap();
}

fn write(gate: &Gate, name: &str, text: &str) {
    let partial = gate.folder.path().join(".partial");
    std::fs::write(&partial, text).unwrap();
    std::fs::rename(partial, gate.folder.path().join(name)).unwrap();
}

#[tokio::test]
async fn er_06() {
    let gate = with_g().backend("default", "o").start().await;
    let mapping = |prefix: &str, regex: bool| {
        manifest(
            "Mapping",
            "default",
            "o",
            &format!("hostname: \"*\"\nprefix: \"{prefix}\"\nprefix_regex: {regex}\nservice: o"),
        )
    };
    after(&gate, || write(&gate, "o.yaml", &mapping("/o/", false))).await;
    gate.rows(8080, &[("/o/", "o:/"), ("/g/", "g:/")]).await;
    after(&gate, || write(&gate, "o.yaml", &mapping("/o/(", true))).await;
    gate.rows(8080, &[("/o/", "o:/"), ("/g/", "g:/")]).await;
    gate.diagnoses(&["E-MAP-REGEX"]);
    after(&gate, || write(&gate, "o.yaml", &mapping("/p/", false))).await;
    gate.rows(8080, &[("/p/", "o:/"), ("/o/", "404"), ("/g/", "g:/")])
        .await;
    gate.diagnoses(&[]);
}

#[tokio::test]
async fn er_07() {
    let gate = with_g()
        .map("x", "prefix: /x/\nprefixx: /y/")
        .check(&[("/x/", "x:/")])
        .await;
    let all = gate.running.diagnostics();
    let unknown = all
        .iter()
        .find(|item| item.code.as_str() == "W-UNKNOWN-FIELD")
        .unwrap();
    assert!(
        unknown
            .help
            .as_deref()
            .is_some_and(|help| help.contains("prefix")),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn er_08() {
    let pair = Pair::self_signed(&["up.test"]);
    let gate = with_g()
        .raw(&manifest("TLSContext", "default", "c", "secret: s"))
        .map("x", "prefix: /x/\nservice: up.test\ntls: c")
        .start()
        .await;
    // No good certificate was ever known: rejected, never cleartext.
    gate.rows(8080, &[("/x/", "500"), ("/g/", "g:/")]).await;
    after(&gate, || {
        write(&gate, "s.yaml", &pair.secret("default", "s"))
    })
    .await;
    gate.diagnoses(&[]);
    gate.rows(8080, &[("/g/", "g:/")]).await;
}

#[tokio::test]
async fn er_09() {
    let gate = with_g()
        .l8443()
        .host("h", "hostname: a.test\ntlsSecret: {name: s}")
        .start()
        .await;
    let good = Pair::self_signed(&["a.test"]);
    after(&gate, || {
        write(&gate, "s.yaml", &good.secret("default", "s"))
    })
    .await;
    let options = legate_testkit::TlsOptions::sni("a.test");
    let (_, before) = legate_testkit::client::tls(gate.address(8443), &options)
        .await
        .unwrap();
    let garbage = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\nstringData: {tls.crt: garbage, tls.key: garbage}\n";
    after(&gate, || write(&gate, "s.yaml", garbage)).await;
    let (_, now) = legate_testkit::client::tls(gate.address(8443), &options)
        .await
        .unwrap();
    assert_eq!(
        before.leaf, now.leaf,
        "the last good certificate keeps serving"
    );
    let all = gate.running.diagnostics();
    assert!(
        all.iter()
            .any(|item| item.code.as_str() == "E-SECRET-INVALID"),
        "{all:#?}"
    );
}

/// A broken document costs only itself, and mending it is enough.
#[tokio::test]
async fn a_broken_document_costs_only_itself() {
    let gate = with_g()
        .backend("default", "p")
        .backend("default", "q")
        .start()
        .await;
    let good = |name: &str| {
        manifest(
            "Mapping",
            "default",
            name,
            &format!("hostname: \"*\"\nprefix: /{name}/\nservice: {name}"),
        )
    };
    let broken =
        "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: r\nspec: [\n";
    after(&gate, || {
        write(
            &gate,
            "three.yaml",
            &[&good("p"), broken, &good("q")].join("---\n"),
        )
    })
    .await;
    gate.rows(8080, &[("/p/", "p:/"), ("/q/", "q:/"), ("/g/", "g:/")])
        .await;
    gate.diagnoses(&["E-YAML"]);
    after(&gate, || {
        write(&gate, "three.yaml", &[good("p"), good("q")].join("---\n"))
    })
    .await;
    gate.diagnoses(&[]);
    assert_eq!(short(&gate.send(8080, "/g/").await), "g:/");
}
