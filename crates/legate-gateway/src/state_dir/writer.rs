//! The thread that stores what is served: the newest config only, beside everything else.
//!
//! A slow or broken disk delays nobody: who hands a config in leaves it for the thread, and a newer
//! one replaces it there. A cause of failure is reported once; until it is gone the thread tries
//! again by itself.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use legate_config::{Hash128, Snapshot};
use parking_lot::{Condvar, Mutex};

use super::{Loaded, StateDir, StateDirOptions, StateError};
use crate::metrics::Metrics;

/// The pause after a write, in which newer configs gather, is so many times as long as the write
/// took: frequent changes of a large config must not cost a core.
const REST: u32 = 10;
/// It is at least so long.
const LEAST: Duration = Duration::from_millis(100);
/// At least so long after a failure, until the next try.
const RETRY: Duration = Duration::from_secs(1);
/// And never longer.
const MOST: Duration = Duration::from_secs(10);

/// Hands configs to the thread.
#[derive(Debug)]
pub(crate) struct StateWriter {
    shared: Arc<Shared>,
}

/// A config that was stored by an earlier process.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) at: Option<SystemTime>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// For the thread: there is something to do.
    wake: Condvar,
    /// For [`StateWriter::flush`]: the thread is gone.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    newest: Option<Arc<Snapshot>>,
    /// Store what is there and end.
    closing: bool,
    ended: bool,
}

/// What the thread has to itself.
struct Store {
    options: StateDirOptions,
    /// `None` until it could be opened.
    directory: Option<StateDir>,
    /// The root of what lies there, if that is known.
    root: Option<Hash128>,
    /// What was reported last.
    cause: Option<(&'static str, Option<io::ErrorKind>)>,
    metrics: Arc<Metrics>,
}

// === impl StateWriter ===

impl StateWriter {
    /// Opens the directory, reads what is in it, and starts the thread. A directory that cannot be
    /// used is reported, and tried again with each config.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(crate) fn start(
        options: StateDirOptions,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Self, Option<Stored>)> {
        let mut store = Store {
            options,
            directory: None,
            root: None,
            cause: None,
            metrics,
        };
        let mut stored = None;
        match store.open() {
            Err(error) => store.report(&error),
            Ok(directory) => {
                if let Loaded::Snapshot {
                    snapshot,
                    stored: at,
                } = directory.load()
                {
                    store.root = Some(snapshot.root);
                    stored = Some(Stored { snapshot, at });
                }
            }
        }
        let shared = Arc::new(Shared::default());
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || thread.run(store))?;
        Ok((Self { shared }, stored))
    }

    /// Leaves a config to be stored. Returns at once.
    pub(crate) fn store(&self, snapshot: Arc<Snapshot>) {
        self.shared.state.lock().newest = Some(snapshot);
        self.shared.wake.notify_one();
    }

    /// Stores what is left, for so long at most, and ends. Whether that was enough.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.state.lock();
        state.closing = true;
        self.shared.wake.notify_one();
        while !state.ended {
            if self
                .shared
                .ended
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                return state.ended;
            }
        }
        true
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
    }
}

// === impl Shared ===

impl Shared {
    fn run(&self, mut store: Store) {
        // Its end is seen even if that is a panic.
        let _end = End(self);
        while let Some(snapshot) = self.next() {
            let started = Instant::now();
            let again = store.store(&snapshot);
            let pause = started.elapsed() * REST;
            let mut state = self.state.lock();
            if again && !state.closing {
                state.newest.get_or_insert(snapshot);
            }
            let deadline = Instant::now() + pause.clamp(if again { RETRY } else { LEAST }, MOST);
            while !state.closing && !self.wake.wait_until(&mut state, deadline).timed_out() {}
        }
    }

    /// Waits for a config; `None` when there will be none.
    fn next(&self) -> Option<Arc<Snapshot>> {
        let mut state = self.state.lock();
        loop {
            if let Some(snapshot) = state.newest.take() {
                return Some(snapshot);
            }
            if state.closing {
                return None;
            }
            self.wake.wait(&mut state);
        }
    }
}

/// Marks the thread as gone when it goes.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.ended.notify_all();
    }
}

// === impl Store ===

impl Store {
    fn open(&mut self) -> Result<&StateDir, StateError> {
        let directory = match self.directory.take() {
            Some(directory) => directory,
            None => StateDir::open(&self.options.path, &self.options.ambassador_id)?,
        };
        Ok(self.directory.insert(directory))
    }

    /// Stores a config, unless it is there already. Whether it is to be tried again.
    fn store(&mut self, snapshot: &Snapshot) -> bool {
        if self.root == Some(snapshot.root) {
            return false;
        }
        let result = self.open().and_then(|directory| directory.store(snapshot));
        self.metrics.state_write(result.is_ok());
        match result {
            Ok(()) => {
                self.root = Some(snapshot.root);
                if self.cause.take().is_some() {
                    tracing::info!(path = %self.options.path.display(), "Config is stored again");
                }
                false
            }
            Err(error) => {
                self.report(&error);
                !matches!(error, StateError::Encode(_))
            }
        }
    }

    fn report(&mut self, error: &StateError) {
        let cause = Some(error.cause());
        if self.cause != cause {
            self.cause = cause;
            tracing::warn!(path = %self.options.path.display(), %error, "Config cannot be stored; serving goes on");
        }
    }
}
