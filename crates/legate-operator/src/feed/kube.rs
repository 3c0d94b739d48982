//! An API server as a feed.

use std::collections::BTreeSet;

use legate_compiler::Diagnostic;
use legate_source::Update;
use legate_source::kube::{KubeSource, KubeWatch};

use super::Feed;

/// An API server.
#[derive(Debug)]
pub struct KubeFeed {
    source: KubeSource,
    watch: KubeWatch,
}

impl KubeFeed {
    /// Follows an API server.
    #[must_use]
    pub fn new(source: KubeSource, watch: KubeWatch) -> Self {
        Self { source, watch }
    }
}

impl Feed for KubeFeed {
    async fn recv(&mut self) -> Option<Update> {
        self.watch.recv().await
    }

    fn try_recv(&mut self) -> Option<Update> {
        self.watch.try_recv()
    }

    fn annotate(&self, diagnostics: &mut Vec<Diagnostic>) {
        diagnostics.sort();
    }

    fn want_secrets(&self, wanted: BTreeSet<(String, String)>) -> bool {
        self.source.want_secrets(wanted)
    }
}
