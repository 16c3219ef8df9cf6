//! Nothing is missed, nothing comes twice, every send is answered once: whatever connections do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::model_server::{ModelServer, Mood, SELF, USER};
use crate::client::{
    News, Now, Options, Random, Replica, SendOutcome, Snapshot, State, Ticket, Told,
};
use crate::id::{ChannelNo, Key};
use crate::time::Moment;
use crate::wire;

const START_MS: u64 = 1_800_000_000_000;
const CHANNELS: [u64; 3] = [10, 12, 14];

/// A replica, a server, a network that breaks, and what the app saw.
pub(super) struct World {
    pub(super) server: ModelServer,
    pub(super) replica: Replica,
    pub(super) random: Random,
    pub(super) micros: u64,
    connected: bool,
    to_server: Vec<u8>,
    /// What the app took, channel by channel, seqs alone.
    pub(super) taken: BTreeMap<u64, Vec<u64>>,
    texts_sent: BTreeMap<u64, Vec<String>>,
    keys: BTreeMap<Key, u64>,
    pub(super) answers: BTreeMap<Ticket, SendOutcome>,
    /// Answers to requests.
    pub(super) requests: Vec<Told>,
    /// What the app took besides events.
    pub(super) others: Vec<News>,
    tickets: usize,
    sent: u64,
}

fn options() -> Options {
    let hello = wire::Hello { device: "test".into(), ..Default::default() };
    // Small, so that the app's pace matters.
    Options { inbox_events_max: 8, ..Options::new(hello) }
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut server = ModelServer::new(START_MS);
        CHANNELS.into_iter().for_each(|channel| server.join(channel));
        Self {
            server,
            replica: Replica::new(options(), Snapshot::default(), Random::seeded(seed)),
            random: Random::seeded(seed ^ 0x5eed),
            micros: 0,
            connected: false,
            to_server: Vec::new(),
            taken: BTreeMap::new(),
            texts_sent: BTreeMap::new(),
            keys: BTreeMap::new(),
            answers: BTreeMap::new(),
            requests: Vec::new(),
            others: Vec::new(),
            tickets: 0,
            sent: 0,
        }
    }

    pub(super) fn now(&self) -> Now {
        // The device's clock is an hour slow.
        let unix_ms = START_MS - 3_600_000 + self.micros / 1_000;
        Now { at: Moment::from_micros(self.micros), unix_ms }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.number() % bound
    }

    pub(super) fn send(&mut self, channel: u64) {
        self.sent += 1;
        let text = format!("mine {}", self.sent);
        let content = Some(wire::send::Content::Text(text.clone()));
        let send = wire::Send { channel, content, ..Default::default() };
        let (_, key) = self.replica.send(send, self.now()).expect("room in the outbox");
        self.texts_sent.entry(channel).or_default().push(text);
        self.keys.insert(key, channel);
        self.tickets += 1;
    }

    pub(super) fn cut(&mut self) {
        if std::mem::take(&mut self.connected) {
            self.server.drop_connection();
            self.to_server.clear();
            self.replica.lost("cut", self.now());
        }
    }

    /// The app's process ends and comes back with what it kept.
    fn restart(&mut self) {
        self.hear();
        self.restart_from(self.replica.snapshot());
    }

    pub(super) fn restart_from(&mut self, snapshot: Snapshot) {
        self.restart_as("", snapshot);
    }

    /// The same as another device, if it has a name.
    pub(super) fn restart_as(&mut self, device: &str, snapshot: Snapshot) {
        self.cut();
        let seed = self.random.number();
        self.tickets = self.answers.len() + snapshot.unsent.len();
        let mut options = options();
        options.hello.device = device.into();
        self.replica = Replica::new(options, snapshot, Random::seeded(seed));
        // Tickets begin anew; those of the past are kept apart.
        let past = std::mem::take(&mut self.answers);
        let renamed = past.into_values().zip((1..).map(|n| Ticket(1 << 60 | seed >> 8 << 8 | n)));
        self.answers = renamed.map(|(outcome, ticket)| (ticket, outcome)).collect();
    }

    /// Moves bytes, `max` each way, and does what is due.
    pub(super) fn network(&mut self, max: usize) {
        let now = self.now();
        self.server.unix_ms = START_MS + self.micros / 1_000;
        if self.replica.next_dial(now).is_some() {
            self.server.accept();
            self.connected = true;
            self.replica.connected(now);
        }
        if !self.connected {
            return;
        }
        self.to_server.append(self.replica.output());
        let up: Vec<u8> = self.to_server.drain(..max.min(self.to_server.len())).collect();
        self.server.received(&up);
        let down = self.server.sent(max);
        if !down.is_empty() {
            self.replica.received(&down, now);
        }
        self.hear();
        if !self.replica.is_up() {
            self.connected = false;
            self.server.drop_connection();
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.micros += time.as_micros() as u64;
        let now = self.now();
        if self.replica.poll_timeout().is_some_and(|at| at <= now.at) {
            self.replica.handle_timeout(now);
            if self.connected && !self.replica.is_up() {
                self.connected = false;
                self.server.drop_connection();
            }
        }
    }

    fn hear(&mut self) {
        while let Some(told) = self.replica.next_told() {
            let Told::Sent { ticket, key, outcome, channel } = told else {
                self.requests.push(told);
                continue;
            };
            assert_eq!(self.keys.get(&key), Some(&channel.get()), "an outcome of a send of ours");
            assert!(self.answers.insert(ticket, outcome).is_none(), "a send is answered once");
        }
    }

    pub(super) fn take(&mut self, max: usize) {
        for news in self.replica.take(max, self.now()) {
            match news {
                News::Event(event) => {
                    self.taken.entry(event.channel).or_default().push(event.seq);
                }
                other => self.others.push(other),
            }
        }
    }

    fn step(&mut self) {
        let channel = CHANNELS[self.below(3) as usize];
        assert!(!matches!(self.replica.state(), State::SignedOut(_)));
        match self.below(40) {
            0..4 => self.send(channel),
            4..10 => {
                for _ in 0..=self.below(4) {
                    let text = wire::event::Content::Text("theirs".into());
                    self.server.append(channel, USER + 1, text);
                }
            }
            10 => self.cut(),
            11 => {
                let drawn = self.below(64);
                self.server.mood = Mood {
                    overloaded: drawn & 7 == 0,
                    far_behind: drawn & 8 == 0,
                    lagging: drawn & 48 == 0,
                    chopped: drawn & 1 == 0,
                    stutters: drawn & 2 == 0,
                    // Nobody comes or goes here.
                    own_lags: false,
                };
            }
            12 if self.below(4) == 0 => self.restart(),
            13..15 => {
                let max = self.below(12) as usize;
                self.take(max);
            }
            15..17 => {
                let time = Duration::from_millis(self.below(5_000));
                self.pass(time);
            }
            17 => self.server.tell_skipped(),
            _ => {
                let max = 1 + self.below(400) as usize;
                self.network(max);
            }
        }
        self.pass(Duration::from_millis(1));
    }

    /// Nothing goes wrong any more: everything must come to its end.
    pub(super) fn settle(&mut self) {
        self.server.mood = Mood::default();
        for _ in 0..20_000 {
            self.network(10_000);
            self.take(100);
            self.pass(Duration::from_millis(20));
            self.server.tell_skipped();
            let whole =
                self.server.logs.iter().filter(|(_, log)| log.mine).all(|(channel, log)| {
                    self.taken.get(channel).and_then(|seqs| seqs.last()).copied()
                        == Some(log.head())
                });
            if whole && self.replica.unsent_count() == 0 && self.replica.state() == State::Online {
                return;
            }
        }
        panic!("not settled: {:?}, {:#?}", self.taken, self.replica);
    }

    fn check(&self) {
        for channel in CHANNELS.into_iter().chain([SELF]) {
            let log = &self.server.logs[&channel];
            let expected: Vec<u64> = (1..=log.head()).collect();
            assert_eq!(self.taken.get(&channel), Some(&expected), "channel {channel}");
            let mine = log.events.iter().filter(|event| event.sender == USER);
            let texts: Vec<String> = mine.map(text).collect();
            assert_eq!(texts, self.texts_sent.get(&channel).cloned().unwrap_or_default());
        }
        assert_eq!(self.others, [], "nothing was taken away");
        assert_eq!(self.answers.len(), self.tickets, "every send is answered");
        for outcome in self.answers.values() {
            assert!(matches!(outcome, SendOutcome::Stored { .. }), "{outcome:?}");
        }
    }
}

fn text(event: &wire::Event) -> String {
    match &event.content {
        Some(wire::event::Content::Text(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_missed_nothing_repeated_and_every_send_answered_once() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..300 {
            world.step();
        }
        world.settle();
        world.check();
    }
}

#[test]
fn an_app_that_takes_nothing_is_behind_and_loses_nothing() {
    let mut world = World::new(1);
    (0..20).for_each(|_| world.network(10_000));
    for _ in 0..500 {
        world.server.append(10, USER + 1, wire::event::Content::Text("theirs".into()));
        world.network(10_000);
    }
    assert!(world.replica.news_waiting() <= 8, "the inbox is bounded");
    assert_eq!(world.replica.behind(), 1);
    world.send(10);
    (0..3).for_each(|_| world.network(10_000));
    assert_eq!(world.replica.unsent_count(), 0, "answers do not wait behind a lagging app");
    world.settle();
    world.check();
    assert_eq!(world.replica.behind(), 0);
}

#[test]
fn a_key_is_made_on_the_servers_clock() {
    let mut world = World::new(2);
    world.send(10);
    (0..20).for_each(|_| world.network(10_000));
    world.send(10);
    world.settle();
    for key in world.server.logs[&10].keys.keys() {
        let key = Key::parse(key).expect("a key");
        // The first was made before the server's clock was known, and was not ahead of it.
        assert!(key.unix_ms() <= world.server.unix_ms, "{key:?}");
    }
    let latest = world.server.logs[&10].keys.keys().max().and_then(|key| Key::parse(key));
    assert!(latest.is_some_and(|key| key.unix_ms() + 60_000 > world.server.unix_ms));
    assert_eq!(world.replica.person().map(|(user, _)| ChannelNo::self_of(user).get()), Some(SELF));
}
