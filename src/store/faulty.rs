//! Any engine with bad luck, for testing those who append.
//!
//! ```text
//! append --> fate --> None            passed on
//!                     Conflict        undone, nothing stored
//!                     UnknownStored   passed on; its durable run is told as unknown
//!                     UnknownLost     told as unknown, nothing stored
//!                     UnknownLater    told as unknown; stored just after the channel's next open,
//!                                     so that a read between the two finds nothing
//! ```
//!
//! A group whose every run is told as unknown is not told at all, so positions may have gaps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use damso_proto::id::{ChannelNo, Epoch, Key, MessageId, UserNo};

use crate::runtime::random::{Random as _, SeededRandom};

use super::log::{
    Capabilities, ChannelLog, FeedPosition, FeedRow, Group, Head, KeyRow, Opened, Range, Run, Sink,
    StoreError, StoredEvent, Undone,
};

/// What happens to a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// What the engine does.
    Unharmed,
    /// Told as a conflict with the head that is there; nothing is stored.
    Conflict,
    /// Told as unknown, and stored.
    UnknownStored,
    /// Told as unknown, and never stored.
    UnknownLost,
    /// Told as unknown, and stored once the channel was opened again.
    UnknownLater,
}

impl Fate {
    /// Draws the fate of each run from `seed`: one in `one_in` is harmed, each way equally often.
    pub fn seeded(seed: u64, one_in: u64) -> impl FnMut(&Run) -> Self + Send + 'static {
        let random = SeededRandom::new(seed);
        move |_| match random.number() % (one_in.max(1) * 4) {
            0 => Self::Conflict,
            1 => Self::UnknownStored,
            2 => Self::UnknownLost,
            3 => Self::UnknownLater,
            _ => Self::Unharmed,
        }
    }
}

/// Decides a run's fate.
type Decide = Box<dyn FnMut(&Run) -> Fate + Send>;

/// An engine whose appends meet the fates that a function decides.
pub struct FaultyLog {
    inner: Arc<dyn ChannelLog>,
    filter: Arc<Filter>,
    decide: Mutex<Decide>,
    /// Runs to be stored after their channel's next open.
    later: Mutex<BTreeMap<ChannelNo, VecDeque<Run>>>,
}

/// Stands between the engine and the sink.
struct Filter {
    sink: Arc<dyn Sink>,
    /// Of each channel: the runs that the engine has, oldest first, and who hears of them.
    in_flight: Mutex<BTreeMap<ChannelNo, VecDeque<Told>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Truth,
    Unknown,
    Nothing,
}

impl FaultyLog {
    /// Opens an engine by `open` with a sink in front of `sink`, and lets `decide` meddle.
    pub fn new(
        sink: Arc<dyn Sink>,
        decide: impl FnMut(&Run) -> Fate + Send + 'static,
        open: impl FnOnce(Arc<dyn Sink>) -> Arc<dyn ChannelLog>,
    ) -> Self {
        let filter = Arc::new(Filter { sink, in_flight: Mutex::default() });
        let inner = open(filter.clone());
        let decide = Mutex::new(Box::new(decide) as Decide);
        Self { inner, filter, decide, later: Mutex::default() }
    }

    fn pass_on(&self, run: Run, told: Told) {
        locked(&self.filter.in_flight).entry(run.channel).or_default().push_back(told);
        self.inner.append(run);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown() -> Undone {
    static WHY: OnceLock<Arc<StoreError>> = OnceLock::new();
    let stopped = || Arc::new(StoreError::Stopped { reason: "a fault was asked for".to_owned() });
    Undone::Unknown(WHY.get_or_init(stopped).clone())
}

impl Filter {
    /// Who hears of the oldest run of a channel.
    fn next(&self, channel: ChannelNo) -> Told {
        let mut in_flight = locked(&self.in_flight);
        let Some(runs) = in_flight.get_mut(&channel) else { return Told::Truth };
        let told = runs.pop_front().unwrap_or(Told::Truth);
        if runs.is_empty() {
            in_flight.remove(&channel);
        }
        told
    }
}

impl Sink for Filter {
    fn durable(&self, group: Arc<Group>) {
        let told: Vec<Told> = group.runs.iter().map(|run| self.next(run.channel)).collect();
        if told.iter().all(|told| *told == Told::Truth) {
            return self.sink.durable(group);
        }
        let of = |wanted: Told| {
            let runs = group.runs.iter().zip(&told).filter(move |(_, told)| **told == wanted);
            runs.map(|(run, _)| run.clone())
        };
        let (runs, unknowns): (Vec<Run>, Vec<Run>) =
            (of(Told::Truth).collect(), of(Told::Unknown).collect());
        let Group { position, committing_at, durable_at, .. } = *group;
        if !runs.is_empty() {
            self.sink.durable(Arc::new(Group { position, runs, committing_at, durable_at }));
        }
        for run in unknowns {
            self.sink.undone(run, unknown());
        }
    }

    fn undone(&self, run: Run, why: Undone) {
        if self.next(run.channel) != Told::Nothing {
            self.sink.undone(run, why);
        }
    }
}

impl ChannelLog for FaultyLog {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }

    fn high_water(&self) -> MessageId {
        self.inner.high_water()
    }

    fn writable(&self) -> Result<(), String> {
        self.inner.writable()
    }

    fn open(&self, channel: ChannelNo, keys_from_ms: u64) -> Result<Opened, StoreError> {
        let opened = self.inner.open(channel, keys_from_ms)?;
        let later = locked(&self.later).remove(&channel).unwrap_or_default();
        for run in later {
            self.pass_on(run, Told::Nothing);
        }
        Ok(opened)
    }

    fn append(&self, run: Run) {
        let fate = (locked(&self.decide))(&run);
        match fate {
            Fate::Unharmed => self.pass_on(run, Told::Truth),
            Fate::UnknownStored => self.pass_on(run, Told::Unknown),
            Fate::UnknownLost => self.filter.sink.undone(run, unknown()),
            Fate::UnknownLater => {
                locked(&self.later).entry(run.channel).or_default().push_back(run.clone());
                self.filter.sink.undone(run, unknown());
            }
            Fate::Conflict => match self.inner.heads(&[run.channel]) {
                Ok(heads) => {
                    let head = heads.first().map_or(Head::EMPTY, |head| *head).seq;
                    self.filter.sink.undone(run, Undone::Conflict { head });
                }
                Err(why) => self.filter.sink.undone(run, Undone::Refused(Arc::new(why))),
            },
        }
    }

    fn read(&self, channel: ChannelNo, range: Range) -> Result<Vec<StoredEvent>, StoreError> {
        self.inner.read(channel, range)
    }

    fn heads(&self, channels: &[ChannelNo]) -> Result<Vec<Head>, StoreError> {
        self.inner.heads(channels)
    }

    fn find_key(
        &self,
        channel: ChannelNo,
        user: UserNo,
        key: Key,
    ) -> Result<Option<KeyRow>, StoreError> {
        self.inner.find_key(channel, user, key)
    }

    fn feed(&self, from: FeedPosition, rows_max: usize) -> Result<Vec<FeedRow>, StoreError> {
        self.inner.feed(from, rows_max)
    }

    fn close(&self) {
        self.inner.close();
    }
}

#[cfg(test)]
mod tests {
    use damso_proto::id::Seq;

    use super::*;
    use crate::runtime::clock::RealClock;
    use crate::store::contract::{Engine, Recorder, Rig, Told, contract, run_of, text_event};
    use crate::store::log::Order;
    use crate::store::memory::{Commit, MemoryDisk, MemoryLog};

    const CHANNEL: ChannelNo = ChannelNo::new(4);

    /// A memory engine with the fates of a function.
    struct Faulty<F>(MemoryDisk, F);

    impl<D: FnMut(&Run) -> Fate + Send + 'static, F: Fn() -> D> Engine for Faulty<F> {
        fn start(&self, sink: Arc<dyn Sink>) -> Arc<dyn ChannelLog> {
            let clock = Arc::new(RealClock::new());
            let disk = self.0.clone();
            Arc::new(FaultyLog::new(sink, (self.1)(), |sink| {
                Arc::new(MemoryLog::new(disk, Commit::Auto, sink, clock))
            }))
        }
    }

    /// The fates in turn, and none after them.
    fn fates(fates: &'static [Fate]) -> Faulty<impl Fn() -> Decide> {
        Faulty(MemoryDisk::default(), || -> Decide {
            let mut fates = fates.iter();
            Box::new(move |_| *fates.next().unwrap_or(&Fate::Unharmed))
        })
    }

    mod without_faults {
        use super::*;
        contract!(fates(&[]));
    }

    fn head(log: &dyn ChannelLog) -> u64 {
        log.heads(&[CHANNEL]).unwrap()[0].seq.get()
    }

    #[test]
    fn a_conflict_stores_nothing() {
        let engine = fates(&[Fate::Conflict]);
        let rig = Rig::start(&engine);
        let why = rig.refuse(run_of(4, 0, 2));
        assert!(matches!(why, Undone::Conflict { head: Seq::ZERO }), "{why}");
        assert_eq!(head(&*rig.log), 0);
        rig.store(run_of(4, 0, 2));
    }

    #[test]
    fn unknown_is_told_alike_whether_it_was_stored_or_not() {
        for (fate, first, opened, then) in [
            (&[Fate::UnknownStored], 2, 2, 2),
            (&[Fate::UnknownLost], 0, 0, 0),
            (&[Fate::UnknownLater], 0, 0, 2),
        ] {
            let engine = fates(fate);
            let rig = Rig::start(&engine);
            let why = rig.refuse(run_of(4, 0, 2));
            assert!(matches!(why, Undone::Unknown(_)), "{fate:?}: {why}");
            assert_eq!(head(&*rig.log), first, "{fate:?} before the next open");
            let found = rig.log.open(CHANNEL, 0).unwrap().head.seq.get();
            assert_eq!(found, opened, "{fate:?} in the next open");
            assert_eq!(head(&*rig.log), then, "{fate:?} after it");
            assert_eq!(rig.told.take(0).len(), 0, "{fate:?}: told once");
        }
    }

    /// Stores one keyed event as an owner must: after an unknown outcome the same run again.
    fn store_as_owners_do(rig: &Rig, message: u64) {
        let mut at = rig.log.open(CHANNEL, 0).unwrap().head.seq;
        loop {
            let mut run = run_of(4, at.get(), 0);
            run.events = vec![text_event(4, at.get() + 1, "x").keyed(7, message, 1)];
            match rig.append(vec![run]).pop() {
                Some(Told::Durable(_)) => return,
                Some(Told::Undone(_, Undone::Unknown(_))) => {
                    rig.log.open(CHANNEL, 0).unwrap();
                }
                Some(Told::Undone(_, Undone::Conflict { .. })) => {
                    let opened = rig.log.open(CHANNEL, 0).unwrap();
                    if opened.keys.iter().any(|row| row.key.key.unix_ms() == message) {
                        return;
                    }
                    at = opened.head.seq;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_owner_that_opens_and_appends_the_same_run_again_stores_every_event_once() {
        for seed in 0..20 {
            let engine = Faulty(MemoryDisk::default(), || Fate::seeded(seed, 2));
            let rig = Rig::start(&engine);
            for message in 0..100 {
                store_as_owners_do(&rig, message);
            }
            let range = Range {
                from: Seq::new(1),
                to: Seq::MAX,
                order: Order::Rising,
                rows_max: usize::MAX,
                bytes_max: usize::MAX,
            };
            let events = rig.log.read(CHANNEL, range).unwrap();
            let messages: Vec<u64> =
                events.iter().filter_map(|event| Some(event.key?.key.unix_ms())).collect();
            assert_eq!(messages, (0..100).collect::<Vec<_>>(), "seed {seed}");
        }
    }

    #[test]
    fn the_other_runs_of_a_group_are_told_as_they_are() {
        let told = Arc::new(Recorder::default());
        let memory = Mutex::new(None);
        let mut fates = [Fate::Unharmed, Fate::UnknownStored].into_iter();
        let log = FaultyLog::new(
            told.clone(),
            move |_| fates.next().unwrap_or(Fate::Unharmed),
            |sink| {
                let clock = Arc::new(RealClock::new());
                let disk = MemoryDisk::default();
                let log = Arc::new(MemoryLog::new(disk, Commit::Stepped, sink, clock));
                *memory.lock().unwrap() = Some(log.clone());
                log
            },
        );
        for number in [2, 4, 6] {
            log.append(run_of(number, 0, 1));
        }
        memory.lock().unwrap().as_ref().unwrap().commit_next();
        let told = told.take(3);
        let [Told::Durable(group), Told::Undone(run, Undone::Unknown(_))] = &told[..] else {
            panic!("{told:?}");
        };
        let channels: Vec<u64> = group.runs.iter().map(|run| run.channel.get()).collect();
        assert_eq!((channels, run.channel.get()), (vec![2, 6], 4));
    }
}
