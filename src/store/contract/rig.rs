//! An engine under test, and the sink that listens to it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use damso_proto::id::{ChannelNo, Key, MessageId, Seq, UserNo};
use damso_proto::time::Moment;
use damso_proto::wire;

use crate::model::event::{EncodedEvent, Place};
use crate::store::log::{BodyHash, ChannelLog, Group, NewEvent, NewKey, Run, Sink, Undone};

/// How long an outcome may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine with the place where it keeps its data.
pub(crate) trait Engine {
    /// Opens what is stored so far; empty at first.
    fn start(&self, sink: Arc<dyn Sink>) -> Arc<dyn ChannelLog>;

    /// Commits what gathered, where the engine does not do so by itself.
    fn step(&self) {}
}

/// What a sink was told.
#[derive(Debug)]
pub(crate) enum Told {
    Durable(Arc<Group>),
    Undone(Run, Undone),
}

/// A sink that keeps everything.
#[derive(Default)]
pub(crate) struct Recorder {
    told: Mutex<Vec<Told>>,
    more: Condvar,
}

impl Sink for Recorder {
    fn durable(&self, group: Arc<Group>) {
        self.told.lock().unwrap().push(Told::Durable(group));
        self.more.notify_all();
    }

    fn undone(&self, run: Run, why: Undone) {
        self.told.lock().unwrap().push(Told::Undone(run, why));
        self.more.notify_all();
    }
}

impl Recorder {
    /// Takes what was told once it speaks of `runs` runs.
    pub(crate) fn take(&self, runs: usize) -> Vec<Told> {
        let count = |told: &[Told]| -> usize {
            told.iter().map(|told| if let Told::Durable(g) = told { g.runs.len() } else { 1 }).sum()
        };
        let until = Instant::now() + PATIENCE;
        let mut told = self.told.lock().unwrap();
        while count(&told) < runs {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {runs} runs were told of: {told:?}", count(&told));
            told = self.more.wait_timeout(told, left).unwrap().0;
        }
        std::mem::take(&mut *told)
    }
}

/// An open engine and its listener.
pub(crate) struct Rig<'a> {
    engine: &'a dyn Engine,
    pub(crate) told: Arc<Recorder>,
    pub(crate) log: Arc<dyn ChannelLog>,
}

impl<'a> Rig<'a> {
    pub(crate) fn start(engine: &'a dyn Engine) -> Self {
        let told = Arc::new(Recorder::default());
        let log = engine.start(told.clone());
        Self { engine, told, log }
    }

    /// Closes and opens again.
    pub(crate) fn restart(self) -> Self {
        self.log.close();
        drop(self.log);
        Self::start(self.engine)
    }

    /// Appends runs and returns what became of them.
    pub(crate) fn append(&self, runs: Vec<Run>) -> Vec<Told> {
        let count = runs.len();
        for run in runs {
            self.log.append(run);
        }
        // A second run of a channel waits for the next group.
        for _ in 0..count {
            self.engine.step();
        }
        self.told.take(count)
    }

    /// Appends a run that must become durable.
    pub(crate) fn store(&self, run: Run) -> Arc<Group> {
        match self.append(vec![run]).pop() {
            Some(Told::Durable(group)) => group,
            other => panic!("not durable: {other:?}"),
        }
    }

    /// Appends a run that must not, and is handed back.
    pub(crate) fn refuse(&self, run: Run) -> Undone {
        let range = run.range();
        match self.append(vec![run]).pop() {
            Some(Told::Undone(run, why)) => {
                assert_eq!(run.range(), range);
                why
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// An event as owners make it: id 10 times the seq, countable, without a key.
pub(crate) fn text_event(channel: u64, seq: u64, text: &str) -> NewEvent {
    let (seq, id) = (Seq::new(seq), MessageId::new(seq * 10));
    let content = Some(wire::event::Content::Text(text.to_owned()));
    let mut event = wire::Event { content, ..Default::default() };
    Place { channel: ChannelNo::new(channel), seq, id }.stamp(&mut event);
    NewEvent {
        seq,
        id,
        encoded: EncodedEvent::new(&event),
        counted: true,
        key: None,
        route: None,
        change: None,
        queued_at: Moment::default(),
    }
}

impl NewEvent {
    /// The same with a key of `user`, made at `unix_ms`.
    pub(crate) fn keyed(mut self, user: u64, unix_ms: u64, random: u8) -> Self {
        let key = Key::new(unix_ms, [random; 10]);
        self.key = Some(NewKey { user: UserNo::new(user), key, body: BodyHash(self.seq.get()) });
        self
    }
}

/// A run of `count` events after `head`.
pub(crate) fn run_of(channel: u64, head: u64, count: u64) -> Run {
    let events = (head + 1..=head + count)
        .map(|seq| text_event(channel, seq, &format!("event {seq} of channel {channel}")))
        .collect();
    Run { channel: ChannelNo::new(channel), expected_head: Seq::new(head), events }
}
