//! 10,000 Mappings: how long they compile, how soon an edit is served, what the last route costs.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process::{self, Pinned};
use crate::table::{median, print, quantile};

/// Options of `scale`.
#[derive(Args)]
pub(crate) struct Options {
    /// Mappings; a multiple of 100
    #[arg(long, default_value_t = 10_000)]
    mappings: usize,
    /// Edits, each timed from rename to served
    #[arg(long, default_value_t = 100)]
    edits: usize,
    /// Interleaved rounds of first against last route
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

const ORIGIN: &str = "127.0.0.1:18090";
const GATEWAY: u16 = 18082;
const PER_FILE: usize = 100;

/// Runs all three measurements and prints their figures.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    generate(folder.path(), options.mappings)?;
    let legate = process::sibling("legate")?;
    compile_time(&legate, folder.path())?;

    let me = std::env::current_exe()?;
    let mut origin = Pinned::start("origin", "1", &me, &["origin", "--listen", ORIGIN])?;
    origin.wait_for(ORIGIN.parse()?)?;
    {
        // As a user runs it: a worker per core, and the compile beside them.
        let (_gateway, ready) = start(&legate, folder.path(), "0,1", "2")?;
        print(&format!("start to first accept: {:.0} ms", millis(ready)));
        edits(folder.path(), options)?;
    }
    let (gateway, _) = start(&legate, folder.path(), "0", "1")?;
    first_and_last(&gateway, options)?;
    print(&format!(
        "resident memory, manifests included: {:.1} MiB",
        gateway.resident_mib()?
    ));
    Ok(())
}

fn start(legate: &Path, folder: &Path, cores: &str, workers: &str) -> Result<(Pinned, Duration)> {
    let folder = folder.to_string_lossy();
    let arguments = [
        "run",
        &folder,
        "--workers",
        workers,
        "--bind",
        "127.0.0.1",
        "--admin-addr",
        "127.0.0.1:18902",
    ];
    let mut gateway = Pinned::start("legate", cores, legate, &arguments)?;
    let ready = gateway.wait_for(SocketAddr::from(([127, 0, 0, 1], GATEWAY)))?;
    Ok((gateway, ready))
}

/// Files of 100 documents: half of the Mappings share one host, a hundred are regexes, a hundred
/// match a header.
fn generate(folder: &Path, mappings: usize) -> Result<()> {
    std::fs::write(
        folder.join("gateway.yaml"),
        format!(
            "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {{name: bench}}\nspec:\n  \
             port: {GATEWAY}\n  protocol: HTTP\n  securityModel: SECURE\n  \
             hostBinding: {{namespace: {{from: ALL}}}}\n---\n\
             apiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {{name: any}}\nspec:\n  hostname: \"*\"\n---\n\
             apiVersion: getambassador.io/v3alpha1\nkind: Module\nmetadata: {{name: ambassador}}\nspec:\n  \
             config:\n    envoy_log_path: /dev/null\n"
        ),
    )?;
    for file in 0..mappings / PER_FILE {
        write_file(folder, file, mappings, None)?;
    }
    Ok(())
}

/// Writes one file by rename, as careful tools do. `edit` marks the first Mapping of the file.
fn write_file(folder: &Path, file: usize, mappings: usize, edit: Option<usize>) -> Result<()> {
    let mut text = String::new();
    for index in file * PER_FILE..(file + 1) * PER_FILE {
        let host = if index % 2 == 0 {
            "shared.test".to_owned()
        } else {
            format!("h{index}.test")
        };
        writeln!(
            text,
            "---\napiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata:\n  name: m{index:06}\n  \
             namespace: team-{file}\nspec:\n  hostname: {host}\n  service: {ORIGIN}"
        )?;
        // Spread over the files: every `mappings / 100`th is a regex, and its neighbour a header route.
        match index % (mappings / 100) {
            2 => writeln!(
                text,
                "  prefix: /x/{index:06}/[a-z]+/.*\n  prefix_regex: true"
            )?,
            4 => writeln!(
                text,
                "  prefix: /r/{index:06}/\n  headers:\n    x-variant: v{index}"
            )?,
            _ => writeln!(text, "  prefix: /r/{index:06}/")?,
        }
        if let (Some(edit), true) = (edit, index == file * PER_FILE) {
            writeln!(
                text,
                "  add_response_headers:\n    x-edit:\n      value: \"{edit}\""
            )?;
        }
    }
    let partial = folder.join(format!(".f{file:04}.tmp"));
    std::fs::write(&partial, text)?;
    std::fs::rename(&partial, folder.join(format!("f{file:04}.yaml")))?;
    Ok(())
}

fn compile_time(legate: &Path, folder: &Path) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let status = Command::new(legate)
            .args(["compile", "--output", "json"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .status()?;
        if !status.success() {
            bail!("legate compile failed ({status})");
        }
        times.push(millis(start.elapsed()));
    }
    print(&format!(
        "legate compile, whole process: median {:.0} ms of 5",
        median(&times)
    ));
    Ok(())
}

/// Times edits from rename to the first answer that shows it.
fn edits(folder: &Path, options: &Options) -> Result<()> {
    let mut times = Vec::new();
    let files = options.mappings / PER_FILE;
    for edit in 0..options.edits {
        let file = (edit * 37) % files;
        write_file(folder, file, options.mappings, Some(edit))?;
        let start = Instant::now();
        let index = file * PER_FILE;
        let wanted = format!("x-edit: {edit}\r\n");
        while !get("shared.test", &format!("/r/{index:06}/"))?.contains(&wanted) {
            if start.elapsed() > Duration::from_secs(10) {
                bail!("edit {edit} was not served within 10 s");
            }
        }
        times.push(millis(start.elapsed()));
    }
    print(&format!(
        "edit, rename to served: p50 {:.1} ms, p99 {:.1} ms of {}",
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        options.edits
    ));
    Ok(())
}

fn get(host: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", GATEWAY))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// CPU per request of the route that ranks last over the one that ranks first.
fn first_and_last(gateway: &Pinned, options: &Options) -> Result<()> {
    let wrk = process::wrk()?;
    // Of equal length, so the text decides: descending.
    let first = options.mappings - 2;
    let last = 0;
    let mut ratios = Vec::new();
    for round in 0..=options.rounds {
        let of_first = cost(gateway, &wrk, first)?;
        let of_last = cost(gateway, &wrk, last)?;
        if round > 0 {
            ratios.push(of_last / of_first);
        }
    }
    print(&format!(
        "CPU per request, last route of {} over first: median {:.3} of {} rounds",
        options.mappings,
        median(&ratios),
        options.rounds
    ));
    Ok(())
}

fn cost(gateway: &Pinned, wrk: &Path, index: usize) -> Result<f64> {
    let before = gateway.cpu()?;
    let output = Command::new("taskset")
        .args(["-c", "1"])
        .arg(wrk)
        .args(["-t1", "-c64", "-d3s", "-H", "Host: shared.test"])
        .arg(format!("http://127.0.0.1:{GATEWAY}/r/{index:06}/"))
        .stdin(Stdio::null())
        .output()?;
    let used = gateway.cpu()?.0 - before.0;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") {
        bail!("not every request was served:\n{text}");
    }
    let requests: f64 = text
        .lines()
        .find(|line| line.contains(" requests in "))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|count| count.parse().ok())
        .context("wrk printed no count")?;
    Ok(used / requests)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
