//! History in memory: deterministic, for simulation and tests, and for measuring what durability costs.
//!
//! ```text
//! append --> gathered runs --commit--> MemoryDisk --> sink
//!            lost by a crash           survives it
//! ```
//!
//! Nothing is bounded but a group, since nothing is stored for long.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Epoch, Key, MessageId, Seq, UserNo};

use crate::runtime::clock::Clock;

use super::log::{
    Capabilities, ChannelLog, FeedPosition, FeedRow, Group, Head, KeyRow, Opened, Order, Range,
    Run, Sink, StoreError, StoredEvent, Undone,
};

/// Most events and bytes of a run, the same as on disk.
const CAPABILITIES: Capabilities =
    Capabilities { run_events_max: 4_096, run_bytes_max: 1 << 20, runs_in_flight: 1 };

/// What was committed. Clones share it; it outlives every [`MemoryLog`] on it.
#[derive(Clone, Default, Debug)]
pub struct MemoryDisk(Arc<Mutex<Content>>);

#[derive(Clone, Debug)]
struct Content {
    epoch: Epoch,
    channels: BTreeMap<ChannelNo, Channel>,
    keys: BTreeMap<(ChannelNo, Key, UserNo), KeyRow>,
    feed: Vec<FeedRow>,
    high_water: MessageId,
}

#[derive(Clone, Debug)]
struct Channel {
    head: Head,
    /// From seq 1 on.
    events: Vec<StoredEvent>,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            epoch: Epoch::new(1),
            channels: BTreeMap::new(),
            keys: BTreeMap::new(),
            feed: Vec::new(),
            high_water: MessageId::default(),
        }
    }
}

impl MemoryDisk {
    /// A copy as a backup would keep it: later commits do not reach it.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.content().clone())))
    }

    /// Opens the next epoch, as a restore does. Logs opened from now on write in it.
    pub fn begin_epoch(&self) {
        let mut content = self.content();
        content.epoch = Epoch::new(content.epoch.get() + 1);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn head(&self, channel: ChannelNo) -> Head {
        self.channels.get(&channel).map_or(Head::EMPTY, |channel| channel.head)
    }

    /// Stores a run that its head accepts.
    fn store(&mut self, run: &Run, epoch: Epoch) {
        let channel = self
            .channels
            .entry(run.channel)
            .or_insert_with(|| Channel { head: Head::EMPTY, events: Vec::new() });
        for event in &run.events {
            channel.head = channel.head.after(event, epoch);
            channel.events.push(StoredEvent {
                seq: event.seq,
                id: event.id,
                ordinal: channel.head.ordinal,
                key: event.key,
                event: Bytes::copy_from_slice(event.encoded.event()),
            });
            if let Some(key) = event.key {
                let row = KeyRow { key, seq: event.seq, id: event.id };
                self.keys.insert((run.channel, key.key, key.user), row);
            }
            self.high_water = self.high_water.max(event.id);
        }
    }
}

/// When gathered runs are committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commit {
    /// Within `append`, on the caller's thread.
    Auto,
    /// When [`MemoryLog::commit_next`] is called.
    Stepped,
}

/// What becomes of runs that a crash meets before their commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InFlight {
    /// The disk never saw them.
    Vanish,
    /// The disk has them, and nobody was told.
    Survive,
}

/// History on a [`MemoryDisk`].
pub struct MemoryLog {
    disk: MemoryDisk,
    epoch: Epoch,
    commit: Commit,
    sink: Arc<dyn Sink>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    gathered: VecDeque<Run>,
    /// What the sink has to be told, in order.
    outcomes: VecDeque<Outcome>,
    /// Somebody tells the sink now: others only queue, so that groups stay in order
    /// and the sink may call back.
    telling: bool,
    life: Life,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Open,
    Closed,
    Crashed,
}

enum Outcome {
    Durable(Arc<Group>),
    Undone(Run, Undone),
}

impl MemoryLog {
    /// Opens what `disk` holds.
    pub fn new(
        disk: MemoryDisk,
        commit: Commit,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let epoch = disk.content().epoch;
        Self { disk, epoch, commit, sink, clock, state: Mutex::default() }
    }

    /// Ready once a run waits for its commit, or the log is closed.
    pub fn poll_gathered(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if !state.gathered.is_empty() || state.life != Life::Open {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Commits what gathered, as one group, and tells the sink. `None`: nothing was stored.
    pub fn commit_next(&self) -> Option<FeedPosition> {
        let position = self.commit_gathered(&mut self.state());
        self.tell();
        position
    }

    /// The process dies here: nothing more is committed and nobody is told anything.
    pub fn crash(&self, in_flight: InFlight) {
        let mut state = self.state();
        if in_flight == InFlight::Survive && state.life == Life::Open {
            while !state.gathered.is_empty() {
                self.commit_gathered(&mut state);
            }
        }
        state.life = Life::Crashed;
        state.gathered.clear();
        state.outcomes.clear();
    }

    fn commit_gathered(&self, state: &mut State) -> Option<FeedPosition> {
        if state.life == Life::Crashed {
            return None;
        }
        let committing_at = self.clock.now();
        let mut content = self.disk.content();
        let (mut runs, mut later) = (Vec::new(), VecDeque::new());
        let mut channels = BTreeSet::new();
        for run in state.gathered.drain(..) {
            if channels.contains(&run.channel) {
                later.push_back(run);
                continue;
            }
            match content.head(run.channel).accept(&run) {
                Ok(()) => {
                    content.store(&run, self.epoch);
                    channels.insert(run.channel);
                    runs.push(run);
                }
                Err(why) => state.outcomes.push_back(Outcome::Undone(run, why)),
            }
        }
        state.gathered = later;
        if runs.is_empty() {
            return None;
        }
        let position = FeedPosition(content.feed.len() as u64 + 1);
        let ranges = runs.iter().map(Run::range).collect();
        content.feed.push(FeedRow { position, ranges });
        let group = Group { position, runs, committing_at, durable_at: self.clock.now() };
        state.outcomes.push_back(Outcome::Durable(Arc::new(group)));
        Some(position)
    }

    /// Tells the sink all outcomes, without any lock, one caller at a time.
    fn tell(&self) {
        let mut mine = false;
        loop {
            let outcome = {
                let mut state = self.state();
                if state.telling && !mine {
                    return;
                }
                let outcome = state.outcomes.pop_front();
                state.telling = outcome.is_some();
                mine = state.telling;
                outcome
            };
            match outcome {
                Some(Outcome::Durable(group)) => self.sink.durable(group),
                Some(Outcome::Undone(run, why)) => self.sink.undone(run, why),
                None => return,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChannelLog for MemoryLog {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn high_water(&self) -> MessageId {
        self.disk.content().high_water
    }

    fn writable(&self) -> Result<(), String> {
        match self.state().life {
            Life::Open => Ok(()),
            Life::Closed | Life::Crashed => Err("the store is closed".to_owned()),
        }
    }

    fn open(&self, channel: ChannelNo, keys_from_ms: u64) -> Result<Opened, StoreError> {
        let content = self.disk.content();
        let from = (channel, Key::new(keys_from_ms, [0; 10]), UserNo::new(0));
        let rows = content.keys.range(from..).take_while(|((of, _, _), _)| *of == channel);
        let keys = rows.map(|(_, row)| *row).collect();
        Ok(Opened { head: content.head(channel), keys, keys_from_ms })
    }

    fn append(&self, run: Run) {
        let waker = {
            let mut state = self.state();
            match state.life {
                Life::Crashed => return,
                Life::Closed => {
                    let reason = "it is closed".to_owned();
                    let why = Undone::Refused(Arc::new(StoreError::Stopped { reason }));
                    state.outcomes.push_back(Outcome::Undone(run, why));
                }
                Life::Open => match run.fits(&CAPABILITIES) {
                    Ok(()) => state.gathered.push_back(run),
                    Err(why) => state.outcomes.push_back(Outcome::Undone(run, why)),
                },
            }
            if self.commit == Commit::Auto {
                self.commit_gathered(&mut state);
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        self.tell();
    }

    fn read(&self, channel: ChannelNo, range: Range) -> Result<Vec<StoredEvent>, StoreError> {
        let content = self.disk.content();
        let Some(channel) = content.channels.get(&channel) else { return Ok(Vec::new()) };
        let from = range.from.max(channel.head.floor).max(Seq::new(1));
        let to = range.to.min(channel.head.seq);
        if from > to {
            return Ok(Vec::new());
        }
        let index = |seq: Seq| usize::try_from(seq.get()).unwrap_or(usize::MAX);
        let wanted = &channel.events[index(from) - 1..index(to)];
        let mut left = range.bytes_max;
        let mut rows = 0;
        let mut take = |event: &&StoredEvent| {
            let fits = rows == 0 || (rows < range.rows_max && event.event.len() <= left);
            left = left.saturating_sub(event.event.len());
            rows += 1;
            fits
        };
        Ok(match range.order {
            Order::Rising => wanted.iter().take_while(&mut take).cloned().collect(),
            Order::Falling => {
                let mut page: Vec<_> = wanted.iter().rev().take_while(take).cloned().collect();
                page.reverse();
                page
            }
        })
    }

    fn heads(&self, channels: &[ChannelNo]) -> Result<Vec<Head>, StoreError> {
        let content = self.disk.content();
        Ok(channels.iter().map(|channel| content.head(*channel)).collect())
    }

    fn find_key(
        &self,
        channel: ChannelNo,
        user: UserNo,
        key: Key,
    ) -> Result<Option<KeyRow>, StoreError> {
        Ok(self.disk.content().keys.get(&(channel, key, user)).copied())
    }

    fn feed(&self, from: FeedPosition, rows_max: usize) -> Result<Vec<FeedRow>, StoreError> {
        let content = self.disk.content();
        let rows = content.feed.iter().skip_while(|row| row.position < from);
        Ok(rows.take(rows_max).cloned().collect())
    }

    fn close(&self) {
        let waker = {
            let mut state = self.state();
            while !state.gathered.is_empty() {
                self.commit_gathered(&mut state);
            }
            if state.life == Life::Open {
                state.life = Life::Closed;
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::RealClock;
    use crate::store::contract::{Engine, Recorder, Rig, contract, run_of};

    /// A disk, and the log that runs on it now.
    struct Memory {
        disk: MemoryDisk,
        commit: Commit,
        running: Mutex<Option<Arc<MemoryLog>>>,
    }

    fn memory(commit: Commit) -> Memory {
        Memory { disk: MemoryDisk::default(), commit, running: Mutex::default() }
    }

    fn start(disk: &MemoryDisk, commit: Commit, sink: Arc<dyn Sink>) -> Arc<MemoryLog> {
        Arc::new(MemoryLog::new(disk.clone(), commit, sink, Arc::new(RealClock::new())))
    }

    impl Engine for Memory {
        fn start(&self, sink: Arc<dyn Sink>) -> Arc<dyn ChannelLog> {
            let log = start(&self.disk, self.commit, sink);
            *self.running.lock().unwrap() = Some(log.clone());
            log
        }

        fn step(&self) {
            if let Some(log) = &*self.running.lock().unwrap() {
                log.commit_next();
            }
        }
    }

    mod committing_at_once {
        use super::*;
        contract!(memory(Commit::Auto));
    }

    mod committing_when_stepped {
        use super::*;
        contract!(memory(Commit::Stepped));
    }

    #[test]
    fn a_crash_keeps_what_was_committed_and_tells_nobody() {
        for (in_flight, head) in [(InFlight::Vanish, 2), (InFlight::Survive, 3)] {
            let disk = MemoryDisk::default();
            let told = Arc::new(Recorder::default());
            let log = start(&disk, Commit::Stepped, told.clone());
            log.append(run_of(4, 0, 2));
            log.commit_next();
            log.append(run_of(4, 2, 1));
            log.crash(in_flight);
            assert_eq!(log.commit_next(), None);
            log.append(run_of(6, 0, 1));
            assert_eq!(told.take(1).len(), 1, "{in_flight:?}: only the first run was told of");

            let log = start(&disk, Commit::Auto, told);
            assert_eq!(log.heads(&[ChannelNo::new(4)]).unwrap()[0].seq, Seq::new(head));
            assert_eq!(log.heads(&[ChannelNo::new(6)]).unwrap()[0], Head::EMPTY);
        }
    }

    #[test]
    fn whoever_waits_for_runs_is_woken_by_the_first() {
        let woken = std::sync::atomic::AtomicUsize::new(0);
        struct Count(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(woken));
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        let log = start(&MemoryDisk::default(), Commit::Stepped, Arc::new(Recorder::default()));
        assert_eq!(log.poll_gathered(&mut cx), Poll::Pending);
        log.append(run_of(4, 0, 1));
        log.append(run_of(6, 0, 1));
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(log.poll_gathered(&mut cx), Poll::Ready(()));
    }

    #[test]
    fn a_new_epoch_begins_with_the_first_event_written_in_it() {
        let engine = memory(Commit::Auto);
        let rig = Rig::start(&engine);
        rig.store(run_of(4, 0, 3));
        rig.store(run_of(6, 0, 1));
        engine.disk.begin_epoch();
        let rig = rig.restart();
        rig.store(run_of(4, 3, 2));
        let heads = rig.log.heads(&[ChannelNo::new(4), ChannelNo::new(6)]).unwrap();
        assert_eq!((heads[0].epoch, heads[0].epoch_first), (Epoch::new(2), Seq::new(4)));
        assert_eq!((heads[1].epoch, heads[1].epoch_first), (Epoch::new(1), Seq::new(1)));
    }
}
