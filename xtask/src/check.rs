//! The checks, in the order in which they fail fastest.

use anyhow::Result;
use clap::Args;

use crate::{assets, bench, generate, layers, licences, shell};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Only the tests: skip format, lints, layers, licences, generated files and documentation
    #[arg(long)]
    only_tests: bool,
    /// Passed on to cargo test, e.g. a filter
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Everything.
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    if !args.only_tests {
        statics()?;
        shell::run(
            "documentation",
            shell::cargo(&["doc", "--workspace", "--no-deps", "--quiet", "--locked"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )?;
    }
    let assets = assets::obtain()?;
    let mut command = shell::cargo(&["test", "--workspace", "--locked"]);
    command.env("LEGATE_ASSETS", assets).args(&args.rest);
    shell::run("tests", &mut command)?;
    if args.rest.is_empty() {
        bench::failover()?;
    }
    Ok(())
}

/// What takes minutes on a fresh clone and needs nothing but rustup.
pub(crate) fn quick() -> Result<()> {
    statics()?;
    shell::run(
        "unit tests",
        &mut shell::cargo(&["test", "--workspace", "--lib", "--locked"]),
    )
}

fn statics() -> Result<()> {
    shell::run("format", &mut shell::cargo(&["fmt", "--all", "--check"]))?;
    layers::run()?;
    licences::run()?;
    shell::run(
        "lints",
        shell::cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--quiet",
            "--",
        ])
        .args(["-D", "warnings"]),
    )?;
    generate::run(true)
}
