//! `cargo xtask soak`: the long forms of the operator's tests, against a release build. Minutes, and
//! figures to read; nothing of it is part of `cargo xtask test`.

use anyhow::Result;
use clap::Args;

use crate::{assets, shell};

/// Options of `cargo xtask soak`.
#[derive(Args)]
pub(crate) struct SoakArgs {
    /// Which trials: a part of their names [default: those that have a long form]
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Trials with a long form: parts of their names.
const LONG: &[&str] = &["soak_", "quickstart_", "outage_", "two_ids_", "fault_"];

/// Builds, then runs.
pub(crate) fn run(args: &SoakArgs) -> Result<()> {
    let assets = assets::obtain()?;
    shell::run(
        "release build",
        &mut shell::cargo(&["build", "--release", "--locked", "-p", "legate"]),
    )?;
    let filters: Vec<&str> = match args.rest.as_slice() {
        [] => LONG.to_vec(),
        rest => rest.iter().map(String::as_str).collect(),
    };
    for filter in filters {
        let mut command = shell::cargo(&[
            "test",
            "--locked",
            "-p",
            "legate-tests",
            "--test",
            "operator",
        ]);
        command
            .args(["--", filter, "--test-threads", "1"])
            .env("LEGATE_ASSETS", &assets)
            .env("LEGATE_SOAK", "1")
            .env("LEGATE_BIN", shell::root().join("target/release/legate"));
        shell::run(filter, &mut command)?;
    }
    Ok(())
}
