//! Both ends together, with a clock of the test's: the connection is lost at every byte.

use std::collections::BTreeMap;
use std::time::Duration;

use damso_proto::client::{News, Now, Options, Random, Replica, SendOutcome, Snapshot, Told};
use damso_proto::id::Key;
use damso_proto::time::Moment;
use damso_proto::wire::{self, event, send};

use super::pair_server::Server;
use super::samples::{ALICE, BOB, GROUP, UNIX_MS};

/// Where the bytes stop: after so many of one direction, counted from the first connection on.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Up(usize),
    Down(usize),
    Never,
}

/// What alice's device does after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    /// It connects again.
    Reconnects,
    /// Its process ends, and a new one goes on from the snapshot.
    Restarts,
}

struct Pair {
    server: Server,
    replica: Replica,
    micros: u64,
    up_left: usize,
    down_left: usize,
    moved: (usize, usize),
    connected: bool,
    after: After,
    taken: Vec<u64>,
    sent: Vec<Key>,
    outcomes: BTreeMap<Key, SendOutcome>,
}

fn options() -> Options {
    Options::new(wire::Hello { device: "alice-phone".into(), ..Default::default() })
}

impl Pair {
    fn new(cut: Cut, after: After) -> Self {
        let (up_left, down_left) = match cut {
            Cut::Up(bytes) => (bytes, usize::MAX),
            Cut::Down(bytes) => (usize::MAX, bytes),
            Cut::Never => (usize::MAX, usize::MAX),
        };
        Self {
            server: Server::default(),
            replica: Replica::new(options(), Snapshot::default(), Random::seeded(7)),
            micros: 0,
            up_left,
            down_left,
            moved: (0, 0),
            connected: false,
            after,
            taken: Vec::new(),
            sent: Vec::new(),
            outcomes: BTreeMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now { at: Moment::from_micros(self.micros), unix_ms: UNIX_MS + self.micros / 1_000 }
    }

    fn send(&mut self, text: &str) {
        let content = Some(send::Content::Text(text.into()));
        let send = wire::Send { channel: GROUP, content, ..Default::default() };
        let (_, key) = self.replica.send(send, self.now()).expect("room for one more");
        self.sent.push(key);
        self.exchange();
    }

    fn hears(&mut self, text: &str) {
        self.server.append(BOB, text);
        self.exchange();
    }

    /// Moves what there is, up to the byte where the connection is lost, and lets the app take.
    fn exchange(&mut self) {
        for _ in 0..4 {
            let now = self.now();
            if self.replica.next_dial(now).is_some() {
                self.server.accept(now.at);
                self.replica.connected(now);
                self.connected = true;
            }
            if !self.connected {
                return self.take();
            }
            let up = std::mem::take(self.replica.output());
            let (up, up_is_cut) = cut_off(up, &mut self.up_left);
            self.moved.0 += up.len();
            self.server.received(&up, now.at);
            if up_is_cut {
                // The server may have acted on it; what it said is lost as well.
                self.lose();
                continue;
            }
            let down = std::mem::take(&mut self.server.output);
            let (down, down_is_cut) = cut_off(down, &mut self.down_left);
            self.moved.1 += down.len();
            // One piece is not the only way to come.
            for piece in down.chunks(11) {
                self.replica.received(piece, now);
            }
            assert!(
                self.replica.is_up(),
                "the server keeps the protocol: {:?}",
                self.replica.state()
            );
            self.take();
            if down_is_cut {
                self.lose();
            }
        }
    }

    fn lose(&mut self) {
        (self.up_left, self.down_left) = (usize::MAX, usize::MAX);
        self.connected = false;
        self.server.drop_connection();
        match self.after {
            After::Reconnects => self.replica.lost("cut", self.now()),
            After::Restarts => {
                let snapshot = self.replica.snapshot();
                self.replica = Replica::new(options(), snapshot, Random::seeded(8));
            }
        }
    }

    fn take(&mut self) {
        for news in self.replica.take(usize::MAX, self.now()) {
            match news {
                News::Event(event) => self.taken.push(event.seq),
                other => panic!("nothing else happened: {other:?}"),
            }
        }
        while let Some(told) = self.replica.next_told() {
            let Told::Sent { key, outcome, .. } = told else { panic!("nothing else was asked") };
            assert!(self.outcomes.insert(key, outcome).is_none(), "a send is answered once");
        }
    }

    fn pass(&mut self, time: Duration) {
        self.micros += time.as_micros() as u64;
        let now = self.now();
        self.replica.handle_timeout(now);
        self.exchange();
    }

    /// What happens in every run, wherever it is cut.
    fn play(&mut self) {
        self.hears("누구 있어?");
        self.pass(Duration::ZERO);
        self.send("나");
        self.hears("점심 먹자");
        self.send("좋아");
        self.send("어디로?");
        self.hears(&"긴 이야기. ".repeat(12));
        self.pass(Duration::from_millis(40));
        self.send("알겠어");
        for _ in 0..8 {
            self.pass(Duration::from_secs(1));
        }
    }

    /// Nothing lost, nothing twice, on either side.
    fn check(&self, cut: Cut) {
        let head = self.server.log.len() as u64;
        let all: Vec<u64> = (1..=head).collect();
        assert_eq!(self.taken, all, "{cut:?}: the app has every event once, in order");
        let texts = |sender: u64| -> Vec<&str> {
            let of_sender = self.server.log.iter().filter(|event| event.sender == sender);
            of_sender
                .map(|event| match &event.content {
                    Some(event::Content::Text(text)) => text.as_str(),
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        assert_eq!(texts(ALICE), ["나", "좋아", "어디로?", "알겠어"], "{cut:?}");
        assert_eq!(texts(BOB).len(), 3, "{cut:?}");
        for key in &self.sent {
            let outcome = self.outcomes.get(key);
            let Some(SendOutcome::Stored { seq, .. }) = outcome else {
                panic!("{cut:?}: {outcome:?}");
            };
            assert_eq!(self.server.log[seq.get() as usize - 1].sender, ALICE, "{cut:?}");
        }
    }
}

/// As much of `bytes` as may still pass, and whether the rest was cut off.
fn cut_off(mut bytes: Vec<u8>, left: &mut usize) -> (Vec<u8>, bool) {
    let passes = bytes.len().min(*left);
    bytes.truncate(passes);
    *left -= passes;
    (bytes, *left == 0)
}

fn run(cut: Cut, after: After) -> Pair {
    run_with(Server::default(), cut, after)
}

fn run_with(server: Server, cut: Cut, after: After) -> Pair {
    let mut pair = Pair::new(cut, after);
    pair.server = server;
    pair.play();
    pair.check(cut);
    pair
}

#[test]
fn a_session_that_nothing_happens_to_is_one_login() {
    let pair = run(Cut::Never, After::Reconnects);
    assert_eq!(pair.server.logins, 1);
    let (up, down) = pair.moved;
    assert!(up > 150 && down > 400, "the script moves {up} bytes up and {down} down");
}

/// Every place where a session can be cut.
fn cuts() -> impl Iterator<Item = Cut> {
    let (up, down) = run(Cut::Never, After::Reconnects).moved;
    (1..=up).map(Cut::Up).chain((1..=down).map(Cut::Down))
}

#[test]
fn wherever_the_connection_is_lost_nothing_is_lost_or_doubled() {
    for after in [After::Reconnects, After::Restarts] {
        for cut in cuts() {
            let pair = run(cut, after);
            assert!((1..=2).contains(&pair.server.logins), "{cut:?}: {}", pair.server.logins);
        }
    }
}

#[test]
fn a_send_that_the_server_did_not_know_of_yet_is_repeated_under_its_key() {
    let mut repeated = 0;
    for after in [After::Reconnects, After::Restarts] {
        for cut in cuts() {
            let pair = run_with(Server::unsure(), cut, after);
            let again = |outcome: &&SendOutcome| {
                matches!(outcome, SendOutcome::Stored { duplicate: true, .. })
            };
            repeated += pair.outcomes.values().filter(again).count();
        }
    }
    assert!(repeated > 100, "only {repeated} came twice, so little was proved");
}

#[test]
fn a_send_that_is_stored_is_answered_by_the_resume_alone() {
    let answered = |cut| {
        let outcomes = run(cut, After::Reconnects).outcomes.into_values();
        outcomes
            .filter(|outcome| matches!(outcome, SendOutcome::Stored { duplicate: true, .. }))
            .count()
    };
    assert!(cuts().map(answered).sum::<usize>() > 100, "or the cuts above would prove nothing");
}

#[test]
fn a_server_that_is_asked_too_often_gets_the_same_keys_again_in_order() {
    for after in [After::Reconnects, After::Restarts] {
        for cut in cuts() {
            let pair = run_with(Server::slow(400), cut, after);
            assert!(pair.server.refused > 0, "{cut:?}: or nothing is proved");
        }
    }
}
