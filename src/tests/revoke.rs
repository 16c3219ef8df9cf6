//! Who may read, while messages flow: nothing reaches a person after their removal is answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use damso_proto::code::Code;
use damso_proto::id::{ChannelNo, UserNo};
use damso_proto::wire;
use damso_proto::wire::ChannelKind;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::event::Content;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::system::What;

use super::raw::{Raw, fresh_key, text};
use super::server::{Local, UNBOUND};

/// Removals while others send.
const REMOVALS: usize = 50;
/// What Alice says before the last removal.
const FAREWELL: &str = "farewell";
/// Sends that one sender has in flight.
const IN_FLIGHT: usize = 16;

fn number(heard: &[Said]) -> UserNo {
    match heard.first() {
        Some(Said::Welcome(welcome)) => UserNo::new(welcome.user),
        other => panic!("Welcome comes first, not {other:?}"),
    }
}

fn group(raw: &mut Raw, uids: &[&str]) -> u64 {
    make(raw, ChannelKind::Group, uids)
}

fn make(raw: &mut Raw, kind: ChannelKind, uids: &[&str]) -> u64 {
    let uids = uids.iter().map(|uid| (*uid).to_owned()).collect();
    let (name, kind) = ("g".to_owned(), kind.into());
    match raw.ask(Ask::CreateChannel(wire::CreateChannel { name, uids, kind })).0 {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

fn add(channel: u64, uid: &str) -> Ask {
    Ask::AddMembers(wire::AddMembers { channel, uids: vec![uid.to_owned()], ..Default::default() })
}

fn remove(channel: u64, user: UserNo) -> Ask {
    Ask::RemoveMember(wire::RemoveMember { channel, user: user.get() })
}

fn leave(channel: u64) -> Ask {
    Ask::LeaveChannel(wire::LeaveChannel { channel })
}

fn history(channel: u64) -> Ask {
    Ask::ReadHistory(wire::ReadHistory { channel, ..Default::default() })
}

/// The seq of a command's Done, and the events that came before it.
fn done((answer, events): (Said, Vec<wire::Event>)) -> (u64, Vec<wire::Event>) {
    match answer {
        Said::Done(done) => (done.seq, events),
        other => panic!("expected Done, heard {other:?}"),
    }
}

fn is_not_found(answer: &Said) -> bool {
    let code = Code::NotFound.number();
    matches!(answer, Said::Refusal(refusal) if refusal.code == code)
}

fn is_not_allowed(answer: &Said) -> bool {
    let code = Code::NotAllowed.number();
    matches!(answer, Said::Refusal(refusal) if refusal.code == code)
}

fn events_of(frames: Vec<wire::ServerFrame>) -> impl Iterator<Item = wire::Event> {
    frames.into_iter().filter_map(|frame| match frame.kind {
        Some(Said::Event(event)) => Some(event),
        _ => None,
    })
}

fn what(event: &wire::Event) -> Option<&What> {
    match &event.content {
        Some(Content::System(wire::System { what })) => what.as_ref(),
        _ => None,
    }
}

/// Somebody who sends, every event they heard, and what was acknowledged under which seq.
struct Sender {
    raw: Raw,
    heard: Vec<wire::Event>,
    acknowledged: BTreeMap<u64, String>,
}

/// Sends as fast as acknowledgements come, until told to stop.
fn send_until(mut raw: Raw, channel: u64, stop: &AtomicBool) -> Sender {
    let (mut heard, mut acknowledged) = (Vec::new(), BTreeMap::new());
    let mut waiting = BTreeMap::new();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) || !waiting.is_empty() {
        while waiting.len() < IN_FLIGHT && !stop.load(Ordering::Relaxed) {
            sent += 1;
            let body = format!("{sent}");
            let id = raw.post(text(channel, &body), fresh_key()).expect("a send goes out");
            waiting.insert(id, body);
        }
        let frame = raw.next_frame().expect("acknowledgements and events");
        match frame.kind {
            Some(Said::Ack(ack)) => {
                let body = waiting.remove(&frame.id).expect("a send of this connection");
                acknowledged.insert(ack.seq, body);
            }
            Some(Said::Event(event)) if event.channel == channel => heard.push(event),
            Some(Said::Event(_) | Said::Ping(_)) => {}
            other => panic!("a sender in the group heard {other:?}"),
        }
    }
    Sender { raw, heard, acknowledged }
}

impl Sender {
    /// Everything up to the event with this seq.
    fn hear_to(mut self, channel: u64, seq: u64) -> Vec<wire::Event> {
        while self.heard.last().is_none_or(|event| event.seq < seq) {
            let event = self.raw.event();
            if event.channel == channel {
                self.heard.push(event);
            }
        }
        self.heard
    }
}

/// What the removed person may have: each range from the event that adds them to the one that
/// removes them.
type Spans = Vec<(u64, u64)>;

/// Removes Carol and adds her again, fifty times.
fn come_and_go(
    alice: &mut Raw,
    carol: &mut Raw,
    (channel, kind): (u64, ChannelKind),
    user: UserNo,
) -> (Spans, Vec<wire::Event>) {
    let (mut spans, mut heard, mut from) = (Vec::new(), Vec::new(), 1);
    for round in 0..REMOVALS {
        let (to, _) = done(alice.ask(remove(channel, user)));
        spans.push((from, to));
        // Who has heard of the removal as done reads nothing, in whatever way.
        let (page, before) = carol.ask(history(channel));
        heard.extend(before);
        assert!(is_not_found(&page), "round {round}: {page:?}");
        let (answer, before) = carol.ask(text(channel, "still here?"));
        heard.extend(before);
        assert!(is_not_found(&answer), "round {round}: {answer:?}");
        heard.extend(events_of(carol.fence().expect("she is still connected")));
        let newest = heard.iter().filter(|event| event.channel == channel).map(|event| event.seq);
        assert!(newest.max() <= Some(to), "round {round}: something came after {to}");
        (from, _) = done(alice.ask(add(channel, "carol")));
        // In a broadcast no event tells it: hers is the one that comes next.
        from += u64::from(kind == ChannelKind::Broadcast);
        let (page, before) = carol.ask(history(channel));
        heard.extend(before);
        let Said::Page(page) = page else { panic!("round {round}: {page:?}") };
        assert_eq!(page.floor, from, "round {round}: she reads from her new join on");
        assert!(page.rows.iter().flat_map(|row| &row.event).all(|event| event.seq >= from));
    }
    // So that no earlier removal was told at the same place.
    assert!(matches!(alice.ask(text(channel, FAREWELL)).0, Said::Ack(_)));
    let (last, _) = done(alice.ask(remove(channel, user)));
    spans.push((from, last));
    (spans, heard)
}

#[test]
fn nothing_reaches_who_is_removed_from_a_group_and_nobody_else_loses_anything() {
    removals_while_others_send(ChannelKind::Group);
}

#[test]
fn nothing_reaches_who_is_removed_from_a_broadcast_and_nobody_else_loses_anything() {
    removals_while_others_send(ChannelKind::Broadcast);
}

fn removals_while_others_send(kind: ChannelKind) {
    let server = Local::start(&UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let (bob, heard) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let bob_no = number(&heard);
    let (dave, heard) = Raw::log_in(&server.string("dave"), "d", Default::default());
    let dave_no = number(&heard);
    let (mut carol, heard) = Raw::log_in(&server.string("carol"), "c", Default::default());
    let user = number(&heard);
    let channel = make(&mut alice, kind, &["bob", "carol", "dave"]);
    if kind == ChannelKind::Broadcast {
        for writer in [bob_no, dave_no] {
            let (user, role) = (writer.get(), wire::Role::Member.into());
            done(alice.ask(Ask::SetRole(wire::SetRole { channel, user, role })));
        }
    }
    let aside = group(&mut alice, &["carol"]);
    let stop = AtomicBool::new(false);
    let (spans, mut heard, sent) = thread::scope(|scope| {
        let senders = [bob, dave].map(|raw| scope.spawn(|| send_until(raw, channel, &stop)));
        let (spans, heard) = come_and_go(&mut alice, &mut carol, (channel, kind), user);
        stop.store(true, Ordering::Relaxed);
        (spans, heard, senders.map(|sender| sender.join().expect("a sender")))
    });
    // The last of each log that she reads; then whatever else there may be.
    alice.ask(text(aside, "the end"));
    let own = ChannelNo::self_of(user).get();
    let last = spans.last().expect("fifty removals").1;
    let mut missing = vec![(channel, Some(last)), (own, None), (aside, None)];
    while !missing.is_empty() {
        let event = carol.event();
        let is_last = match what(&event) {
            Some(What::ChannelRemoved(removed)) => removed.to == last,
            _ => true,
        };
        missing.retain(|(channel, seq)| {
            !is_last || *channel != event.channel || seq.is_some_and(|seq| seq != event.seq)
        });
        heard.push(event);
    }
    heard.extend(events_of(carol.fence().expect("she is still connected")));
    let seqs: Vec<_> =
        heard.iter().filter(|event| event.channel == channel).map(|event| event.seq).collect();
    let expected: Vec<_> = spans.iter().flat_map(|(from, to)| *from..=*to).collect();
    assert_eq!(seqs, expected, "everything from each join to each removal, once, and nothing else");
    let told =
        heard.iter().filter(|event| event.channel == own).filter_map(|event| match what(event)? {
            What::ChannelAdded(added) if added.channel == channel => Some((true, added.from)),
            What::ChannelRemoved(removed) if removed.channel == channel => {
                Some((false, removed.to))
            }
            _ => None,
        });
    let expected = spans.iter().flat_map(|(from, to)| [(true, *from), (false, *to)]);
    assert_eq!(told.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "her own log tells it");

    let acks = || sent.iter().flat_map(|sender| &sender.acknowledged);
    let bodies: BTreeMap<u64, String> = acks().map(|(seq, body)| (*seq, body.clone())).collect();
    let acknowledged = acks().count();
    assert_eq!(bodies.len(), acknowledged, "no two sends have one seq");
    let last = bodies.keys().copied().chain(spans.iter().map(|(_, to)| *to)).max();
    for sender in sent {
        let events = sender.hear_to(channel, last.expect("fifty removals"));
        assert!(events.is_sorted_by(|one, next| one.seq + 1 == next.seq && one.id < next.id));
        let texts = events.iter().filter_map(|event| match &event.content {
            Some(Content::Text(text)) if text != FAREWELL => Some((&event.seq, text)),
            _ => None,
        });
        assert!(texts.eq(&bodies), "all of it, by all");
    }
    println!("{} removals among {acknowledged} messages", spans.len());
}

#[test]
fn commands_about_members_are_idempotent() {
    let server = Local::start(&UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let (mut bob, heard) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let bob_no = number(&heard);
    let channel = group(&mut alice, &[]);
    let key = fresh_key();
    let (added, _) = done(alice.ask_with(add(channel, "bob"), key));
    assert_eq!(added, 2);
    assert_eq!(done(alice.ask_with(add(channel, "bob"), key)).0, added, "the first answer again");
    assert_eq!(done(alice.ask(add(channel, "bob"))).0, 0, "nothing had to change");
    let key = fresh_key();
    let (removed, _) = done(alice.ask_with(remove(channel, bob_no), key));
    assert_eq!(removed, 3);
    assert_eq!(done(alice.ask_with(remove(channel, bob_no), key)).0, removed);
    assert_eq!(done(alice.ask(remove(channel, bob_no))).0, 0);
    let reused = alice.ask_with(add(channel, "bob"), key).0;
    assert!(matches!(reused, Said::Refusal(refusal) if refusal.code == Code::KeyReused.number()));
    done(alice.ask(add(channel, "bob")));
    // The key counts even where others came in between: nothing is done again.
    assert_eq!(done(alice.ask_with(remove(channel, bob_no), key)).0, removed);
    assert!(matches!(bob.ask(history(channel)).0, Said::Page(_)), "bob is in");
    let key = fresh_key();
    let (left, _) = done(bob.ask_with(leave(channel), key));
    assert_eq!(left, 5);
    assert_eq!(done(bob.ask_with(leave(channel), key)).0, left, "whoever left may ask again");
    assert!(is_not_found(&bob.ask(leave(channel)).0), "and is not there any more");
    let Said::Page(page) = alice.ask(history(channel)).0 else { panic!("a page") };
    assert_eq!(page.to, left, "nothing else was told");
}

#[test]
fn commands_that_meet_hear_each_their_own_seq() {
    let server = Local::start(&UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let (_bob, heard) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let bob_no = number(&heard);
    let channel = group(&mut alice, &[]);
    let mut seq = 1;
    for round in 0..REMOVALS {
        for command in [add(channel, "bob"), remove(channel, bob_no)] {
            seq += 1;
            // Two that mean the same, each with a copy, all on their way at once.
            let (one, other) = (fresh_key(), fresh_key());
            let ids = [one, other, one, other]
                .map(|key| alice.post(command.clone(), key).expect("it goes out"));
            let mut heard = BTreeMap::new();
            while heard.len() < ids.len() {
                let frame = alice.next_frame().expect("an answer");
                if let Some(Said::Done(done)) = frame.kind {
                    heard.insert(frame.id, done.seq);
                }
            }
            let [one, other, one_again, other_again] = ids.map(|id| heard[&id]);
            assert_eq!(
                (one, other),
                (one_again, other_again),
                "round {round}: a copy is told the same"
            );
            // They may overtake each other on the way to the channel.
            assert_eq!((one.min(other), one.max(other)), (0, seq), "round {round}");
        }
    }
}

#[test]
fn a_group_whose_owner_leaves_goes_to_who_has_been_in_it_longest() {
    let server = Local::start(&UNBOUND);
    let (mut alice, heard) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let alice_no = number(&heard);
    let (mut carol, _) = Raw::log_in(&server.string("carol"), "c", Default::default());
    let (mut bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let channel = group(&mut alice, &[]);
    done(alice.ask(add(channel, "bob")));
    done(alice.ask(add(channel, "carol")));
    assert!(is_not_allowed(&bob.ask(add(channel, "carol")).0), "bob is no owner yet");
    assert!(is_not_allowed(&alice.ask(remove(channel, alice_no)).0), "an owner leaves, or stays");
    done(alice.ask(leave(channel)));
    done(bob.ask(add(channel, "alice")));
    assert!(is_not_allowed(&carol.ask(remove(channel, alice_no)).0), "carol is no owner");
    let ask = wire::ListMembers { channel, ..Default::default() };
    let Said::MemberList(list) = carol.ask(Ask::ListMembers(ask)).0 else { panic!("a list") };
    let owners: Vec<_> = list
        .members
        .iter()
        .filter(|member| member.role() == wire::Role::Owner)
        .map(|member| &*member.uid)
        .collect();
    assert_eq!((owners, list.members.len()), (vec!["bob"], 3));
    done(bob.ask(remove(channel, alice_no)));
    done(bob.ask(leave(channel)));
    done(carol.ask(leave(channel)));
    assert!(is_not_found(&carol.ask(history(channel)).0), "nobody is left");
}
