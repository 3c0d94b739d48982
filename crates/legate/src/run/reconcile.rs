//! The thread between source and gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use legate_api::{Body, Object};
use legate_compiler::{Compiler, Diagnostic, Options, Severity, Snapshot, is_ours};
use legate_gateway::{Gateway, ListenerState};
use legate_source::Update;
use legate_source::folder::{FolderSource, Watch};
use tokio::sync::{oneshot, watch};

use crate::input::merged;
use crate::selector::LabelSelector;

/// What the last batch came to.
#[derive(Debug)]
pub struct Published {
    /// The snapshot that serves.
    pub snapshot: Arc<Snapshot>,
    /// All there is to report.
    pub diagnostics: Vec<Diagnostic>,
    /// Number of batches so far.
    pub batch: u64,
}

/// Compiler and gateway, and what was last said about the config.
#[derive(Debug)]
pub(super) struct Reconciler {
    compiler: Compiler,
    selector: LabelSelector,
    source: FolderSource,
    gateway: Arc<Gateway>,
    from_source: Vec<Diagnostic>,
    applied: Option<legate_config::Hash128>,
    listeners: Vec<ListenerState>,
    said: BTreeSet<String>,
    batch: u64,
}

impl Reconciler {
    pub(super) fn new(
        compiler: Compiler,
        selector: LabelSelector,
        source: FolderSource,
        gateway: Arc<Gateway>,
    ) -> Self {
        Self {
            compiler,
            selector,
            source,
            gateway,
            from_source: Vec::new(),
            applied: None,
            listeners: Vec::new(),
            said: BTreeSet::new(),
            batch: 0,
        }
    }

    /// Takes a batch of updates into account and applies what comes of it.
    pub(super) fn step(&mut self, updates: Vec<Update>) -> (Published, Vec<ListenerState>) {
        for update in updates {
            for key in &update.removals {
                self.compiler.remove(key);
            }
            for object in update.upserts {
                if self.selector.matches(&object.meta.labels) {
                    self.no_more_synthetic_host(&object);
                    self.compiler.upsert(object);
                } else {
                    self.compiler.remove(&object.key());
                }
            }
            self.from_source = update.diagnostics;
        }
        let started = Instant::now();
        let compilation = self.compiler.compile();
        let compiled = started.elapsed();
        // Equal roots mean equal configs: there is nothing to swap.
        if self.applied != Some(compilation.snapshot.root) {
            let applied = self.gateway.apply(Arc::clone(&compilation.snapshot));
            for rejected in &applied.rejected {
                tracing::warn!(key = %rejected.key, code = %rejected.code, "Gateway rejected an entry: {}", rejected.message);
            }
            self.applied = Some(compilation.snapshot.root);
            self.listeners = applied.listeners;
        }
        let diagnostics = merged(
            &self.source,
            self.from_source.clone(),
            &compilation.diagnostics,
        );
        self.batch += 1;
        tracing::debug!(
            batch = self.batch,
            compile_us = compiled.as_micros(),
            total_us = started.elapsed().as_micros(),
            config.root = %compilation.snapshot.root,
            "Reconciled"
        );
        self.report(&diagnostics);
        let published = Published {
            snapshot: compilation.snapshot,
            diagnostics,
            batch: self.batch,
        };
        (published, self.listeners.clone())
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

    /// Logs each diagnostic once, when it appears, and counts what was mended.
    fn report(&mut self, diagnostics: &[Diagnostic]) {
        let mut now = BTreeMap::new();
        for item in diagnostics {
            now.insert(line(item), item.severity());
        }
        for (text, severity) in &now {
            if self.said.contains(text) {
                continue;
            }
            match severity {
                Severity::Error | Severity::Warning => tracing::warn!("{text}"),
                Severity::Info => tracing::info!("{text}"),
            }
        }
        let mended = self
            .said
            .iter()
            .filter(|text| !now.contains_key(*text))
            .count();
        if mended > 0 {
            tracing::info!(mended, "Problems are gone");
        }
        self.said = now.into_keys().collect();
    }
}

fn line(item: &Diagnostic) -> String {
    let mut text = format!("[{}] {}", item.code, item.message);
    if let Some(object) = &item.object {
        text = format!("{text} ({object}");
        if !item.path.is_empty() {
            text = format!("{text}, {}", item.path);
        }
        text.push(')');
    }
    if let Some(at) = &item.location {
        text = format!("{text} at {}:{}", at.file, at.line);
    }
    text
}

/// Starts the thread; it ends when the returned sender is dropped.
pub(super) fn spawn(
    mut reconciler: Reconciler,
    source: &FolderSource,
    published: watch::Sender<Arc<Published>>,
) -> std::io::Result<(oneshot::Sender<()>, JoinHandle<()>)> {
    let (stop, mut stopped) = oneshot::channel::<()>();
    let mut changes = source.watch();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let thread = std::thread::Builder::new()
        .name("reconcile".to_owned())
        .spawn(move || {
            while let Some(batch) = runtime.block_on(next_batch(&mut changes, &mut stopped)) {
                let (result, _) = reconciler.step(batch);
                published.send_replace(Arc::new(result));
            }
        })?;
    Ok((stop, thread))
}

/// Everything that has arrived, at once; waits while nothing has. `None` when it is time to end.
async fn next_batch(
    changes: &mut Watch,
    stopped: &mut oneshot::Receiver<()>,
) -> Option<Vec<Update>> {
    let first = tokio::select! {
        // Dropping `recv` loses nothing: the update stays in the channel.
        _ = stopped => return None,
        update = changes.recv() => update?,
    };
    let mut batch = vec![first];
    while let Some(more) = changes.try_recv() {
        batch.push(more);
    }
    Some(batch)
}
