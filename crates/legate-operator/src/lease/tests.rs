use super::*;

use std::cell::RefCell;
use std::rc::Rc;

/// An API server that knows one Lease and refuses what is not up to date.
#[derive(Clone, Default)]
struct Server(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    lease: Option<Lease>,
    version: u64,
    writes: u32,
    down: bool,
    /// Does what it is asked for, and does not answer.
    mute: bool,
}

#[derive(Debug)]
enum Fault {
    Refused,
    NoAnswer,
}

impl Server {
    fn get(&self) -> Result<Option<Lease>, Fault> {
        let state = self.0.borrow();
        if state.down || state.mute {
            return Err(Fault::NoAnswer);
        }
        Ok(state.lease.clone())
    }

    fn put(&self, mut lease: Lease) -> Result<Lease, Fault> {
        let mut state = self.0.borrow_mut();
        if state.down {
            return Err(Fault::NoAnswer);
        }
        let known = state
            .lease
            .as_ref()
            .map(|lease| lease.metadata.resource_version.clone());
        if known.unwrap_or(None) != lease.metadata.resource_version {
            return Err(Fault::Refused);
        }
        state.version += 1;
        state.writes += 1;
        lease.metadata.resource_version = Some(state.version.to_string());
        state.lease = Some(lease.clone());
        if state.mute {
            return Err(Fault::NoAnswer);
        }
        Ok(lease)
    }

    fn holder(&self) -> String {
        let state = self.0.borrow();
        let spec = state.lease.as_ref().and_then(|lease| lease.spec.clone());
        spec.and_then(|spec| spec.holder_identity)
            .unwrap_or_default()
    }
}

/// A candidate with its own wall clock.
struct Replica {
    candidate: Candidate,
    server: Server,
    wall: Timestamp,
}

impl Replica {
    fn new(name: &str, server: &Server, wall: &str, now: Instant) -> Self {
        let candidate = Candidate::new(
            name.to_owned(),
            "legate".to_owned(),
            "legate-default".to_owned(),
            LeaseSettings::default(),
            || 1.0,
            now,
        );
        Self {
            candidate,
            server: server.clone(),
            wall: wall.parse().unwrap(),
        }
    }

    /// Acts until it waits.
    fn run(&mut self, now: Instant) {
        for _ in 0..10 {
            match self.candidate.act(now, self.wall) {
                Action::Wait(until) => {
                    assert!(until > now, "a wait that is over");
                    return;
                }
                Action::Read => match self.server.get() {
                    Ok(lease) => self.candidate.found(now, lease),
                    Err(_) => self.candidate.failed(now),
                },
                Action::Write(lease) => match self.server.put(*lease) {
                    Ok(lease) => self.candidate.written(now, now, lease),
                    Err(Fault::Refused) => {
                        self.candidate.refused(now);
                    }
                    Err(Fault::NoAnswer) => self.candidate.failed(now),
                },
            }
        }
        panic!("it never waits");
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn pair(start: Instant) -> (Server, Replica, Replica) {
    let server = Server::default();
    // Ten years apart: clocks must not matter.
    let a = Replica::new("a", &server, "2016-01-01T00:00:00Z", start);
    let b = Replica::new("b", &server, "2026-01-01T00:00:00Z", start);
    (server, a, b)
}

/// Runs both for so many seconds in steps of a tenth; never do both lead.
fn run(from: Instant, seconds: u32, a: &mut Replica, b: &mut Replica) -> Instant {
    for step in 0..seconds * 10 {
        let now = from + SECOND / 10 * step;
        a.run(now);
        b.run(now);
        let leaders = [&*a, &*b].map(|replica| replica.candidate.leads(now).is_some());
        assert_ne!(leaders, [true, true], "after {step} steps");
    }
    from + SECOND * seconds
}

#[test]
fn the_first_leads_and_keeps_on() {
    let start = Instant::now();
    let (server, mut a, mut b) = pair(start);
    let now = run(start, 120, &mut a, &mut b);
    assert_eq!(a.candidate.leads(now - SECOND), Some(0));
    assert_eq!(b.candidate.foreign_holder().unwrap().0, "a");
    assert_eq!(a.candidate.foreign_holder(), None);
    let writes = server.0.borrow().writes;
    assert!((55..=61).contains(&writes), "a renewal every 2 s: {writes}");
}

#[test]
fn two_creators_at_once() {
    let now = Instant::now();
    let (server, mut a, mut b) = pair(now);
    for replica in [&mut a, &mut b] {
        assert!(matches!(
            replica.candidate.act(now, replica.wall),
            Action::Read
        ));
        replica.candidate.found(now, None);
    }
    a.run(now);
    b.run(now);
    assert_eq!(server.holder(), "a");
    assert_eq!(b.candidate.leads(now), None);
    assert_eq!(b.candidate.foreign_holder().unwrap().0, "a");
}

#[test]
fn a_dead_holder_is_followed_after_the_duration_and_not_before() {
    let start = Instant::now();
    let (_, mut a, mut b) = pair(start);
    let dead = run(start, 10, &mut a, &mut b);
    let mut now = dead;
    while b.candidate.leads(now).is_none() {
        now += SECOND / 10;
        assert!(now < dead + SECOND * 18, "nobody leads");
        b.run(now);
    }
    // The last renewal was up to 2 s before.
    assert!(now >= dead + SECOND * 12, "{:?}", now - dead);
    assert_eq!(b.candidate.leads(now), Some(1), "a tenure of its own");
    assert_eq!(a.candidate.leads(now), None, "long lapsed");
}

#[test]
fn an_outage_ends_the_tenure_before_another_could_begin() {
    let start = Instant::now();
    let (server, mut a, mut b) = pair(start);
    let mut now = run(start, 10, &mut a, &mut b);
    server.0.borrow_mut().down = true;
    let cut = now;
    while a.candidate.leads(now).is_some() {
        now += SECOND / 10;
        a.run(now);
        b.run(now);
    }
    assert!((8..=10).contains(&(now - cut).as_secs()), "{:?}", now - cut);
    now = run(now, 60, &mut a, &mut b);
    server.0.borrow_mut().down = false;
    now = run(now, 20, &mut a, &mut b) - SECOND / 10;
    let leads = [a.candidate.leads(now), b.candidate.leads(now)];
    assert!(leads.contains(&Some(1)), "one of them, anew: {leads:?}");
}

#[test]
fn renewals_whose_answers_are_lost_do_not_count() {
    let start = Instant::now();
    let (server, mut a, mut b) = pair(start);
    let now = run(start, 4, &mut a, &mut b);
    server.0.borrow_mut().mute = true;
    run(now, 11, &mut a, &mut b);
    assert_eq!(a.candidate.leads(now + SECOND * 10), None);
    // What it wrote is its own when it can read again.
    server.0.borrow_mut().mute = false;
    let now = run(now + SECOND * 11, 4, &mut a, &mut b) - SECOND / 10;
    assert_eq!(a.candidate.leads(now), Some(1));
}

#[test]
fn released_it_is_taken_at_the_next_attempt() {
    let start = Instant::now();
    let (server, mut a, mut b) = pair(start);
    let now = run(start, 10, &mut a, &mut b);
    let lease = a.candidate.resigned(a.wall).unwrap();
    server.put(lease).unwrap();
    let mut taken = now;
    while b.candidate.leads(taken).is_none() {
        taken += SECOND / 10;
        assert!(taken <= now + SECOND * 2, "not within one retry");
        b.run(taken);
    }
    assert!(b.candidate.resigned(b.wall).is_some());
    a.candidate.found(taken, server.get().unwrap());
    assert!(a.candidate.resigned(a.wall).is_none(), "no longer its own");
}

#[test]
fn a_stolen_lease_ends_the_tenure_at_the_next_renewal() {
    let start = Instant::now();
    let (server, mut a, mut b) = pair(start);
    let now = run(start, 10, &mut a, &mut b);
    let mut lease = server.get().unwrap().unwrap();
    let spec = lease.spec.as_mut().unwrap();
    spec.holder_identity = Some("thief".to_owned());
    spec.lease_transitions = Some(7);
    server.put(lease).unwrap();
    let now = run(now, 3, &mut a, &mut b);
    assert_eq!(a.candidate.leads(now), None);
    assert_eq!(a.candidate.foreign_holder().unwrap().0, "thief");
    let now = run(now, 20, &mut a, &mut b) - SECOND / 10;
    let leads = [a.candidate.leads(now), b.candidate.leads(now)];
    assert!(leads.contains(&Some(8)), "{leads:?}");
}

#[test]
fn a_deleted_lease_is_made_again_with_a_later_number() {
    let start = Instant::now();
    let (server, mut a, mut b) = pair(start);
    let now = run(start, 10, &mut a, &mut b);
    server.0.borrow_mut().lease = None;
    let now = run(now, 6, &mut a, &mut b) - SECOND / 10;
    let leads = [a.candidate.leads(now), b.candidate.leads(now)];
    assert!(leads.iter().any(Option::is_some), "{leads:?}");
    assert!(!server.holder().is_empty());
}

#[test]
fn what_others_wrote_into_the_lease_stays() {
    let now = Instant::now();
    let (server, mut a, _) = pair(now);
    let mut lease = Lease::default();
    lease.metadata.labels = Some([("team".to_owned(), "edge".to_owned())].into());
    lease.metadata.annotations = Some(
        [
            ("note".to_owned(), "kept".to_owned()),
            (ADDRESS_ANNOTATION.to_owned(), "10.0.0.9:18000".to_owned()),
        ]
        .into(),
    );
    server.put(lease).unwrap();
    a.run(now);
    let lease = server.get().unwrap().unwrap();
    assert_eq!(lease.metadata.labels.unwrap()["team"], "edge");
    let annotations = lease.metadata.annotations.unwrap();
    assert_eq!(annotations["note"], "kept");
    assert!(!annotations.contains_key(ADDRESS_ANNOTATION), "not ours");
    assert_eq!(lease.spec.unwrap().lease_duration_seconds, Some(15));
}

#[test]
fn refusals_in_a_row_do_not_spin() {
    let now = Instant::now();
    let (server, mut a, _) = pair(now);
    for round in 0..3 {
        assert!(matches!(a.candidate.act(now, a.wall), Action::Read) == (round < 2));
        a.candidate.found(now, server.get().unwrap());
        a.candidate.refused(now);
    }
    assert!(matches!(a.candidate.act(now, a.wall), Action::Wait(_)));
}
