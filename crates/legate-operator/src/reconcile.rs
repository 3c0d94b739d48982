//! From updates to published snapshots, for folders and for Kubernetes alike.
//!
//! One thread: it takes updates of the feed, compiles, hands the snapshot to the gateways and goes on.
//! What arrives while a compile runs forms the next batch; there are no timers that add delay.
//! Nothing here knows whether a gateway is in the same process: it is told over one channel and
//! acknowledges over another.

mod audit;
mod contract;
mod refusals;
mod report;

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use legate_api::{Body, Kind, Object, ObjectKey};
use legate_compiler::{AuditMismatch, Compiler, Diagnostic, Options, Snapshot, is_ours};
use legate_source::Update;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};

pub use contract::{Bootstrap, Gateways, Observer, Published, Settings, Timing, Unobserved};

use crate::feed::Feed;
use crate::publish::{Batch, GatewayEvent, Version};
use audit::Auditor;
use report::Report;

/// Ends the reconciler's thread when dropped.
#[derive(Debug)]
pub struct Reconciling {
    // Its end is what ends the thread: dropped before that is joined.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    published: watch::Receiver<Arc<Published>>,
    first: mpsc::Receiver<()>,
}

/// Source to compiler to gateways.
pub struct Reconciler<F> {
    feed: F,
    compiler: Compiler,
    settings: Settings,
    gateways: Gateways,
    observer: Box<dyn Observer>,
    published: watch::Sender<Arc<Published>>,
    first: Option<mpsc::Sender<()>>,
    from_source: Vec<Diagnostic>,
    /// Versions and removals that no batch has told of yet.
    versions: Vec<Version>,
    removed: Vec<ObjectKey>,
    /// When the oldest change arrived that no batch holds.
    waiting: Option<Instant>,
    /// Since when a compiled batch waits for Secrets.
    held: Option<Instant>,
    sent: Option<Sent>,
    report: Report,
    auditor: Auditor,
    number: u64,
    bootstrap: Option<Bootstrap>,
    restored: bool,
}

/// The newest snapshot that was published, until a gateway acknowledges it.
struct Sent {
    snapshot: u64,
    at: Instant,
    acked: bool,
    published: Option<Arc<Published>>,
}

impl<F: Feed> Reconciler<F> {
    /// A reconciler that has seen nothing yet.
    #[must_use]
    pub fn new(
        feed: F,
        settings: Settings,
        gateways: Gateways,
        observer: Box<dyn Observer>,
    ) -> Self {
        let empty = Published {
            snapshot: Arc::default(),
            diagnostics: Vec::new(),
            batch: 0,
        };
        Self {
            feed,
            compiler: Compiler::new(settings.options.clone()),
            settings,
            gateways,
            observer,
            published: watch::Sender::new(Arc::new(empty)),
            first: None,
            from_source: Vec::new(),
            versions: Vec::new(),
            removed: Vec::new(),
            waiting: None,
            held: None,
            sent: None,
            report: Report::default(),
            auditor: Auditor::default(),
            number: 0,
            bootstrap: None,
            restored: false,
        }
    }

    /// Starts the thread. With `first`, that update is the first batch; otherwise the feed's first
    /// one is.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start(mut self, first: Option<Update>) -> std::io::Result<Reconciling>
    where
        F: Send + 'static,
    {
        let (told, waiting) = mpsc::channel();
        self.first = Some(told);
        let published = self.published.subscribe();
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("reconcile".to_owned())
            .spawn(move || runtime.block_on(self.run(first, stopped)))?;
        Ok(Reconciling {
            stop: Some(stop),
            thread: Some(thread),
            published,
            first: waiting,
        })
    }

    async fn run(mut self, first: Option<Update>, mut stopped: oneshot::Receiver<()>) {
        if let Some(bootstrap) = self.settings.bootstrap.take() {
            tokio::select! {
                _ = &mut stopped => return,
                // Its sender is gone only when the process ends.
                bootstrap = bootstrap => if let Ok(bootstrap) = bootstrap {
                    let hash_key = bootstrap.hash_key;
                    let options = self.compiler.options().clone();
                    self.compiler.set_options(Options { hash_key, ..options });
                    self.bootstrap = Some(bootstrap);
                },
            }
        }
        if let Some(update) = first {
            self.absorb(update);
            self.batch();
        }
        let mut feeding = true;
        loop {
            let due = self.due();
            // Each branch is cancel-safe: what is not taken stays in its channel.
            tokio::select! {
                biased;
                _ = &mut stopped => return,
                Some(event) = self.gateways.events.recv() => self.gateway(&event),
                result = self.auditor.finished() => self.audited(result),
                () = changed(self.bootstrap.as_mut()), if self.restored => self.follow(),
                Some(key) = spoilt(self.settings.spoil.as_mut()) => {
                    self.compiler.spoil(&key);
                    self.batch();
                    self.auditor.start(&self.compiler);
                }
                update = self.feed.recv(), if feeding => match update {
                    Some(update) => self.take(update),
                    None => feeding = false,
                },
                () = sleep_until(due) => self.overdue(),
            }
        }
    }

    /// Takes an update and all that wait behind it, and compiles if they ask for it.
    fn take(&mut self, update: Update) {
        let mut matters = self.absorb(update);
        while let Some(more) = self.feed.try_recv() {
            matters |= self.absorb(more);
        }
        if matters || self.number == 0 || self.held.is_some() {
            self.batch();
        }
    }

    /// Takes an update into account. Returns whether it can change anything.
    fn absorb(&mut self, update: Update) -> bool {
        let Update {
            upserts,
            removals,
            diagnostics,
            observed,
        } = update;
        let mut matters = self.from_source != diagnostics;
        self.from_source = diagnostics;
        self.observer.observed(observed, &removals);
        for key in removals {
            matters |= self.matters(&key);
            self.compiler.remove(&key);
            self.auditor.changed();
            self.removed.push(key);
        }
        for object in upserts {
            let key = object.key();
            matters |= self.matters(&key) || self.belongs(&object);
            self.no_more_synthetic_host(&object);
            if key.kind.is_ambassador() {
                self.versions.push(Version {
                    uid: object.meta.uid.clone().unwrap_or_default(),
                    generation: object.meta.generation,
                    key,
                });
            }
            self.compiler.upsert(object);
            self.auditor.changed();
        }
        if matters && self.waiting.is_none() {
            self.waiting = Some(Instant::now());
        }
        matters
    }

    /// Whether a change of this object needs a compile. Endpoints that no route refers to do not:
    /// they are taken in, and count from the next compile on.
    fn matters(&self, key: &ObjectKey) -> bool {
        if key.kind != Kind::EndpointSlice || self.number == 0 {
            return true;
        }
        match self.compiler.resources().get(key) {
            Some(held) => self.belongs(&held.current),
            None => false,
        }
    }

    fn belongs(&self, object: &Object) -> bool {
        match &object.body {
            Body::EndpointSlice(slice) => slice.service.as_deref().is_some_and(|service| {
                self.compiler.wants_service(&object.meta.namespace, service)
            }),
            _ => true,
        }
    }

    /// A Host is made up only while none of ours was ever seen: deleting the last one must not
    /// suddenly serve everything in cleartext (spec/routing §3.11).
    fn no_more_synthetic_host(&mut self, object: &Object) {
        let options = self.compiler.options();
        let host = matches!(object.body, Body::Host(_));
        if host && options.allow_synthetic_host && is_ours(object, &object.key(), options) {
            let options = Options {
                allow_synthetic_host: false,
                ..options.clone()
            };
            self.compiler.set_options(options);
        }
    }

    /// Compiles what was absorbed, and publishes unless Secrets are on their way.
    fn batch(&mut self) {
        if !self.restored {
            self.restored = true;
            self.follow_last_good();
        }
        let started = Instant::now();
        let queued = self.waiting.map_or(Duration::ZERO, |since| started - since);
        let compilation = self.compiler.compile();
        let timing = Timing {
            compile: started.elapsed(),
            queued,
        };
        let settled = self.feed.want_secrets(self.compiler.wanted_secrets());
        let since = *self.held.get_or_insert(started);
        if !settled && since.elapsed() < self.settings.secret_patience {
            // The update that brings them compiles again; until then the former config serves.
            return;
        }
        self.held = None;
        self.waiting = None;
        self.number += 1;
        let mut found = compilation.diagnostics;
        refusals::explain(&mut found, &self.from_source);
        let mut diagnostics = self.from_source.clone();
        diagnostics.extend(found.iter().cloned());
        self.feed.annotate(&mut diagnostics);
        self.report.say(&diagnostics);
        let batch = Arc::new(Batch {
            number: self.number,
            snapshot: Arc::clone(&compilation.snapshot),
            status: compilation.status,
            diagnostics: found,
            versions: std::mem::take(&mut self.versions),
            removed: std::mem::take(&mut self.removed),
        });
        self.publish(compilation.snapshot, diagnostics);
        self.observer.compiled(&batch, &self.compiler, timing);
        tracing::debug!(
            batch = self.number,
            compile_us = timing.compile.as_micros(),
            total_us = started.elapsed().as_micros(),
            config.root = %batch.snapshot.root,
            "Reconciled"
        );
    }

    /// Hands a snapshot to the gateways; one that they have already is not handed on again.
    fn publish(&mut self, snapshot: Arc<Snapshot>, diagnostics: Vec<Diagnostic>) {
        let published = Arc::new(Published {
            snapshot: Arc::clone(&snapshot),
            diagnostics,
            batch: self.number,
        });
        match &mut self.sent {
            Some(sent) if sent.snapshot == snapshot.id && sent.acked => {
                self.done(published);
            }
            Some(sent) if sent.snapshot == snapshot.id => sent.published = Some(published),
            _ => {
                self.sent = Some(Sent {
                    snapshot: snapshot.id,
                    at: Instant::now(),
                    acked: false,
                    published: Some(published),
                });
                self.gateways.snapshots.send_replace(Some(snapshot));
            }
        }
    }

    fn gateway(&mut self, event: &GatewayEvent) {
        if let (GatewayEvent::Acked(_, ack), Some(sent)) = (event, &mut self.sent)
            && ack.snapshot >= sent.snapshot
        {
            if !sent.acked {
                sent.acked = true;
                self.observer.acknowledged(sent.at.elapsed());
            }
            if let Some(published) = sent.published.take() {
                self.done(published);
            }
        }
        self.observer.gateway(event);
    }

    fn done(&mut self, published: Arc<Published>) {
        self.published.send_replace(published);
        if let Some(first) = self.first.take() {
            // Nobody may be waiting for it.
            let _ = first.send(());
        }
    }

    /// When there is something to do although nothing happens.
    fn due(&self) -> Option<Instant> {
        let held = self.held.map(|since| since + self.settings.secret_patience);
        let audit = self.auditor.due();
        held.into_iter().chain(audit).min()
    }

    fn overdue(&mut self) {
        if self.held.is_some() {
            self.batch();
        } else if self.number > 0 {
            self.auditor.start(&self.compiler);
        }
    }

    fn audited(&mut self, result: Result<(), AuditMismatch>) {
        self.observer.audited(&result);
        if let Err(mismatch) = result {
            tracing::error!(%mismatch, "Audit found a wrong config; compiling everything again");
            self.compiler.start_over();
            self.batch();
        }
    }

    /// Takes over what another replica found to be the last good versions.
    fn follow(&mut self) {
        if self.follow_last_good() {
            self.batch();
        }
    }

    /// A follower takes what is kept as it is, a leader only what it lacks.
    fn follow_last_good(&mut self) -> bool {
        let Some(bootstrap) = &mut self.bootstrap else {
            return false;
        };
        let leading = *bootstrap.leading.borrow();
        let known = Arc::clone(&bootstrap.last_good.borrow_and_update());
        let mut changed = false;
        for (key, object) in known.iter() {
            let Some(held) = self.compiler.resources().get(key) else {
                continue;
            };
            if held.current.meta.uid != object.meta.uid {
                // Another object of the same name.
                continue;
            }
            let same = |version: &Object| version.meta.generation == object.meta.generation;
            let known = match &held.last_good {
                Some(last_good) => leading || same(last_good),
                None => false,
            };
            if !known && !same(&held.current) {
                self.compiler.set_last_good(Object::clone(object));
                changed = true;
            }
        }
        changed
    }
}

impl Reconciling {
    /// Waits until the first batch serves. Blocks.
    ///
    /// # Errors
    /// The thread ended before.
    pub fn wait_for_first(&self) -> std::io::Result<()> {
        let ended = |_| std::io::Error::other("the reconciler ended");
        self.first.recv().map_err(ended)
    }

    /// Changes whenever a batch was compiled and, if it changed anything, acknowledged.
    #[must_use]
    pub fn published(&self) -> watch::Receiver<Arc<Published>> {
        self.published.clone()
    }

    /// Ends the thread; what it published stays in force.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Reconciling {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<F> fmt::Debug for Reconciler<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Completes when there is something new; never without a receiver, or when its sender is gone.
async fn changed(bootstrap: Option<&mut Bootstrap>) {
    if let Some(bootstrap) = bootstrap
        && bootstrap.last_good.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

async fn spoilt(receiver: Option<&mut UnboundedReceiver<ObjectKey>>) -> Option<ObjectKey> {
    receiver?.recv().await
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
