//! A token bucket in eight bytes; time is an argument.
//!
//! ```text
//! full_at  the moment at which the bucket will be full again
//!          now ............ full_at
//!              |  missing  |         missing / refill = tokens taken and not yet refilled
//! ```

use std::time::Duration;

use damso_proto::time::Moment;

/// How fast a bucket refills, and how much it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Tokens that come back each second, 1 to 1,000,000.
    pub per_second: u32,
    /// Most tokens at once, at least 1.
    pub burst: u32,
}

/// How often people may ask, as this server is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// What one person sends and changes.
    pub user_sends: Rate,
    /// What one person reads.
    pub user_reads: Rate,
    /// Messages of people into one channel.
    pub channel_sends: Rate,
}

impl Rates {
    /// Rates that bind nobody, for what measures or tests something else.
    pub const UNBOUND: Self = {
        let most = Rate { per_second: Rate::MAX, burst: Rate::MAX };
        Self { user_sends: most, user_reads: most, channel_sends: most }
    };
}

impl Rate {
    /// Both numbers of a rate are 1 to this. A rate of this much binds nobody.
    pub const MAX: u32 = 1_000_000;

    /// How long an empty bucket takes to be full.
    pub const fn whole(self) -> Duration {
        self.refill(self.burst)
    }

    const fn refill(self, tokens: u32) -> Duration {
        Duration::from_micros(self.refill_micros(tokens))
    }

    const fn refill_micros(self, tokens: u32) -> u64 {
        // No division by zero for a rate out of range.
        let per_second = if self.per_second == 0 { 1 } else { self.per_second };
        1_000_000 * tokens as u64 / per_second as u64
    }
}

/// What is left of a [`Rate`], which stands elsewhere. Full at first.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Bucket {
    full_at: Moment,
}

impl Bucket {
    /// Takes `cost` tokens. A cost above the burst needs a full bucket.
    ///
    /// # Errors
    /// How long to wait until they are there. Nothing was taken.
    pub fn take(&mut self, rate: Rate, cost: u32, now: Moment) -> Result<(), Duration> {
        // In whole microseconds: every request passes here.
        let now = now.micros();
        let from = self.full_at.micros().max(now);
        let full_at = from.saturating_add(rate.refill_micros(cost.min(rate.burst)));
        match (full_at - now).checked_sub(rate.refill_micros(rate.burst)) {
            None | Some(0) => {
                self.full_at = Moment::from_micros(full_at);
                Ok(())
            }
            Some(wait) => Err(Duration::from_micros(wait)),
        }
    }

    /// Takes `cost` tokens whether they are there or not: the bucket may owe some.
    pub fn owe(&mut self, rate: Rate, cost: u32, now: Moment) {
        self.full_at = self.full_at.max(now).plus(rate.refill(cost.min(rate.burst)));
    }

    /// How long until the bucket is full.
    pub fn missing(&self, now: Moment) -> Duration {
        self.full_at.since(now)
    }

    /// Whether not even one token can be taken.
    pub fn is_empty(&self, rate: Rate, now: Moment) -> bool {
        self.clone().take(rate, 1, now).is_err()
    }

    /// Whether forgetting this bucket would change nothing.
    pub fn is_full(&self, now: Moment) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { per_second: 20, burst: 60 };

    fn ms(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    #[test]
    fn a_burst_passes_and_the_next_is_told_when() {
        let mut bucket = Bucket::default();
        for _ in 0..60 {
            assert_eq!(bucket.take(RATE, 1, ms(1_000)), Ok(()));
        }
        assert_eq!(bucket.take(RATE, 1, ms(1_000)), Err(Duration::from_millis(50)));
        assert_eq!(bucket.take(RATE, 3, ms(1_000)), Err(Duration::from_millis(150)));
        assert_eq!(bucket.take(RATE, 1, ms(1_049)), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(RATE, 1, ms(1_050)), Ok(()));
    }

    #[test]
    fn a_cost_above_the_burst_waits_for_a_full_bucket_and_not_for_ever() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(RATE, 1_000, ms(0)), Ok(()));
        assert_eq!(bucket.take(RATE, 1_000, ms(0)), Err(Duration::from_secs(3)));
        assert!(!bucket.is_full(ms(2_999)) && bucket.is_full(ms(3_000)));
        assert_eq!(bucket.take(RATE, 1_000, ms(3_000)), Ok(()));
    }

    proptest! {
        #[test]
        fn no_window_ever_passes_more_than_burst_and_refill(
            steps in prop::collection::vec((0..300_u64, 1..5_u32), 1..300),
        ) {
            let mut bucket = Bucket::default();
            let mut now = 0;
            let mut passed = Vec::new();
            for (later_ms, cost) in steps {
                now += later_ms;
                match bucket.take(RATE, cost, ms(now)) {
                    Ok(()) => passed.push((now, u64::from(cost))),
                    // What is told is the truth: then it passes, and not a moment earlier.
                    Err(wait) => {
                        let then = ms(now).plus(wait);
                        let early = Moment::from_micros(then.micros() - 1);
                        prop_assert_eq!(bucket.clone().take(RATE, cost, then), Ok(()));
                        prop_assert!(bucket.clone().take(RATE, cost, early).is_err());
                    }
                }
            }
            for (at, &(from, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for &(to, cost) in &passed[at..] {
                    sum += cost;
                    prop_assert!(sum <= 60 + (to - from) * 20 / 1_000 + 1);
                }
            }
        }
    }
}
