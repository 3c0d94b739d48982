//! Running other programs, and saying what runs.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(PathBuf::from)
        .unwrap_or_default()
}

/// A cargo command in the repository's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Prints a line on standard error.
#[expect(clippy::print_stderr, reason = "a task runner talks to its user")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Runs a command to its end; a failure is an error.
pub(crate) fn run(title: &str, command: &mut Command) -> Result<()> {
    say(&format!("== {title}"));
    let start = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{title}: cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{title}: failed ({status})");
    }
    say(&format!(
        "== {title}: {:.0} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Runs a command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?} failed ({})", command.get_program(), output.status);
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

/// `cargo metadata` of the workspace, as JSON.
pub(crate) fn metadata(deps: bool) -> Result<serde_json::Value> {
    let mut args = vec!["metadata", "--format-version", "1", "--locked"];
    if deps {
        // What ships; the lock also names crates of platforms that we do not build for.
        args.extend(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    } else {
        args.push("--no-deps");
    }
    serde_json::from_str(&output(&mut cargo(&args))?).context("cargo metadata")
}
