//! The next free slot: one atomic, taken from and raised by compare-and-set.

use std::sync::atomic::{AtomicU64, Ordering};

/// The next free slot. Generic, so that loom's atomic can stand in for the real one.
#[derive(Debug)]
pub(super) struct Slots<A> {
    /// Only ever rises; whoever raises it owns the slots in between.
    next: A,
}

/// What [`Slots`] needs of an atomic.
pub(super) trait Atomic64 {
    fn load(&self) -> u64;
    fn replace(&self, present: u64, new: u64) -> Result<u64, u64>;
}

impl Atomic64 for AtomicU64 {
    // Relaxed: the slot itself is all that is shared, no other memory hangs on it.
    fn load(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }

    fn replace(&self, present: u64, new: u64) -> Result<u64, u64> {
        self.compare_exchange_weak(present, new, Ordering::Relaxed, Ordering::Relaxed)
    }
}

impl<A: Atomic64> Slots<A> {
    pub(super) fn new(next: A) -> Self {
        Self { next }
    }

    /// Takes a slot of the caller's own, at or above `floor`.
    pub(super) fn take(&self, floor: u64) -> u64 {
        let mut next = self.next.load();
        loop {
            let slot = next.max(floor);
            match self.next.replace(next, slot + 1) {
                Ok(_) => return slot,
                Err(present) => next = present,
            }
        }
    }

    /// Makes `to` the next slot if the present one `is_too_low`. Never lowers it.
    pub(super) fn raise(&self, to: u64, is_too_low: impl Fn(u64) -> bool) {
        let mut next = self.next.load();
        while is_too_low(next) && next < to {
            match self.next.replace(next, to) {
                Ok(_) => return,
                Err(present) => next = present,
            }
        }
    }
}

/// Every interleaving, by loom.
#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU64, Ordering};
    use loom::thread;

    use super::{Atomic64, Slots};

    impl Atomic64 for AtomicU64 {
        fn load(&self) -> u64 {
            self.load(Ordering::Relaxed)
        }

        fn replace(&self, present: u64, new: u64) -> Result<u64, u64> {
            self.compare_exchange_weak(present, new, Ordering::Relaxed, Ordering::Relaxed)
        }
    }

    #[test]
    fn no_slot_is_taken_twice_and_each_taker_sees_them_rise() {
        loom::model(|| {
            let slots = Arc::new(Slots::new(AtomicU64::new(10)));
            let other = Arc::clone(&slots);
            let other = thread::spawn(move || [other.take(12), other.take(0)]);
            let own = [slots.take(0), slots.take(12)];
            let other = other.join().unwrap();
            assert!(own[0] < own[1] && other[0] < other[1], "{own:?} {other:?}");
            assert!(own.iter().all(|slot| !other.contains(slot)), "{own:?} {other:?}");
        });
    }

    #[test]
    fn what_is_taken_after_a_raise_is_above_it() {
        loom::model(|| {
            let slots = Arc::new(Slots::new(AtomicU64::new(10)));
            let other = Arc::clone(&slots);
            let other = thread::spawn(move || [other.take(0), other.take(0)]);
            slots.raise(12, |next| next < 12);
            let own = slots.take(0);
            let other = other.join().unwrap();
            assert!(own >= 12, "{own}");
            assert!(!other.contains(&own) && other[0] < other[1], "{own} {other:?}");
        });
    }
}
