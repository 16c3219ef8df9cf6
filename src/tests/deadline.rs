//! A request says until when it is worth starting: later it is refused, and surely not carried out.

use std::collections::BTreeMap;

use damso_proto::code::Code;
use damso_proto::id::Key;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;

use super::raw::{Raw, encode, fresh_key, text};
use super::server::{Local, UNBOUND};

/// Floods, each with a channel that nobody has used since the start.
const ROUNDS: u64 = 20;
/// Groups made in a flood: the threads that read the stores are busy for many milliseconds.
const CROWD: u64 = 24;

const LIST: u64 = 101;
const MAKE: u64 = 102;
const SEND: u64 = 103;
const ADD: u64 = 104;
const AGAIN: u64 = 105;

fn make(name: &str) -> Ask {
    Ask::CreateChannel(wire::CreateChannel {
        name: name.to_owned(),
        uids: Vec::new(),
        ..Default::default()
    })
}

fn frame(id: u64, kind: Ask, key: Key, deadline_ms: u32) -> Vec<u8> {
    let key = bytes::Bytes::copy_from_slice(key.as_bytes());
    encode(&wire::ClientFrame { kind: Some(kind), id, key, deadline_ms, ..Default::default() })
}

/// Makes groups, and behind them asks for what is worth starting for a millisecond only.
fn flood(raw: &mut Raw, cold: u64, known: (u64, Key)) -> BTreeMap<u64, Said> {
    let mut flight = Vec::new();
    for id in 1..=CROWD {
        flight.extend(frame(id, make("crowd"), fresh_key(), 0));
    }
    let add = Ask::AddMembers(wire::AddMembers {
        channel: cold,
        uids: vec!["bob".to_owned()],
        ..Default::default()
    });
    let list = Ask::ListChannels(wire::ListChannels::default());
    for (id, kind) in [(LIST, list), (MAKE, make("late")), (SEND, text(cold, "late")), (ADD, add)] {
        flight.extend(frame(id, kind, fresh_key(), 1));
    }
    flight.extend(frame(AGAIN, text(known.0, "known"), known.1, 1));
    raw.write(&flight).expect("one flight");
    let mut answers = BTreeMap::new();
    while answers.len() < usize::try_from(CROWD).expect("few") + 5 {
        let frame = raw.next_frame().expect("an answer");
        if frame.id != 0 && !frame.more {
            answers.insert(frame.id, frame.kind.expect("a known kind"));
        }
    }
    answers
}

/// Whether it was refused as too late; else it was carried out.
fn was_late(answer: &Said) -> bool {
    match answer {
        Said::Refusal(refusal) => {
            assert_eq!(Code::from_number(refusal.code), Some(Code::Deadline), "{refusal:?}");
            assert_eq!(refusal.field, "deadline_ms");
            true
        }
        _ => false,
    }
}

#[test]
fn what_comes_too_late_is_refused_and_nothing_of_it_is_done() {
    let mut server = Local::start(&UNBOUND);
    let (_bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let mut made = |name: &str| match alice.ask(make(name)).0 {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    };
    let known = made("known");
    let cold: Vec<u64> = (0..ROUNDS).map(|_| made("cold")).collect();
    let key = fresh_key();
    assert!(matches!(alice.ask_with(text(known, "known"), key).0, Said::Ack(_)));
    drop(alice);
    server.restart(&UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let (mut late, mut made) = (BTreeMap::new(), 0);
    for cold in cold {
        let answers = flood(&mut alice, cold, (known, key));
        assert!(matches!(&answers[&AGAIN], Said::Ack(ack) if ack.duplicate), "never too late");
        let lates = [LIST, MAKE, SEND, ADD].map(|id| was_late(&answers[&id]));
        for (id, was_late) in [LIST, MAKE, SEND, ADD].into_iter().zip(lates) {
            *late.entry(id).or_insert(0) += u32::from(was_late);
        }
        made += usize::from(!lates[1]);
        let ask = Ask::ReadHistory(wire::ReadHistory { channel: cold, ..Default::default() });
        let Said::Page(page) = alice.ask(ask).0 else { panic!("a page") };
        let done = 1 + usize::from(!lates[2]) + usize::from(!lates[3]);
        assert_eq!(page.rows.len(), done, "what was refused is not there, and the rest is");
    }
    let mut groups = Vec::new();
    loop {
        let after = groups.last().map_or(0, |info: &wire::ChannelInfo| info.channel);
        let ask = Ask::ListChannels(wire::ListChannels { after, ..Default::default() });
        let Said::ChannelList(list) = alice.ask(ask).0 else { panic!("a list") };
        groups.extend(list.channels);
        if list.end {
            break;
        }
    }
    assert_eq!(groups.iter().filter(|info| info.name == "late").count(), made);
    println!("too late of {ROUNDS}: {late:?}");
    assert!(
        late.values().all(|times| *times > 0),
        "each kind was too late at least once: {late:?}"
    );
}
