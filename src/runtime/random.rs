//! Randomness, injected, so that a simulation repeats from its seed.

use std::sync::atomic::{AtomicU64, Ordering};

use ring::rand::SecureRandom as _;

/// Where random bytes come from.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A random number.
    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The operating system's generator: fit for keys and secrets.
#[derive(Debug)]
pub struct SystemRandom(ring::rand::SystemRandom);

impl SystemRandom {
    /// The operating system's generator.
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

impl Default for SystemRandom {
    fn default() -> Self {
        Self::new()
    }
}

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes).expect("getrandom does not fail on a system that has started");
    }
}

/// The same bytes from the same seed, for tests and simulation. Never for secrets.
#[derive(Debug)]
pub struct SeededRandom {
    /// Each caller takes the next number; in simulation there is one thread.
    state: AtomicU64,
}

impl SeededRandom {
    /// A generator that repeats from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            const STEP: u64 = 0x9e37_79b9_7f4a_7c15; // SplitMix64
            let state = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
            chunk.copy_from_slice(&super::placement::mix(state).to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_does_not() {
        let numbers = |seed| {
            let random = SeededRandom::new(seed);
            [random.number(), random.number(), random.number()]
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        assert_ne!(numbers(1)[0], numbers(1)[1]);
    }

    #[test]
    fn the_systems_bytes_differ_each_time() {
        let random = SystemRandom::new();
        assert_ne!(random.number(), random.number());
    }
}
