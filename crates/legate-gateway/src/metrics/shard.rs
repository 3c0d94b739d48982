//! Counters that threads do not fight over.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A small number of this thread, counted up from 0 in the order in which threads first ask.
pub(crate) fn shard_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    INDEX.with(|index| {
        if index.get() == usize::MAX {
            index.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        index.get()
    })
}

/// Plain values of `N` counters.
pub(super) type Counters<const N: usize> = [u64; N];

/// Cache lines of one thread: 128 bytes, because adjacent lines are fetched in pairs.
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

/// `N` counters, once per shard.
pub(super) struct Sharded<const N: usize>(Box<[Shard<N>]>);

impl<const N: usize> Sharded<N> {
    pub(super) fn new(shards: usize) -> Self {
        let shards = shards.max(1);
        Self(
            (0..shards)
                .map(|_| Shard(std::array::from_fn(|_| AtomicU64::new(0))))
                .collect(),
        )
    }

    /// Adds to a counter of this thread's shard. Threads beyond the number of shards share.
    pub(super) fn add(&self, counter: usize, by: u64) {
        let shard = self.0.get(shard_index() % self.0.len().max(1));
        if let Some(counter) = shard.and_then(|shard| shard.0.get(counter)) {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// A counter over all shards.
    pub(super) fn sum(&self, counter: usize) -> u64 {
        self.0
            .iter()
            .filter_map(|shard| shard.0.get(counter))
            .fold(0, |sum, value| {
                sum.wrapping_add(value.load(Ordering::Relaxed))
            })
    }

    /// All counters over all shards.
    pub(super) fn sums(&self) -> Counters<N> {
        std::array::from_fn(|counter| self.sum(counter))
    }
}
