//! Lets so many steps of logins through between two turns of a shard, in the order of their coming.
//!
//! ```text
//! turn -> up to N steps -> turn -> up to N steps -> ...    while somebody waits
//! ```
//!
//! A handshake is a tenth of a millisecond of a shard's time that nothing interrupts, and everybody
//! may ask for one. Without this a thousand that come at once would stand between two turns. A
//! shard that has nothing else to do turns in a microsecond, so nobody waits for nothing.

use std::cell::Cell;

use metrics::{Counter, counter};
use tokio::sync::Semaphore;

use crate::model::limits::LOGIN_STEPS_PER_TURN;
use crate::runtime::route::ShardNo;

pub(super) struct Turnstile {
    /// What may pass before the next turn. Whoever waits is served first.
    free: Semaphore,
    waiting: Cell<usize>,
    put_off: Counter,
}

impl Turnstile {
    pub(super) fn new(shard: ShardNo) -> Self {
        let shard = shard.index().to_string();
        Self {
            free: Semaphore::new(LOGIN_STEPS_PER_TURN),
            waiting: Cell::new(0),
            put_off: counter!("damso_login_steps_put_off_total", "shard" => shard),
        }
    }

    /// Passes, once it is this one's turn. `kick` asks for a turn. Dropping the future leaves the
    /// queue.
    pub(super) async fn pass(&self, kick: impl Fn()) {
        if let Ok(step) = self.free.try_acquire() {
            return step.forget();
        }
        self.put_off.increment(1);
        let _waiting = Waiting::new(&self.waiting);
        kick();
        if let Ok(step) = self.free.acquire().await {
            step.forget();
        }
    }

    /// A turn was made. `true`: somebody waits for the next one.
    pub(super) fn turned(&self) -> bool {
        self.free.add_permits(LOGIN_STEPS_PER_TURN - self.free.available_permits());
        self.waiting() > 0
    }

    /// How many wait; for the gauge.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.get()
    }
}

/// Counts one who waits.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    /// Lets every task that is ready run.
    async fn settle() {
        for _ in 0..100 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn so_many_pass_a_turn_in_the_order_of_their_coming_and_whoever_leaves_holds_up_nobody() {
        const COMERS: usize = 5 * LOGIN_STEPS_PER_TURN / 2;
        let tasks = LocalSet::new();
        let turns = tasks.run_until(async {
            let turnstile = Rc::new(Turnstile::new(ShardNo::new(0)));
            let (passed, kicks) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
            let come = |number| {
                let (turnstile, passed) = (turnstile.clone(), passed.clone());
                let kicks = kicks.clone();
                spawn_local(async move {
                    turnstile.pass(|| kicks.set(kicks.get() + 1)).await;
                    passed.borrow_mut().push(number);
                })
            };
            let comers: Vec<_> = (0..COMERS).map(come).collect();
            settle().await;
            assert_eq!(passed.borrow().len(), LOGIN_STEPS_PER_TURN);
            assert_eq!(kicks.get(), COMERS - LOGIN_STEPS_PER_TURN, "whoever waits asks for a turn");
            // One who waits gives up.
            comers[LOGIN_STEPS_PER_TURN].abort();
            settle().await;
            let mut turns = 0;
            while turnstile.turned() {
                settle().await;
                turns += 1;
                assert!(passed.borrow().len() <= (turns + 1) * LOGIN_STEPS_PER_TURN);
            }
            let left = LOGIN_STEPS_PER_TURN;
            let expected: Vec<_> = (0..COMERS).filter(|number| *number != left).collect();
            assert_eq!(*passed.borrow(), expected);
            turns
        });
        assert_eq!(turns.await, 2);
    }
}
