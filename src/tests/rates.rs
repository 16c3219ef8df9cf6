//! Who asks too often is told when to come back, counted, and nobody else's concern.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use damso_proto::code::Code;
use damso_proto::id::Key;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;

use super::process::Process;
use super::raw::{Raw, encode, fresh_key, text};

/// What the server counts refusals under.
const REFUSED: &str = "damso_requests_refused_total";
/// A round trip takes less, however busy the machine is.
const SOON: Duration = Duration::from_secs(5);

/// So many refused or let pass, and the first refused ones by key.
#[derive(Default)]
struct Tally {
    acked: usize,
    refused: Vec<(Key, wire::Refusal)>,
}

impl Tally {
    fn answers(&self) -> usize {
        self.acked + self.refused.len()
    }
}

fn log_in(server: &Process, uid: &str, device: &str) -> Raw {
    Raw::log_in(&server.string(uid), device, Default::default()).0
}

fn group(raw: &mut Raw, uids: &[&str]) -> u64 {
    let uids = uids.iter().map(|uid| (*uid).to_owned()).collect();
    match raw.ask(make("g", uids)).0 {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

fn make(name: &str, uids: Vec<String>) -> Ask {
    Ask::CreateChannel(wire::CreateChannel { name: name.to_owned(), uids, ..Default::default() })
}

/// Sends so many messages in one flight; what each was answered, as it comes.
fn flood(raw: &mut Raw, channel: u64, count: usize, mut answered: impl FnMut(&Tally)) -> Tally {
    let (mut flight, mut keys) = (Vec::new(), BTreeMap::new());
    // Above the ids of single requests.
    for id in (1_000_000..).take(count) {
        let key = fresh_key();
        let bytes = bytes::Bytes::copy_from_slice(key.as_bytes());
        let kind = Some(text(channel, "x"));
        let frame = wire::ClientFrame { kind, id, key: bytes, ..Default::default() };
        flight.extend(encode(&frame));
        keys.insert(id, key);
    }
    raw.write(&flight).expect("one flight");
    let mut tally = Tally::default();
    while tally.answers() < count {
        let frame = raw.next_frame().expect("an answer");
        let Some(key) = keys.remove(&frame.id) else { continue };
        match frame.kind {
            Some(Said::Ack(_)) => tally.acked += 1,
            Some(Said::Refusal(refusal)) => tally.refused.push((key, refusal)),
            other => panic!("expected an ack or a refusal, heard {other:?}"),
        }
        answered(&tally);
    }
    tally
}

fn assert_too_often(refusal: &wire::Refusal, field: &str) {
    assert_eq!(Code::from_number(refusal.code), Some(Code::RateLimited), "{refusal:?}");
    assert_eq!(refusal.field, field, "{refusal:?}");
    assert!((1..=4_000).contains(&refusal.retry_after_ms), "{refusal:?}");
}

/// A burst, and what came back since.
fn most(rate: (u128, usize), since: Instant) -> usize {
    rate.1 + usize::try_from(rate.0 * since.elapsed().as_millis() / 1_000).expect("few") + 1
}

fn is_acked(answer: &Said, duplicate: bool) -> bool {
    matches!(answer, Said::Ack(ack) if ack.duplicate == duplicate)
}

#[test]
fn whoever_sends_too_fast_waits_on_all_devices_and_nobody_else_does() {
    let server = Process::start(&["--shards", "2"]);
    let mut bob = log_in(&server, "bob", "b");
    let mut phone = log_in(&server, "alice", "phone");
    let mut tablet = log_in(&server, "alice", "tablet");
    let channel = group(&mut bob, &["alice"]);
    let known = fresh_key();
    assert!(is_acked(&phone.ask_with(text(channel, "known"), known).0, false));
    let begun = Instant::now();
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| flood(&mut phone, channel, 50, |_| ()));
        let second = scope.spawn(|| flood(&mut tablet, channel, 50, |_| ()));
        for _ in 0..20 {
            let asked = Instant::now();
            assert!(is_acked(&bob.ask(text(channel, "still here")).0, false));
            assert!(asked.elapsed() < SOON, "bob waited {:?}", asked.elapsed());
        }
        (first.join().expect("answers"), second.join().expect("answers"))
    });
    let refused: Vec<_> = first.refused.iter().chain(&second.refused).collect();
    assert!(first.acked + second.acked <= most((20, 60), begun), "one budget for both");
    assert!(!refused.is_empty());
    refused.iter().for_each(|(_, refusal)| assert_too_often(refusal, ""));
    // Nobody begins anew by coming back.
    drop((phone, tablet));
    let mut phone = log_in(&server, "alice", "phone");
    let again = flood(&mut phone, channel, 50, |_| ());
    let acked = first.acked + second.acked + again.acked;
    assert!(acked <= most((20, 60), begun), "{acked} in {:?}", begun.elapsed());
    // What is known is answered whatever was asked before.
    assert!(is_acked(&phone.ask_with(text(channel, "known"), known).0, true));
    let counted = (refused.len() + again.refused.len()) as f64;
    assert_eq!(server.counted(REFUSED, "reason=\"rate_user\""), counted);
    // Whoever waits as long as they are told is let pass with the same key.
    let (key, refusal) = again.refused.last().expect("too many");
    thread::sleep(Duration::from_millis(refusal.retry_after_ms.into()));
    assert!(is_acked(&phone.ask_with(text(channel, "x"), *key).0, false));
}

#[test]
fn whoever_does_not_listen_is_read_no_faster_than_they_may_send() {
    let server = Process::start(&["--shards", "2"]);
    let (mut bob, mut alice) = (log_in(&server, "bob", "b"), log_in(&server, "alice", "a"));
    let channel = group(&mut bob, &["alice"]);
    let begun = Instant::now();
    let tally = thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            flood(&mut alice, channel, 200, |so_far| {
                // Two bursts at once, the second in refusals, and then two for each that comes back.
                assert!(so_far.answers() <= most((40, 120), begun) + 1);
            })
        });
        while !flooding.is_finished() {
            let asked = Instant::now();
            assert!(!matches!(bob.ask(text(channel, "still here")).0, Said::Closing(_)));
            assert!(asked.elapsed() < SOON);
            thread::sleep(Duration::from_millis(100));
        }
        flooding.join().expect("answers")
    });
    assert!(tally.acked <= most((20, 60), begun));
    assert!(begun.elapsed() > Duration::from_secs(1), "it took {:?}", begun.elapsed());
    tally.refused.iter().for_each(|(_, refusal)| assert_too_often(refusal, ""));
    assert!(server.metric("damso_requests_held_total") > 0.0);
}

#[test]
fn a_channel_takes_so_many_of_all_its_members_together() {
    let server = Process::start(&["--shards", "2", "--sends-per-channel", "30/s burst 40"]);
    let people = ["alice", "bob", "carol"];
    let [mut alice, mut bob, mut carol] = people.map(|uid| log_in(&server, uid, "d"));
    let dora = log_in(&server, "dora", "d");
    let channel = group(&mut alice, &["bob", "carol"]);
    let elsewhere = group(&mut bob, &["carol"]);
    let begun = Instant::now();
    let tallies = thread::scope(|scope| {
        let floods = [&mut alice, &mut bob, &mut carol]
            .map(|raw| scope.spawn(move || flood(raw, channel, 30, |_| ())));
        floods.map(|flooding| flooding.join().expect("answers"))
    });
    let acked: usize = tallies.iter().map(|tally| tally.acked).sum();
    assert!(acked <= most((30, 40), begun));
    let refused: Vec<_> = tallies.iter().flat_map(|tally| &tally.refused).collect();
    assert!(!refused.is_empty());
    refused.iter().for_each(|(_, refusal)| assert_too_often(refusal, "channel"));
    let counted = server.counted(REFUSED, "reason=\"rate_channel\"");
    assert_eq!(counted, refused.len() as f64);
    // Another channel, and what is no message, have nothing to do with it.
    assert!(is_acked(&carol.ask(text(elsewhere, "x")).0, false));
    let add = wire::AddMembers { channel, uids: vec!["dora".to_owned()], ..Default::default() };
    assert!(matches!(alice.ask(Ask::AddMembers(add)).0, Said::Done(_)));
    drop(dora);
}

#[test]
fn commands_are_paid_for_like_so_many_messages_and_repetitions_are_not() {
    let server = Process::start(&["--shards", "2"]);
    let mut alice = log_in(&server, "alice", "a");
    let mut bob = log_in(&server, "bob", "b");
    let known = fresh_key();
    let Said::Channel(first) = alice.ask_with(make("first", Vec::new()), known).0 else {
        panic!("a channel")
    };
    let add = Ask::AddMembers(wire::AddMembers {
        channel: first.channel,
        uids: vec!["bob".to_owned()],
        ..Default::default()
    });
    let added = fresh_key();
    let Said::Done(done) = alice.ask_with(add.clone(), added).0 else { panic!("bob is added") };
    let mut made = 0;
    let refusal = loop {
        match alice.ask(make("more", Vec::new())).0 {
            Said::Channel(_) => made += 1,
            Said::Refusal(refusal) => break refusal,
            other => panic!("expected a channel or a refusal, heard {other:?}"),
        }
        assert!(made < 100, "there is no limit");
    };
    assert_too_often(&refusal, "");
    match alice.ask_with(make("first", Vec::new()), known).0 {
        Said::Channel(info) => assert_eq!(info.channel, first.channel),
        other => panic!("expected the first channel, heard {other:?}"),
    }
    match alice.ask_with(add, added).0 {
        Said::Done(again) => assert_eq!(again, done),
        other => panic!("expected the first answer, heard {other:?}"),
    }
    assert!(is_acked(&bob.ask(text(first.channel, "x")).0, false));
    assert!(server.counted(REFUSED, "reason=\"rate_user\"") >= 1.0);
}

#[test]
fn whoever_reads_too_much_can_still_send() {
    let server = Process::start(&["--shards", "2", "--reads-per-user", "4/s burst 40"]);
    let mut alice = log_in(&server, "alice", "a");
    let channel = group(&mut alice, &[]);
    let read = || Ask::ReadHistory(wire::ReadHistory { channel, ..Default::default() });
    let begun = Instant::now();
    let mut pages = 0;
    let refusal = loop {
        match alice.ask(read()).0 {
            Said::Page(_) => pages += 1,
            Said::Refusal(refusal) => break refusal,
            other => panic!("expected a page or a refusal, heard {other:?}"),
        }
        assert!(pages <= most((1, 10), begun));
    };
    assert!(pages >= 10);
    assert_too_often(&refusal, "");
    assert!(is_acked(&alice.ask(text(channel, "x")).0, false));
    thread::sleep(Duration::from_millis(refusal.retry_after_ms.into()));
    assert!(matches!(alice.ask(read()).0, Said::Page(_)));
}
