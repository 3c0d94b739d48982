//! Tables that lead from a hash to an endpoint (spec/services §3.8): a ring of points, and Maglev's.
//!
//! They are made where endpoint sets change, never for a request. What goes in is the text of the
//! addresses and nothing else, so that all replicas agree.

use std::sync::Arc;

use legate_config::cluster::Balancer;
use xxhash_rust::xxh64::xxh64;

use super::endpoint::Endpoint;

/// Points of each endpoint on the ring. Constant: a share that depended on the number of endpoints
/// would move keys between those that stay.
const POINTS: u32 = 256;
/// Places of a Maglev table: a prime far above any number of endpoints.
const PLACES: usize = 65_537;

/// Which tables the clusters of a set need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Needs {
    ring: bool,
    maglev: bool,
}

/// The tables of an endpoint list; only those that are needed.
#[derive(Debug, Default)]
pub(super) struct Tables {
    ring: Option<Ring>,
    maglev: Option<Maglev>,
}

/// Points by their place on the ring.
#[derive(Debug)]
struct Ring {
    points: Box<[u64]>,
    owners: Box<[u32]>,
}

/// The endpoint of each place; most sets need no more than a byte for that.
#[derive(Debug)]
enum Maglev {
    Small(Box<[u8]>),
    Large(Box<[u16]>),
}

// === impl Needs ===

impl Needs {
    /// One more cluster uses the set.
    pub(super) fn add(&mut self, balancer: Balancer) {
        match balancer {
            Balancer::RoundRobin | Balancer::LeastRequest => {}
            Balancer::RingHash => self.ring = true,
            Balancer::Maglev => self.maglev = true,
        }
    }
}

// === impl Tables ===

impl Tables {
    /// Makes what is needed. A single endpoint needs no table.
    pub(super) fn build(endpoints: &[Arc<Endpoint>], needs: Needs) -> Self {
        if endpoints.len() < 2 || needs == Needs::default() {
            return Self::default();
        }
        let names: Vec<String> = endpoints.iter().map(|it| it.address.to_string()).collect();
        Self {
            ring: needs.ring.then(|| Ring::build(&names)),
            maglev: needs.maglev.then(|| Maglev::build(&names)),
        }
    }

    /// The places of endpoints in the list that a key leads to, best first; each may come many times,
    /// and all come. `None` without a table.
    pub(super) fn order(
        &self,
        balancer: Balancer,
        key: u64,
    ) -> Option<impl Iterator<Item = usize> + '_> {
        let (start, len) = match balancer {
            Balancer::RingHash => {
                let points = &self.ring.as_ref()?.points;
                (points.partition_point(|point| *point < key), points.len())
            }
            Balancer::Maglev => {
                self.maglev.as_ref()?;
                let place = key.checked_rem(PLACES as u64)?;
                (usize::try_from(place).ok()?, PLACES)
            }
            Balancer::RoundRobin | Balancer::LeastRequest => return None,
        };
        let at = move |place: usize| match balancer {
            Balancer::Maglev => self.maglev.as_ref()?.get(place),
            _ => self.ring.as_ref()?.get(place),
        };
        Some((start..len).chain(0..start.min(len)).filter_map(at))
    }
}

// === impl Ring ===

impl Ring {
    fn build(names: &[String]) -> Self {
        let mut points: Vec<(u64, &str, u32)> = Vec::new();
        for (owner, name) in (0_u32..).zip(names) {
            for number in 0..POINTS {
                let hash = xxh64(format!("{name}_{number}").as_bytes(), 0);
                points.push((hash, name, owner));
            }
        }
        // Equal points go by name, so that the order of the list does not matter.
        points.sort_unstable();
        Self {
            points: points.iter().map(|(hash, ..)| *hash).collect(),
            owners: points.iter().map(|(.., owner)| *owner).collect(),
        }
    }

    fn get(&self, place: usize) -> Option<usize> {
        usize::try_from(*self.owners.get(place)?).ok()
    }
}

// === impl Maglev ===

impl Maglev {
    /// Fills the table: each endpoint takes its next free place in turn, by an order of its own.
    fn build(names: &[String]) -> Self {
        const FREE: u16 = u16::MAX;
        let mut order: Vec<(u16, &String)> = (0..FREE).zip(names).collect();
        order.sort_unstable_by_key(|(_, name)| *name);
        let mut turns: Vec<(u16, usize, usize)> = order
            .into_iter()
            .map(|(owner, name)| {
                let first = xxh64(name.as_bytes(), 0) % PLACES as u64;
                let step = xxh64(format!("{name}_step").as_bytes(), 0) % (PLACES as u64 - 1) + 1;
                let [first, step] = [first, step].map(|it| usize::try_from(it).unwrap_or(1));
                (owner, first, step)
            })
            .collect();
        let mut table = vec![FREE; PLACES];
        let mut free = PLACES;
        while free > 0 {
            for (owner, next, step) in &mut turns {
                while free > 0 {
                    let place = *next;
                    *next = (place + *step) % PLACES;
                    match table.get_mut(place) {
                        Some(taken) if *taken == FREE => {
                            *taken = *owner;
                            free -= 1;
                            break;
                        }
                        _ => {}
                    }
                }
            }
        }
        if names.len() <= 256 {
            let small = table.iter().map(|it| u8::try_from(*it).unwrap_or(u8::MAX));
            Self::Small(small.collect())
        } else {
            Self::Large(table.into_boxed_slice())
        }
    }

    fn get(&self, place: usize) -> Option<usize> {
        match self {
            Self::Small(table) => table.get(place).map(|it| usize::from(*it)),
            Self::Large(table) => table.get(place).map(|it| usize::from(*it)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const KEYS: u64 = 50_000;

    fn endpoints(hosts: impl Iterator<Item = u8>) -> Vec<Arc<Endpoint>> {
        hosts
            .map(|host| Endpoint::new(SocketAddr::from(([10, 1, 0, host], 8080))))
            .collect()
    }

    fn owners(endpoints: &[Arc<Endpoint>], balancer: Balancer) -> Vec<SocketAddr> {
        let mut needs = Needs::default();
        needs.add(balancer);
        let tables = Tables::build(endpoints, needs);
        (0..KEYS)
            .map(|key| {
                let hash = xxh64(format!("user-{key}").as_bytes(), 0);
                let place = tables.order(balancer, hash).unwrap().next().unwrap();
                endpoints[place].address
            })
            .collect()
    }

    /// Keys of endpoints that stay which a removal moves, in parts of a thousand.
    fn moved(balancer: Balancer, gone: u8) -> u64 {
        let before = owners(&endpoints(0..10), balancer);
        let after = owners(&endpoints((0..10).filter(|it| *it != gone)), balancer);
        let gone = SocketAddr::from(([10, 1, 0, gone], 8080));
        let stay: Vec<_> = before
            .iter()
            .zip(&after)
            .filter(|(it, _)| **it != gone)
            .collect();
        let moved = stay
            .iter()
            .filter(|(before, after)| before != after)
            .count();
        moved as u64 * 1000 / stay.len() as u64
    }

    #[test]
    fn t30_a_removed_endpoint_moves_few_keys_of_the_others() {
        for gone in [0, 4, 9] {
            assert_eq!(moved(Balancer::RingHash, gone), 0, "ring without {gone}");
            let maglev = moved(Balancer::Maglev, gone);
            assert!(maglev <= 20, "maglev without {gone}: {maglev} of 1000");
        }
    }

    #[test]
    fn keys_are_spread_over_all() {
        for (balancer, fair) in [(Balancer::RingHash, 0.25), (Balancer::Maglev, 0.05)] {
            let all = endpoints(0..10);
            let owners = owners(&all, balancer);
            for endpoint in &all {
                let count = owners.iter().filter(|it| **it == endpoint.address).count();
                let share = count as f64 * 10.0 / KEYS as f64;
                assert!((share - 1.0).abs() < fair, "{balancer:?}: {share}");
            }
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        for balancer in [Balancer::RingHash, Balancer::Maglev] {
            let one = owners(&endpoints(0..10), balancer);
            let other = owners(&endpoints((0..10).rev()), balancer);
            assert_eq!(one, other, "{balancer:?}");
        }
    }

    #[test]
    fn every_endpoint_comes_in_the_end() {
        let all = endpoints(0..7);
        for balancer in [Balancer::RingHash, Balancer::Maglev] {
            let mut needs = Needs::default();
            needs.add(balancer);
            let tables = Tables::build(&all, needs);
            for key in [0, 1, u64::MAX, 1 << 40] {
                let mut seen = [false; 7];
                for place in tables.order(balancer, key).unwrap() {
                    seen[place] = true;
                }
                assert_eq!(seen, [true; 7], "{balancer:?} {key}");
            }
            assert!(tables.order(Balancer::RoundRobin, 1).is_none());
        }
    }

    #[test]
    fn many_endpoints_have_room() {
        let address = |at: u16| SocketAddr::from(([10, 1, 0, 1], at));
        let all: Vec<_> = (1..=300).map(|at| Endpoint::new(address(at))).collect();
        let owners = owners(&all, Balancer::Maglev);
        let seen: std::collections::HashSet<_> = owners.into_iter().collect();
        assert_eq!(seen.len(), 300);
    }
}
