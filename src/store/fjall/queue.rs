//! Runs on their way to the committer, and what appenders and the committer must both know.
//!
//! ```text
//! append --lock, push--> runs --lock, taken whole--> committer --> sink
//! ```
//!
//! What gathered while the last group was being synced is the next one: no delay, no
//! spinning channel. The lock is held for a push or a swap only.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::Metrics;
use super::metrics::gauged;
use super::options::{BACKLOG_BYTES_MAX, BACKLOG_EVENTS_MAX, CAPABILITIES, COMMIT_STUCK_AFTER};
use crate::store::log::{Run, Sink, StoreError, Undone};

/// The queue of one partition.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    sink: Arc<dyn Sink>,
    pub(super) metrics: Metrics,
    /// Why no write is taken until the store is reopened. Set once, under the lock of `waiting`,
    /// so that no run slips in behind the last one refused.
    stopped: OnceLock<String>,
    /// Written by the keeper, read by appenders.
    space_short: AtomicBool,
    origin: Instant,
    /// Microseconds from `origin` when the commit in progress began; 0 without one.
    committing_since: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    runs: Vec<Run>,
    /// Of runs waiting and of those in the committer's hands.
    events: usize,
    bytes: usize,
    closing: bool,
}

/// Why the committer is awake.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Woken {
    /// Runs were taken, or others are still in its hands.
    Runs,
    /// Nothing came for a while.
    Idle,
    /// Nothing is left, and nothing will come.
    Closing,
}

impl Queue {
    pub(super) fn new(sink: Arc<dyn Sink>, metrics: Metrics) -> Self {
        metrics.writable.set(1.0);
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            sink,
            metrics,
            stopped: OnceLock::new(),
            space_short: AtomicBool::new(false),
            origin: Instant::now(),
            committing_since: AtomicU64::new(0),
        }
    }

    /// Takes a run in, or tells the sink why not.
    pub(super) fn append(&self, run: Run) {
        match self.admit(run) {
            Ok(true) => self.arrived.notify_one(),
            Ok(false) => {}
            Err((run, why)) => self.sink.undone(run, why),
        }
    }

    /// `Ok(true)`: the committer may be asleep.
    fn admit(&self, run: Run) -> Result<bool, (Run, Undone)> {
        if let Err(why) = run.fits(&CAPABILITIES) {
            self.metrics.refused_unsound.increment(1);
            return Err((run, why));
        }
        let (events, bytes) = (run.events.len(), run.bytes());
        let mut waiting = self.waiting();
        let why = if let Some(reason) = self.stopped.get() {
            self.metrics.refused_stopped.increment(1);
            StoreError::Stopped { reason: reason.clone() }
        } else if waiting.closing {
            self.metrics.refused_stopped.increment(1);
            StoreError::Stopped { reason: "it is closed".to_owned() }
        } else if waiting.events + events > BACKLOG_EVENTS_MAX
            || waiting.bytes + bytes > BACKLOG_BYTES_MAX
        {
            self.metrics.refused_backlog.increment(1);
            StoreError::Busy { reason: "too many events wait for the disk".to_owned() }
        } else if self.space_short.load(Ordering::Relaxed) {
            self.metrics.refused_space.increment(1);
            StoreError::Busy { reason: "the disk is full up to the reserve".to_owned() }
        } else {
            waiting.events += events;
            waiting.bytes += bytes;
            waiting.runs.push(run);
            return Ok(waiting.runs.len() == 1);
        };
        drop(waiting);
        Err((run, Undone::Refused(Arc::new(why))))
    }

    /// Adds all that waits to `runs`; waits for something if `runs` is empty.
    pub(super) fn take(&self, runs: &mut impl Extend<Run>, empty: bool, idle: Duration) -> Woken {
        let mut waiting = self.waiting();
        if empty && waiting.runs.is_empty() && !waiting.closing {
            let nothing = |waiting: &mut Waiting| waiting.runs.is_empty() && !waiting.closing;
            waiting = match self.arrived.wait_timeout_while(waiting, idle, nothing) {
                Ok((waiting, _)) => waiting,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        let taken = std::mem::take(&mut waiting.runs);
        let closing = waiting.closing;
        self.metrics.backlog_events.set(gauged(waiting.events as u64));
        drop(waiting);
        let woken = match (empty && taken.is_empty(), closing) {
            (false, _) => Woken::Runs,
            (true, true) => Woken::Closing,
            (true, false) => Woken::Idle,
        };
        runs.extend(taken);
        woken
    }

    /// These runs are out of the committer's hands.
    pub(super) fn settled(&self, events: usize, bytes: usize) {
        let mut waiting = self.waiting();
        waiting.events = waiting.events.saturating_sub(events);
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
    }

    /// A run of the committer's goes back to its owner.
    pub(super) fn undone(&self, run: Run, why: Undone) {
        self.settled(run.events.len(), run.bytes());
        self.sink.undone(run, why);
    }

    pub(super) fn sink(&self) -> &dyn Sink {
        &*self.sink
    }

    /// Takes no more writes until the store is reopened, and refuses those that wait.
    pub(super) fn stop(&self, reason: String) {
        let runs = {
            let mut waiting = self.waiting();
            if self.stopped.set(reason.clone()).is_ok() {
                tracing::error!(reason, "the history store stopped taking writes");
            }
            std::mem::take(&mut waiting.runs)
        };
        self.metrics.writable.set(0.0);
        self.metrics.refused_stopped.increment(runs.len() as u64);
        let why = Arc::new(StoreError::Stopped { reason });
        for run in runs {
            self.undone(run, Undone::Refused(why.clone()));
        }
        self.arrived.notify_all();
    }

    /// Refuses what comes from now on; the committer ends once it has committed the rest.
    pub(super) fn close(&self) {
        self.waiting().closing = true;
        self.metrics.writable.set(0.0);
        self.arrived.notify_all();
    }

    pub(super) fn stopped(&self) -> Option<&String> {
        self.stopped.get()
    }

    pub(super) fn set_space_short(&self, short: bool) {
        if self.space_short.swap(short, Ordering::Relaxed) != short {
            tracing::warn!(short, "free space crossed the history store's reserve");
        }
    }

    pub(super) fn commit_began(&self) {
        let micros = self.origin.elapsed().as_micros();
        self.committing_since
            .store(u64::try_from(micros).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    pub(super) fn commit_ended(&self) {
        self.committing_since.store(0, Ordering::Relaxed);
    }

    /// Whether appends are taken now.
    pub(super) fn writable(&self) -> Result<(), String> {
        if let Some(reason) = self.stopped.get() {
            return Err(format!("stopped until it is reopened: {reason}"));
        }
        if self.waiting().closing {
            return Err("it is closed".to_owned());
        }
        if self.space_short.load(Ordering::Relaxed) {
            return Err("the disk is full up to the reserve; free some space".to_owned());
        }
        let since = self.committing_since.load(Ordering::Relaxed);
        let stuck = self.origin.elapsed().saturating_sub(Duration::from_micros(since));
        if since != 0 && stuck > COMMIT_STUCK_AFTER {
            return Err(format!("a commit has not ended for {} s", stuck.as_secs()));
        }
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
