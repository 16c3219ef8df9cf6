//! A server that is short of memory does without, step by step, and takes everything up again.

use std::thread;
use std::time::Duration;

use damso_proto::address::ConnectionString;
use damso_proto::code::{CloseCode, Code};
use damso_proto::id::Key;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::standing::State;

use super::process::Process;
use super::raw::{Raw, encode, frame, fresh_key, hello, narrow, text, trusting};
use super::server::UNBOUND;

/// The least that there may be, MiB.
const BUDGET_MIB: f64 = 384.0;
/// Readers who stall: devices of four people.
const READERS: usize = 40;
/// Pages that one of them may have on its way.
const PAGES: usize = 32;
/// A page of long messages, as it is set here, MiB.
const PAGE_MIB: f64 = 1.0;
/// So many long messages are more than a page.
const MESSAGES: usize = 80;
/// Longest text.
const LONG: usize = 16 * 1024;
/// Longer than between two looks at the memory.
const LOOKED: Duration = Duration::from_millis(300);

fn start() -> Process {
    let own = [
        "--memory",
        "384MiB",
        "--set",
        "limits.page_bytes=1MiB",
        "--set",
        "limits.resume_bytes=1MiB",
        "--set",
        "limits.stalled_time=600s",
    ];
    Process::start(&[&UNBOUND[..], &own].concat())
}

fn group(raw: &mut Raw, uids: &[&str]) -> u64 {
    let uids = uids.iter().map(|uid| (*uid).to_owned()).collect();
    let ask = wire::CreateChannel { name: "g".to_owned(), uids, ..Default::default() };
    match raw.ask(Ask::CreateChannel(ask)).0 {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

fn page(channel: u64) -> Ask {
    let direction = wire::read_history::Direction::After.into();
    Ask::ReadHistory(wire::ReadHistory { channel, seq: 0, direction, rows: 100 })
}

fn slow(server: &Process, uid: &str, device: &str) -> Raw {
    let string: ConnectionString = server.string(uid).parse().expect("a connection string");
    let stream = narrow(&string).expect("a connection");
    let mut raw = Raw::over(stream, &string, trusting(&[b"damso/1"]));
    raw.come_in(&string, device, Default::default());
    raw
}

/// What whoever comes now is told; `None`: they are in.
fn turned_away(server: &Process, uid: &str) -> Option<wire::Closing> {
    let string: ConnectionString = server.string(uid).parse().expect("a connection string");
    let mut raw = Raw::connect(&string).expect("a connection");
    raw.write(&encode(&frame(Ask::Hello(hello(&string, "new"))))).expect("Hello");
    match raw.next() {
        Ok(Said::Welcome(_)) => None,
        Ok(Said::Closing(closing)) => Some(closing),
        other => panic!("expected Welcome or Closing, heard {other:?}"),
    }
}

/// Readers who ask for pages and take none of them.
struct Stalled {
    readers: Vec<Raw>,
    asked: usize,
    channel: u64,
}

impl Stalled {
    /// Asks for so many pages; they are read, or being read, when this returns.
    fn ask(&mut self, server: &Process, other: &mut Raw, pages: usize) {
        let taken =
            |server: &Process| server.counted("damso_requests_total", "kind=\"read_history\"");
        let before = taken(server);
        for _ in 0..pages {
            let reader = self.readers.get_mut(self.asked / PAGES).expect("enough readers");
            reader.post(page(self.channel), fresh_key()).expect("a request goes out");
            self.asked += 1;
        }
        server.wait_until("the readers are heard", |server| taken(server) >= before + pages as f64);
        // It stands behind all of them.
        let read = wire::ReadHistory { channel: self.channel, rows: 1, ..Default::default() };
        other.pages(Ask::ReadHistory(read));
    }

    /// Asks until the server is this short of memory.
    fn fill(
        &mut self,
        (server, other): (&Process, &mut Raw),
        level: f64,
        percent: f64,
        page_mib: f64,
    ) {
        while server.metric("damso_memory_level") < level {
            let used = server.metric("damso_memory_used_bytes") / f64::from(1 << 20);
            let lacking = (BUDGET_MIB * percent / 100.0 - used) / page_mib;
            self.ask(server, other, lacking.clamp(1.0, 16.0) as usize);
            thread::sleep(LOOKED);
        }
    }
}

/// What a reader is told of a channel from `next` on: each event, or that it is behind, without a
/// hole up to `last`. Returns how many events it did not get.
fn hears_all(raw: &mut Raw, channel: u64, mut next: u64, last: u64) -> u64 {
    let mut skipped = 0;
    while next <= last {
        match raw.next().expect("a frame") {
            Said::Event(event) if event.channel == channel => {
                assert_eq!(event.seq, next);
                next += 1;
            }
            Said::Standing(standing) if standing.channel == channel => {
                assert_eq!((standing.state(), standing.from), (State::Behind, next));
                skipped += standing.to + 1 - next;
                next = standing.to + 1;
            }
            _ => {}
        }
    }
    skipped
}

/// People who are in when memory runs short.
struct Scene {
    server: Process,
    alice: Raw,
    /// Reads when he is asked to.
    bob: Raw,
    /// A channel of these two.
    channel: u64,
    /// Sent, and acknowledged, while all was well: at seq 2.
    known: Key,
}

impl Scene {
    fn send(&mut self, body: &str, key: Key) -> Result<wire::Ack, wire::Refusal> {
        match self.alice.ask_with(text(self.channel, body), key).0 {
            Said::Ack(ack) => Ok(ack),
            Said::Refusal(refusal) => Err(refusal),
            other => panic!("expected an ack or a refusal, heard {other:?}"),
        }
    }

    fn refused(&self, what: &str) -> f64 {
        self.server.counted("damso_memory_refused_total", &format!("what=\"{what}\""))
    }

    fn nobody_new_comes_in(&mut self) {
        let told = turned_away(&self.server, "late").expect("nobody comes in");
        assert_eq!(CloseCode::from_number(told.code), Some(CloseCode::Overloaded), "{told:?}");
        assert_eq!((told.retry_after_ms, self.refused("login")), (5_000, 1.0), "{told:?}");
        let (status, why) = self.server.page("/readyz");
        assert!(status.contains("503") && why.contains("memory is short"), "{status} {why}");
        // Whoever is in goes on, and goes on being somebody.
        let string: ConnectionString = self.server.string("alice").parse().expect("a string");
        let token = string.token.expect("a token").reveal().to_owned();
        let renewed = self.alice.ask(Ask::Reauth(wire::Reauth { token })).0;
        assert!(matches!(renewed, Said::Renewed(_)), "{renewed:?}");
        // Bob does not read: the newest of it waits for him.
        let short = "x".repeat(LONG / 16);
        for _ in 0..400 {
            self.send(&short, fresh_key()).expect("an ack");
        }
        assert_eq!(self.server.metric("damso_memory_shed_bytes_total"), 0.0);
        assert!(self.server.metric("damso_channel_log_bytes") > 0.0, "nothing waits");
    }

    /// Returns the channel's head.
    fn who_lags_reads_history(&mut self) -> u64 {
        self.server.wait_until("what waits is shed", |server| {
            server.metric("damso_memory_shed_bytes_total") > 0.0
        });
        let last = self.send("live again", fresh_key()).expect("an ack").seq;
        assert!(hears_all(&mut self.bob, self.channel, 1, last) > 0, "nothing was shed");
        last
    }

    /// Returns the key of a message that was refused.
    fn nothing_new_is_sent(&mut self, last: u64) -> Key {
        let key = fresh_key();
        let refused = self.send("too much", key).expect_err("no room");
        assert_eq!(Code::from_number(refused.code), Some(Code::Overloaded), "{refused:?}");
        assert_eq!((refused.retry_after_ms, self.refused("message")), (2_000, 1.0), "{refused:?}");
        let known = self.send("known", self.known).expect("a repetition is answered");
        assert!(known.duplicate && known.seq == 2, "{known:?}");
        let pages = self.bob.pages(page(self.channel));
        let read = pages.last().expect("a page").to;
        assert!(read >= 2 && read < last, "a page is modest: {read} of {last}");
        key
    }

    fn all_is_as_before(&mut self, last: u64, key: Key) {
        assert_eq!(turned_away(&self.server, "late"), None);
        let sent = self.send("too much", key).expect("an ack");
        assert!(!sent.duplicate && sent.seq == last + 1, "{sent:?}");
        assert_eq!(hears_all(&mut self.bob, self.channel, last + 1, last + 1), 0);
        let read = wire::ReadHistory { channel: self.channel, rows: 1, ..Default::default() };
        let newest = self.bob.pages(Ask::ReadHistory(read)).pop().expect("a page");
        assert_eq!((newest.to, newest.as_of), (last + 1, last + 1), "nothing is lost");
    }
}

#[test]
fn a_server_short_of_memory_does_without_step_by_step_and_recovers() {
    let server = start();
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let people = ["p0", "p1", "p2", "p3"];
    let reader = |at| slow(&server, people[at / 10], &format!("d{at}"));
    let readers: Vec<_> = (0..READERS).map(reader).collect();
    let full = group(&mut alice, &people);
    let mut stalled = Stalled { readers, asked: 0, channel: full };
    let long = "x".repeat(LONG);
    for _ in 0..MESSAGES {
        assert!(matches!(alice.ask(text(full, &long)).0, Said::Ack(_)));
    }
    let bob = slow(&server, "bob", "b");
    let (channel, known) = (group(&mut alice, &["bob"]), fresh_key());
    let mut scene = Scene { server, alice, bob, channel, known };
    scene.send("known", known).expect("an ack");
    assert_eq!(scene.server.metric("damso_memory_level"), 0.0);
    assert_eq!(turned_away(&scene.server, "early"), None);

    stalled.fill((&scene.server, &mut scene.alice), 1.0, 80.0, PAGE_MIB);
    scene.nobody_new_comes_in();
    stalled.fill((&scene.server, &mut scene.alice), 2.0, 90.0, PAGE_MIB);
    let last = scene.who_lags_reads_history();
    stalled.fill((&scene.server, &mut scene.alice), 3.0, 95.0, 0.1);
    let key = scene.nothing_new_is_sent(last);
    drop(stalled);
    let is_well = |server: &Process| server.metric("damso_memory_level") == 0.0;
    scene.server.wait_until("enough memory", is_well);
    scene.all_is_as_before(last, key);
}
