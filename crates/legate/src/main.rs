//! `legate`: one binary, one thin arm per subcommand.

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use legate::args::{Cli, Command};
use legate::output::Exit;
use legate::{check, compile, crds, diff, echo, explain, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Run(args) => run::command(*args),
        Command::Check(args) => check::run(&args),
        Command::Compile(args) => compile::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Echo(args) => echo::command(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "legate", &mut std::io::stdout());
            Exit::Fine
        }
    };
    ExitCode::from(exit.code())
}
