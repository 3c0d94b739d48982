//! Which endpoint a request goes to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use legate_config::cluster::Balancer;
use rand::Rng;

use super::cluster::ClusterHandle;
use super::endpoint::{Endpoint, EndpointList, InFlight};
use super::pool::WorkerPool;

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
    /// What the request is to be kept together with, for the policies that hash.
    pub(super) key: Option<u64>,
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
        let endpoints = &*list.endpoints;
        if let [only] = endpoints {
            return fit(only).then_some(only);
        }
        match self.policy {
            Balancer::RoundRobin => self.in_turn(endpoints, fit),
            Balancer::LeastRequest => least_busy(endpoints, fit),
            Balancer::RingHash | Balancer::Maglev => {
                let order = self.key.and_then(|key| list.tables.order(self.policy, key));
                match order {
                    Some(order) => by_hash(endpoints, order, fit),
                    None => any(endpoints, fit),
                }
            }
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
        nth_fit(endpoints, position.checked_div(endpoints.len())?, fit)
    }
}

/// An endpoint that a name has left, while a connection to it is free: connections outlive what the name
/// says (`logical_dns`).
pub(super) fn left(
    pool: &WorkerPool,
    cluster: &ClusterHandle,
    tried: &Tried,
) -> Option<(SocketAddr, Option<InFlight>)> {
    let list = cluster.endpoints.list();
    if list.left.is_empty() {
        return None;
    }
    let class = cluster.transport.load().class;
    let free = |address| pool.present(class, address).is_some_and(|it| it.is_free());
    let mut left = list.left.iter().map(|it| it.address);
    let address = left.find(|it| !tried.contains(it) && free(*it))?;
    Some((address, None))
}

/// Of two random ones the one with fewer requests in flight.
fn least_busy(
    endpoints: &[Arc<Endpoint>],
    fit: impl Fn(&Arc<Endpoint>) -> bool,
) -> Option<&Arc<Endpoint>> {
    let first = random(endpoints.len())?;
    let further = random(endpoints.len().checked_sub(1)?)?;
    let second = first.wrapping_add(further).wrapping_add(1);
    let one = endpoints.get(first).filter(|it| fit(it));
    let other = endpoints
        .get(second.checked_rem(endpoints.len())?)
        .filter(|it| fit(it));
    match (one, other) {
        (Some(one), Some(other)) if other.in_flight() < one.in_flight() => Some(other),
        (Some(one), _) => Some(one),
        (None, Some(other)) => Some(other),
        (None, None) => any(endpoints, fit),
    }
}

/// Where the hash leads first, of those that are fit.
fn by_hash(
    endpoints: &[Arc<Endpoint>],
    mut order: impl Iterator<Item = usize>,
    fit: impl Fn(&Arc<Endpoint>) -> bool,
) -> Option<&Arc<Endpoint>> {
    let first = endpoints.get(order.next()?)?;
    if fit(first) {
        return Some(first);
    }
    // Nobody is to walk through a whole table for nothing.
    if !endpoints.iter().any(&fit) {
        return None;
    }
    let mut further = order.filter_map(|place| endpoints.get(place));
    further.find(|it| fit(it))
}

/// A random one.
fn any(
    endpoints: &[Arc<Endpoint>],
    fit: impl Fn(&Arc<Endpoint>) -> bool,
) -> Option<&Arc<Endpoint>> {
    let random = random(endpoints.len())?;
    match endpoints.get(random).filter(|it| fit(it)) {
        None => nth_fit(endpoints, rand::random::<u32>() as usize, fit),
        found => found,
    }
}

/// One of those that are fit, each for the same share of numbers.
fn nth_fit(
    endpoints: &[Arc<Endpoint>],
    number: usize,
    fit: impl Fn(&Arc<Endpoint>) -> bool,
) -> Option<&Arc<Endpoint>> {
    let count = endpoints.iter().filter(|it| fit(it)).count();
    let nth = number.checked_rem(count)?;
    endpoints.iter().filter(|it| fit(it)).nth(nth)
}

/// A number below `end`; `None` when there is none.
fn random(end: usize) -> Option<usize> {
    (end > 0).then(|| rand::rng().random_range(0..end))
}

#[cfg(test)]
mod tests {
    use super::super::eject::Standing;
    use super::super::hashing::{Needs, Tables};
    use super::*;

    const ALL: [Balancer; 4] = [
        Balancer::RoundRobin,
        Balancer::LeastRequest,
        Balancer::RingHash,
        Balancer::Maglev,
    ];

    fn list(ports: std::ops::Range<u16>) -> EndpointList {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let endpoints: Box<[_]> = ports.map(|port| Endpoint::new(address(port))).collect();
        let mut needs = Needs::default();
        for balancer in ALL {
            needs.add(balancer);
        }
        EndpointList {
            left: Box::default(),
            tables: Tables::build(&endpoints, needs),
            endpoints,
            pending: false,
        }
    }

    fn pick<'a>(cursor: &'a AtomicUsize, tried: &'a Tried) -> Pick<'a> {
        Pick {
            policy: Balancer::RoundRobin,
            cursor,
            key: None,
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

    #[test]
    fn whatever_the_policy_all_are_tried_once() {
        let all = list(0..5);
        let cursor = AtomicUsize::new(3);
        for (policy, key) in ALL.into_iter().flat_map(|it| [(it, None), (it, Some(17))]) {
            let mut tried = Tried::default();
            let pick = |tried: &Tried| {
                let pick = Pick {
                    policy,
                    key,
                    ..pick(&cursor, tried)
                };
                pick.from(&all, |it| it.address.port() != 2)
                    .map(|it| it.address)
            };
            for _ in 0..4 {
                let chosen = pick(&tried).unwrap();
                assert!(!tried.contains(&chosen) && chosen.port() != 2, "{policy:?}");
                tried.push(chosen);
            }
            assert_eq!(pick(&tried), None, "{policy:?}");
        }
    }

    #[test]
    fn the_busier_of_two_is_left_alone() {
        let all = list(0..2);
        let cursor = AtomicUsize::new(0);
        let tried = Tried::default();
        let pick = Pick {
            policy: Balancer::LeastRequest,
            ..pick(&cursor, &tried)
        };
        let busy = InFlight::begin(Arc::clone(&all.endpoints[0]), true, Standing::In);
        for _ in 0..50 {
            assert_eq!(pick.from(&all, |_| true).unwrap().address.port(), 1);
        }
        drop(busy);
        let mut seen = [false; 2];
        for _ in 0..100 {
            seen[usize::from(pick.from(&all, |_| true).unwrap().address.port())] = true;
        }
        assert_eq!(seen, [true; 2], "equals share");
    }

    #[test]
    fn a_key_stays_where_it_is_and_others_go_on_in_one_order() {
        let all = list(0..5);
        let cursor = AtomicUsize::new(0);
        for policy in [Balancer::RingHash, Balancer::Maglev] {
            for key in [1_u64, 1 << 20, u64::MAX] {
                let mut orders = std::collections::HashSet::new();
                for _ in 0..20 {
                    let mut tried = Tried::default();
                    for _ in 0..5 {
                        let pick = Pick {
                            policy,
                            key: Some(key),
                            ..pick(&cursor, &tried)
                        };
                        let chosen = pick.from(&all, |_| true).unwrap().address;
                        tried.push(chosen);
                    }
                    orders.insert(format!("{:?}", tried.addresses));
                }
                assert_eq!(orders.len(), 1, "{policy:?} {key}");
            }
        }
        assert_eq!(cursor.load(Ordering::Relaxed), 0);
    }
}
