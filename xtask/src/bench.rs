//! Benchmarks: thin front door to the `legate-benches` binary, which is built in release mode.

use anyhow::Result;
use clap::Args;

use crate::shell;

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Which benchmark (`one-route`, `policies`, `scale`) and its options; none lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds the gateway and the benches in release mode, then runs one.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    shell::run(
        "release build",
        &mut shell::cargo(&[
            "build",
            "--release",
            "--locked",
            "-p",
            "legate",
            "-p",
            "legate-benches",
        ]),
    )?;
    let mut command = std::process::Command::new(shell::root().join("target/release/legate-bench"));
    command.args(&args.rest).current_dir(shell::root());
    shell::run("bench", &mut command)
}
