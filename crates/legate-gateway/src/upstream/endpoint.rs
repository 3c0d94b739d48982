//! Endpoints as the process knows them: one object per set and address, which all clusters that name
//! the set share, and which outlives changes of the set's other members.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

/// An address that requests can go to, and what is known of it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Where to connect.
    pub(crate) address: SocketAddr,
    in_flight: AtomicU32,
}

/// The endpoints of a set at one moment.
#[derive(Debug, Default)]
pub(super) struct EndpointList {
    pub(super) endpoints: Box<[Arc<Endpoint>]>,
    /// The first resolution has not ended yet.
    pub(super) pending: bool,
}

/// Every endpoint of a set that somebody still holds, so that an address that comes back while its
/// requests run is the same endpoint as before.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<SocketAddr, Weak<Endpoint>>);

/// Counts a request at an endpoint, by its own life.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Endpoint>);

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            in_flight: AtomicU32::new(0),
        })
    }

    /// Requests that were sent to it, or are about to be, over all workers and clusters.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

// === impl EndpointList ===

impl EndpointList {
    /// The endpoint at an address.
    pub(super) fn get(&self, address: &SocketAddr) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|it| it.address == *address)
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
    pub(super) fn begin(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }

    /// Where the request is.
    #[cfg(test)]
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
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

        let running = InFlight::begin(Arc::clone(&first[0]));
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
