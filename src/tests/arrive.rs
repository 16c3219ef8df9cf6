//! A device that comes while its person is added to channels and removed from them.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::standing::State;

use super::raw::{Raw, cursors, fresh_key, text};
use super::server::{Local, UNBOUND};

/// Times that a device comes.
const ARRIVALS: u64 = 40;
/// Groups made, and times that the person goes and comes, meanwhile.
const CHANGES: usize = 6;
/// Sends that the device asks about: so its answer takes a while.
const PENDING: u64 = 256;

fn make(alice: &mut Raw) -> u64 {
    let ask = wire::CreateChannel {
        name: "g".to_owned(),
        uids: vec!["bob".to_owned()],
        ..Default::default()
    };
    match alice.ask(Ask::CreateChannel(ask)).0 {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

fn seq(alice: &mut Raw, ask: Ask) -> u64 {
    match alice.ask(ask).0 {
        Said::Done(done) => done.seq,
        Said::Ack(ack) => ack.seq,
        other => panic!("expected Done or Ack, heard {other:?}"),
    }
}

/// What happens while the device comes: groups with Bob, and Bob out of `channel` and in again.
/// The groups, and the seqs of `channel` that are not Bob's to see.
fn meanwhile(alice: &mut Raw, channel: u64, bob: u64) -> (Vec<u64>, BTreeSet<u64>) {
    let (mut groups, mut hidden) = (Vec::new(), BTreeSet::new());
    for _ in 0..CHANGES {
        let remove = wire::RemoveMember { channel, user: bob };
        let out = seq(alice, Ask::RemoveMember(remove));
        seq(alice, text(channel, "not for bob"));
        groups.push(make(alice));
        let add = wire::AddMembers { channel, uids: vec!["bob".to_owned()], ..Default::default() };
        let back = seq(alice, Ask::AddMembers(add));
        hidden.extend(out + 1..back);
        seq(alice, text(channel, "for bob"));
    }
    (groups, hidden)
}

/// Everything that a device hears, until this event.
fn hear_to(raw: &mut Raw, heard: &mut Vec<Said>, channel: u64, seq: u64) {
    let is_last = |said: &Said| match said {
        Said::Event(event) => (event.channel, event.seq) == (channel, seq),
        _ => false,
    };
    while !heard.iter().any(is_last) {
        heard.push(raw.next().expect("an event"));
    }
}

/// Positions of each event in what was heard.
fn events(heard: &[Said]) -> BTreeMap<(u64, u64), Vec<usize>> {
    let mut events: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (at, said) in heard.iter().enumerate() {
        if let Said::Event(event) = said {
            events.entry((event.channel, event.seq)).or_default().push(at);
        }
    }
    events
}

fn check(heard: &[Said], round: u64) {
    let events = events(heard);
    for (event, times) in &events {
        assert_eq!(times.len(), 1, "round {round}: {event:?} came more than once");
    }
    let resumed = heard.iter().position(|said| matches!(said, Said::Resumed(_)));
    let resumed = resumed.expect("the answer ends");
    for said in &heard[..resumed] {
        let Said::Standing(standing) = said else { continue };
        let early = events.iter().any(|((channel, _), times)| {
            standing.state() == State::Gone && *channel == standing.channel && times[0] < resumed
        });
        assert!(!early, "round {round}: events of {} beside Gone", standing.channel);
    }
}

#[test]
fn a_device_that_comes_while_channels_change_hears_everything_once() {
    let server = Local::start(&UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let string = server.string("bob");
    let (mut here, heard) = Raw::log_in(&string, "here", Default::default());
    let Some(Said::Welcome(welcome)) = heard.first() else { panic!("Welcome comes first") };
    let (bob, epoch) = (welcome.user, welcome.epoch);
    let channel = make(&mut alice);
    let (mut hidden, mut gone) = (BTreeSet::new(), 0);
    for round in 0..ARRIVALS {
        // In every other round nobody of his is here, so that his channels must be read first.
        if round % 2 == 1 {
            drop(here);
        }
        let pending = (0..PENDING).map(|_| wire::PendingSend {
            channel,
            key: Bytes::copy_from_slice(fresh_key().as_bytes()),
        });
        let known = seq(&mut alice, text(channel, "known"));
        let resume = cursors(&[(channel, known)], epoch);
        let resume = wire::Resume { pending: pending.collect(), ..resume };
        let (mut raw, mut heard, groups) = thread::scope(|scope| {
            let changes = scope.spawn(|| meanwhile(&mut alice, channel, bob));
            thread::sleep(Duration::from_micros(round * 300));
            let (raw, heard) = Raw::log_in(&string, "comes", resume);
            let (groups, more) = changes.join().expect("changes");
            hidden.extend(more);
            (raw, heard, groups)
        });
        let last = *groups.last().expect("some groups");
        let end = seq(&mut alice, text(last, "the end"));
        hear_to(&mut raw, &mut heard, last, end);
        check(&heard, round);
        let events = events(&heard);
        for group in groups {
            assert!(events.contains_key(&(group, 1)), "round {round}: {group} was not heard of");
        }
        let seen = events.keys().filter(|(of, _)| *of == channel).map(|(_, seq)| *seq);
        let secret: Vec<_> = seen.filter(|seq| hidden.contains(seq)).collect();
        assert!(secret.is_empty(), "round {round}: {secret:?} was not bob's to see");
        gone += heard.iter().filter(|said| is_gone(said, channel)).count();
        here = raw;
    }
    println!("of {ARRIVALS} arrivals {gone} came while bob was out");
}

fn is_gone(said: &Said, channel: u64) -> bool {
    matches!(said, Said::Standing(it) if it.channel == channel && it.state() == State::Gone)
}
