//! Generated files. The generators live in the crates that own the knowledge; the binary prints.

use anyhow::{Context, Result};

use crate::shell;

/// Writes `crds/`, or with `check` fails when a file would change.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = shell::root();
    let target = root.join("target/generated/crds");
    std::fs::create_dir_all(&target).context("target/generated")?;
    let out = if check { target } else { root.join("crds") };
    let out_text = out.to_string_lossy().into_owned();
    shell::run(
        "generate crds",
        &mut shell::cargo(&[
            "run",
            "--quiet",
            "--locked",
            "--",
            "crds",
            "--output-dir",
            &out_text,
        ]),
    )?;
    if check {
        shell::run(
            "generated files are up to date (else: cargo xtask generate)",
            std::process::Command::new("diff")
                .args(["-r", "-u", "crds", &out_text])
                .current_dir(&root),
        )?;
    }
    Ok(())
}
