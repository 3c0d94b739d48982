//! What goes into a reconciler and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use legate_api::ObjectKey;
use legate_compiler::{AuditMismatch, Compiler, Diagnostic, Options, Snapshot};
use legate_source::Observed;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};

use crate::last_good::LastGoodMap;
use crate::publish::{Batch, GatewayEvent};

/// What the last batch came to.
#[derive(Debug)]
pub struct Published {
    /// The snapshot that serves.
    pub snapshot: Arc<Snapshot>,
    /// All there is to report, located.
    pub diagnostics: Vec<Diagnostic>,
    /// Number of batches so far.
    pub batch: u64,
}

/// What a compile took.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The compile itself.
    pub compile: Duration,
    /// How long the oldest change of the batch had waited for it.
    pub queued: Duration,
}

/// Told of everything that happens; what is done about it is its own business. Each call must return
/// at once: it holds up the next batch.
pub trait Observer: Send {
    /// How objects stand at the API server, and which are gone.
    fn observed(&mut self, observed: Vec<Observed>, removed: &[ObjectKey]);

    /// A compile that was published, or changed nothing for gateways.
    fn compiled(&mut self, batch: &Arc<Batch>, compiler: &Compiler, timing: Timing);

    /// What a gateway reported.
    fn gateway(&mut self, event: &GatewayEvent);

    /// A snapshot was acknowledged for the first time, this long after it was published.
    fn acknowledged(&mut self, after: Duration);

    /// A full compile was compared with the incremental one.
    fn audited(&mut self, result: &Result<(), AuditMismatch>);
}

/// An observer that does nothing: a folder has no status.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

/// How the reconciler works.
#[derive(Debug)]
pub struct Settings {
    /// How to compile.
    pub options: Options,
    /// How long a batch may wait for Secrets that it refers to for the first time.
    pub secret_patience: Duration,
    /// Spoils the remembered part of the Mapping that is sent here; for tests.
    pub spoil: Option<UnboundedReceiver<ObjectKey>>,
    /// What has to be known before the first compile and has to be fetched first.
    pub bootstrap: Option<oneshot::Receiver<Bootstrap>>,
}

/// What an API server holds for us from one process to the next.
#[derive(Debug)]
pub struct Bootstrap {
    /// The key of secret fingerprints, the same in all replicas.
    pub hash_key: [u8; 32],
    /// Last good versions: those that survived a restart, and then what other replicas find.
    pub last_good: watch::Receiver<Arc<LastGoodMap>>,
    /// Whether this replica leads, and so knows better than what is kept.
    pub leading: watch::Receiver<bool>,
}

/// Both ends towards the gateways.
#[derive(Debug)]
pub struct Gateways {
    /// The newest snapshot.
    pub snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    /// What gateways report.
    pub events: UnboundedReceiver<GatewayEvent>,
}

impl Observer for Unobserved {
    fn observed(&mut self, _observed: Vec<Observed>, _removed: &[ObjectKey]) {}
    fn compiled(&mut self, _batch: &Arc<Batch>, _compiler: &Compiler, _timing: Timing) {}
    fn gateway(&mut self, _event: &GatewayEvent) {}
    fn acknowledged(&mut self, _after: Duration) {}
    fn audited(&mut self, _result: &Result<(), AuditMismatch>) {}
}
