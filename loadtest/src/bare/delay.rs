//! What a delayed server has yet to say: everything waits equally long, so one queue is enough.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

/// The queue. `T` says to whom.
#[derive(Debug)]
pub(super) struct Delay<T> {
    delay_ns: u64,
    held: VecDeque<Held<T>>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Held<T> {
    due_ns: u64,
    to: T,
    said: Bytes,
}

impl<T> Held<T> {
    /// Shared bytes count for each receiver: a bound is allowed to be too careful.
    fn bytes(&self) -> usize {
        self.said.len() + size_of::<Self>()
    }
}

impl<T> Delay<T> {
    /// Whoever fills it heeds `bytes_max` by [`is_full`](Self::is_full).
    pub(super) fn new(delay: Duration, bytes_max: usize) -> Self {
        Self { delay_ns: delay.as_nanos() as u64, held: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(super) fn hold(&mut self, to: T, said: Bytes, now_ns: u64) {
        let held = Held { due_ns: now_ns + self.delay_ns, to, said };
        self.bytes += held.bytes();
        self.held.push_back(held);
    }

    /// Takes what has waited long enough, one at a time.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<(T, Bytes)> {
        let held = self.held.pop_front_if(|held| held.due_ns <= now_ns)?;
        self.bytes -= held.bytes();
        Some((held.to, held.said))
    }

    pub(super) fn next_due_ns(&self) -> Option<u64> {
        self.held.front().map(|held| held.due_ns)
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing more should be read.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Reading may go on; not at once, or each free place would wake everyone who waits.
    pub(super) fn has_room(&self) -> bool {
        self.bytes <= self.bytes_max / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_leaves_in_order_and_never_early() {
        let mut delay = Delay::new(Duration::from_nanos(100), 0);
        for now_ns in [0, 10, 10, 50] {
            delay.hold(now_ns, Bytes::from_static(b"x"), now_ns);
        }
        let mut left = Vec::new();
        for now_ns in 0..200 {
            while let Some((held_ns, _)) = delay.take_due(now_ns) {
                left.push((held_ns, now_ns));
            }
        }
        assert_eq!(left, [(0, 100), (10, 110), (10, 110), (50, 150)]);
        assert_eq!((delay.bytes, delay.next_due_ns()), (0, None));
    }

    #[test]
    fn reading_stops_at_the_bound_and_goes_on_at_half_of_it() {
        let mut delay = Delay::new(Duration::ZERO, 10_000);
        let said = Bytes::from(vec![0; 100]);
        while !delay.is_full() {
            delay.hold((), said.clone(), 0);
        }
        assert!(delay.bytes < 10_200);
        while !delay.has_room() {
            assert!(delay.take_due(0).is_some());
        }
        assert!(!delay.is_full() && delay.next_due_ns().is_some());
    }
}
