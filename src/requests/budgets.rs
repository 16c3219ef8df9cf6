//! What the people of a shard have asked for lately, on all their devices together.
//!
//! Kept by person and not by connection, so that nobody begins anew by coming back.
//! Only budgets that are not whole are worth memory: the others are dropped when room
//! is made, and nobody can tell.
//!
//! A repetition within the budget is paid for like anything else, and not given back
//! once it is known as one: time has given some of it back by then, and both together
//! would let more pass than the rate says. What holds is that no repetition is ever
//! refused for being one too many.

use std::time::Duration;

use damso_proto::id::UserNo;
use damso_proto::time::Moment;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::refusal::Refusal;
use crate::model::budget::{Budget, Over};
use crate::model::limits;
use crate::model::rate::Rates;

/// See the module's text.
pub struct Budgets {
    people: HashMap<UserNo, Person, FixedState>,
    rates: Rates,
    max: usize,
    swept_at: Moment,
}

/// One person's.
#[derive(Default)]
struct Person {
    changes: Budget,
    reads: Budget,
}

impl Person {
    fn is_whole(&self, now: Moment) -> bool {
        self.changes.is_whole(now) && self.reads.is_whole(now)
    }
}

/// Which of a person's two budgets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purse {
    /// Sending, and all else that changes something.
    Changes,
    /// Reading.
    Reads,
}

/// Why something is not simply carried out.
#[derive(Debug)]
pub enum Unpaid {
    /// Its person asks too often by now.
    Over(Over),
    /// There are more people who ask than are kept count of.
    Crowded(Refusal),
}

impl Budgets {
    /// Nobody asked for anything so far. At most `max` people are kept count of.
    pub fn new(rates: Rates, max: usize) -> Self {
        Self { people: HashMap::default(), rates, max, swept_at: Moment::default() }
    }

    /// Pays for a request of `user`; a message costs one.
    ///
    /// # Errors
    /// [`Unpaid`]: nothing was paid.
    pub fn pay(
        &mut self,
        user: UserNo,
        (purse, cost): (Purse, u32),
        now: Moment,
    ) -> Result<(), Unpaid> {
        let Rates { user_sends, user_reads, .. } = self.rates;
        let person = match self.people.get_mut(&user) {
            Some(person) => person,
            None => {
                self.make_room(now)?;
                self.people.entry(user).or_default()
            }
        };
        let spent = match purse {
            Purse::Changes => person.changes.spend(user_sends, cost, now),
            Purse::Reads => person.reads.spend(user_reads, cost, now),
        };
        spent.map_err(Unpaid::Over)
    }

    /// How many people are kept count of; for the gauge.
    pub fn kept(&mut self, now: Moment) -> usize {
        // Where nobody new asks, no room is made either.
        self.sweep(now, limits::BUDGETS_SWEEP);
        self.people.len()
    }

    fn sweep(&mut self, now: Moment, pause: Duration) {
        if now.since(self.swept_at) >= pause {
            self.swept_at = now;
            self.people.retain(|_, person| !person.is_whole(now));
            self.people.shrink_to(2 * self.people.len());
        }
    }

    fn make_room(&mut self, now: Moment) -> Result<(), Unpaid> {
        let pause = if self.people.len() < self.max { limits::BUDGETS_SWEEP } else { limits::TICK };
        self.sweep(now, pause);
        if self.people.len() < self.max { Ok(()) } else { Err(Unpaid::Crowded(Refusal::busy())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery;
    use crate::model::limits::Limits;

    const SEND: (Purse, u32) = (Purse::Changes, 1);
    const PAGE: (Purse, u32) = (Purse::Reads, 4);

    fn alice() -> UserNo {
        UserNo::new(1)
    }

    fn passes(budgets: &mut Budgets, price: (Purse, u32), now: Moment) -> usize {
        (0..2_000).take_while(|_| budgets.pay(alice(), price, now).is_ok()).count()
    }

    #[test]
    fn sending_and_reading_do_not_spend_from_each_other() {
        let mut budgets = Budgets::new(Limits::DEFAULT.rates(), 8);
        let now = Moment::from_micros(1);
        assert_eq!(passes(&mut budgets, PAGE, now), 1_000);
        assert_eq!(passes(&mut budgets, SEND, now), 60);
        assert!(budgets.pay(UserNo::new(2), SEND, now).is_ok(), "another person's is whole");
    }

    #[test]
    fn whoever_is_whole_again_is_kept_count_of_no_longer_though_nobody_asks() {
        let mut budgets = Budgets::new(Limits::DEFAULT.rates(), 8);
        let now = Moment::from_micros(1);
        assert!(budgets.pay(alice(), SEND, now).is_ok());
        assert_eq!(budgets.kept(now), 1);
        assert_eq!(budgets.kept(now.plus(limits::BUDGETS_SWEEP)), 0);
    }

    #[test]
    fn a_budget_is_forgotten_only_when_it_is_whole_again() {
        let mut budgets = Budgets::new(Limits::DEFAULT.rates(), 8);
        let mut now = Moment::from_micros(1);
        assert_eq!(passes(&mut budgets, SEND, now), 60);
        for other in 2..60 {
            now = now.plus(Duration::from_millis(50));
            let paid = budgets.pay(UserNo::new(other), SEND, now);
            assert!(paid.is_ok() || budgets.people.len() == 8, "{other}");
            assert!(budgets.people.len() <= 8);
            assert!(budgets.people.contains_key(&alice()));
        }
        now = now.plus(Duration::from_secs(11));
        assert!(budgets.pay(UserNo::new(2), SEND, now).is_ok());
        assert_eq!(budgets.people.len(), 1, "all others are whole");
        assert_eq!(passes(&mut budgets, SEND, now), 60);
    }

    #[test]
    fn whoever_cannot_be_kept_count_of_is_asked_to_wait() {
        let mut budgets = Budgets::new(Limits::DEFAULT.rates(), 2);
        let now = Moment::from_micros(1);
        for user in [1, 2] {
            assert!(budgets.pay(UserNo::new(user), SEND, now).is_ok());
        }
        let busy = delivery::Refusal::Overloaded { after: limits::OVERLOADED_RETRY };
        match budgets.pay(UserNo::new(3), SEND, now) {
            Err(Unpaid::Crowded(Refusal::Delivery(refusal))) => assert_eq!(refusal, busy),
            other => panic!("{other:?}"),
        }
        let later = now.plus(limits::OVERLOADED_RETRY);
        assert!(budgets.pay(UserNo::new(3), SEND, later).is_ok());
    }
}
