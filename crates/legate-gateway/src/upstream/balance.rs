//! Which endpoint a request goes to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use legate_config::cluster::Balancer;

use super::endpoint::{Endpoint, EndpointList};

/// Endpoints that this request was already sent to, or tried to be. Without a retry policy it needs no
/// heap; no endpoint is in it twice.
#[derive(Debug, Default)]
pub(super) struct Tried {
    addresses: smallvec::SmallVec<[SocketAddr; 3]>,
}

/// How one request's endpoint is chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick<'a> {
    /// The cluster's policy.
    pub(super) policy: Balancer,
    /// The cluster's place in its turn.
    pub(super) cursor: &'a AtomicUsize,
    /// Where the request was before.
    pub(super) tried: &'a Tried,
}

// === impl Tried ===

impl Tried {
    pub(super) fn push(&mut self, address: SocketAddr) {
        if !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    pub(super) fn contains(&self, address: &SocketAddr) -> bool {
        self.addresses.contains(address)
    }
}

// === impl Pick ===

impl Pick<'_> {
    /// An endpoint that was not tried yet and is usable. The predicate is asked about candidates, so
    /// it must not change anything.
    pub(super) fn from<'l>(
        &self,
        list: &'l EndpointList,
        usable: impl Fn(&Endpoint) -> bool,
    ) -> Option<&'l Arc<Endpoint>> {
        let fit = |it: &Arc<Endpoint>| !self.tried.contains(&it.address) && usable(it);
        if let [only] = &*list.endpoints {
            return fit(only).then_some(only);
        }
        match self.policy {
            Balancer::RoundRobin => self.in_turn(&list.endpoints, fit),
        }
    }

    /// The next in turn.
    ///
    /// The cursor moves once per request, so that n × k first attempts over n endpoints are exactly k
    /// each, also while one of them fails.
    /// With a single endpoint it is not touched: workers would fight for its cache line for nothing.
    fn in_turn<'l>(
        &self,
        endpoints: &'l [Arc<Endpoint>],
        fit: impl Fn(&Arc<Endpoint>) -> bool,
    ) -> Option<&'l Arc<Endpoint>> {
        let position = if self.tried.addresses.is_empty() {
            self.cursor.fetch_add(1, Ordering::Relaxed)
        } else {
            self.cursor.load(Ordering::Relaxed)
        };
        let place = position.checked_rem(endpoints.len())?;
        let next = endpoints.get(place)?;
        if fit(next) {
            return Some(next);
        }
        // Were it always the one after, that would get twice its share.
        let others = endpoints.iter().filter(|it| fit(it)).count();
        let round = position.checked_div(endpoints.len())?;
        endpoints
            .iter()
            .filter(|it| fit(it))
            .nth(round.checked_rem(others)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ports: std::ops::Range<u16>) -> EndpointList {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        EndpointList {
            endpoints: ports.map(|port| Endpoint::new(address(port))).collect(),
            pending: false,
        }
    }

    fn pick<'a>(cursor: &'a AtomicUsize, tried: &'a Tried) -> Pick<'a> {
        Pick {
            policy: Balancer::RoundRobin,
            cursor,
            tried,
        }
    }

    fn next(list: &EndpointList, cursor: &AtomicUsize, tried: &Tried) -> Option<SocketAddr> {
        let found = pick(cursor, tried).from(list, |_| true);
        found.map(|it| it.address)
    }

    #[test]
    fn rotation_is_exact_and_skips_what_was_tried() {
        let all = list(0..3);
        let cursor = AtomicUsize::new(7);
        let mut counts = [0; 3];
        for _ in 0..30 {
            let chosen = next(&all, &cursor, &Tried::default()).unwrap();
            counts[usize::from(chosen.port())] += 1;
        }
        assert_eq!(counts, [10, 10, 10]);

        let mut tried = Tried::default();
        for _ in 0..3 {
            let chosen = next(&all, &cursor, &tried).unwrap();
            assert!(!tried.contains(&chosen));
            tried.push(chosen);
        }
        assert_eq!(next(&all, &cursor, &tried), None);
        assert_eq!(cursor.load(Ordering::Relaxed), 38, "once per request");
    }

    #[test]
    fn the_share_of_an_unusable_endpoint_goes_to_all_others() {
        let all = list(0..4);
        let cursor = AtomicUsize::new(0);
        let tried = Tried::default();
        let mut counts = [0; 4];
        for _ in 0..120 {
            let found = pick(&cursor, &tried).from(&all, |it| it.address.port() != 1);
            counts[usize::from(found.unwrap().address.port())] += 1;
        }
        assert_eq!(counts, [40, 0, 40, 40]);
        assert!(pick(&cursor, &tried).from(&all, |_| false).is_none());
    }

    #[test]
    fn none_and_one() {
        let cursor = AtomicUsize::new(0);
        assert_eq!(next(&list(0..0), &cursor, &Tried::default()), None);
        let found = next(&list(1..2), &cursor, &Tried::default());
        assert_eq!(found.unwrap().port(), 1);
        assert_eq!(
            cursor.load(Ordering::Relaxed),
            1,
            "only the empty list moved it"
        );
    }
}
