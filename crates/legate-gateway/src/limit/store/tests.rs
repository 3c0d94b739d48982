use std::sync::atomic::AtomicUsize;

use super::*;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;

fn fits(store: &Store, key: Key, shape: Shape, now: u64) -> bool {
    matches!(store.charge(key, shape, now), Charge::Fits(_))
}

fn admitted(store: &Store, key: Key, shape: Shape, now: u64, asked: usize) -> usize {
    (0..asked).filter(|_| fits(store, key, shape, now)).count()
}

#[test]
fn a_full_cell_passes_its_burst_at_once_and_then_the_rate() {
    for (requests, unit, burst) in [
        (1, 1, 1),
        (7, 1, 7),
        (100, 60, 100),
        (1000, 3600, 5000),
        (50_000, 1, 50_000),
        (3, 86_400, 3),
        (1, 365 * 86_400, 1),
    ] {
        let store = Store::new(64);
        let shape = Shape::new(requests, unit, burst);
        let key = Keys::default().key(1);
        let asked = burst as usize * 2 + 10;
        assert_eq!(
            admitted(&store, key, shape, START, asked),
            burst as usize,
            "{shape:?}"
        );
        // Ten units, or 10 s where that is a unit, asked much more often than it is allowed.
        let span = 10 * u64::from(unit) * SECOND;
        let steps = u64::from(requests) * 40;
        let passed = (1..=steps)
            .filter(|step| fits(&store, key, shape, START + span / steps * step))
            .count() as f64;
        let expected = f64::from(requests) * 10.0;
        assert!(
            (passed - expected).abs() <= (expected * 0.02).max(1.0),
            "{shape:?}: {passed} of {expected}"
        );
    }
}

#[test]
fn an_idle_cell_is_full_again_and_no_more_than_full() {
    let store = Store::new(64);
    let shape = Shape::new(10, 1, 10);
    let key = Keys::default().key("k");
    assert_eq!(admitted(&store, key, shape, START, 20), 10);
    assert_eq!(admitted(&store, key, shape, START + SECOND / 2, 20), 5);
    assert_eq!(admitted(&store, key, shape, START + 100 * SECOND, 20), 10);
}

#[test]
fn waits_and_what_remains() {
    let store = Store::new(64);
    let shape = Shape::new(2, 10, 2);
    let key = Keys::default().key(());
    assert_eq!(store.look(key, shape, START), Charge::Fits(5 * SECOND));
    assert_eq!(store.charge(key, shape, START), Charge::Fits(5 * SECOND));
    assert_eq!(shape.remaining(5 * SECOND), 1);
    assert_eq!(store.charge(key, shape, START), Charge::Fits(10 * SECOND));
    assert_eq!(store.charge(key, shape, START), Charge::Over(5 * SECOND));
    let later = START + 3 * SECOND;
    assert_eq!(store.look(key, shape, later), Charge::Over(2 * SECOND));
    store.refund(key, shape, later);
    assert_eq!(store.look(key, shape, later), Charge::Fits(7 * SECOND));
    assert_eq!(store.debt(key, shape, later), 2 * SECOND);
}

#[test]
fn debt_stays_when_the_numbers_change() {
    let store = Store::new(64);
    let key = Keys::default().key("k");
    let before = Shape::new(10, 10, 10);
    assert_eq!(admitted(&store, key, before, START, 6), 6);
    // Six of ten are spent; of twenty at twice the speed as many.
    let wider = Shape::new(20, 10, 20);
    let debt = store.debt(key, wider, START);
    assert!(debt.abs_diff(3 * SECOND) < SECOND / 1000, "{debt}");
    assert_eq!(admitted(&store, key, wider, START, 100), 14);
    // Of four all.
    let narrow = Shape::new(4, 10, 4);
    assert_eq!(admitted(&store, key, narrow, START, 100), 0);
    assert_eq!(store.debt(key, narrow, START), narrow.window());
    assert_eq!(admitted(&store, key, narrow, START + 10 * SECOND, 100), 4);
}

#[test]
fn a_spent_cell_goes_last() {
    let store = Store::new(WAYS);
    assert_eq!(store.sets.len(), 1);
    let keys = Keys::default();
    let short = Shape::new(10, 1, 10);
    let spent = keys.key("attacker");
    assert_eq!(admitted(&store, spent, short, START, 20), 10);
    // A million other keys of a limit whose cells take much longer to fill.
    let long = Shape::new(1000, 86_400, 1000);
    for other in 0..1_000_000_u32 {
        assert!(fits(&store, keys.key(other), long, START));
    }
    assert!(!fits(&store, spent, short, START));
    assert!(store.evicted() > 900_000, "{}", store.evicted());
}

#[test]
fn cells_without_debt_are_no_loss() {
    let store = Store::new(WAYS);
    let keys = Keys::default();
    let shape = Shape::new(1000, 1, 1);
    for step in 0..10_000_u32 {
        let now = START + u64::from(step) * SECOND;
        assert!(fits(&store, keys.key(step), shape, now));
    }
    assert_eq!(store.evicted(), 0);
}

#[test]
fn the_size_is_what_was_asked_for() {
    assert_eq!(std::mem::size_of::<Cell>(), 32);
    assert_eq!(Store::new(1 << 20).sets.len() * WAYS, 1 << 20);
    assert_eq!(Store::new(0).sets.len(), 1);
}

#[test]
fn many_threads_get_exactly_one_burst() {
    for round in 0..50 {
        let store = Store::new(WAYS * 4);
        let keys = Keys::default();
        let shape = Shape::new(1, 3600, 500);
        let passed: [AtomicUsize; 4] = Default::default();
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    for turn in 0..2000 {
                        let which = turn % passed.len();
                        if fits(&store, keys.key(which), shape, START) {
                            passed[which].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        for count in passed {
            assert_eq!(count.into_inner(), 500, "round {round}");
        }
    }
}

#[test]
fn twins_are_united() {
    let store = Store::new(WAYS);
    let key = Keys::default().key("k");
    let shape = Shape::new(10, 10, 10);
    // As if two workers had put the key in at once.
    let [set] = &*store.sets else { panic!() };
    for cell in &set[2..4] {
        assert!(store.claim(key, cell, 0, shape, START, START + 2 * SECOND));
    }
    store.unite(key, START);
    assert_eq!(store.debt(key, shape, START), 4 * SECOND);
    assert_eq!(set.iter().filter(|cell| cell.is(key)).count(), 1);
}
