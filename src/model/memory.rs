//! How short of memory a server is, and what it does without then.
//!
//! ```text
//! percent of the budget   80          90            95
//! level             Free  |   Tight   |   Scarce    |   Full
//! without                 | logins    | unsent logs | new messages
//! left again at           77          87            92
//! ```
//!
//! What counts is the memory that the process has, and an allocator may keep some of it which
//! nobody uses: work would not make it grow, and refusing work does not make it fall. From outside
//! the two cannot be told apart. So a level that lasts without effect is tried without: the next
//! one below holds for as long as memory does not grow beyond what it has been already. If it does,
//! the level is back at once, and the next try comes later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use damso_proto::time::Moment;

use super::limits;

/// How short of memory the server is.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// There is enough.
    #[default]
    Free,
    /// Nobody new comes in.
    Tight,
    /// Also, unsent events are not kept for readers who lag: they read history.
    Scarce,
    /// Also, new messages are refused.
    Full,
}

impl Level {
    const ALL: [Self; 4] = [Self::Free, Self::Tight, Self::Scarce, Self::Full];

    /// Its number as the metric shows it, from 0.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Tight => "tight",
            Self::Scarce => "scarce",
            Self::Full => "full",
        }
    }

    /// Where it begins, percent of the budget.
    const fn begins(self) -> u64 {
        match self {
            Self::Free => 0,
            Self::Tight => limits::MEMORY_TIGHT_PERCENT,
            Self::Scarce => limits::MEMORY_SCARCE_PERCENT,
            Self::Full => limits::MEMORY_FULL_PERCENT,
        }
    }

    /// So many levels below, or the lowest.
    fn less(self, steps: u8) -> Self {
        Self::ALL[usize::from(self.number().saturating_sub(steps))]
    }
}

/// The level as every shard reads it. Written by whoever measures, a few times a second; read in
/// each turn. Nothing else is published with it, so no order is needed.
#[derive(Clone, Default, Debug)]
pub struct Memory(Arc<AtomicU8>);

impl Memory {
    /// The level now.
    pub fn level(&self) -> Level {
        Level::ALL.get(usize::from(self.0.load(Ordering::Relaxed))).copied().unwrap_or(Level::Full)
    }

    /// The level is another.
    pub fn set(&self, level: Level) {
        self.0.store(level.number(), Ordering::Relaxed);
    }
}

/// From what is used to a level. See the module's text.
#[derive(Debug)]
pub struct Ladder {
    budget: u64,
    /// What the shares of the budget say.
    level: Level,
    /// So many levels less hold, as a try.
    eased: u8,
    /// Since then nothing of this has changed.
    since: Moment,
    /// As much as was used at this level so far, bytes.
    peak: u64,
    patience: Duration,
}

impl Ladder {
    /// Nothing is used so far of so many bytes.
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            level: Level::Free,
            eased: 0,
            since: Moment::default(),
            peak: 0,
            patience: limits::MEMORY_PATIENCE,
        }
    }

    /// So many bytes are used now. Returns the level that holds from here on.
    pub fn look(&mut self, used: u64, now: Moment) -> Level {
        let level = self.by_share(used);
        if level < self.level {
            // What was let in already is not shut out because memory has fallen.
            let eased = self.eased.saturating_sub(self.level.number() - level.number());
            self.patience = limits::MEMORY_PATIENCE;
            (self.level, self.eased, self.since, self.peak) = (level, eased, now, used);
        } else if level > self.level {
            (self.level, self.eased, self.since, self.peak) = (level, 0, now, used);
        } else if used > self.bound() {
            if self.eased > 0 {
                self.patience = (2 * self.patience).min(limits::MEMORY_PATIENCE_MAX);
            }
            (self.eased, self.since, self.peak) = (0, now, used);
        } else if self.eased < level.number() && now.since(self.since) >= self.patience {
            self.eased += 1;
            self.since = now;
        }
        level.less(self.eased)
    }

    fn by_share(&self, used: u64) -> Level {
        let reaches = |level: &Level| {
            let back = if *level <= self.level { limits::MEMORY_BACK_PERCENT } else { 0 };
            used >= self.share(level.begins().saturating_sub(back))
        };
        Level::ALL.into_iter().rfind(reaches).unwrap_or_default()
    }

    /// Above this, memory has grown. Beyond the budget, any growth is too much.
    fn bound(&self) -> u64 {
        let grain = self.share(limits::MEMORY_GRAIN_PERCENT);
        self.peak.max((self.peak + grain).min(self.budget))
    }

    fn share(&self, percent: u64) -> u64 {
        self.budget / 100 * percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at these shares, one second apart.
    fn levels(ladder: &mut Ladder, from_s: u64, shares: &[u64]) -> Vec<Level> {
        let at = |s| Moment::from_micros((from_s + s) * 1_000_000);
        (0..).zip(shares).map(|(s, share)| ladder.look(*share, at(s))).collect()
    }

    use Level::{Free, Full, Scarce, Tight};

    #[test]
    fn a_level_begins_at_its_share_and_is_left_only_well_below() {
        let mut ladder = Ladder::new(100);
        let shares = [79, 80, 77, 76, 79, 90, 87, 86, 77, 96, 92, 91, 87, 76];
        let expected = [
            Free, Tight, Tight, Free, Free, Scarce, Scarce, Tight, Tight, Full, Full, Scarce,
            Scarce, Free,
        ];
        assert_eq!(levels(&mut ladder, 0, &shares), expected);
    }

    #[test]
    fn a_level_without_effect_is_tried_without_for_as_long_as_nothing_grows() {
        let mut ladder = Ladder::new(1_000);
        let patience = limits::MEMORY_PATIENCE.as_secs();
        assert_eq!(levels(&mut ladder, 0, &[960]), [Full]);
        // What was there already may be used, and a little more.
        for (steps, level) in (1..).zip([Scarce, Tight, Free, Free]) {
            assert_eq!(levels(&mut ladder, steps * patience - 1, &[950, 970]).last(), Some(&level));
        }
        let grown = 5 * patience;
        assert_eq!(levels(&mut ladder, grown, &[971]), [Full], "it was not the allocator's");
        assert_eq!(levels(&mut ladder, grown + 2 * patience - 1, &[971, 971]), [Full, Scarce]);
        assert_eq!(levels(&mut ladder, grown + 2 * patience + 1, &[760, 960]), [Free, Full]);
        let again = grown + 3 * patience + 2;
        assert_eq!(levels(&mut ladder, again, &[960]), [Scarce], "patient as at first");
    }

    #[test]
    fn memory_that_falls_shuts_nothing_out_that_was_let_in() {
        let mut ladder = Ladder::new(1_000);
        let patience = limits::MEMORY_PATIENCE.as_secs();
        assert_eq!(levels(&mut ladder, 0, &[960]), [Full]);
        for (steps, level) in (1..).zip([Scarce, Tight]) {
            assert_eq!(levels(&mut ladder, steps * patience, &[960]), [level]);
        }
        assert_eq!(levels(&mut ladder, 2 * patience + 1, &[910, 860, 790]), [Tight, Tight, Tight]);
    }

    #[test]
    fn while_memory_grows_and_beyond_the_budget_nothing_more_is_let_in() {
        let mut ladder = Ladder::new(1_000);
        let patience = limits::MEMORY_PATIENCE.as_secs();
        for (steps, used) in (0..).zip([950, 961, 972, 983, 994, 1_005]) {
            let shown = levels(&mut ladder, steps * patience, &[used]);
            assert_eq!(shown, [Full], "{used}");
        }
        assert_eq!(levels(&mut ladder, 6 * patience, &[1_005, 1_006]), [Scarce, Full]);
    }

    #[test]
    fn every_level_reads_back() {
        let memory = Memory::default();
        for level in Level::ALL {
            memory.set(level);
            assert_eq!((memory.level(), memory.level().number()), (level, level as u8));
        }
    }
}
