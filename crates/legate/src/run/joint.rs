//! The joint between reconciler and gateway in one process: a channel each way.
//!
//! The gateway is told and answers like one behind a network: by snapshot number, root and keys.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use legate_compiler::Snapshot;
use legate_gateway::{Applied, Gateway, ListenerState};
use legate_operator::publish::{
    Ack, GatewayEvent, GatewayId, ListenerBind, Reached, RejectedEntry,
};
use legate_operator::reconcile::Gateways;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often listeners, side services and stores are looked at: what could not be bound or reached is
/// tried again by the gateway.
const LOOK: Duration = Duration::from_secs(1);

/// The gateway's end of the joint. Its thread ends with the other end.
#[derive(Debug)]
pub(super) struct Joint {
    thread: Option<JoinHandle<()>>,
}

struct End {
    id: GatewayId,
    gateway: Arc<Gateway>,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    events: UnboundedSender<GatewayEvent>,
    hold: Option<watch::Receiver<bool>>,
    last: Option<Ack>,
}

impl Joint {
    /// Joins a gateway; what is returned beside goes to the reconciler. While `hold` says true,
    /// nothing is applied.
    pub(super) fn start(
        gateway: Arc<Gateway>,
        name: &str,
        hold: Option<watch::Receiver<bool>>,
    ) -> std::io::Result<(Self, Gateways)> {
        let (snapshots, receiver) = watch::channel(None);
        let (sender, events) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let mut end = End {
            id: GatewayId(name.into()),
            gateway,
            snapshots: receiver,
            events: sender,
            hold,
            last: None,
        };
        let thread = std::thread::Builder::new()
            .name("apply".to_owned())
            .spawn(move || runtime.block_on(end.run()))?;
        let thread = Some(thread);
        Ok((Self { thread }, Gateways { snapshots, events }))
    }

    /// Waits for the thread, which ends once the reconciler's end is dropped.
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic there was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Joint {
    fn drop(&mut self) {
        self.join();
    }
}

impl End {
    async fn run(&mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Dropping either loses nothing: the channel keeps the newest, a tick is a tick.
                changed = self.snapshots.changed() => match changed {
                    Ok(()) => self.apply().await,
                    Err(_) => break,
                },
                _ = look.tick() => self.look(),
            }
        }
        self.tell(GatewayEvent::Goodbye(self.id.clone()));
    }

    async fn apply(&mut self) {
        if let Some(hold) = &mut self.hold {
            // An error means that nobody holds any more.
            let _ = hold.wait_for(|held| !held).await;
        }
        let Some(snapshot) = self.snapshots.borrow_and_update().clone() else {
            return;
        };
        let applied = self.gateway.apply(snapshot);
        for rejected in &applied.rejected {
            tracing::warn!(key = %rejected.key, code = %rejected.code, "Gateway rejected an entry: {}", rejected.message);
        }
        self.ack(acknowledgement(&applied, reached(&self.gateway)));
    }

    /// Acknowledges again when a listener was bound, or somebody answered, or either was lost, since.
    fn look(&mut self) {
        let Some(last) = &self.last else {
            return;
        };
        let listeners = binds(&self.gateway.listeners());
        let reached = reached(&self.gateway);
        if last.listeners != listeners || last.reached != reached {
            let ack = Ack {
                listeners,
                reached,
                ..last.clone()
            };
            self.ack(ack);
        }
    }

    fn ack(&mut self, ack: Ack) {
        self.last = Some(ack.clone());
        self.tell(GatewayEvent::Acked(self.id.clone(), ack));
    }

    fn tell(&self, event: GatewayEvent) {
        // Fails only when the reconciler has ended.
        let _ = self.events.send(event);
    }
}

fn acknowledgement(applied: &Applied, reached: Vec<Reached>) -> Ack {
    let rejected = applied.rejected.iter();
    Ack {
        snapshot: applied.snapshot,
        root: applied.root,
        rejected: rejected
            .map(|entry| RejectedEntry {
                key: entry.key.clone(),
                code: entry.code.to_owned(),
                message: entry.message.clone(),
            })
            .collect(),
        listeners: binds(&applied.listeners),
        reached,
    }
}

fn binds(listeners: &[ListenerState]) -> Vec<ListenerBind> {
    let listeners = listeners.iter();
    listeners
        .map(|listener| ListenerBind {
            key: listener.key.to_string(),
            bound: match (&listener.bound, &listener.error) {
                (Some(address), _) => Ok(address.to_string()),
                (None, Some(error)) => Err(error.clone()),
                (None, None) => Err("not open".to_owned()),
            },
        })
        .collect()
}

fn reached(gateway: &Gateway) -> Vec<Reached> {
    let reach = gateway.reach().into_iter().map(|reach| Reached {
        key: reach.key,
        answers: reach.trouble.map_or(Ok(()), Err),
    });
    reach.collect()
}
