//! How often a channel takes messages, and what is said of those that are too many.

use std::time::Duration;

use damso_proto::time::Moment;

use crate::model::budget::Budget;
use crate::model::limits;
use crate::model::rate::Rate;

/// How a message stands with the limits of rate when its owner decides it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Its sender may send it: it is for the channel's rate to say.
    Asked,
    /// Its sender sends too fast: refused with this time, unless it is a repetition.
    Over(Duration),
    /// It left in a run before, and was not stored.
    Granted,
    /// It is no person's: rates are for people.
    Exempt,
    /// It came when the server was short of memory: refused, unless it is a repetition.
    NoRoom,
}

/// Whose rate was too high.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// The person's who asks, on all their devices.
    Person,
    /// The channel's, of all its members.
    Channel,
}

/// What may be sent into one channel.
#[derive(Debug)]
pub(super) struct Inflow {
    rate: Rate,
    budget: Budget,
}

impl Inflow {
    /// Nothing was sent so far.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, budget: Budget::default() }
    }

    /// Lets a message pass that is none of the known ones.
    ///
    /// # Errors
    /// Whose rate is too high, and a turn of its own.
    pub(super) fn admit(
        &mut self,
        admission: Admission,
        now: Moment,
    ) -> Result<(), (Pace, Duration)> {
        match admission {
            Admission::Granted | Admission::Exempt => Ok(()),
            // Refused for another reason, whoever asks.
            Admission::NoRoom => Err((Pace::Channel, limits::MEMORY_RETRY)),
            Admission::Over(after) => Err((Pace::Person, after)),
            Admission::Asked => {
                // Whoever does not listen is slowed down by their own budget.
                let spent = self.budget.spend(self.rate, 1, now);
                spent.map_err(|over| (Pace::Channel, over.after.min(self.rate.whole())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_pass_once_is_neither_refused_nor_counted_again() {
        let mut inflow = Inflow::new(Rate { per_second: 10, burst: 2 });
        let now = Moment::from_micros(1);
        for _ in 0..4 {
            assert_eq!(inflow.admit(Admission::Granted, now), Ok(()));
        }
        assert_eq!(inflow.admit(Admission::Asked, now), Ok(()));
        assert_eq!(inflow.admit(Admission::Asked, now), Ok(()));
        let turns = [100, 200, 200, 200].map(Duration::from_millis);
        for turn in turns {
            let refused = inflow.admit(Admission::Asked, now);
            assert_eq!(refused, Err((Pace::Channel, turn)), "never further than a burst away");
        }
        assert_eq!(inflow.admit(Admission::Granted, now), Ok(()));
    }
}
