//! The phases of going down: one place advances them, everyone watches; and how an operator asks
//! for it.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// How far the server has gone down. Only ever rises.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Serving.
    Running,
    /// No new connections, no new requests; clients are told when to come back.
    Draining,
    /// What was accepted is committed and flushed.
    Flushing,
    /// Everything that is still open is dropped.
    Stopped,
}

/// The end that advances. Held by the one who brings the server down.
#[derive(Debug)]
pub struct Shutdown(watch::Sender<Phase>);

/// The end that watches. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Phase>);

impl Shutdown {
    /// A server that is running.
    pub fn new() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }

    /// Goes on to `phase`. An earlier one than the present changes nothing.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|present| {
            let rises = phase > *present;
            *present = phase.max(*present);
            rises
        });
    }

    /// A watching end.
    pub fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch {
    /// The present phase. [`Phase::Stopped`] also when the advancing end is gone.
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() { Phase::Stopped } else { *self.0.borrow() }
    }

    /// Waits until `phase` or a later one is reached. Dropping the future loses nothing.
    pub async fn reached(&mut self, phase: Phase) {
        // An error says that the advancing end is gone: nothing is left to wait for.
        let _ = self.0.wait_for(|present| *present >= phase).await;
    }
}

/// What clients are told at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Farewell {
    /// Each is told to come back after a time of its own within this.
    pub spread: Duration,
    /// Each is told one of these to go to, HOST:PORT; none: back to where it was.
    pub to: Vec<String>,
}

/// A drain that an operator asks for, while whoever brings the server down waits for it. The first
/// one counts: what clients are told does not change under way.
#[derive(Debug)]
pub struct Drain {
    usual: Farewell,
    farewell: OnceLock<Farewell>,
    asked: Notify,
}

/// The server drains already.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("the server drains already")]
pub struct DrainsAlready;

impl Drain {
    /// Nobody has asked for it; `usual` is told where they do not say otherwise.
    pub fn new(usual: Farewell) -> Self {
        Self { usual, farewell: OnceLock::new(), asked: Notify::new() }
    }

    /// What is told where nobody says otherwise.
    pub fn usual(&self) -> &Farewell {
        &self.usual
    }

    /// Asks for it.
    ///
    /// # Errors
    /// [`DrainsAlready`].
    pub fn ask(&self, farewell: Farewell) -> Result<(), DrainsAlready> {
        self.farewell.set(farewell).map_err(|_| DrainsAlready)?;
        self.asked.notify_one();
        Ok(())
    }

    /// Waits until somebody asks. Dropping the future loses nothing; for one waiter.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// What clients are told, the usual where nobody asked: from now on, that is what counts.
    pub fn farewell(&self) -> &Farewell {
        self.farewell.get_or_init(|| self.usual.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_drain_counts_and_a_waiter_who_comes_late_hears_of_it() {
        let farewell = |seconds| Farewell { spread: Duration::from_secs(seconds), to: Vec::new() };
        let drain = Drain::new(farewell(3));
        assert_eq!(drain.ask(farewell(1)), Ok(()));
        drain.asked().await;
        assert_eq!(drain.ask(farewell(2)), Err(DrainsAlready));
        assert_eq!(drain.farewell(), &farewell(1));
        let signalled = Drain::new(farewell(3));
        assert_eq!(signalled.farewell(), &farewell(3));
        assert_eq!(signalled.ask(farewell(1)), Err(DrainsAlready));
    }

    #[tokio::test]
    async fn phases_only_rise_and_late_watchers_miss_none() {
        let shutdown = Shutdown::new();
        let mut early = shutdown.watch();
        assert_eq!(early.phase(), Phase::Running);
        shutdown.advance(Phase::Flushing);
        shutdown.advance(Phase::Draining);
        let mut late = shutdown.watch();
        for watch in [&mut early, &mut late] {
            watch.reached(Phase::Draining).await;
            assert_eq!(watch.phase(), Phase::Flushing);
        }
    }

    #[tokio::test]
    async fn a_watcher_outlives_a_server_that_vanished() {
        let mut watch = Shutdown::new().watch();
        watch.reached(Phase::Stopped).await;
        assert_eq!(watch.phase(), Phase::Stopped);
    }
}
