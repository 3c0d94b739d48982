//! Status: conditions, `Programmed`, and writing them (operator.md §3).
//!
//! Fed with compiles, with what gateways acknowledge and with how objects stand at the API server;
//! writes what each object's status ought to say, only where it says something else, and only while
//! this replica leads. What is decided is decided by pure code with the clock handed in:
//!
//! - `conditions`: what the compiler said, as conditions; `index`: which object is what in a snapshot
//! - `gateways`: who counts and applied what; `tracker`: the two together, per object
//! - `merge`: into a status that others write too; `observed`: how an object stands
//! - `board`: what is written when; `pace`: not too often; `faults`: what refusals mean
//! - `events`: what is told; `writer`: the requests
//!
//! Not here: who leads, and whether status is wanted at all (do not start it then).

mod board;
mod conditions;
mod counters;
mod events;
mod faults;
mod gateways;
mod index;
mod merge;
mod observed;
mod pace;
#[cfg(test)]
mod testing;
mod tracker;
mod writer;

use std::sync::Arc;

use legate_api::ObjectKey;
use legate_runtime::task;
use legate_source::Observed;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use self::counters::StatusCounters;
use self::writer::{Message, Writer};
use crate::identity::Identity;
use crate::publish::{Batch, GatewayEvent};

/// Starts the status writer.
#[derive(Debug)]
pub struct StatusManager;

/// The running status writer. Dropping it ends it after what is due was written.
#[derive(Debug)]
pub struct StatusHandle {
    messages: mpsc::UnboundedSender<Message>,
    counters: Arc<StatusCounters>,
    task: JoinHandle<Option<()>>,
}

/// A way to feed the status writer, for those that do not own it.
#[derive(Debug, Clone)]
pub struct StatusSender {
    messages: mpsc::UnboundedSender<Message>,
}

impl StatusManager {
    /// Starts the writer on a runtime. It writes while `leader` says so; when the sender of
    /// `leader` is dropped it ends.
    #[must_use]
    pub fn start(
        client: kube::Client,
        identity: Identity,
        leader: watch::Receiver<bool>,
        runtime: &Handle,
    ) -> StatusHandle {
        let (messages, inbox) = mpsc::unbounded_channel();
        let counters = Arc::new(StatusCounters::default());
        let writer = Writer::new(client, identity, Arc::clone(&counters));
        let task = task::spawn_on(runtime, "status", writer.run(inbox, leader));
        StatusHandle {
            messages,
            counters,
            task,
        }
    }
}

impl StatusHandle {
    /// Says how objects stand at the API server, and which are gone. Never blocks.
    pub fn observed(&self, observed: Vec<Observed>, removed: Vec<ObjectKey>) {
        self.sender().observed(observed, removed);
    }

    /// Hands on a compile. Never blocks.
    pub fn batch(&self, batch: Arc<Batch>) {
        self.sender().batch(batch);
    }

    /// Hands on what a gateway reports. Never blocks.
    pub fn gateway(&self, event: GatewayEvent) {
        self.sender().gateway(event);
    }

    /// Another way to feed it.
    #[must_use]
    pub fn sender(&self) -> StatusSender {
        StatusSender {
            messages: self.messages.clone(),
        }
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<StatusCounters> {
        Arc::clone(&self.counters)
    }

    /// Waits until what is due was written, for about a second at most. For one who is about to
    /// give up the lead.
    pub async fn flush(&self) {
        self.finish(false).await;
    }

    /// Ends it, after what is due was written, for which there is about a second.
    pub async fn shutdown(self) {
        self.finish(true).await;
        // A panic was counted and logged by the task.
        let _ = self.task.await;
    }

    async fn finish(&self, end: bool) {
        let (done, finished) = oneshot::channel();
        if self.messages.send(Message::Flush { done, end }).is_ok() {
            // It may have ended by itself meanwhile.
            let _ = finished.await;
        }
    }
}

impl StatusSender {
    /// As [`StatusHandle::observed`].
    pub fn observed(&self, observed: Vec<Observed>, removed: Vec<ObjectKey>) {
        if !(observed.is_empty() && removed.is_empty()) {
            self.send(Message::Observed(observed, removed));
        }
    }

    /// As [`StatusHandle::batch`].
    pub fn batch(&self, batch: Arc<Batch>) {
        self.send(Message::Batch(batch));
    }

    /// As [`StatusHandle::gateway`].
    pub fn gateway(&self, event: GatewayEvent) {
        self.send(Message::Gateway(event));
    }

    fn send(&self, message: Message) {
        // A writer that has ended wants no messages.
        let _ = self.messages.send(message);
    }
}
