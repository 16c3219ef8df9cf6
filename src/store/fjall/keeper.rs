//! The thread beside the committer: writes the watermark, watches free space.
//!
//! ```text
//! committer --note(last group)--> mark --at most every 10 ms, one fdatasync--> watermark
//! ```
//!
//! Acknowledgements do not wait for it: what it is behind is what could vanish unnoticed.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::metrics::gauged;
use super::options::{Options, SPACE_EVERY, Sync, WATERMARK_EVERY};
use super::queue::Queue;
use super::row::LastGroup;
use super::watermark::Watermark;

/// What the committer tells the keeper.
pub(super) struct Mark {
    noted: Mutex<Noted>,
    changed: Condvar,
}

struct Noted {
    durable: LastGroup,
    /// The keeper sleeps until something is noted: only then is it worth a wake-up.
    asleep: bool,
    closing: bool,
}

impl Mark {
    pub(super) fn new(durable: LastGroup) -> Self {
        let noted = Noted { durable, asleep: false, closing: false };
        Self { noted: Mutex::new(noted), changed: Condvar::new() }
    }

    /// This group is durable, and all before it.
    pub(super) fn note(&self, durable: LastGroup) {
        let mut noted = self.noted();
        noted.durable = durable;
        if noted.asleep {
            self.changed.notify_one();
        }
    }

    /// The last durable group.
    pub(super) fn durable(&self) -> LastGroup {
        self.noted().durable
    }

    /// The keeper writes the last watermark and ends.
    pub(super) fn close(&self) {
        self.noted().closing = true;
        self.changed.notify_one();
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `wait` says so, at most `limit`.
    fn wait(
        &self,
        limit: Duration,
        asleep: bool,
        wait: impl Fn(&Noted) -> bool,
    ) -> (LastGroup, bool) {
        let mut noted = self.noted();
        noted.asleep = asleep;
        let mut noted = match self.changed.wait_timeout_while(noted, limit, |noted| wait(noted)) {
            Ok((noted, _)) => noted,
            Err(poisoned) => poisoned.into_inner().0,
        };
        noted.asleep = false;
        (noted.durable, noted.closing)
    }
}

/// What the thread owns.
pub(super) struct Keeper {
    mark: Arc<Mark>,
    queue: Arc<Queue>,
    watermark: Watermark,
    written: LastGroup,
    sync: Sync,
    directory: PathBuf,
    space_reserve_bytes: u64,
}

impl Keeper {
    pub(super) fn new(
        mark: Arc<Mark>,
        queue: Arc<Queue>,
        watermark: Watermark,
        options: &Options,
    ) -> Self {
        let written = mark.durable();
        let keeper = Self {
            mark,
            queue,
            watermark,
            written,
            sync: options.sync,
            directory: options.directory.clone(),
            space_reserve_bytes: options.space_reserve_bytes,
        };
        keeper.look_at_space();
        keeper
    }

    /// Runs until [`Mark::close`].
    pub(super) fn run(mut self) {
        let mut looked_at = Instant::now();
        loop {
            let written = self.written.number;
            let nothing = |noted: &Noted| noted.durable.number == written && !noted.closing;
            let (durable, closing) = self.mark.wait(SPACE_EVERY, true, nothing);
            if durable.number != written {
                self.write(durable);
            }
            if closing {
                return;
            }
            if looked_at.elapsed() >= SPACE_EVERY {
                looked_at = Instant::now();
                self.look_at_space();
            }
            self.mark.wait(WATERMARK_EVERY, false, |noted| !noted.closing);
        }
    }

    fn write(&mut self, durable: LastGroup) {
        let metrics = &self.queue.metrics;
        metrics.watermark_lag.set(gauged(durable.number - self.written.number));
        self.written = durable;
        // With commits unsynced, a synced watermark would turn every power cut into a refusal.
        if self.sync == Sync::SkipForTests {
            return;
        }
        match self.watermark.write(durable) {
            Ok(()) => metrics.watermark_syncs.increment(1),
            Err(why) => self.queue.stop(format!("cannot write the watermark: {why}")),
        }
    }

    fn look_at_space(&self) {
        match rustix::fs::statvfs(&self.directory) {
            Ok(space) => {
                let free = space.f_bavail.saturating_mul(space.f_frsize);
                self.queue.metrics.free_bytes.set(gauged(free));
                self.queue.set_space_short(free < self.space_reserve_bytes);
            }
            Err(why) => tracing::warn!(%why, "cannot tell the free space of the history store"),
        }
    }
}
