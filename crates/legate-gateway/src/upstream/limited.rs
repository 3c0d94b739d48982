//! What is counted of requests that nobody waits for: of rate limits, for the cluster that a request
//! would go to; of authorisation that was not asked for, for the cluster that would have been asked.

use std::sync::atomic::Ordering;

use super::cluster::ClusterHandle;
use super::pool::WorkerPool;
use crate::metrics::LimitResult;

impl WorkerPool {
    /// Counts what became of a question about a rate limit, for the cluster of the request.
    pub(crate) fn count_limit(&self, cluster: &ClusterHandle, result: LimitResult) {
        if let Some(counter) = cluster.shard(self.worker).limits.get(result as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts headers of an answer that could not be honoured.
    pub(crate) fn count_limit_dropped(&self, cluster: &ClusterHandle, headers: u64) {
        if headers > 0 {
            let counter = &cluster.shard(self.worker).limits_dropped;
            counter.fetch_add(headers, Ordering::Relaxed);
        }
    }

    /// Counts a request that this cluster was not asked about, because its route is exempt.
    pub(crate) fn count_bypassed(&self, cluster: &ClusterHandle) {
        let counter = &cluster.shard(self.worker).auth_bypassed;
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
