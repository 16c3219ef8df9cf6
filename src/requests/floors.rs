//! What handlers stand on, and who asks.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;

use damso_proto::id::{ChannelNo, Seq};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::budgets::Budgets;
use super::refusal::Refusal;
use crate::delivery::{Answer, Delivery, Outcome, Tools, Work};
use crate::model::deadline::Deadline;
use crate::model::limits::{self, Limits};
use crate::model::memory::{Level, Memory};
use crate::model::rights::{self, Actor, Caller, Op};
use crate::runtime::clock::Clock;
use crate::runtime::door::Door;
use crate::runtime::route::Route;
use crate::store::directory::Directory;
use crate::store::log::ChannelLog;

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
    /// How short of memory the server is.
    pub memory: Memory,
    /// What its people asked for lately.
    pub budgets: RefCell<Budgets>,
    waiting: RefCell<HashMap<Route, oneshot::Sender<Outcome>, FixedState>>,
}

impl Floors {
    /// The floors of one shard: its delivery, and the tools that this was made with.
    pub fn new(delivery: Delivery, tools: Tools) -> Self {
        let Tools { clock, log, directory, door, limits, memory, .. } = tools;
        let budgets = RefCell::new(Budgets::new(limits.rates(), limits::BUDGETS_MAX));
        let (delivery, waiting) = (RefCell::new(delivery), RefCell::default());
        Self { delivery, log, directory, door, clock, limits, memory, budgets, waiting }
    }

    /// What of so many bytes to be read at once is read now.
    pub fn modest(&self, bytes: usize) -> usize {
        if self.memory.level() < Level::Scarce {
            bytes
        } else {
            bytes.min(limits::SCARCE_PAGE_BYTES)
        }
    }

    /// How many handlers wait for an outcome; for the gauge.
    pub fn waiting(&self) -> usize {
        self.waiting.borrow().len()
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
    ) -> Result<Answer, Refusal> {
        let outcome = self.wait_for(route);
        self.delivery.borrow_mut().submit(channel, work);
        outcome.of(self).await
    }

    /// Hears the outcome of `route` from now on.
    pub(super) fn wait_for(&self, route: Route) -> Expected {
        let (sender, waiting) = oneshot::channel();
        self.waiting.borrow_mut().insert(route, sender);
        Expected(waiting)
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

    /// Whether the actor's membership in `channel` allows `op`, as far as it is known here: for what
    /// the channel's owner decides in the end. A service has no membership: of it, the owner alone
    /// knows. Absent and forbidden look the same.
    pub(super) fn may(&self, actor: Actor, channel: ChannelNo, op: Op) -> Result<(), Refusal> {
        match actor {
            Actor::User(_) => self.sees(actor, channel, op).map(drop),
            Actor::Service => Ok(()),
        }
    }

    /// The first seq that a person sees of `channel`, if their membership allows `op`, which nobody
    /// decides again. Absent and forbidden look the same.
    fn sees(&self, actor: Actor, channel: ChannelNo, op: Op) -> Result<Seq, Refusal> {
        let delivery = self.delivery.borrow();
        let membership = delivery.membership(actor.number(), channel).ok_or(Refusal::not_found())?;
        rights::authorise(membership.kind, Caller::In(membership.role), op)
            .map_err(Refusal::denied)?;
        Ok(membership.from)
    }

    /// The first seq that the actor sees of `channel`, if they may do `op`, which only reads. Absent
    /// and forbidden look the same.
    pub(super) async fn reads(
        &self,
        actor: Actor,
        channel: ChannelNo,
        op: Op,
    ) -> Result<Seq, Refusal> {
        match actor {
            Actor::User(_) => self.sees(actor, channel, op),
            Actor::Service => {
                let directory = self.directory.clone();
                let heading = self.behind_door(Deadline::NONE, move || directory.heading(channel));
                let kind = heading.await??.ok_or(Refusal::not_found())?.kind;
                rights::authorise(kind, Caller::Service, op).map_err(Refusal::denied)?;
                Ok(Seq::ZERO.next())
            }
        }
    }
}

/// An outcome that a handler waits for.
pub(super) struct Expected(oneshot::Receiver<Outcome>);

impl Expected {
    /// The outcome. What was submitted leaves now: handlers run between turns.
    pub(super) async fn of(self, floors: &Floors) -> Result<Answer, Refusal> {
        floors.delivery.borrow_mut().send_off();
        match self.0.await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(Refusal::Delivery(crate::delivery::Refusal::OutcomeUnknown)),
        }
    }
}
