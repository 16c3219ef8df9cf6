//! A server that is short of memory does without, step by step, and takes everything up again.

use std::thread;
use std::time::Duration;

use damso_proto::address::ConnectionString;
use damso_proto::code::{CloseCode, Code};
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
    fn ask(&mut self, pages: usize) {
        for _ in 0..pages {
            let reader = self.readers.get_mut(self.asked / PAGES).expect("enough readers");
            reader.post(page(self.channel), fresh_key()).expect("a request goes out");
            self.asked += 1;
        }
    }

    /// Asks until the server is this short of memory.
    fn fill(&mut self, server: &Process, level: f64, percent: f64, page_mib: f64) {
        while server.metric("damso_memory_level") < level {
            let used = server.metric("damso_memory_used_bytes") / f64::from(1 << 20);
            let lacking = (BUDGET_MIB * percent / 100.0 - used) / page_mib;
            self.ask(lacking.clamp(1.0, 16.0) as usize);
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

#[test]
fn a_server_short_of_memory_does_without_step_by_step_and_recovers() {
    let server = start();
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let people = ["p0", "p1", "p2", "p3"];
    let readers: Vec<_> =
        (0..READERS).map(|at| slow(&server, people[at / 10], &format!("d{at}"))).collect();
    let channel = group(&mut alice, &people);
    let mut bob = slow(&server, "bob", "b");
    let elsewhere = group(&mut alice, &["bob"]);
    let (long, short) = ("x".repeat(LONG), "x".repeat(LONG / 16));
    for _ in 0..MESSAGES {
        assert!(matches!(alice.ask(text(channel, &long)).0, Said::Ack(_)));
    }
    let known = fresh_key();
    assert!(matches!(alice.ask_with(text(elsewhere, "known"), known).0, Said::Ack(_)));
    assert_eq!(server.metric("damso_memory_level"), 0.0);
    assert_eq!(turned_away(&server, "early"), None);
    let mut stalled = Stalled { readers, asked: 0, channel };

    stalled.fill(&server, 1.0, 80.0, PAGE_MIB);
    let told = turned_away(&server, "late").expect("nobody comes in");
    assert_eq!(CloseCode::from_number(told.code), Some(CloseCode::Overloaded), "{told:?}");
    assert_eq!(told.retry_after_ms, 5_000, "{told:?}");
    assert_eq!(server.counted("damso_memory_refused_total", "what=\"login\""), 1.0);
    // Whoever is in goes on, and goes on being somebody.
    let string: ConnectionString = server.string("alice").parse().expect("a connection string");
    let token = string.token.expect("a token").reveal().to_owned();
    let renewed = alice.ask(Ask::Reauth(wire::Reauth { token })).0;
    assert!(matches!(renewed, Said::Renewed(_)), "{renewed:?}");
    // Bob does not read: the newest of it waits for him.
    for _ in 0..400 {
        assert!(matches!(alice.ask(text(elsewhere, &short)).0, Said::Ack(_)));
    }
    assert_eq!(server.metric("damso_memory_shed_bytes_total"), 0.0);
    assert!(server.metric("damso_channel_log_bytes") > 0.0, "nothing waits");

    stalled.fill(&server, 2.0, 90.0, PAGE_MIB);
    server.wait_until("what waits is shed", |server| {
        server.metric("damso_memory_shed_bytes_total") > 0.0
    });
    let last = match alice.ask(text(elsewhere, "live again")).0 {
        Said::Ack(ack) => ack.seq,
        other => panic!("expected an ack, heard {other:?}"),
    };
    assert!(hears_all(&mut bob, elsewhere, 1, last) > 0, "nothing was shed");

    stalled.fill(&server, 3.0, 95.0, 0.1);
    let key = fresh_key();
    let refused = match alice.ask_with(text(elsewhere, "too much"), key).0 {
        Said::Refusal(refusal) => refusal,
        other => panic!("expected a refusal, heard {other:?}"),
    };
    assert_eq!(Code::from_number(refused.code), Some(Code::Overloaded), "{refused:?}");
    assert_eq!(refused.retry_after_ms, 2_000, "{refused:?}");
    assert_eq!(server.counted("damso_memory_refused_total", "what=\"message\""), 1.0);
    match alice.ask_with(text(elsewhere, "known"), known).0 {
        Said::Ack(ack) => assert!(ack.duplicate && ack.seq == 2, "{ack:?}"),
        other => panic!("a repetition is answered, not {other:?}"),
    }
    let pages = bob.pages(page(elsewhere));
    let read = pages.last().expect("a page").to;
    assert!(read >= 2 && read < last, "a page is modest: {read} of {last}");

    drop(stalled);
    server.wait_until("all is well", |server| server.metric("damso_memory_level") == 0.0);
    assert_eq!(turned_away(&server, "late"), None);
    match alice.ask_with(text(elsewhere, "too much"), key).0 {
        Said::Ack(ack) => assert!(!ack.duplicate && ack.seq == last + 1, "{ack:?}"),
        other => panic!("expected an ack, heard {other:?}"),
    }
    assert_eq!(hears_all(&mut bob, elsewhere, last + 1, last + 1), 0);
    let read = wire::ReadHistory { channel: elsewhere, rows: 1, ..Default::default() };
    let newest = bob.pages(Ask::ReadHistory(read)).pop().expect("a page");
    assert_eq!((newest.to, newest.as_of), (last + 1, last + 1), "nothing is lost");
}
