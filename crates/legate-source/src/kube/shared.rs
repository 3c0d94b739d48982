//! The state between the tasks that fill it and the reader.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use legate_api::Kind;
use tokio::sync::Notify;

use super::probe::Contact;
use super::state::State;

/// What the tasks, the handles and the reader share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) contact: Arc<Contact>,
    /// There may be something to read.
    readable: Notify,
    /// The time to ask for the kinds may have changed.
    pub(super) discovery: Notify,
    /// There may be Secrets to read.
    pub(super) secrets: Notify,
    /// Kinds may be watched now.
    gate: Notify,
    /// A watch works again.
    recovered: Notify,
    ended: AtomicBool,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            contact: Arc::default(),
            readable: Notify::new(),
            discovery: Notify::new(),
            secrets: Notify::new(),
            gate: Notify::new(),
            recovered: Notify::new(),
            ended: AtomicBool::new(false),
        }
    }

    /// Changes the state, and wakes whom that concerns.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut State, Instant) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state, Instant::now());
        let effects = state.effects();
        drop(state);
        self.readable.notify_one();
        if effects.discovery {
            self.discovery.notify_one();
        }
        if effects.secrets {
            self.secrets.notify_one();
        }
        if effects.recovered {
            self.recovered.notify_waiters();
        }
        if effects.gate {
            self.gate.notify_waiters();
        }
        result
    }

    /// Looks at the state.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State, Instant) -> T) -> T {
        look(&self.lock(), Instant::now())
    }

    /// Takes from the state what the reader gets.
    pub(super) fn take(&self) -> Option<crate::Update> {
        self.lock().take(Instant::now())
    }

    /// Waits until there may be something to take. Cancel-safe.
    pub(super) async fn readable(&self) {
        self.readable.notified().await;
    }

    /// Waits until the kind may be listed. Cancel-safe.
    pub(super) async fn watchable(&self, kind: Kind) {
        self.until(|state| state.may_watch(kind)).await;
    }

    /// Waits until the kind has come back more often than that. Cancel-safe.
    pub(super) async fn returned(&self, kind: Kind, returns: u64) {
        self.until(|state| state.returns(kind) > returns).await;
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let mut opened = pin!(self.gate.notified());
            // What happens after this line is not missed.
            opened.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            opened.await;
        }
    }

    /// Waits until some watch works again. Cancel-safe.
    pub(super) async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.readable.notify_one();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only a panic in the middle of a change could leave it half done, and there is none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
