//! A server of two shards in this thread, which can be killed between any two steps.
//!
//! Its tasks live in a task set of their own: dropping that is the end of the process. The
//! committer's task is outside, as the disk is: it decides what a kill finds committed.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use damso::connections::{self, Connections};
use damso::delivery::{self, Groups, Mailboxes, Parts, Tools};
use damso::model::limits;
use damso::model::limits::Limits;
use damso::model::rate::Rates;
use damso::runtime::door::{Door, Steps};
use damso::runtime::placement::Shards;
use damso::runtime::route::ShardNo;
use damso::runtime::shutdown::Farewell;
use damso::runtime::snowflake::{Machine, Snowflake};
use damso::session::{self, Shard};
use damso::store::directory::Provision;
use damso::store::faulty::{Fate, FaultyLog};
use damso::store::forgetful::ForgetfulLog;
use damso::store::log::{ChannelLog, Sink};
use damso::store::memory::{Commit, InFlight, MemoryLog};
use damso::transport::{self, Entrance, Handovers};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::Sleep;

use super::dice::Dice;
use super::story::{Memory, Story, identity};

/// Shards of the server. With one alone nothing would cross.
const SHARDS: u16 = 2;
/// A commit in so many takes so long: disks stall, and clients lose patience.
const STALL_ONE_IN: u64 = 40;
const STALL_MS: Range<u64> = 100..4_000;
/// Pieces of blocking work that run at once.
const WORKERS: usize = 4;

/// See the module's text.
pub(crate) struct Server {
    /// Everything that dies with the process. Gone: it is dead.
    tasks: Rc<RefCell<Option<LocalSet>>>,
    shards: RefCell<Vec<Rc<Shard>>>,
    memory: Arc<MemoryLog>,
    committer: JoinHandle<()>,
    host: JoinHandle<()>,
}

impl Server {
    /// Opens the stores, takes up what is pending, and listens.
    pub(crate) fn start(story: &Rc<Story>) -> Self {
        let shards = Shards::new(SHARDS).expect("two shards");
        let mailboxes = Mailboxes::new(shards);
        let sink: Arc<dyn Sink> = Arc::new(Groups::new(mailboxes.clone()));
        let (log, memory) = open(story, sink);
        let (door, steps) = Door::stepped(limits::DOOR_WAITING_MAX);
        let handovers = Handovers::new(shards);
        let tasks = LocalSet::new();
        let proofs = Arc::new(session::Proofs::new(&*story.random));
        let mut entrances = Vec::new();
        for me in shards.all() {
            let shard = shard(story, me, &mailboxes, &log, &door);
            tasks.spawn_local(Jitter::new(story.dice.another(), shard.clone().run()));
            let arrivals = handovers.of(me).expect("its own").clone();
            tasks.spawn_local(transport::receive(shard.clone(), arrivals));
            entrances.push(Entrance {
                shard,
                scratch: Rc::default(),
                handovers: handovers.clone(),
                tls: identity().tls.config.clone(),
                door: transport::Door {
                    verifier: identity().verifier.clone(),
                    proofs: proofs.clone(),
                    directory: story.directory.clone(),
                    provision: Provision::Auto,
                },
            });
        }
        for _ in 0..WORKERS {
            tasks.spawn_local(work(steps.clone(), story.dice.another()));
        }
        let kept = entrances.iter().map(|entrance| entrance.shard.clone()).collect();
        tasks.spawn_local(accept(story.clone(), entrances));
        delivery::take_up(&*story.directory, &mailboxes).expect("the directory answers");
        let tasks = Rc::new(RefCell::new(Some(tasks)));
        let host = spawn_local(host(tasks.clone()));
        let committer = spawn_local(commit(memory.clone(), story.clone()));
        Self { tasks, shards: RefCell::new(kept), memory, committer, host }
    }

    /// Ends it here and now. What its disk has of the runs that were not committed is `in_flight`.
    pub(crate) fn kill(&self, in_flight: InFlight) {
        self.memory.crash(in_flight);
        self.committer.abort();
        self.host.abort();
        self.shards.borrow_mut().clear();
        drop(self.tasks.borrow_mut().take());
    }

    /// Asks it to stop, as SIGTERM does, and waits until it has.
    pub(crate) async fn drain(&self) {
        let shards = self.shards.borrow().clone();
        let drains = shards.into_iter().map(|shard| async move {
            let spread = shard.floors().limits.drain_spread;
            session::drain(&shard, &Farewell { spread, to: Vec::new() }).await;
        });
        for drained in drains.map(spawn_local).collect::<Vec<_>>() {
            drained.await.expect("nobody ends a drain");
        }
        self.memory.close();
        self.kill(InFlight::Vanish);
    }
}

/// The store that this story has, and the memory under it.
fn open(story: &Story, sink: Arc<dyn Sink>) -> (Arc<dyn ChannelLog>, Arc<MemoryLog>) {
    let (disk, clock) = (story.disk.clone(), story.clock.clone());
    let open = move |sink| Arc::new(MemoryLog::new(disk, Commit::Stepped, sink, clock));
    match story.memory {
        Memory::Sound => {
            let memory = open(sink);
            (memory.clone(), memory)
        }
        Memory::Forgetful => {
            let memory = open(sink);
            (Arc::new(ForgetfulLog::new(memory.clone())), memory)
        }
        Memory::Unlucky { one_in } => {
            let kept = Mutex::new(None);
            let fate = Fate::seeded(story.dice.number(), one_in);
            let log = FaultyLog::new(sink, fate, |sink| {
                let memory = open(sink);
                *kept.lock().expect("one thread") = Some(memory.clone());
                memory
            });
            let memory = kept.into_inner().expect("one thread").expect("it was opened");
            (Arc::new(log), memory)
        }
    }
}

fn shard(
    story: &Story,
    me: ShardNo,
    mailboxes: &Mailboxes,
    log: &Arc<dyn ChannelLog>,
    door: &Door,
) -> Rc<Shard> {
    let machine = Machine::new(0, me).expect("a shard of two");
    let tools = Tools {
        clock: story.clock.clone(),
        ids: Arc::new(Snowflake::new(machine, log.high_water())),
        log: log.clone(),
        directory: story.directory.clone(),
        door: door.clone(),
        limits: Limits::default().with_rates(Rates::UNBOUND),
        memory: Default::default(),
    };
    let connections = Connections::new(connections::Options::default(), me);
    let home = mailboxes.of(me).expect("its own").clone();
    let parts = Parts { me, home, mailboxes: mailboxes.clone(), tools, connections };
    let options = session::Options {
        conn: damso_proto::server::ServerOptions::default(),
        server: "damso in simulation".to_owned(),
        alternates: Vec::new(),
        verifier: identity().verifier.clone(),
    };
    session::make(parts, story.random.clone(), options)
}

/// Takes connections in, each on a shard that the dice name.
async fn accept(story: Rc<Story>, entrances: Vec<Entrance>) {
    let mut incoming = story.network.listen();
    while let Some(socket) = incoming.recv().await {
        let entrance = story.dice.pick(&entrances).clone();
        spawn_local(transport::enter(entrance, Box::new(socket), None));
    }
}

/// A thread behind the door: any job that waits, after a while, and its result after a while.
async fn work(steps: Steps, dice: Dice) {
    loop {
        steps.arrived().await;
        let pick = usize::try_from(dice.below(64)).expect("a small number");
        let Some(step) = steps.take(pick) else { continue };
        dice.work().await;
        let done = step.run();
        assert!(!done.panicked, "no blocking work panics");
        dice.work().await;
        done.deliver();
    }
}

/// The disk: what has gathered becomes durable, after a while.
async fn commit(memory: Arc<MemoryLog>, story: Rc<Story>) {
    let dice = story.dice.another();
    loop {
        poll_fn(|context| memory.poll_gathered(context)).await;
        if memory.writable().is_err() {
            return;
        }
        dice.work().await;
        if dice.one_in(STALL_ONE_IN) {
            tokio::time::sleep(dice.millis(STALL_MS)).await;
        }
        if let Some(in_flight) = story.take_death() {
            memory.crash(in_flight);
            return story.has_died();
        }
        memory.commit_next();
    }
}

/// Lets the process run until it is killed.
async fn host(tasks: Rc<RefCell<Option<LocalSet>>>) {
    poll_fn(|context| match &mut *tasks.borrow_mut() {
        Some(tasks) => Pin::new(tasks).poll(context),
        None => Poll::Ready(()),
    })
    .await;
}

/// A thread that is not always given a core when it could run.
struct Jitter<F> {
    inner: Pin<Box<F>>,
    waits: Option<Pin<Box<Sleep>>>,
    dice: Dice,
}

impl<F: Future> Jitter<F> {
    fn new(dice: Dice, inner: F) -> Self {
        Self { inner: Box::pin(inner), waits: None, dice }
    }
}

impl<F: Future> Future for Jitter<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.waits.is_none() && self.dice.one_in(8) {
            self.waits = Some(Box::pin(tokio::time::sleep(self.dice.millis(1..6))));
        }
        if let Some(waits) = &mut self.waits {
            std::task::ready!(waits.as_mut().poll(context));
            self.waits = None;
        }
        self.inner.as_mut().poll(context)
    }
}
