//! The cells that limits are counted in: one bounded table per process, shared by all workers.
//!
//! A cell is the state of one limit for one set of values, by the generic cell rate algorithm: its
//! *theoretical arrival time*, in nanoseconds since the process began. What lies between now and that
//! time is debt; a cell without debt is full and might as well not be there. Cells are found by 128
//! bits of keyed hash, so nothing of a request is kept.
//!
//! The table is set-associative and never grows. Where a set has no room, the cell nearest to full
//! goes, measured by its share of the whole limit: who uses many keys to push its spent cell out
//! would have to spend all of those first.
//!
//! There is no lock. The arrival time is the word by which a cell changes hands: who wants to write
//! the other words puts [`RESERVED`] there by compare-and-swap, which fails everybody else's, and
//! publishes with the new time.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use siphasher::sip128::{Hasher128, SipHasher13};

/// Cells that one key may be in.
const WAYS: usize = 8;

/// Nobody's arrival time: the cell is being written.
const RESERVED: u64 = u64::MAX;

/// How often a cell that is being written is looked at again before one goes on without it.
const PATIENCE: u32 = 100;

/// Debts beyond this are none: no limit is that long.
const LONGEST: u64 = 100 * 366 * 24 * 3600 * 1_000_000_000;

/// What a cell is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key([u64; 2]);

/// Makes keys that nobody outside can guess.
pub(crate) struct Keys([u64; 2]);

/// How fast a cell fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Nanoseconds for one request; never 0.
    period: u64,
    /// Requests at once; never 0.
    burst: u32,
}

/// What became of a request at a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// It fits; this is the debt with it, in nanoseconds.
    Fits(u64),
    /// It does not; this long to wait, in nanoseconds.
    Over(u64),
}

#[derive(Debug, Default)]
struct Cell {
    id: [AtomicU64; 2],
    arrival: AtomicU64,
    /// The shape that the arrival time was counted in, packed.
    shape: AtomicU64,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Store {
    sets: Box<[[Cell; WAYS]]>,
    evicted: AtomicU64,
}

/// What a look at a set found.
enum Found<'a> {
    /// The cell, and its arrival time.
    Cell(&'a Cell, u64),
    /// No such cell; this one would have to go.
    Room { victim: &'a Cell, arrival: u64 },
    /// Everything is being written.
    Busy,
}

// === impl Keys ===

impl Keys {
    /// The key of something.
    pub(crate) fn key(&self, of: impl Hash) -> Key {
        let [a, b] = self.0;
        let mut hasher = SipHasher13::new_with_keys(a, b);
        of.hash(&mut hasher);
        let hash = hasher.finish128();
        Key([hash.h1, hash.h2])
    }
}

impl std::fmt::Debug for Keys {
    /// Whoever read them in a log could guess.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self(rand::random())
    }
}

// === impl Key ===

impl Key {
    /// Where a refusal of the same thing is remembered.
    pub(crate) fn refusal(self) -> Self {
        let [a, b] = self.0;
        Self([a.rotate_left(32), !b])
    }
}

// === impl Shape ===

impl Shape {
    /// So many requests per unit, and so many at once.
    pub(crate) fn new(requests: u32, unit_seconds: u32, burst: u32) -> Self {
        let unit = u64::from(unit_seconds.max(1)).saturating_mul(1_000_000_000);
        let requests = u64::from(requests.max(1));
        // To the nearest: rounding down alone would favour clients at high rates.
        let period = unit.saturating_add(requests / 2) / requests;
        Self {
            period: period.max(1),
            burst: burst.max(1),
        }
    }

    /// One thing that takes so many nanoseconds.
    pub(crate) fn once(period: u64) -> Self {
        Self {
            period: period.max(1),
            burst: 1,
        }
    }

    /// Nanoseconds for one request.
    pub(crate) fn period(self) -> u64 {
        self.period
    }

    /// Nanoseconds from empty to full.
    pub(crate) fn window(self) -> u64 {
        self.period
            .saturating_mul(u64::from(self.burst))
            .min(LONGEST)
    }

    /// Requests that would still pass at this debt.
    pub(crate) fn remaining(self, debt: u64) -> u64 {
        self.window().saturating_sub(debt) / self.period
    }

    /// Both numbers in one word. The period loses what a cell's debt cannot tell apart.
    fn pack(self) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "24 bits of it are enough here")]
        let period = self.period as f32;
        u64::from(period.to_bits()) << 32 | u64::from(self.burst)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "halves of a word; the period was positive"
    )]
    fn unpack(word: u64) -> Self {
        let period = f32::from_bits((word >> 32) as u32);
        Self {
            period: (f64::from(period) as u64).max(1),
            burst: (word as u32).max(1),
        }
    }
}

// === impl Store ===

impl Store {
    /// A table of about so many cells.
    pub(crate) fn new(cells: usize) -> Self {
        let sets = cells.div_ceil(WAYS).max(1).next_power_of_two();
        Self {
            sets: std::iter::repeat_with(Default::default)
                .take(sets)
                .collect(),
            evicted: AtomicU64::new(0),
        }
    }

    /// Cells that went although they held debt.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Whether a request would fit, and nothing more.
    pub(crate) fn look(&self, key: Key, shape: Shape, now: u64) -> Charge {
        match self.find(key, now) {
            Found::Cell(cell, arrival) => weigh(debt(cell, arrival, shape, now), shape),
            Found::Room { .. } | Found::Busy => weigh(0, shape),
        }
    }

    /// Charges a request if it fits.
    pub(crate) fn charge(&self, key: Key, shape: Shape, now: u64) -> Charge {
        loop {
            match self.find(key, now) {
                Found::Cell(cell, arrival) => {
                    let charge = weigh(debt(cell, arrival, shape, now), shape);
                    let Charge::Fits(new) = charge else {
                        return charge;
                    };
                    if write(cell, arrival, shape, now.saturating_add(new)) {
                        return charge;
                    }
                }
                Found::Room { victim, arrival } => {
                    let new = now.saturating_add(shape.period);
                    if self.claim(key, victim, arrival, shape, now, new) {
                        self.unite(key, now);
                        return Charge::Fits(shape.period);
                    }
                }
                Found::Busy => std::hint::spin_loop(),
            }
        }
    }

    /// Takes a charge back.
    pub(crate) fn refund(&self, key: Key, shape: Shape, now: u64) {
        while let Found::Cell(cell, arrival) = self.find(key, now) {
            let left = debt(cell, arrival, shape, now).saturating_sub(shape.period);
            if write(cell, arrival, shape, now.saturating_add(left)) {
                return;
            }
        }
    }

    /// Makes a cell hold exactly this debt.
    pub(crate) fn set(&self, key: Key, shape: Shape, debt: u64, now: u64) {
        let new = now.saturating_add(debt.min(shape.window()));
        loop {
            let done = match self.find(key, now) {
                Found::Cell(cell, arrival) => write(cell, arrival, shape, new),
                Found::Room { victim, arrival } => {
                    self.claim(key, victim, arrival, shape, now, new)
                }
                Found::Busy => false,
            };
            if done {
                return;
            }
        }
    }

    /// Nanoseconds until a cell is full, whatever its shape.
    pub(crate) fn held(&self, key: Key, now: u64) -> u64 {
        match self.find(key, now) {
            Found::Cell(_, arrival) => arrival.saturating_sub(now),
            Found::Room { .. } | Found::Busy => 0,
        }
    }

    /// The debt of a cell.
    #[cfg(test)]
    pub(crate) fn debt(&self, key: Key, shape: Shape, now: u64) -> u64 {
        match self.find(key, now) {
            Found::Cell(cell, arrival) => debt(cell, arrival, shape, now),
            Found::Room { .. } | Found::Busy => 0,
        }
    }

    fn set_of(&self, key: Key) -> &[Cell] {
        let [low, _] = key.0;
        let mask = self.sets.len().saturating_sub(1);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the mask takes fewer bits than are left"
        )]
        let index = low as usize & mask;
        self.sets.get(index).map_or(&[], <[Cell; WAYS]>::as_slice)
    }

    fn find(&self, key: Key, now: u64) -> Found<'_> {
        let mut patience = PATIENCE;
        loop {
            let mut victim: Option<(f64, &Cell, u64)> = None;
            let mut writing = false;
            for cell in self.set_of(key) {
                let arrival = cell.arrival.load(Ordering::Acquire);
                if arrival == RESERVED {
                    writing = true;
                    continue;
                }
                if cell.is(key) {
                    return Found::Cell(cell, arrival);
                }
                let spent = cell.spent(arrival, now);
                if victim.is_none_or(|(least, ..)| spent < least) {
                    victim = Some((spent, cell, arrival));
                }
            }
            // What is being written may be this very key.
            if writing && patience > 0 {
                patience -= 1;
                std::hint::spin_loop();
                continue;
            }
            return match victim {
                Some((_, victim, arrival)) => Found::Room { victim, arrival },
                None => Found::Busy,
            };
        }
    }

    /// Puts a key into another's cell. False: somebody was faster.
    fn claim(
        &self,
        key: Key,
        cell: &Cell,
        seen: u64,
        shape: Shape,
        now: u64,
        arrival: u64,
    ) -> bool {
        if !cell.reserve(seen) {
            return false;
        }
        if seen > now {
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        for (word, half) in cell.id.iter().zip(key.0) {
            word.store(half, Ordering::Relaxed);
        }
        cell.shape.store(shape.pack(), Ordering::Relaxed);
        cell.arrival.store(arrival, Ordering::Release);
        true
    }

    /// Two workers may have put in the same key at the same time. The first cell of the set is the
    /// one that all will find; it gets the other one's debt.
    fn unite(&self, key: Key, now: u64) {
        // Each of the two publishes before it looks, so one of them sees both.
        fence(Ordering::SeqCst);
        let mut twins = self
            .set_of(key)
            .iter()
            .filter(|cell| cell.arrival.load(Ordering::Acquire) != RESERVED && cell.is(key));
        let (Some(first), Some(second)) = (twins.next(), twins.next()) else {
            return;
        };
        let arrival = second.arrival.load(Ordering::Acquire);
        if arrival == RESERVED || !second.reserve(arrival) {
            return;
        }
        let debt = if second.is(key) {
            for word in &second.id {
                word.store(0, Ordering::Relaxed);
            }
            arrival.saturating_sub(now)
        } else {
            0
        };
        second
            .arrival
            .store(if debt == 0 { arrival } else { 0 }, Ordering::Release);
        loop {
            let arrival = first.arrival.load(Ordering::Acquire);
            if arrival == RESERVED || !first.is(key) {
                return;
            }
            let sum = arrival.max(now).saturating_add(debt).min(RESERVED - 1);
            let swapped =
                first
                    .arrival
                    .compare_exchange(arrival, sum, Ordering::AcqRel, Ordering::Relaxed);
            if swapped.is_ok() {
                return;
            }
        }
    }
}

impl Cell {
    fn is(&self, key: Key) -> bool {
        self.id
            .iter()
            .zip(key.0)
            .all(|(word, half)| word.load(Ordering::Relaxed) == half)
    }

    /// The share of the limit that is spent.
    #[expect(clippy::cast_precision_loss, reason = "a share is compared, roughly")]
    fn spent(&self, arrival: u64, now: u64) -> f64 {
        let debt = arrival.saturating_sub(now);
        if debt == 0 {
            return 0.0;
        }
        let window = Shape::unpack(self.shape.load(Ordering::Relaxed)).window();
        debt as f64 / window as f64
    }

    fn reserve(&self, seen: u64) -> bool {
        self.arrival
            .compare_exchange(seen, RESERVED, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

/// The debt of a cell, in nanoseconds of this shape. A cell that was counted in another one owes the
/// same number of requests, but no more than there is room for.
fn debt(cell: &Cell, arrival: u64, shape: Shape, now: u64) -> u64 {
    let debt = arrival.saturating_sub(now);
    let counted = cell.shape.load(Ordering::Relaxed);
    if debt == 0 || counted == shape.pack() {
        return debt;
    }
    let old = Shape::unpack(counted);
    let new = u128::from(debt) * u128::from(shape.period) / u128::from(old.period);
    u64::try_from(new).unwrap_or(u64::MAX).min(shape.window())
}

/// Whether one more request fits beside a debt.
fn weigh(debt: u64, shape: Shape) -> Charge {
    let new = debt.saturating_add(shape.period);
    match new.checked_sub(shape.window()) {
        None | Some(0) => Charge::Fits(new),
        Some(wait) => Charge::Over(wait),
    }
}

/// Gives a cell a new arrival time. False: somebody was faster.
fn write(cell: &Cell, seen: u64, shape: Shape, arrival: u64) -> bool {
    let arrival = arrival.min(RESERVED - 1);
    if cell.shape.load(Ordering::Relaxed) == shape.pack() {
        let swapped =
            cell.arrival
                .compare_exchange(seen, arrival, Ordering::AcqRel, Ordering::Relaxed);
        return swapped.is_ok();
    }
    if !cell.reserve(seen) {
        return false;
    }
    cell.shape.store(shape.pack(), Ordering::Relaxed);
    cell.arrival.store(arrival, Ordering::Release);
    true
}

#[cfg(test)]
mod tests;
