//! Proxies side by side: each gets the same load in turn, round after round.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{self, CoreLoad, Pinned};
use crate::table::{median, print};

/// How long, and with what load.
#[derive(Args)]
pub(crate) struct Options {
    /// Interleaved rounds
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds per peer and round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

/// A proxy under test, and its figures so far.
pub(crate) struct Peer {
    name: &'static str,
    port: u16,
    process: Pinned,
    rates: Vec<f64>,
    costs: Vec<f64>,
    loads: Vec<f64>,
}

/// The origin that all of them lead to: 200 bytes for every request, on port 18090.
pub(crate) fn origin() -> Result<Pinned> {
    let me = std::env::current_exe()?;
    let mut origin = Pinned::start(
        "origin",
        "1",
        &me,
        &["origin", "--listen", "127.0.0.1:18090"],
    )?;
    origin.wait_for(SocketAddr::from(([127, 0, 0, 1], 18090)))?;
    Ok(origin)
}

/// Legate on one core with one worker.
pub(crate) fn legate(name: &'static str, port: u16, manifest: &str, admin: &str) -> Result<Peer> {
    let args = [
        "run",
        manifest,
        "--workers",
        "1",
        "--bind",
        "127.0.0.1",
        "--admin-addr",
        admin,
    ];
    peer(name, port, &process::sibling("legate")?, &args)
}

/// A proxy on one core, once it listens.
pub(crate) fn peer(name: &'static str, port: u16, program: &Path, args: &[&str]) -> Result<Peer> {
    let mut process = Pinned::start(name, "0", program, args)?;
    process.wait_for(SocketAddr::from(([127, 0, 0, 1], port)))?;
    Ok(Peer {
        name,
        port,
        process,
        rates: vec![],
        costs: vec![],
        loads: vec![],
    })
}

/// Measures all peers and prints their table; the last one is the base of the ratios.
pub(crate) fn run(peers: &mut [Peer], options: &Options) -> Result<()> {
    let wrk = process::wrk()?;
    // A round that does not count warms pools, caches and branch predictors.
    for round in 0..=options.rounds {
        for peer in &mut *peers {
            measure(peer, &wrk, options, round > 0)?;
        }
    }
    report(peers, options)
}

fn measure(peer: &mut Peer, wrk: &Path, options: &Options, counts: bool) -> Result<()> {
    let load = CoreLoad::read(1)?;
    let before = peer.process.cpu()?;
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(wrk)
        .args([
            "-t1",
            &format!("-c{}", options.connections),
            &format!("-d{}s", options.seconds),
        ])
        .arg(format!("http://127.0.0.1:{}/", peer.port))
        .stdin(Stdio::null())
        .output()
        .context("wrk")?;
    let after = peer.process.cpu()?;
    let load = load.since()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("{}: not every request was served:\n{text}", peer.name);
    }
    let rate = number(&text, "Requests/sec:").context("wrk printed no rate")?;
    let requests = text
        .lines()
        .find(|line| line.contains(" requests in "))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|count| count.parse::<f64>().ok())
        .context("wrk printed no count")?;
    if counts {
        peer.rates.push(rate);
        peer.costs.push((after.0 - before.0) * 100_000.0 / requests);
        peer.loads.push(load);
    }
    Ok(())
}

fn number(text: &str, label: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix(label))
        .and_then(|rest| rest.trim().parse().ok())
}

fn report(peers: &[Peer], options: &Options) -> Result<()> {
    let base = peers.last().context("no peers")?;
    print(&format!(
        "HTTP/1.1 keep-alive, {} connections, 200 B, one core: medians of {} interleaved rounds of {} s",
        options.connections, options.rounds, options.seconds
    ));
    print("");
    print(
        "| proxy | requests/s | ratio | CPU-s per 100k requests | ratio | memory MiB | load core busy |",
    );
    print("|---|---|---|---|---|---|---|");
    let mut saturated = false;
    for peer in peers {
        let load = median(&peer.loads);
        saturated |= load > 95.0;
        print(&format!(
            "| {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} | {:.0} % |",
            peer.name,
            median(&peer.rates),
            median(&paired(&peer.rates, &base.rates)),
            median(&peer.costs),
            median(&paired(&peer.costs, &base.costs)),
            peer.process.resident_mib()?,
            load,
        ));
    }
    print("");
    print(&format!(
        "Ratios are medians of the rounds' own ratios; {} = 1.00.",
        base.name
    ));
    if saturated {
        print("The load core was above 95 % busy: only the CPU ratio counts.");
    }
    Ok(())
}

fn paired(figures: &[f64], base: &[f64]) -> Vec<f64> {
    figures
        .iter()
        .zip(base)
        .map(|(figure, base)| figure / base)
        .collect()
}
