//! The one thread that writes: it turns what gathered into a durable commit group.
//!
//! ```text
//! taken whole -> checked against heads -> one batch, one fdatasync -> keeper notes it -> sink
//! ```
//!
//! After any commit error the runs of that group are unknown and nothing more is written:
//! an fdatasync that failed once says nothing about the pages it lost.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use damso_proto::id::{ChannelNo, Epoch, MessageId};
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::heads::Heads;
use super::keeper::Mark;
use super::key;
use super::metrics::gauged;
use super::options::{
    COMMITTER_NICE, GROUP_BYTES_MAX, GROUP_EVENTS_MAX, HEADS_CACHED_MAX, HEARTBEAT_EVERY,
    HOLD_BACK_STEP, SEALED_MEMTABLES_MAX, UNFLUSHED_BYTES_MAX,
};
use super::queue::{Queue, Woken};
use super::read;
use super::record;
use super::row::{self, FEED_PART_RANGES, LastGroup};
use super::schema::Tables;
use crate::runtime::clock::Clock;
use crate::store::log::{FeedPosition, Group, Head, Run, StoreError, Undone};

/// What the thread owns.
pub(super) struct Committer {
    tables: Arc<Tables>,
    queue: Arc<Queue>,
    mark: Arc<Mark>,
    clock: Arc<dyn Clock>,
    epoch: Epoch,
    /// Added to the group's number to get its place in the feed.
    feed_base: u64,
    heads: Heads,
    last: LastGroup,
    /// Taken, and not in a group yet.
    taken: VecDeque<Run>,
    beats: u64,
}

impl Committer {
    pub(super) fn new(
        tables: Arc<Tables>,
        queue: Arc<Queue>,
        mark: Arc<Mark>,
        clock: Arc<dyn Clock>,
        epoch: Epoch,
        feed_base: u64,
        last: LastGroup,
    ) -> Self {
        let heads = Heads::new(HEADS_CACHED_MAX);
        let taken = VecDeque::new();
        Self { tables, queue, mark, clock, epoch, feed_base, heads, last, taken, beats: 0 }
    }

    /// Commits until the queue is closed or a commit fails.
    pub(super) fn run(mut self) {
        let _stop = StopOnPanic(self.queue.clone());
        self.raise_priority();
        loop {
            let empty = self.taken.is_empty();
            let committed = match self.queue.take(&mut self.taken, empty, HEARTBEAT_EVERY) {
                Woken::Runs => self.commit_next(),
                Woken::Idle => self.beat(),
                Woken::Closing => return,
            };
            if let Err(reason) = committed {
                self.stop(reason);
                return;
            }
            if let Some(reason) = self.queue.stopped().cloned() {
                self.stop(reason);
                return;
            }
        }
    }

    /// Where the system does not allow it, commits wait longer on a saturated core.
    fn raise_priority(&self) {
        let raised = rustix::process::setpriority_process(None, COMMITTER_NICE);
        if let Err(why) = raised {
            tracing::info!(%why, "the committer's priority stays as it is");
        }
        self.queue.metrics.priority_raised.set(f64::from(u8::from(raised.is_ok())));
    }

    fn commit_next(&mut self) -> Result<(), String> {
        let group = self.gather();
        if group.runs.is_empty() {
            return Ok(());
        }
        self.queue.commit_began();
        self.hold_back();
        let committing_at = self.clock.now();
        let began = Instant::now();
        let last = LastGroup {
            number: self.last.number + 1,
            high_water: self.last.high_water.max(group.last_id()),
        };
        let outcome = self.commit(&group, last);
        self.queue.commit_ended();
        let (events, bytes) = (group.events, group.bytes);
        if let Err(reason) = outcome {
            // First of all nothing more is taken: whoever hears of the unknown runs may ask.
            self.queue.stop(reason.clone());
            self.unknown(group.runs, &reason);
            return Err(reason);
        }
        self.last = last;
        self.mark.note(last);
        self.queue.settled(events, bytes);
        self.measure(&group, began);
        let position = FeedPosition(self.feed_base + last.number);
        let group =
            Group { position, runs: group.runs, committing_at, durable_at: self.clock.now() };
        self.queue.sink().durable(Arc::new(group));
        Ok(())
    }

    /// The next group out of what was taken; the sink is told of runs that cannot be in any.
    fn gather(&mut self) -> Gathered {
        let mut group = Gathered::default();
        let mut later = VecDeque::new();
        while let Some(run) = self.taken.pop_front() {
            if group.is_full() {
                later.push_back(run);
                later.append(&mut self.taken);
                break;
            }
            if group.channels.contains(&run.channel) {
                later.push_back(run);
                continue;
            }
            match self.check(&run) {
                Ok(head) => group.add(run, head),
                Err(why) => self.queue.undone(run, why),
            }
        }
        self.taken = later;
        group
    }

    /// The head before the run, if the run may follow it.
    fn check(&mut self, run: &Run) -> Result<Head, Undone> {
        let metrics = &self.queue.metrics;
        let load = || read::head(&self.tables, &self.tables.snapshot(), run.channel);
        let head = self.heads.get(run.channel, load).map_err(|why| {
            metrics.refused_unreadable.increment(1);
            Undone::Refused(Arc::new(why))
        })?;
        head.accept(run).inspect_err(|why| match why {
            Undone::Conflict { .. } => metrics.conflicts.increment(1),
            _ => metrics.refused_unsound.increment(1),
        })?;
        Ok(head)
    }

    /// Waits while the engine is behind with flushing: it would itself sleep in longer steps, and
    /// what is not flushed makes the next start slow.
    fn hold_back(&self) {
        let metrics = &self.queue.metrics;
        loop {
            let unflushed = self.tables.unflushed_bytes();
            metrics.unflushed_bytes.set(gauged(unflushed));
            let behind = unflushed > UNFLUSHED_BYTES_MAX
                || self.tables.sealed_memtables() >= SEALED_MEMTABLES_MAX;
            if !behind || self.queue.stopped().is_some() {
                return;
            }
            metrics.held_back.increment(1);
            std::thread::sleep(HOLD_BACK_STEP);
        }
    }

    /// Turns a group into a durable one. `Err`: nobody knows whether it is.
    fn commit(&mut self, group: &Gathered, last: LastGroup) -> Result<(), String> {
        let tables = &*self.tables;
        let mut batch = tables.batch(group.events * 2 + group.runs.len() + 8);
        for (run, head) in group.runs.iter().zip(&group.heads) {
            let mut head = *head;
            for event in &run.events {
                head = head.after(event, self.epoch);
                let row = record::encode(run.channel, head.ordinal, event);
                batch.insert(&tables.events, key::event(run.channel, event.seq), row);
                for (number, part) in record::parts(event) {
                    let key = key::part(run.channel, event.seq, number);
                    batch.insert(&tables.parts, key, part);
                }
                if let Some(new) = event.key {
                    let key = key::idempotency(run.channel, new.key, new.user);
                    let row = row::encode_key(&key, event.seq, event.id, new.body);
                    batch.insert(&tables.keys, key, row);
                }
            }
            let key = key::head(run.channel);
            batch.insert(&tables.heads, key, row::encode_head(&key, &head));
            self.heads.put(run.channel, head);
        }
        let ranges: Vec<_> = group.runs.iter().map(Run::range).collect();
        let parts = u16::try_from(ranges.len().div_ceil(FEED_PART_RANGES)).unwrap_or(u16::MAX);
        for (number, ranges) in (0..parts).zip(ranges.chunks(FEED_PART_RANGES)) {
            let key = key::feed(last.number, number);
            batch.insert(&tables.feed, key, row::encode_feed(&key, parts, ranges));
        }
        tables.put_last(&mut batch, last);
        guarded("commit", || batch.commit())
    }

    /// Learns whether the database still takes writes; its background threads poison it silently.
    fn beat(&mut self) -> Result<(), String> {
        self.beats += 1;
        self.queue.commit_began();
        let beaten = guarded("write a heartbeat", || self.tables.beat(self.beats));
        self.queue.commit_ended();
        beaten
    }

    fn measure(&self, group: &Gathered, began: Instant) {
        let metrics = &self.queue.metrics;
        metrics.commits.increment(1);
        metrics.commit_seconds.record(began.elapsed());
        metrics.group_events.record(gauged(group.events as u64));
        metrics.event_bytes.increment(group.bytes as u64);
        metrics.last_group.set(gauged(self.last.number));
        metrics.high_water.set(gauged(self.last.high_water.get()));
    }

    fn unknown(&self, runs: Vec<Run>, reason: &str) {
        self.queue.metrics.unknown.increment(runs.len() as u64);
        let why = Arc::new(StoreError::Stopped { reason: reason.to_owned() });
        for run in runs {
            self.queue.undone(run, Undone::Unknown(why.clone()));
        }
    }

    fn stop(&mut self, reason: String) {
        self.queue.stop(reason.clone());
        let why = Arc::new(StoreError::Stopped { reason });
        for run in self.taken.drain(..) {
            self.queue.metrics.refused_stopped.increment(1);
            self.queue.undone(run, Undone::Refused(why.clone()));
        }
    }
}

/// A sink that panics must not leave appends waiting for a thread that is gone.
struct StopOnPanic(Arc<Queue>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("the committer panicked".to_owned());
        }
    }
}

/// Runs a write of the engine's; its panics are errors like any other.
fn guarded(action: &str, write: impl FnOnce() -> fjall::Result<()>) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(write)) {
        Ok(written) => written.map_err(|why| format!("cannot {action}: {why}")),
        Err(_) => Err(format!("cannot {action}: the engine panicked")),
    }
}

/// A group before its commit.
#[derive(Default)]
struct Gathered {
    runs: Vec<Run>,
    /// Of each run: the head it stands on.
    heads: Vec<Head>,
    channels: HashSet<ChannelNo, FixedState>,
    events: usize,
    bytes: usize,
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.events >= GROUP_EVENTS_MAX || self.bytes >= GROUP_BYTES_MAX
    }

    fn add(&mut self, run: Run, head: Head) {
        self.channels.insert(run.channel);
        self.events += run.events.len();
        self.bytes += run.bytes();
        self.runs.push(run);
        self.heads.push(head);
    }

    fn last_id(&self) -> MessageId {
        let last = self.runs.iter().filter_map(|run| run.events.last());
        last.map(|event| event.id).max().unwrap_or_default()
    }
}
