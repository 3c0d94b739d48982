//! The thread that writes one log file.
//!
//! Each worker appends to a shard of its own; the lock around it is only ever contended by the
//! writer thread, for the time of a swap. The first line into an empty shard wakes the thread,
//! which then lets lines gather for [`GATHER`] (or until a shard holds [`BATCH`]) before it writes.
//! A shard that holds [`LIMIT`] takes no more lines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::metrics::{Metrics, shard_index};

/// Bytes that make a shard worth writing at once. On a machine without an idle core each write is a
/// switch away from a worker and back.
const BATCH: usize = 256 * 1024;
/// Bytes beyond which a shard drops lines.
const LIMIT: usize = 1024 * 1024;
/// How long lines gather otherwise.
const GATHER: Duration = Duration::from_millis(100);

/// One log file.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

/// What the handles and the thread of a log file share.
#[derive(Debug)]
pub(super) struct Shared {
    shards: Box<[Shard]>,
    state: Mutex<State>,
    /// For the thread: there is something to do.
    wake: Condvar,
    /// For [`Shared::flush`]: something was done.
    written: Condvar,
    metrics: Arc<Metrics>,
    /// Lines that this file dropped, for the report.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Vec<u8>>);

#[derive(Debug, Default)]
struct State {
    /// Lines were appended.
    pending: bool,
    /// Somebody does not want to wait for [`GATHER`].
    hurry: bool,
    /// No handle is left; write what is there and end.
    closing: bool,
    /// The thread is gone.
    ended: bool,
    /// Rounds asked for and rounds done, for flushing.
    asked: u64,
    done: u64,
}

impl Writer {
    /// Opens a file and starts its thread.
    pub(super) fn open(path: &str, workers: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let file = match open(path) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::warn!(path, %error, "Cannot open the access log; its lines are dropped");
                None
            }
        };
        Self::start(path, file, workers, metrics)
    }

    pub(super) fn start(
        path: &str,
        target: Option<impl Write + Send + 'static>,
        workers: usize,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            shards: (0..workers.max(1)).map(|_| Shard::default()).collect(),
            state: Mutex::default(),
            wake: Condvar::new(),
            written: Condvar::new(),
            metrics,
            dropped: AtomicU64::new(0),
        });
        let thread = Arc::clone(&shared);
        let name = path.to_owned();
        let spawned = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || thread.run(target, &name));
        if let Err(error) = spawned {
            tracing::error!(path, %error, "Cannot start the thread of the access log");
            shared.state.lock().ended = true;
        }
        Arc::new(Self { shared })
    }

    /// Appends a line to this worker's shard.
    pub(super) fn append(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let shared = &*self.shared;
        let Some(shard) = shared
            .shards
            .get(shard_index() % shared.shards.len().max(1))
        else {
            return;
        };
        let (before, after) = {
            let mut buffer = shard.0.lock();
            let before = buffer.len();
            if before >= LIMIT {
                drop(buffer);
                shared.drop_lines(1);
                return;
            }
            line(&mut buffer);
            (before, buffer.len())
        };
        let full = before < BATCH && after >= BATCH;
        if before == 0 || full {
            let mut state = shared.state.lock();
            state.hurry |= full;
            // Another worker's first line may have woken the thread already.
            if !state.pending || full {
                state.pending = true;
                shared.wake.notify_one();
            }
        }
    }

    /// To wait for the thread even after the last handle is gone.
    pub(super) fn shared(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closing = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    /// Waits until what was appended before is written, or the deadline.
    pub(super) fn flush(&self, deadline: Instant) {
        let mut state = self.state.lock();
        state.asked += 1;
        let wanted = state.asked;
        state.pending = true;
        state.hurry = true;
        self.wake.notify_one();
        while state.done < wanted && !state.ended {
            if self.written.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }

    fn run(&self, mut target: Option<impl Write>, path: &str) {
        let mut batch = Vec::new();
        let mut reported = false;
        loop {
            let (asked, closing) = self.wait();
            for shard in &self.shards {
                {
                    let mut buffer = shard.0.lock();
                    // The shard goes on with the buffer of the last batch, which has its size.
                    std::mem::swap(&mut *buffer, &mut batch);
                }
                let failed = match &mut target {
                    Some(target) => target.write_all(&batch).err(),
                    None => None,
                };
                if target.is_none() || failed.is_some() {
                    self.drop_lines(batch.iter().filter(|byte| **byte == b'\n').count() as u64);
                }
                if let Some(error) = failed
                    && !std::mem::replace(&mut reported, true)
                {
                    tracing::warn!(path, %error, "Cannot write the access log");
                }
                batch.clear();
                batch.shrink_to(2 * BATCH);
            }
            if let Some(target) = &mut target {
                let _ = target.flush();
            }
            let mut state = self.state.lock();
            state.done = state.done.max(asked);
            state.ended |= closing;
            self.written.notify_all();
            if closing {
                return;
            }
        }
    }

    /// Sleeps until there is something to write and it has gathered for a while.
    fn wait(&self) -> (u64, bool) {
        let mut state = self.state.lock();
        while !state.pending && !state.closing {
            self.wake.wait(&mut state);
        }
        let deadline = Instant::now() + GATHER;
        while !state.hurry && !state.closing {
            if self.wake.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        // From here on a first line into an emptied shard wakes the next round.
        state.pending = false;
        state.hurry = false;
        (state.asked, state.closing)
    }

    fn drop_lines(&self, lines: u64) {
        if lines == 0 {
            return;
        }
        self.metrics.access_log_dropped(lines);
        if self.dropped.fetch_add(lines, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "Access log lines are being dropped, see legate_access_log_dropped_total"
            );
        }
    }
}

/// Standard output is duplicated, so that a pipe or a terminal works as well as a file.
fn open(path: &str) -> std::io::Result<File> {
    match path {
        "/dev/fd/1" => Ok(File::from(std::io::stdout().as_fd().try_clone_to_owned()?)),
        "/dev/fd/2" | "/dev/stderr" | "/proc/self/fd/2" => {
            Ok(File::from(std::io::stderr().as_fd().try_clone_to_owned()?))
        }
        path => OpenOptions::new().create(true).append(true).open(path),
    }
}
