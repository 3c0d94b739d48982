use super::*;
use crate::kube::tests::key;

const WAIT: Duration = Duration::from_millis(50);
const TEN_MINUTES: Duration = Duration::from_secs(600);

struct Bench {
    kind: Vanishing,
    start: Instant,
}

impl Bench {
    /// A kind that is there and was listed.
    fn live() -> Self {
        let start = Instant::now();
        let mut bench = Bench {
            kind: Vanishing::default(),
            start,
        };
        assert!(bench.asked(true, 0).is_empty());
        bench
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn deleted(&mut self, name: &str, ms: u64) {
        self.kind.deleted(key(name), self.at(ms) + WAIT);
    }

    /// As if it had been listed whole since just now.
    fn expires_at(&self) -> Option<Instant> {
        self.kind.expires_at(Some(self.at(1_000_000)), TEN_MINUTES)
    }

    fn expire(&mut self, now: Instant) -> Vec<ObjectKey> {
        let listed = Some(self.at(1_000_000));
        self.kind.expire(listed, now, TEN_MINUTES)
    }

    /// Discovery asked and answered at a time; the objects a, b, c are known.
    fn asked(&mut self, usable: bool, ms: u64) -> Vec<ObjectKey> {
        let objects = ["a", "b", "c"].map(key).into_iter();
        let at = self.at(ms);
        self.kind.discovered(usable, Some(objects), at, at)
    }
}

#[test]
fn a_deleted_object_goes_when_the_kind_is_still_there() {
    let mut bench = Bench::live();
    bench.deleted("a", 0);
    bench.deleted("b", 30);
    assert_eq!(bench.kind.ask_at(), Some(bench.at(50)));
    // An answer to a question that was asked too early says nothing.
    assert!(bench.asked(true, 49).is_empty());
    assert_eq!(bench.asked(true, 50), [key("a")]);
    assert_eq!(bench.kind.ask_at(), Some(bench.at(80)));
    assert_eq!(bench.asked(true, 80), [key("b")]);
    assert_eq!(bench.kind.ask_at(), None);
}

#[test]
fn an_object_that_comes_back_while_in_doubt_stays() {
    let mut bench = Bench::live();
    bench.deleted("a", 0);
    assert!(bench.kind.appeared(&key("a")));
    assert!(bench.asked(true, 60).is_empty());
}

#[test]
fn a_deleted_kind_keeps_everything() {
    let mut bench = Bench::live();
    bench.deleted("a", 0);
    assert!(bench.asked(false, 50).is_empty());
    assert_eq!(bench.kind.presence(), Presence::Frozen);
    bench.deleted("b", 60);
    assert_eq!(
        bench.kind.ask_at(),
        None,
        "nothing to ask about a frozen kind"
    );
    assert!(bench.asked(false, 1000).is_empty());
    assert_eq!(
        bench.kind.ghosts(),
        3,
        "c goes with its kind, whatever its event says"
    );
}

#[test]
fn ghosts_leave_when_they_reappear_or_after_ten_minutes() {
    let mut bench = Bench::live();
    bench.asked(false, 0);
    assert_eq!(bench.expires_at(), None);
    assert!(bench.asked(true, 5000).is_empty());
    assert_eq!(bench.kind.presence(), Presence::Usable);
    assert!(bench.kind.appeared(&key("a")));
    // The list after the return does not have b: still a ghost, not in doubt.
    bench.deleted("b", 5100);
    assert_eq!(bench.kind.ask_at(), None);
    // A live object can be deleted as ever.
    bench.deleted("a", 6000);
    assert_eq!(bench.asked(true, 6050), [key("a")]);
    let end = bench.at(5000) + TEN_MINUTES;
    assert_eq!(bench.expires_at(), Some(end));
    assert!(bench.expire(end - WAIT).is_empty());
    assert_eq!(bench.expire(end), [key("b"), key("c")]);
    assert_eq!(bench.expires_at(), None);
}

#[test]
fn a_kind_that_goes_again_keeps_its_ghosts() {
    let mut bench = Bench::live();
    bench.asked(false, 0);
    bench.asked(true, 1000);
    bench.asked(false, 2000);
    assert_eq!(bench.kind.presence(), Presence::Frozen);
    assert_eq!(bench.expires_at(), None);
    let late = bench.at(2000) + TEN_MINUTES;
    assert!(bench.expire(late).is_empty());
    assert_eq!(bench.kind.ghosts(), 3);
}

#[test]
fn a_kind_that_never_was_is_absent() {
    let mut kind = Vanishing::default();
    assert_eq!(kind.presence(), Presence::Unknown);
    let now = Instant::now();
    kind.discovered(false, None::<std::iter::Empty<_>>, now, now);
    assert_eq!(kind.presence(), Presence::Absent);
    kind.discovered(true, None::<std::iter::Empty<_>>, now, now);
    assert_eq!(kind.presence(), Presence::Usable);
}

#[test]
fn no_ghost_expires_before_the_kind_was_listed_anew() {
    let mut bench = Bench::live();
    bench.asked(false, 0);
    bench.asked(true, 2000);
    assert_eq!(bench.kind.returns(), 1, "so that it is listed anew");
    let late = bench.at(2000) + TEN_MINUTES;
    for listed in [None, Some(bench.at(1999))] {
        assert_eq!(bench.kind.expires_at(listed, TEN_MINUTES), None);
        assert!(bench.kind.expire(listed, late, TEN_MINUTES).is_empty());
    }
    let listed = Some(bench.at(2000));
    assert_eq!(bench.kind.expire(listed, late, TEN_MINUTES).len(), 3);
}
