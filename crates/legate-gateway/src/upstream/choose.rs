//! From all endpoints of a cluster to the one of a request: what is left out, and what the request's
//! outcome says about the endpoint (spec/services §§3.2, 3.3).

use std::net::SocketAddr;
use std::sync::Arc;

use super::balance::{self, Pick, Tried};
use super::cluster::ClusterHandle;
use super::eject::{self, Failure, Standing};
use super::endpoint::{Endpoint, InFlight};
use super::endpoints::Ejected;
use super::pool::WorkerPool;
use crate::clock;
use crate::error::ErrorKind;

/// Where a request goes, and its place there.
type Chosen = (SocketAddr, Option<InFlight>);

/// The next endpoint: one that was not tried; a request that was sent before may go where it was,
/// one whose connect failed may not (`again`). Where all that is left is out, that is used for want of
/// another.
pub(super) fn next(
    pool: &WorkerPool,
    cluster: &ClusterHandle,
    key: Option<u64>,
    (tried, again): (&Tried, bool),
) -> Option<Chosen> {
    if let Some(left) = balance::left(pool, cluster, tried) {
        return Some(left);
    }
    let list = cluster.endpoints.list();
    let pick = |fit: &dyn Fn(&Endpoint) -> bool| {
        let pick = |tried: &Tried| {
            let pick = Pick {
                policy: cluster.config.balancer,
                cursor: &cluster.cursor,
                key,
                tried,
            };
            pick.from(&list, fit)
        };
        pick(tried).or_else(|| again.then(|| pick(&Tried::default())).flatten())
    };
    let chosen = |it: &Arc<Endpoint>, standing: Standing| {
        let at = cluster.place(&list, it, standing);
        (it.address, at)
    };
    let health = cluster.health.as_ref().map(|it| it.for_request());
    let health = health.as_deref();
    let healthy = |it: &Endpoint| health.is_none_or(|health| health.allows(&it.address));
    if cluster.config.never_eject || list.endpoints.len() < 2 {
        return pick(&healthy).map(|it| chosen(it, Standing::In));
    }
    let now = clock::now();
    // Whoever loses the race for a trial looks again; each loss is another request's trial.
    for _ in 0..=list.endpoints.len() {
        let Some(endpoint) = pick(&|it| it.ejection.is_usable(now) && healthy(it)) else {
            break;
        };
        if let Some(standing) = endpoint.ejection.begin(now) {
            return Some(chosen(endpoint, standing));
        }
    }
    pick(&healthy).map(|it| chosen(it, Standing::Out))
}

// === impl ClusterHandle ===

impl ClusterHandle {
    /// Whether a request may be moved to an endpoint that was not chosen for it.
    pub(super) fn may_use(&self, endpoint: &Endpoint) -> bool {
        let out = !self.config.never_eject && endpoint.ejection.is_out();
        let health = self.health.as_ref();
        !out && health.is_none_or(|it| it.verdicts().allows(&endpoint.address))
    }

    /// The endpoint of a request responded.
    pub(super) fn responded(&self, at: &mut InFlight) {
        if at.responded() {
            tracing::info!(
                cluster = %self.config.stats_name,
                endpoint = %at.endpoint().address,
                "Endpoint responds and is used again"
            );
        }
    }

    /// A request failed without a response. One that goes on to a fresh connection does not count:
    /// that one tells whether the endpoint or only the old connection is dead.
    pub(super) fn failed(&self, at: &mut InFlight, kind: ErrorKind) {
        let counts = !self.config.never_eject && !self.config.shadow && eject::is_failure(kind);
        if !counts || at.failed() == Failure::Noted {
            return;
        }
        let endpoint = at.endpoint();
        match self.endpoints.eject(endpoint) {
            Ejected::Yes => {
                self.count_ejection();
                tracing::warn!(
                    cluster = %self.config.stats_name,
                    endpoint = %endpoint.address,
                    reason = ?kind,
                    "Endpoint is left out: too many requests in a row failed without a response"
                );
            }
            Ejected::Already => {}
            Ejected::TooMany => self.count_ejection_overflow(),
        }
    }
}
