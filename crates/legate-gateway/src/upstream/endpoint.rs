//! Endpoints as the process knows them: one object per set and address, which all clusters that name
//! the set share, and which outlives changes of the set's other members.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use super::eject::{Ejection, Failure, Standing};
use super::hashing::Tables;
use crate::clock;

/// Endpoints of a name's former answers that are remembered.
const MOST_LEFT: usize = 8;

/// An address that requests can go to, and what is known of it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Where to connect.
    pub(crate) address: SocketAddr,
    in_flight: AtomicU32,
    /// What its failures led to.
    pub(super) ejection: Ejection,
}

/// The endpoints of a set at one moment.
#[derive(Debug, Default)]
pub(super) struct EndpointList {
    pub(super) endpoints: Box<[Arc<Endpoint>]>,
    /// Those that a name has left, newest first: no connection is opened to them, but those that are
    /// open may be used (`logical_dns`).
    pub(super) left: Box<[Arc<Endpoint>]>,
    /// Where hashes lead, as far as clusters go by that.
    pub(super) tables: Tables,
    /// The first resolution has not ended yet.
    pub(super) pending: bool,
}

/// Every endpoint of a set that somebody still holds, so that an address that comes back while its
/// requests run is the same endpoint as before.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<SocketAddr, Weak<Endpoint>>);

/// A request's place at an endpoint; counts it there, by its own life.
#[derive(Debug)]
pub(crate) struct InFlight {
    endpoint: Arc<Endpoint>,
    counted: bool,
    /// What its outcome means to the endpoint; `None` once that is known.
    standing: Option<Standing>,
}

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            in_flight: AtomicU32::new(0),
            ejection: Ejection::default(),
        })
    }

    /// Requests that were sent to it, or are about to be, over all workers and all clusters that balance
    /// by load.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

// === impl EndpointList ===

impl EndpointList {
    /// Whether connections to an address may be used.
    pub(super) fn has(&self, address: &SocketAddr) -> bool {
        let mut all = self.endpoints.iter().chain(&self.left);
        all.any(|it| it.address == *address)
    }

    /// What is left once these have taken its place.
    pub(super) fn left_by(&self, endpoints: &[Arc<Endpoint>]) -> Box<[Arc<Endpoint>]> {
        let all = self.endpoints.iter().chain(&self.left);
        let gone = all.filter(|it| !endpoints.iter().any(|new| new.address == it.address));
        gone.take(MOST_LEFT).cloned().collect()
    }

    /// Their addresses.
    pub(super) fn addresses(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.endpoints.iter().map(|it| it.address)
    }
}

// === impl Known ===

impl Known {
    /// The endpoints at these addresses, those that are known as they are.
    pub(super) fn endpoints(&mut self, addresses: &[SocketAddr]) -> Box<[Arc<Endpoint>]> {
        let former = std::mem::take(&mut self.0);
        let known = |address: &SocketAddr| former.get(address).and_then(Weak::upgrade);
        let endpoints: Box<[_]> = addresses
            .iter()
            .map(|address| known(address).unwrap_or_else(|| Endpoint::new(*address)))
            .collect();
        self.0 = former;
        self.0.retain(|_, endpoint| endpoint.strong_count() > 0);
        let now = endpoints.iter().map(|it| (it.address, Arc::downgrade(it)));
        self.0.extend(now);
        endpoints
    }
}

// === impl InFlight ===

impl InFlight {
    pub(super) fn begin(endpoint: Arc<Endpoint>, counted: bool, standing: Standing) -> Self {
        if counted {
            endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            endpoint,
            counted,
            standing: Some(standing),
        }
    }

    /// Where the request is.
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The endpoint responded; says whether it comes back by that.
    pub(super) fn responded(&mut self) -> bool {
        let standing = self.standing.take();
        standing.is_some_and(|it| self.endpoint.ejection.responded(it))
    }

    /// The request failed without a response.
    pub(super) fn failed(&mut self) -> Failure {
        let standing = self.standing.take();
        standing.map_or(Failure::Noted, |it| {
            self.endpoint.ejection.failed(it, clock::now())
        })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.counted {
            self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(standing) = self.standing {
            self.endpoint.ejection.abandoned(standing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_outlive_changes_of_their_set() {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let mut known = Known::default();
        let first = known.endpoints(&[at(1), at(2)]);
        let second = known.endpoints(&[at(2), at(3)]);
        assert!(Arc::ptr_eq(&first[1], &second[0]));

        let running = InFlight::begin(Arc::clone(&first[0]), true, Standing::In);
        drop(first);
        let third = known.endpoints(&[at(1)]);
        assert!(Arc::ptr_eq(&third[0], running.endpoint()));
        assert_eq!(third[0].in_flight(), 1);
        drop(running);
        assert_eq!(third[0].in_flight(), 0);

        drop((second, third));
        assert!(known.endpoints(&[]).is_empty());
        assert!(known.0.is_empty(), "nobody holds them any more");
    }
}
