//! A rate for whoever asks, and a turn for whatever is too much.
//!
//! ```text
//! spent     what was let pass
//! refused   what was not: each is told a turn of its own, behind those told before
//!
//!           0 ............ burst ............ 2 x burst ............
//!           let pass     | refused at once  | refused once its turn is a burst away
//! ```
//!
//! So whoever comes back when they are told is let pass, and whoever does not listen
//! is answered no faster than the rate.

use std::time::Duration;

use damso_proto::time::Moment;

use super::rate::{Bucket, Rate};

/// What is left of a [`Rate`], which stands elsewhere. Nothing was asked at first.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Budget {
    spent: Bucket,
    refused: Bucket,
}

/// What was asked is too much by now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Over {
    /// Say so only after this long; zero unless a whole burst was refused already.
    pub hold: Duration,
    /// The turn to tell, counted from when it is told: asked again then, it passes.
    pub after: Duration,
}

impl Budget {
    /// Spends `cost`. A cost above the burst needs a full budget.
    ///
    /// # Errors
    /// [`Over`]: nothing was spent.
    pub fn spend(&mut self, rate: Rate, cost: u32, now: Moment) -> Result<(), Over> {
        let Err(wait) = self.spent.take(rate, cost, now) else { return Ok(()) };
        let turn = wait + self.refused.missing(now);
        self.refused.owe(rate, cost, now);
        let hold = self.refused.missing(now).saturating_sub(rate.whole());
        Err(Over { hold, after: turn.saturating_sub(hold) })
    }

    /// Whether forgetting this budget would change nothing.
    pub fn is_whole(&self, now: Moment) -> bool {
        self.spent.is_full(now) && self.refused.is_full(now)
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

    fn spend_all(now: Moment) -> Budget {
        let mut budget = Budget::default();
        for _ in 0..60 {
            assert_eq!(budget.spend(RATE, 1, now), Ok(()));
        }
        budget
    }

    #[test]
    fn each_that_is_refused_is_told_a_turn_of_its_own_and_then_passes() {
        let mut budget = spend_all(ms(0));
        let told: Vec<_> =
            (0..60).map(|_| budget.spend(RATE, 1, ms(0)).expect_err("nothing is left")).collect();
        for (nth, over) in (1..).zip(&told) {
            let after = Duration::from_millis(50 * nth);
            assert_eq!(*over, Over { hold: Duration::ZERO, after });
        }
        for over in told {
            assert_eq!(budget.spend(RATE, 1, ms(0).plus(over.after)), Ok(()));
        }
    }

    #[test]
    fn beyond_a_second_burst_the_refusal_itself_waits_for_its_turn() {
        let mut budget = spend_all(ms(0));
        for _ in 0..60 {
            assert_eq!(budget.spend(RATE, 1, ms(0)).map_err(|over| over.hold), Err(Duration::ZERO));
        }
        for nth in 1..=100 {
            let over = budget.spend(RATE, 1, ms(0)).expect_err("nothing is left");
            let hold = Duration::from_millis(50 * nth);
            assert_eq!(over, Over { hold, after: Duration::from_secs(3) });
        }
    }

    #[test]
    fn a_budget_is_whole_again_when_all_that_was_asked_has_had_its_time() {
        let mut budget = spend_all(ms(0));
        assert!(budget.spend(RATE, 20, ms(0)).is_err());
        assert!(!budget.is_whole(ms(2_999)) && budget.is_whole(ms(3_000)));
        assert!(budget.spend(RATE, 20, ms(3_000)).is_ok());
        assert!(!budget.is_whole(ms(3_000)) && budget.is_whole(ms(4_000)));
    }

    proptest! {
        #[test]
        fn nobody_passes_or_is_answered_faster_than_the_rate(
            steps in prop::collection::vec((0..150_u64, 1..21_u32), 1..400),
        ) {
            let mut budget = Budget::default();
            let (mut now, mut passed, mut answered) = (0, Vec::new(), Vec::new());
            for (later_ms, cost) in steps {
                now += later_ms;
                match budget.spend(RATE, cost, ms(now)) {
                    Ok(()) => passed.push((ms(now), u64::from(cost))),
                    Err(over) => answered.push((ms(now).plus(over.hold), u64::from(cost))),
                }
            }
            for list in [passed, answered] {
                for (at, &(from, _)) in list.iter().enumerate() {
                    let mut sum = 0;
                    for &(to, cost) in &list[at..] {
                        sum += cost;
                        let ms = to.since(from).as_millis() as u64;
                        prop_assert!(sum <= 60 + ms * 20 / 1_000 + 1, "{sum} in {ms} ms");
                    }
                }
            }
        }
    }
}
