//! Which endpoint a request goes to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Endpoints that this request was already sent to, or tried to be. Without a retry policy it needs no
/// heap; no endpoint is in it twice.
#[derive(Debug, Default)]
pub(super) struct Tried {
    addresses: smallvec::SmallVec<[SocketAddr; 3]>,
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

/// The next endpoint in turn that was not tried yet.
///
/// The cursor moves once per request, so that n × k first attempts over n endpoints are exactly k
/// each, also while one of them fails.
/// With a single endpoint it is not touched: workers would fight for its cache line for nothing.
pub(super) fn next(
    addresses: &[SocketAddr],
    cursor: &AtomicUsize,
    tried: &Tried,
) -> Option<SocketAddr> {
    let [only] = addresses else {
        let position = if tried.addresses.is_empty() {
            cursor.fetch_add(1, Ordering::Relaxed)
        } else {
            cursor.load(Ordering::Relaxed)
        };
        let start = position.checked_rem(addresses.len())?;
        let (before, after) = addresses.split_at_checked(start)?;
        return after
            .iter()
            .chain(before)
            .find(|address| !tried.contains(address))
            .copied();
    };
    (!tried.contains(only)).then_some(*only)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn rotation_is_exact_and_skips_what_was_tried() {
        let all = [address(1), address(2), address(3)];
        let cursor = AtomicUsize::new(7);
        let mut counts = [0; 3];
        for _ in 0..30 {
            let chosen = next(&all, &cursor, &Tried::default()).unwrap();
            counts[usize::from(chosen.port()) - 1] += 1;
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
    fn none_and_one() {
        let cursor = AtomicUsize::new(0);
        assert_eq!(next(&[], &cursor, &Tried::default()), None);
        assert_eq!(
            next(&[address(1)], &cursor, &Tried::default()),
            Some(address(1))
        );
        assert_eq!(
            cursor.load(Ordering::Relaxed),
            1,
            "only the empty list moved it"
        );
    }
}
