//! The subcommands as a user runs them: the real binary, its output and its exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise; the helpers are not marked as tests"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(name)
}

fn legate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_legate"))
        .args(args)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// `file:line code` of every `# <- CODE` mark in a fixture folder.
fn marks(folder: &Path) -> BTreeSet<(String, u64, String)> {
    let mut marks = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for (index, line) in text.lines().enumerate() {
            // The header explains the mark; it is none.
            if let Some((_, code)) = line.split_once("# <- ").filter(|_| !line.starts_with('#')) {
                marks.insert((
                    path.display().to_string(),
                    index as u64 + 1,
                    code.to_owned(),
                ));
            }
        }
    }
    marks
}

#[test]
fn twelve_mistakes_give_twelve_diagnostics() {
    let folder = fixtures("twelve-mistakes");
    let output = legate(&["check", "--output", "json", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let items: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<(String, u64, String)> = items
        .iter()
        .map(|item| {
            (
                item["file"].as_str().unwrap_or_default().to_owned(),
                item["line"].as_u64().unwrap_or_default(),
                item["code"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    let expected = marks(&folder);
    assert_eq!(expected.len(), 12);
    assert_eq!(
        found.iter().cloned().collect::<BTreeSet<_>>(),
        expected,
        "{items:#?}"
    );
    assert_eq!(found.len(), 12, "{items:#?}");
    // Every one of them says what to do.
    for item in &items {
        assert!(
            item["help"].is_string() || item["code"] == "E-YAML",
            "no help: {item:#}"
        );
    }
}

#[test]
fn the_text_report_has_a_caret_under_the_field() {
    let folder = fixtures("twelve-mistakes");
    let output = legate(&["check", folder.to_str().unwrap()]);
    let text = stdout(&output);
    assert!(text.contains("error[E-MAP-RESOLVER]"), "{text}");
    let (file, line, _) = marks(&folder)
        .into_iter()
        .find(|(_, _, code)| code == "E-MAP-RESOLVER")
        .unwrap();
    assert!(text.contains(&format!("--> {file}:{line}:13")), "{text}");
    assert!(text.contains("  resolver: nosuch"), "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "no colours when it is no terminal"
    );
    let summary = String::from_utf8_lossy(&output.stderr);
    assert!(summary.contains("11 errors, 1 warning"), "{summary}");
}

#[test]
fn sarif_names_every_rule() {
    let folder = fixtures("twelve-mistakes");
    let output = legate(&["check", "--output", "sarif", folder.to_str().unwrap()]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["version"], "2.1.0");
    assert_eq!(report["runs"][0]["results"].as_array().unwrap().len(), 12);
}

#[test]
fn a_clean_folder_is_fine_and_strict_asks_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let manifest = "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {name: l}\nspec: {port: 8080, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}\n---\n\
        apiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: h}\nspec: {hostname: a.test}\n---\n\
        apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: m}\nspec: {hostname: a.test, prefix: /, service: nowhere}\n";
    std::fs::write(folder.path().join("all.yaml"), manifest).unwrap();
    let output = legate(&["check", path]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let output = legate(&["check", "--strict", path]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
}

#[test]
fn compile_prints_config_diagnostics_and_status() {
    let folder = fixtures("twelve-mistakes");
    for format in ["json", "yaml"] {
        let output = legate(&["compile", "--output", format, folder.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "errors in the folder");
        let text = stdout(&output);
        for part in ["config", "diagnostics", "status"] {
            assert!(text.contains(part), "{part} in {format}");
        }
    }
}

#[test]
fn explain_names_the_winner_and_why_rivals_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let manifest = "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {name: l}\nspec: {port: 8080, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}\n---\n\
        apiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: h}\nspec: {hostname: a.test, requestPolicy: {insecure: {action: Route}}}\n---\n\
        apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: wide}\nspec: {hostname: a.test, prefix: /, service: wide}\n---\n\
        apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: posts}\nspec: {hostname: a.test, prefix: /cart/, method: POST, service: posts}\n";
    std::fs::write(folder.path().join("all.yaml"), manifest).unwrap();
    let explain = |more: &[&str]| {
        let mut args = vec!["explain", path, "--url", "http://a.test/cart/1"];
        args.extend(more);
        let output = legate(&args);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        stdout(&output)
    };
    let get = explain(&[]);
    assert!(get.contains("default/wide"), "{get}");
    assert!(
        get.contains("default/posts") && get.contains("method"),
        "{get}"
    );
    let post = explain(&["-X", "POST"]);
    assert!(post.contains("default/posts"), "{post}");
    let json: serde_json::Value = serde_json::from_str(&explain(&["--output", "json"])).unwrap();
    assert!(json.is_object(), "{json:#}");
}

/// A repository holds no Secret; one still wants to know where the request goes.
#[test]
fn explain_looks_past_a_secret_that_is_not_in_the_folder() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart");
    let url = "https://shop.example.com/catalog/x";
    let output = legate(&[
        "explain",
        example.to_str().unwrap(),
        "--url",
        url,
        "--draw",
        "5",
    ]);
    let text = stdout(&output);
    assert!(text.contains("target catalog/catalog-canary"), "{text}");
    let note = String::from_utf8_lossy(&output.stderr);
    assert!(
        note.contains("Secret gateway/shop-cert is not here"),
        "{note}"
    );
}

#[test]
fn diff_shows_what_changes_for_traffic() {
    let folder = tempfile::tempdir().unwrap();
    let side = |name: &str, prefix: &str, timeout: u32| {
        let path = folder.path().join(name);
        let manifest = format!(
            "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: m}}\nspec: {{hostname: a.test, prefix: {prefix}, service: s, timeout_ms: {timeout}}}\n"
        );
        std::fs::write(&path, manifest).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let one = side("one.yaml", "/a/", 1000);
    let same = side("same.yaml", "/a/", 1000);
    let other = side("other.yaml", "/a/", 2000);
    assert_eq!(legate(&["diff", &one, &same]).status.code(), Some(0));
    let output = legate(&["diff", &one, &other]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("timeout_ms: 1000 -> 2000"), "{text}");
}

#[test]
fn limits_are_explained_and_compared() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/rate-limit/rate-limit.yaml")
        .display()
        .to_string();
    let output = legate(&["explain", &example, "--url", "http://a.test/orders/1"]);
    let text = stdout(&output);
    assert!(
        text.contains("counted in ambassador by user: 3 in 3600 s"),
        "{text}"
    );
    assert!(text.contains("by user=mallory: 0 in 3600 s"), "{text}");
    assert!(!text.contains("by remote_address"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.yaml");
    let manifests = std::fs::read_to_string(&example).unwrap();
    let changed = manifests.replace("requests_per_unit: 3", "requests_per_unit: 4");
    std::fs::write(&other, changed).unwrap();
    let output = legate(&["diff", &example, other.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("~ limits ambassador"), "{text}");
    assert!(text.contains("limit.rate.requests: 3 -> 4"), "{text}");
}

#[test]
fn crds_equal_the_committed_ones() {
    let folder = tempfile::tempdir().unwrap();
    let output = legate(&["crds", "--output-dir", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    let mut count = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let name = entry.unwrap().file_name();
        let read = |folder: &Path| std::fs::read_to_string(folder.join(&name)).unwrap();
        assert_eq!(
            read(folder.path()),
            read(&committed),
            "{name:?}: cargo xtask generate"
        );
        count += 1;
    }
    assert_eq!(count, 15, "one file per kind");
}

#[test]
fn usage_errors_exit_2_and_a_busy_port_exits_3() {
    assert_eq!(legate(&["run"]).status.code(), Some(2));
    assert_eq!(legate(&["nosuch"]).status.code(), Some(2));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {{name: l}}\nspec: {{port: {port}, protocol: HTTP, securityModel: XFP, hostBinding: {{namespace: {{from: ALL}}}}}}\n"
    );
    std::fs::write(folder.path().join("l.yaml"), manifest).unwrap();
    let output = legate(&[
        "run",
        folder.path().to_str().unwrap(),
        "--bind",
        "127.0.0.1",
        "--admin-addr",
        "127.0.0.1:0",
    ]);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("--port-offset"), "{text}");
}

#[test]
fn completions_and_help_are_there() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            stdout(&legate(&["completions", shell])).contains("legate"),
            "{shell}"
        );
    }
    let help = stdout(&legate(&["run", "--help"]));
    for flag in [
        "--demo",
        "--port-offset",
        "--port-map",
        "--admin-addr",
        "--workers",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn every_diagnostic_code_is_documented() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnostics.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let sources = [
        legate_source::folder::I_POLLING,
        legate_source::folder::I_UNKNOWN_KIND,
    ];
    let sources = sources.iter().chain(legate_source::kube::codes::ALL);
    for code in legate_compiler::codes::ALL.iter().chain(sources) {
        assert!(
            text.contains(&format!("| `{code}` |")),
            "{code} is not in docs/diagnostics.md"
        );
    }
}
