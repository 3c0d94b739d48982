//! `cargo xtask NAME`: the one front door for generation, checks, tests and benchmarks.

mod assets;
mod bench;
mod check;
mod generate;
mod layers;
mod licences;
mod shell;
mod soak;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Repository tasks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything that must pass before a change lands; the README's test command
    Test(check::TestArgs),
    /// Format, lints, layers, licences, generated files and unit tests: minutes, nothing to install
    Check,
    /// Which crate may use which (design: one direction of data)
    Layers,
    /// Licences of all dependencies against the allow list of deny.toml
    Licences,
    /// Writes generated files: crds/, deploy/rbac.yaml and docs/metrics.md
    Generate {
        /// Fail when a file would change, write nothing
        #[arg(long)]
        check: bool,
    },
    /// Finds or builds what operator tests run: etcd, kube-apiserver, kubectl and so on
    Assets(assets::AssetsArgs),
    /// The long forms of the operator's tests against a release build, with figures
    Soak(soak::SoakArgs),
    /// Benchmarks; figures go to standard output, tables belong into docs/performance.md
    Bench(bench::BenchArgs),
}

fn main() -> Result<()> {
    match Args::parse().task {
        Task::Test(args) => check::test(&args),
        Task::Check => check::quick(),
        Task::Layers => layers::run(),
        Task::Licences => licences::run(),
        Task::Generate { check } => generate::run(check),
        Task::Assets(args) => assets::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Bench(args) => bench::run(&args),
    }
}
