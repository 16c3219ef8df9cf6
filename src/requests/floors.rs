//! What handlers stand on, and who asks.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;

use damso_proto::id::{ChannelNo, UserNo};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::budgets::Budgets;
use super::refusal::Refusal;
use crate::delivery::{Delivery, Membership, Outcome, Tools, Work};
use crate::model::deadline::Deadline;
use crate::model::limits::{self, Limits};
use crate::model::rights::{self, Caller, Op};
use crate::runtime::clock::Clock;
use crate::runtime::door::Door;
use crate::runtime::route::Route;
use crate::store::directory::Directory;
use crate::store::log::ChannelLog;

/// Who asks. Handlers take this and never a session, so that other entrances call the same code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The person, as their verified token says.
    pub user: UserNo,
}

/// One shard's floors below the handlers. Never borrowed across an await.
pub struct Floors {
    /// The shard's channels, people and pipes.
    pub delivery: RefCell<Delivery>,
    /// History.
    pub log: Arc<dyn ChannelLog>,
    /// People, channels, members.
    pub directory: Arc<dyn Directory>,
    /// Where blocking work goes.
    pub door: Door,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What people may, and how much.
    pub limits: Limits,
    /// What its people asked for lately.
    pub budgets: RefCell<Budgets>,
    waiting: RefCell<HashMap<Route, oneshot::Sender<Outcome>, FixedState>>,
}

/// An outcome that a handler waits for.
pub type Waiting = oneshot::Receiver<Outcome>;

impl Floors {
    /// The floors of one shard: its delivery, and the tools that this was made with.
    pub fn new(delivery: Delivery, tools: Tools) -> Self {
        let Tools { clock, log, directory, door, limits, .. } = tools;
        let budgets = RefCell::new(Budgets::new(limits.rates(), limits::BUDGETS_MAX));
        let (delivery, waiting) = (RefCell::new(delivery), RefCell::default());
        Self { delivery, log, directory, door, clock, limits, budgets, waiting }
    }

    /// Hands an outcome to the handler that waits for it; gives it back if none does.
    pub fn settle(&self, route: Route, outcome: Outcome) -> Option<Outcome> {
        match self.waiting.borrow_mut().remove(&route) {
            Some(waiter) => {
                // A handler that is gone has a connection that is gone.
                drop(waiter.send(outcome));
                None
            }
            None => Some(outcome),
        }
    }

    /// Forgets a waiter whose handler will not come back.
    pub fn forget(&self, route: Route) {
        self.waiting.borrow_mut().remove(&route);
    }

    /// Brings work to a channel's owner and waits for its outcome.
    pub(super) async fn command(
        &self,
        route: Route,
        channel: ChannelNo,
        work: Work,
    ) -> Result<crate::delivery::Answer, Refusal> {
        let (sender, waiting) = oneshot::channel();
        self.waiting.borrow_mut().insert(route, sender);
        {
            let mut delivery = self.delivery.borrow_mut();
            delivery.submit(channel, work);
            // Handlers run between turns: without this, the work would leave with the next one.
            delivery.send_off();
        }
        match waiting.await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(Refusal::Delivery(crate::delivery::Refusal::OutcomeUnknown)),
        }
    }

    /// Runs blocking work on the door's threads, unless it would begin there too late.
    pub(super) fn behind_door<R: Send + 'static>(
        &self,
        deadline: Deadline,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> impl Future<Output = Result<R, Refusal>> {
        let clock = self.clock.clone();
        let called = self.door.call(move || (!deadline.is_past(clock.now())).then(job));
        async move {
            let done = called.await.map_err(|full| {
                tracing::warn!(error = %full, "blocking work was turned away");
                Refusal::busy()
            });
            done?.ok_or(Refusal::late())
        }
    }

    /// The actor's membership in `channel`, if it allows `op`. Absent and forbidden look the same.
    pub(super) fn may(
        &self,
        actor: Actor,
        channel: ChannelNo,
        op: Op,
    ) -> Result<Membership, Refusal> {
        let delivery = self.delivery.borrow();
        let membership = delivery.membership(actor.user, channel).ok_or(Refusal::not_found())?;
        rights::authorise(membership.kind, Caller::In(membership.role), op)
            .map_err(Refusal::denied)?;
        Ok(membership)
    }
}
