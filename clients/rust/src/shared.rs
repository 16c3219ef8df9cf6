//! What the app's calls and the background task have in common: one replica behind a lock.
//!
//! The lock is held for one call of the machine, never across a wait. The app's
//! calls change the machine and wake the task; the task alone touches the socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use damso_proto::client::{Answer, AskError, Now, Replica, SendOutcome, Ticket, Told};
use damso_proto::id::{MessageId, Seq};
use damso_proto::time::Moment;
use tokio::sync::{Notify, oneshot, watch};

use crate::error::Error;
use crate::platform::Platform;
use crate::state::State;

/// A message is on the server's disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its position in its channel.
    pub seq: Seq,
    /// Its id, with its time.
    pub id: MessageId,
    /// An earlier attempt had stored it.
    pub duplicate: bool,
    /// Microseconds that it waited for its channel, then for the disk; 0 if told by a resume.
    pub stages_us: (u32, u32),
}

#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    pub(crate) platform: Arc<dyn Platform>,
    origin: Instant,
    /// Tells the task that there is something to write or to end.
    pub(crate) wake: Notify,
    /// Tells the app that there is something to take, or that nothing will come.
    pub(crate) news: Notify,
    pub(crate) state: watch::Sender<State>,
    /// See [`crate::Client::token_expiring`].
    pub(crate) expiring: watch::Sender<Option<u64>>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) replica: Replica,
    pub(crate) sends: BTreeMap<Ticket, oneshot::Sender<Result<Stored, Error>>>,
    pub(crate) asks: BTreeMap<Ticket, oneshot::Sender<Result<Answer, AskError>>>,
}

impl Shared {
    pub(crate) fn new(replica: Replica, platform: Arc<dyn Platform>) -> Self {
        let (sends, asks) = (BTreeMap::new(), BTreeMap::new());
        let inner = Inner { replica, sends, asks };
        Self {
            inner: Mutex::new(inner),
            origin: platform.now(),
            platform,
            wake: Notify::new(),
            news: Notify::new(),
            state: watch::Sender::new(State::Connecting),
            expiring: watch::Sender::new(None),
        }
    }

    /// One call of the machine, and everything that follows from it.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&mut Inner, Now) -> T) -> T {
        let mut inner = self.lock();
        let result = call(&mut inner, self.now());
        inner.hand_out(&self.expiring);
        let state = State::of(inner.replica.state(), self.origin);
        if state.is_over() {
            // Nobody will ever answer them; who waits is told so by the closed channel.
            inner.sends.clear();
        }
        let has_news = inner.replica.has_news() || state.is_over();
        drop(inner);
        self.state.send_if_modified(|present| {
            let changed = *present != state;
            *present = state;
            changed
        });
        if has_news {
            self.news.notify_waiters();
        }
        result
    }

    /// A look at the machine that changes nothing.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Replica) -> T) -> T {
        look(&self.lock().replica)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic of another caller leaves the machine between two calls, never within one.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Now {
        let since = self.platform.now().saturating_duration_since(self.origin);
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Now { at: Moment::from_micros(micros), unix_ms: self.platform.unix_ms() }
    }

    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        self.origin + moment.since(Moment::default())
    }
}

impl Inner {
    /// Hands out what was told to whoever waits for it; a waiter that went away is passed over.
    fn hand_out(&mut self, expiring: &watch::Sender<Option<u64>>) {
        while let Some(told) = self.replica.next_told() {
            match told {
                Told::Sent { ticket, outcome, .. } => {
                    if let Some(waiter) = self.sends.remove(&ticket) {
                        let _ = waiter.send(stored(outcome));
                    }
                }
                Told::TokenExpiring { expires_ms } => drop(expiring.send_replace(Some(expires_ms))),
                Told::Answered { ticket, result } => {
                    if matches!(&result, Ok(Answer::Renewed(_))) {
                        expiring.send_replace(None);
                    }
                    if let Some(waiter) = self.asks.remove(&ticket) {
                        let _ = waiter.send(result);
                    }
                }
            }
        }
    }
}

fn stored(outcome: SendOutcome) -> Result<Stored, Error> {
    match outcome {
        SendOutcome::Stored { seq, id, duplicate, stages_us } => {
            Ok(Stored { seq, id, duplicate, stages_us })
        }
        SendOutcome::Refused(refusal) => Err(refusal.into()),
        SendOutcome::Unknown => Err(Error::Unknown),
    }
}
