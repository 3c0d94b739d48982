//! Where the reconciler's updates come from: a folder or an API server, behind one interface.

mod kube;

use std::collections::BTreeSet;
use std::future::Future;

use legate_compiler::Diagnostic;
use legate_source::Update;

pub use kube::KubeFeed;
use legate_source::folder::{FolderSource, Watch};
use legate_source::selector::LabelSelector;

/// A source of updates.
pub trait Feed {
    /// The next update; `None` when there will be none.
    ///
    /// Cancel-safe: dropping the future loses no update.
    fn recv(&mut self) -> impl Future<Output = Option<Update>>;

    /// An update that is there already.
    fn try_recv(&mut self) -> Option<Update>;

    /// Adds what the source knows to diagnostics, and brings them into the order of its readers.
    fn annotate(&self, diagnostics: &mut Vec<Diagnostic>);

    /// Names the Secrets, as (namespace, name), that the config refers to. Returns whether each of
    /// them, or that it is not to be had, was part of an update already.
    fn want_secrets(&self, wanted: BTreeSet<(String, String)>) -> bool;
}

/// Files, from the first load on.
#[derive(Debug)]
pub struct FolderFeed {
    source: FolderSource,
    watch: Watch,
    selector: LabelSelector,
}

impl FolderFeed {
    /// Follows a folder that was loaded; only objects that `selector` matches count.
    #[must_use]
    pub fn new(source: FolderSource, selector: LabelSelector) -> Self {
        let watch = source.watch();
        Self {
            source,
            watch,
            selector,
        }
    }

    /// An update as it counts here: objects that the selector leaves out are as good as gone.
    #[must_use]
    pub fn select(&self, mut update: Update) -> Update {
        let (upserts, others): (Vec<_>, Vec<_>) = update
            .upserts
            .into_iter()
            .partition(|object| self.selector.matches(&object.meta.labels));
        update.upserts = upserts;
        let others = others.iter().map(legate_api::Object::key);
        update.removals.extend(others);
        update
    }
}

impl Feed for FolderFeed {
    async fn recv(&mut self) -> Option<Update> {
        let update = self.watch.recv().await?;
        Some(self.select(update))
    }

    fn try_recv(&mut self) -> Option<Update> {
        let update = self.watch.try_recv()?;
        Some(self.select(update))
    }

    fn annotate(&self, diagnostics: &mut Vec<Diagnostic>) {
        self.source.annotate_sorted(diagnostics);
    }

    fn want_secrets(&self, _wanted: BTreeSet<(String, String)>) -> bool {
        // A folder was read as a whole.
        true
    }
}
