//! One shard over stores in memory, with a clock that stands and a door without threads.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Key, MessageId, RequestId, Seq, Uid, UserNo};
use damso_proto::wire;

use crate::connections::{self, Connections};
use crate::delivery::{
    Admission, Answer, Change, ChangeKind, Delivery, Groups, Mail, Mailboxes, Outcome, Parts,
    Submission, Tools, Work,
};
use crate::model::body::BodyHash;
use crate::model::deadline::Deadline;
use crate::model::limits;
use crate::model::rights::Actor;
use crate::runtime::clock::{Clock as _, ManualClock};
use crate::runtime::door::Door;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::placement::Shards;
use crate::runtime::random::SeededRandom;
use crate::runtime::route::{ConnectionId, Route, ShardNo};
use crate::runtime::snowflake::{Machine, Snowflake};
use crate::store::directory::kit::Short as _;
use crate::store::directory::{self, Command, Directory as _, Sqlite};
use crate::store::log::NewKey;
use crate::store::memory::{Commit, MemoryDisk, MemoryLog};

/// The time of day at which everything begins, milliseconds since 1970.
pub(crate) const BEGIN_MS: u64 = 1_800_000_000_000;

/// See the module's text.
pub(crate) struct World {
    pub(crate) delivery: Delivery,
    pub(crate) tools: Tools,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) directory: Arc<Sqlite>,
    pub(crate) mailbox: Arc<Mailbox<Mail>>,
    next: u64,
}

impl World {
    pub(crate) fn new(commit: Commit) -> Self {
        Self::with_door(commit, Door::inline())
    }

    /// The same, with blocking work behind a door of the test's.
    pub(crate) fn with_door(commit: Commit, door: Door) -> Self {
        let me = ShardNo::new(0);
        let clock = Arc::new(ManualClock::new(BEGIN_MS));
        let mailboxes = Mailboxes::new(Shards::ONE);
        let home = mailboxes.of(me).unwrap().clone();
        let mailbox = home.clone();
        let sink = Arc::new(Groups::new(mailboxes.clone()));
        let log = Arc::new(MemoryLog::new(MemoryDisk::default(), commit, sink, clock.clone()));
        let random = Arc::new(SeededRandom::new(1));
        let options = directory::Options::default();
        let directory = Arc::new(Sqlite::in_memory(options, random).unwrap());
        let machine = Machine::new(0, me).unwrap();
        let tools = Tools {
            clock: clock.clone(),
            ids: Arc::new(Snowflake::new(machine, MessageId::default())),
            log: log.clone(),
            directory: directory.clone(),
            door,
            limits: Default::default(),
            memory: Default::default(),
        };
        let connections = Connections::new(connections::Options::default(), me);
        let delivery =
            Delivery::new(Parts { me, home, mailboxes, tools: tools.clone(), connections });
        Self { delivery, tools, clock, log, directory, mailbox, next: 0 }
    }

    /// Turns until nothing comes any more; what was answered, by request.
    pub(crate) fn turn(&mut self) -> Vec<(u64, Outcome)> {
        let mut answered = Vec::new();
        // More letters than any chain of work here is long.
        for _ in 0..32 {
            self.delivery.deliver();
            let answers = self.delivery.take_answers();
            answered.extend(answers.into_iter().map(|(route, it)| (route.request.get(), it)));
        }
        answered
    }

    /// Commits, and turns, until nothing comes any more.
    pub(crate) fn settle(&mut self) -> Vec<(u64, Outcome)> {
        let mut answered = self.turn();
        while self.log.commit_next().is_some() {
            answered.extend(self.turn());
        }
        answered
    }

    /// The one answer that a piece of work leads to.
    pub(crate) fn outcome(&mut self, channel: ChannelNo, work: Work) -> Outcome {
        self.delivery.submit(channel, work);
        let mut answered = self.settle();
        assert_eq!(answered.len(), 1, "{answered:?}");
        answered.remove(0).1
    }

    pub(crate) fn person(&self, uid: &str) -> UserNo {
        self.directory.find_or_make_user(&Uid::parse(uid).unwrap(), 0).unwrap().number
    }

    /// A group that every shard knows.
    pub(crate) fn group(&mut self, owner: UserNo, others: &[UserNo]) -> ChannelNo {
        let NewKey { user, key, body } = self.key(owner, "group");
        let command = Command { by: Actor::User(user), key, body, now_ms: self.clock.unix_ms() };
        let done = self.directory.create_group(&command, "g", others).unwrap();
        let work = Work::Settle { rows: done.rows, route: Some(self.route()) };
        assert!(self.outcome(done.channel, work).is_ok());
        done.channel
    }

    /// Changes who is in a channel.
    pub(crate) fn changed(&mut self, by: UserNo, channel: ChannelNo, what: ChangeKind) {
        let key = self.key(by, "change");
        let work = self.change(key, what, Deadline::NONE);
        assert!(matches!(self.outcome(channel, work), Ok(Answer::Done(_))));
    }

    /// Sends into a channel; the message's seq.
    pub(crate) fn sent(&mut self, by: UserNo, channel: ChannelNo) -> Seq {
        let key = self.key(by, "message");
        let message = self.message(key, Deadline::NONE);
        match self.outcome(channel, Work::Event(message)) {
            Ok(Answer::Sent { seq, .. }) => seq,
            other => panic!("{other:?}"),
        }
    }

    /// All channels that are at work here go idle, and from memory.
    pub(crate) fn forget_channels(&mut self) {
        self.clock.advance(2 * limits::OWNED_CHANNEL_IDLE);
        self.turn();
        assert_eq!(self.delivery.counts().1, 0, "nothing is under way");
    }

    /// The committed head of a channel.
    pub(crate) fn head(&self, channel: ChannelNo) -> Seq {
        self.tools.log.heads(&[channel]).unwrap()[0].seq
    }

    /// A key that nobody has used, made now.
    pub(crate) fn key(&mut self, user: UserNo, body: &str) -> NewKey {
        self.next += 1;
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.next.to_be_bytes());
        let key = Key::new(self.clock.unix_ms(), random);
        NewKey { user, key, body: BodyHash::of("test", &[body.as_bytes()]) }
    }

    /// Where an answer goes that nobody else waits for.
    pub(crate) fn route(&mut self) -> Route {
        self.next += 1;
        let connection = ConnectionId { slot: 0, generation: 0 };
        Route { shard: ShardNo::new(0), connection, request: RequestId::new(self.next) }
    }

    /// A deadline so many milliseconds from now; 0: none.
    pub(crate) fn within(&self, ms: u32) -> Deadline {
        Deadline::after(self.clock.now(), ms)
    }

    /// A message under this key.
    pub(crate) fn message(&mut self, key: NewKey, deadline: Deadline) -> Submission {
        let event = wire::Event {
            kind: wire::EventKind::Message.into(),
            sender: key.user.get(),
            content: Some(wire::event::Content::Text("x".to_owned())),
            ..Default::default()
        };
        let (route, queued_at) = (self.route(), self.clock.now());
        let (by, admission) = (Actor::of_number(key.user), Admission::Asked);
        Submission { by, event, key, route, queued_at, deadline, admission }
    }

    /// A command under this key.
    pub(crate) fn change(&mut self, key: NewKey, what: ChangeKind, deadline: Deadline) -> Work {
        let (by, route) = (Actor::User(key.user), self.route());
        Work::Change(Change { by, what, key, route, deadline, over: None })
    }
}
