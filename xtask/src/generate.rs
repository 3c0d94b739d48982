//! Generated files. The generators live in the crates that own the knowledge; the binary and an
//! example of its crate print.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// Files and folders that are generated, and nothing else in them.
const GENERATED: [&str; 3] = ["crds", "deploy/rbac.yaml", "docs/metrics.md"];

/// Writes `crds/`, `deploy/rbac.yaml` and `docs/metrics.md`, or with `check` fails when one of them
/// would change.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = shell::root();
    let target = root.join("target/generated");
    std::fs::create_dir_all(&target).context("target/generated")?;
    let out = if check {
        target.as_path()
    } else {
        root.as_path()
    };
    let crds = out.join("crds");
    cargo_run(
        "generate crds",
        &["--"],
        ["crds".as_ref(), "--output-dir".as_ref(), crds.as_os_str()],
    )?;
    let example = ["-p", "legate", "--example", "generate", "--"];
    cargo_run("generate rights and metrics", &example, [out.as_os_str()])?;
    if check {
        for file in GENERATED {
            compare(&root, file, &target.join(file))?;
        }
    }
    Ok(())
}

fn cargo_run<'a>(
    what: &str,
    run: &[&str],
    args: impl IntoIterator<Item = &'a OsStr>,
) -> Result<()> {
    let mut command = shell::cargo(&["run", "--quiet", "--locked"]);
    command.args(run).args(args);
    shell::run(what, &mut command)
}

fn compare(root: &Path, file: &str, generated: &Path) -> Result<()> {
    let mut diff = Command::new("diff");
    diff.args(["-r", "-u", file])
        .arg(generated)
        .current_dir(root);
    shell::run(
        &format!("{file} is up to date (else: cargo xtask generate)"),
        &mut diff,
    )
}
