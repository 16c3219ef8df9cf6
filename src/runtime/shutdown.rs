//! The phases of going down: one place advances them, everyone watches.

use tokio::sync::watch;

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

#[cfg(test)]
mod tests {
    use super::*;

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
