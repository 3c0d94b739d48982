//! `legate-bench`: interleaved comparisons with real peers. Started by `cargo xtask bench`.
//!
//! Every figure is meant as a ratio within one run: machines differ and are noisy. The proxy under
//! test is pinned to the first core; load generator and origin share the second.

mod one_route;
mod policies;
mod process;
mod scale;
mod table;
mod versus;

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Benchmarks of Legate against its peers.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// One route, HTTP/1.1 keep-alive, 64 connections, 200 B: Legate and Envoy, interleaved
    OneRoute(versus::Options),
    /// The same load, with and without JSON access log, rate limit and header edits
    Policies(versus::Options),
    /// 10,000 Mappings: compile time, edit to served, last route against first
    Scale(scale::Options),
    /// The fixed-bytes origin, on its own
    Origin {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:18090")]
        listen: SocketAddr,
        /// Bytes of body per answer
        #[arg(long, default_value_t = 200)]
        bytes: usize,
    },
}

fn main() -> Result<()> {
    match Args::parse().bench {
        Bench::OneRoute(options) => one_route::run(&options),
        Bench::Policies(options) => policies::run(&options),
        Bench::Scale(options) => scale::run(&options),
        Bench::Origin { listen, bytes } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(legate_testkit::fixed::serve(listen, bytes))?;
            Ok(())
        }
    }
}
