//! People who block each other, over real connections.

use std::thread;

use damso_proto::code::Code;
use damso_proto::id::ChannelNo;
use damso_proto::wire;
use damso_proto::wire::ChannelKind;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::system::{BlockSet, What};

use super::broadcast::{Person, add, make};
use super::raw::{Raw, cursors, fresh_key, text};
use super::server::{Local, UNBOUND};

/// How often a block meets somebody who opens a direct channel.
const RACES: usize = 20;
/// Sends in flight when a block comes.
const IN_FLIGHT: usize = 24;
/// Sends after which a block should long have come.
const SENDS_MAX: usize = 200_000;

fn open(uid: &str) -> Ask {
    Ask::OpenDirect(wire::OpenDirect { uid: uid.to_owned() })
}

fn block(person: &Person) -> Ask {
    Ask::Block(wire::Block { user: person.number.get() })
}

fn unblock(person: &Person) -> Ask {
    Ask::Unblock(wire::Unblock { user: person.number.get() })
}

/// The direct channel of two people.
fn direct(one: &mut Person, uid: &str) -> u64 {
    match one.ask(open(uid)) {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

fn two(server: &Local) -> [Person; 2] {
    ["alice", "bob"].map(|uid| Person::log_in(server, uid))
}

/// Neither of the two writes there, and both hear the same.
fn is_silent(channel: u64, people: [&mut Person; 2]) {
    let [one, other] = people.map(|person| person.ask(text(channel, "x")));
    assert!(matches!(&one, Said::Refusal(refusal) if refusal.code == Code::Blocked.number()));
    assert_eq!(one, other, "it does not say who blocks whom");
}

fn blocks_of(person: &mut Person, limit: u32) -> Vec<String> {
    let mut all: Vec<wire::Blocked> = Vec::new();
    loop {
        let after = all.last().map_or(0, |blocked| blocked.user);
        let Said::BlockList(list) = person.ask(Ask::ListBlocks(wire::ListBlocks { after, limit }))
        else {
            panic!("a list")
        };
        assert!(limit == 0 || list.people.len() <= usize::try_from(limit).expect("few"));
        all.extend(list.people);
        if list.end {
            return all.into_iter().map(|blocked| blocked.uid).collect();
        }
    }
}

/// Reads what was said; each of the two can.
fn rows_of(person: &mut Person, channel: u64) -> usize {
    match person.ask(Ask::ReadHistory(wire::ReadHistory { channel, ..Default::default() })) {
        Said::Page(page) => page.rows.len(),
        other => panic!("expected a page, heard {other:?}"),
    }
}

fn refusal(answer: Said) -> (Option<Code>, String) {
    match answer {
        Said::Refusal(refusal) => (Code::from_number(refusal.code), refusal.field),
        other => panic!("expected a refusal, heard {other:?}"),
    }
}

#[test]
fn while_either_blocks_the_other_neither_writes_and_both_read() {
    let server = Local::start(&UNBOUND);
    let [mut alice, mut bob] = two(&server);
    let channel = direct(&mut alice, "bob");
    alice.send(channel, "hello");
    let last = bob.send(channel, "hello you");
    let (before, told) = (bob.info(channel), bob.told());
    assert_eq!(alice.done(block(&bob)), last, "the last one that is there");
    is_silent(channel, [&mut alice, &mut bob]);
    assert_eq!((rows_of(&mut alice, channel), rows_of(&mut bob, channel)), (3, 3));
    assert_eq!(direct(&mut bob, "alice"), channel, "it is found, though not made");
    assert_eq!((bob.info(channel), bob.told()), (before, told), "nothing tells him");

    assert_eq!(alice.done(block(&bob)), 0, "nothing to change");
    bob.done(block(&alice));
    alice.done(unblock(&bob));
    is_silent(channel, [&mut alice, &mut bob]);
    bob.done(unblock(&alice));
    let spoken = alice.send(channel, "well then");
    assert_eq!(spoken, last + 1, "in between nothing was ordered");
    bob.hears(channel, spoken);
}

#[test]
fn whoever_is_away_learns_whom_they_block_and_a_new_start_forgets_nothing() {
    let mut server = Local::start(&UNBOUND);
    let [mut alice, mut bob] = two(&server);
    let mut tablet = Person::resume(&server, "alice", "tablet", wire::Resume::default());
    let channel = direct(&mut alice, "bob");
    alice.done(block(&bob));
    let set = |blocked| What::BlockSet(BlockSet { user: bob.number.get(), blocked });
    assert_eq!(tablet.told().last(), Some(&set(true)), "live");
    let own = ChannelNo::self_of(alice.number).get();
    let had = tablet.seqs(own).last().copied().expect("its own log");
    drop(tablet);
    alice.done(unblock(&bob));
    alice.done(block(&bob));
    let mut tablet = Person::resume(&server, "alice", "tablet", cursors(&[(own, had)], 1));
    assert_eq!(tablet.told(), [set(false), set(true)], "by the resume");

    server.restart(&UNBOUND);
    [alice, bob] = two(&server);
    is_silent(channel, [&mut alice, &mut bob]);
    assert_eq!(blocks_of(&mut alice, 0), ["bob"]);
    alice.done(unblock(&bob));
    bob.send(channel, "at last");
}

#[test]
fn where_two_have_no_direct_channel_none_is_made_until_nobody_blocks() {
    let server = Local::start(&UNBOUND);
    let [mut alice, mut bob] = two(&server);
    assert_eq!(alice.done(block(&bob)), 0, "there is no channel with a last event");
    let (one, other) = (alice.ask(open("bob")), bob.ask(open("alice")));
    assert_eq!(refusal(one.clone()), (Some(Code::Blocked), String::new()));
    assert_eq!(one, other, "it does not say who blocks whom");
    assert_eq!(bob.told(), []);
    alice.done(unblock(&bob));
    let channel = direct(&mut bob, "alice");
    bob.send(channel, "hello");
}

#[test]
fn whoever_is_blocked_adds_the_other_to_nothing_and_is_told_whom() {
    let server = Local::start(&UNBOUND);
    let [mut alice, mut bob] = two(&server);
    drop(Person::log_in(&server, "carol"));
    alice.done(block(&bob));
    for kind in [ChannelKind::Group, ChannelKind::Broadcast] {
        let channel = make(&mut bob, kind, &[]);
        // By its place in what was asked, whatever is there twice.
        let uids = ["carol", "carol", "alice"].map(str::to_owned).to_vec();
        let all = wire::AddMembers { channel, uids: uids.clone(), ..Default::default() };
        let named = (Some(Code::Blocked), "uids[2]".to_owned());
        assert_eq!(refusal(bob.ask(Ask::AddMembers(all))), named);
        assert_eq!(bob.info(channel).members, 1, "nobody was added");
        let new = wire::CreateChannel { name: "g".to_owned(), uids, kind: kind.into() };
        assert_eq!(refusal(bob.ask(Ask::CreateChannel(new))), named);
        bob.done(add(channel, "carol", false));
    }
    assert_eq!(alice.told().len(), 1, "her block is all that she hears of");
    // Whoever blocks may, and in what both share nothing changes.
    for kind in [ChannelKind::Group, ChannelKind::Broadcast] {
        let channel = make(&mut alice, kind, &["bob"]);
        let (user, role) = (bob.number.get(), wire::Role::Moderator.into());
        alice.done(Ask::SetRole(wire::SetRole { channel, user, role }));
        let spoken = bob.send(channel, "hello everybody");
        alice.hears(channel, spoken);
    }
}

#[test]
fn pages_of_those_who_are_blocked_add_up() {
    let server = Local::start(&UNBOUND);
    let mut alice = Person::log_in(&server, "alice");
    let others: Vec<_> = (0..7).map(|n| Person::log_in(&server, &format!("p{n}"))).collect();
    assert_eq!(blocks_of(&mut alice, 0), [""; 0]);
    for other in others.iter().rev() {
        alice.done(block(other));
    }
    let expected: Vec<_> = (0..7).map(|n| format!("p{n}")).collect();
    for limit in [0, 1, 3, 7, 8, u32::MAX] {
        assert_eq!(blocks_of(&mut alice, limit), expected, "limit {limit}");
    }
    let mut p0 = Person::log_in(&server, "p0");
    assert_eq!(blocks_of(&mut p0, 0), [""; 0], "whom others block is nobody's to see");
}

#[test]
fn a_repeated_key_is_answered_as_at_first() {
    let server = Local::start(&UNBOUND);
    let [mut alice, mut bob] = two(&server);
    let (before, after) = (fresh_key(), fresh_key());
    let first = alice.ask_with(block(&bob), before);
    assert_eq!(first, Said::Done(wire::Done { seq: 0 }));
    alice.done(unblock(&bob));
    let channel = direct(&mut alice, "bob");
    assert_eq!(alice.ask_with(block(&bob), before), first);
    let sent = fresh_key();
    let Said::Ack(ack) = bob.ask_with(text(channel, "not blocked"), sent) else { panic!("an ack") };
    let second = alice.ask_with(block(&bob), after);
    assert_eq!(second, Said::Done(wire::Done { seq: ack.seq }));
    assert_eq!(alice.ask_with(block(&bob), after), second);
    // What was sent before is known, though nothing new may come.
    let Said::Ack(again) = bob.ask_with(text(channel, "not blocked"), sent) else {
        panic!("an ack")
    };
    assert_eq!((again.seq, again.duplicate), (ack.seq, true));
    let other = refusal(alice.ask_with(unblock(&bob), after));
    assert_eq!(other.0, Some(Code::KeyReused));
    is_silent(channel, [&mut alice, &mut bob]);
}

#[test]
fn of_a_block_and_a_new_direct_channel_one_comes_first() {
    let server = Local::start(&UNBOUND);
    for round in 0..RACES {
        let uids = [format!("a{round}"), format!("b{round}")];
        let [mut alice, mut bob] = uids.each_ref().map(|uid| Person::log_in(&server, uid));
        let ask = block(&bob);
        let opened = thread::scope(|scope| {
            let opened = scope.spawn(|| bob.ask(open(&uids[0])));
            alice.done(ask);
            opened.join().expect("an answer")
        });
        match opened {
            Said::Channel(info) => is_silent(info.channel, [&mut alice, &mut bob]),
            refused => assert_eq!(refusal(refused).0, Some(Code::Blocked), "round {round}"),
        }
    }
}

/// Sends until it is refused, many at a time. The seqs that were acknowledged, in order.
fn send_until_refused(raw: &mut Raw, channel: u64) -> Vec<u64> {
    let (mut acknowledged, mut sent, mut refused) = (Vec::new(), 0, 0);
    while refused == 0 || acknowledged.len() + refused < sent {
        if refused == 0 && sent - acknowledged.len() < IN_FLIGHT {
            assert!(sent < SENDS_MAX, "nobody refuses them");
            raw.post(text(channel, "on and on"), fresh_key()).expect("a send goes out");
            sent += 1;
            continue;
        }
        match raw.next().expect("an answer") {
            Said::Ack(ack) => acknowledged.push(ack.seq),
            said @ Said::Refusal(_) => {
                assert_eq!(refusal(said).0, Some(Code::Blocked));
                refused += 1;
            }
            _ => {}
        }
    }
    acknowledged
}

#[test]
fn nothing_of_the_other_comes_above_the_seq_that_a_block_is_answered_with() {
    let server = Local::start(&UNBOUND);
    let [mut alice, mut bob] = two(&server);
    let channel = direct(&mut alice, "bob");
    let (mut raw, _) = Raw::log_in(&server.string("bob"), "flood", Default::default());
    let mut last = 1;
    for round in 0..RACES {
        let acknowledged = thread::scope(|scope| {
            let flood = scope.spawn(|| send_until_refused(&mut raw, channel));
            alice.hears(channel, last + 1);
            last = alice.done(block(&bob));
            flood.join().expect("it was answered")
        });
        assert_eq!(acknowledged.last(), Some(&last), "round {round}");
        alice.hears(channel, last);
        alice.fence();
        assert_eq!(alice.seqs(channel).last(), Some(&last), "round {round}");
        alice.done(unblock(&bob));
    }
    bob.send(channel, "after all");
}
