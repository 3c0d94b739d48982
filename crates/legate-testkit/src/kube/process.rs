//! Child processes that never outlive their owner.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::POLL;
use super::server::lock;
use crate::client::Error;

/// Ids of the processes that run: a signal may end this one without any drop.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Folders of theirs, for the same reason.
static FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Lines of a log that are shown when a test fails.
const TAIL: usize = 60;

/// A child process with its output in a file; killed, by its own id, when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; standard output and standard error are appended to that file.
    ///
    /// # Errors
    /// The program cannot be started or the file cannot be written.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, Error> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        lock(&RUNNING).insert(child.id());
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    /// The kernel does not know the process.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        Ok(self.child.try_wait()?)
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines that it wrote.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let skipped = lines.len().saturating_sub(TAIL);
        lines
            .into_iter()
            .skip(skipped)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Sends SIGSTOP: it keeps its sockets and answers nothing.
    ///
    /// # Errors
    /// It has ended.
    pub fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// It has ended.
    pub fn terminate(&self) -> Result<(), Error> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        lock(&RUNNING).remove(&self.id());
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus, Error> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > end {
                return Err(format!("{} did not end within {deadline:?}", self.name).into());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Resident memory now, in KiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_kib(&self) -> Result<u64, Error> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .ok_or("no VmRSS")?;
        Ok(kib.parse()?)
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

/// Kills every process that was started here and runs, and removes the folders of API servers: for
/// a signal handler that exits next.
pub fn abandon() {
    for id in std::mem::take(&mut *lock(&RUNNING)) {
        let id = i32::try_from(id).ok().and_then(Pid::from_raw);
        // It may have ended already; then there is nothing to kill.
        let _ = id.map(|id| kill_process(id, Signal::KILL));
    }
    for folder in std::mem::take(&mut *lock(&FOLDERS)) {
        // What cannot be removed now stays in the folder for temporary files.
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Lets [`abandon`] remove a folder.
pub(super) fn remember(folder: &Path) {
    lock(&FOLDERS).insert(folder.to_owned());
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a failing test shows what happened")]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("-- {}, last lines:\n{}\n--", self.name, self.log_tail());
        }
    }
}
