//! Every choice of a simulation, from one seed.

use std::ops::Range;
use std::time::Duration;

use damso::runtime::random::{Random as _, SeededRandom};

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Dice(SeededRandom);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.0.number() % end.max(1)
    }

    /// A number in `range`.
    pub(crate) fn within(&self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// True once in `times` on average.
    pub(crate) fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A time of so many milliseconds.
    pub(crate) fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    /// A device's or a shard's own dice.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.0.number())
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.number()
    }

    /// One of `all`.
    pub(crate) fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(all.len() as u64)).expect("an index");
        &all[at]
    }

    /// As long as a piece of work may take: mostly next to nothing, sometimes long.
    pub(crate) async fn work(&self) {
        match self.below(16) {
            0..8 => tokio::task::yield_now().await,
            8..15 => tokio::time::sleep(self.millis(1..5)).await,
            _ => tokio::time::sleep(self.millis(5..40)).await,
        }
    }
}
