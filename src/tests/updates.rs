//! What a channel is called, and what is noted on it: who may say so, and who hears it, over real
//! connections and from a backend.

use std::collections::BTreeMap;
use std::thread;

use damso_proto::code::Code;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::event::Content;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::system::{ChannelUpdated, What};
use damso_proto::wire::{self, ChannelKind, Role};
use serde_json::{Value, json};

use super::api::{MESSAGES, ORDER, log_in, order, start};
use super::broadcast::{Person, add, make};
use super::raw::{cursors, fresh_key};
use super::server::{Local, UNBOUND};

/// Names given while others write.
const RENAMES: u64 = 40;

fn rename(channel: u64, name: &str) -> Ask {
    let name = Some(name.to_owned());
    Ask::UpdateChannel(wire::UpdateChannel { channel, name, ..Default::default() })
}

/// So many notes, each of so many bytes beside its name.
fn note(channel: u64, count: usize, bytes: usize) -> Ask {
    let entries = (0..count).map(|number| (number.to_string(), "x".repeat(bytes)));
    let custom = Some(wire::CustomMap { entries: entries.collect() });
    Ask::UpdateChannel(wire::UpdateChannel { channel, custom, ..Default::default() })
}

/// What tells that `by` gave the channel this name, as of this version.
fn renamed(by: &Person, name: &str, version: u64) -> What {
    let (by, name) = (by.number.get(), Some(name.to_owned()));
    What::ChannelUpdated(ChannelUpdated { by, name, version, custom: None })
}

fn open_direct(person: &mut Person, uid: &str) -> u64 {
    match person.ask(Ask::OpenDirect(wire::OpenDirect { uid: uid.to_owned() })) {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

/// Every change of the channel that its history tells.
fn history(person: &mut Person, channel: u64) -> Vec<What> {
    let read = Ask::ReadHistory(wire::ReadHistory { channel, ..Default::default() });
    let Said::Page(page) = person.ask(read) else { panic!("a page") };
    let events = page.rows.into_iter().filter_map(|row| row.event);
    let whats = events.filter_map(|event| match event.content {
        Some(Content::System(wire::System { what })) => what,
        _ => None,
    });
    whats.filter(|what| matches!(what, What::ChannelUpdated(_))).collect()
}

#[test]
fn those_who_lead_name_a_channel_and_everybody_in_it_hears_it() {
    let server = Local::start(&UNBOUND);
    let [mut alice, mut bob, mut carol, mut stranger] =
        ["alice", "bob", "carol", "stranger"].map(|uid| Person::log_in(&server, uid));
    for kind in [ChannelKind::Group, ChannelKind::Broadcast] {
        let channel = make(&mut alice, kind, &["bob", "carol"]);
        let (user, role) = (bob.number.get(), Role::Moderator.into());
        alice.done(Ask::SetRole(wire::SetRole { channel, user, role }));
        let first = alice.done(rename(channel, "점심 모임"));
        let second = bob.done(rename(channel, "저녁 모임"));
        assert_eq!(second, first + 1, "an event each, of a broadcast, too");
        let expected = [renamed(&alice, "점심 모임", 3), renamed(&bob, "저녁 모임", 4)].to_vec();
        for person in [&mut alice, &mut bob, &mut carol] {
            person.hears(channel, second);
            let told = person.told_in(channel);
            assert_eq!(told[told.len() - 2..], expected, "live");
            assert_eq!(history(person, channel), expected);
            let info = person.info(channel);
            assert_eq!((&*info.name, info.version), ("저녁 모임", 4));
        }
        // A member of the group, a reader of the broadcast.
        for ask in [rename(channel, "carol's"), note(channel, 1, 1)] {
            assert_eq!(carol.refused(ask.clone()), Code::NotAllowed);
            assert_eq!(stranger.refused(ask), Code::NotFound);
        }
        assert_eq!(alice.refused(note(channel, 1, 1)), Code::NotAllowed, "the backend's alone");
        // A device that was away, and somebody who comes in behind it.
        let has = cursors(&[(channel, first)], 1);
        let mut tablet = Person::resume(&server, "carol", "tablet", has);
        assert_eq!(tablet.told_in(channel), expected[1..]);
        alice.done(add(channel, "stranger", false));
        assert_eq!(&*stranger.info(channel).name, "저녁 모임");
        alice.done(rename(channel, "all of us"));
        assert_eq!(stranger.told_in(channel).last(), Some(&renamed(&alice, "all of us", 6)));
    }
}

#[test]
fn a_repetition_is_answered_as_at_first_and_what_is_so_already_tells_nothing() {
    let mut server = Local::start(&UNBOUND);
    let [mut alice, mut bob] = ["alice", "bob"].map(|uid| Person::log_in(&server, uid));
    let group = make(&mut alice, ChannelKind::Group, &["bob"]);
    let key = fresh_key();
    let first = alice.ask_with(rename(group, "first"), key);
    assert_eq!(first, Said::Done(wire::Done { seq: 2 }));
    assert_eq!(alice.done(rename(group, "second")), 3);
    assert_eq!(alice.ask_with(rename(group, "first"), key), first);
    assert_eq!(alice.done(rename(group, "second")), 0, "nothing had to change");
    let Said::Refusal(refusal) = alice.ask_with(rename(group, "third"), key) else {
        panic!("another request under the same key")
    };
    assert_eq!(Code::from_number(refusal.code), Some(Code::KeyReused));
    let expected = [renamed(&alice, "first", 2), renamed(&alice, "second", 3)];
    bob.hears(group, 3);
    assert_eq!(bob.told_in(group)[1..], expected, "behind its making");
    server.restart(&UNBOUND);
    let mut alice = Person::log_in(&server, "alice");
    assert_eq!(alice.ask_with(rename(group, "first"), key), first);
    let info = alice.info(group);
    assert_eq!((&*info.name, info.version, info.head), ("second", 3, 3));
    assert_eq!(history(&mut alice, group), expected);
}

#[test]
fn a_direct_channel_and_ones_own_log_have_no_name_to_give() {
    let server = Local::start(&UNBOUND);
    let [mut alice, _bob] = ["alice", "bob"].map(|uid| Person::log_in(&server, uid));
    let direct = open_direct(&mut alice, "bob");
    let own = 2 * alice.number.get() + 1;
    for channel in [direct, own] {
        for ask in [rename(channel, "ours"), note(channel, 1, 1)] {
            assert_eq!(alice.refused(ask), Code::NotAllowed, "{channel}");
        }
    }
    let info = alice.info(direct);
    assert_eq!((&*info.name, info.version, info.head), ("", 1, 1));
}

#[test]
fn a_name_or_notes_that_may_not_be_so_are_named() {
    let server = Local::start(&UNBOUND);
    let mut alice = Person::log_in(&server, "alice");
    let group = make(&mut alice, ChannelKind::Group, &[]);
    let nothing = wire::UpdateChannel { channel: group, ..Default::default() };
    for (what, ask, code, field) in [
        ("nothing", Ask::UpdateChannel(nothing), Code::Invalid, "name"),
        ("no name", rename(group, ""), Code::Invalid, "name"),
        ("a name of 129 bytes", rename(group, &"이".repeat(43)), Code::TooLarge, "name"),
        ("a name of two lines", rename(group, "a\nb"), Code::Invalid, "name"),
        ("33 notes", note(group, 33, 1), Code::TooLarge, "custom"),
        ("4,097 bytes of notes", note(group, 1, 4_096), Code::TooLarge, "custom"),
        ("notes that fit, but not hers", note(group, 1, 4_095), Code::NotAllowed, ""),
    ] {
        let Said::Refusal(refusal) = alice.ask(ask) else { panic!("{what}") };
        let told = (Code::from_number(refusal.code), &*refusal.field);
        assert_eq!(told, (Some(code), field), "{what}");
    }
    let longest = "이".repeat(42) + "00";
    assert_eq!((longest.len(), alice.done(rename(group, &longest))), (128, 2));
}

#[test]
fn names_stand_in_one_queue_with_what_is_sent_meanwhile() {
    let server = Local::start(&UNBOUND);
    let [mut alice, mut bob, mut carol] =
        ["alice", "bob", "carol"].map(|uid| Person::log_in(&server, uid));
    let group = make(&mut alice, ChannelKind::Group, &["bob", "carol"]);
    let writer = thread::spawn(move || {
        (0..RENAMES).map(|_| bob.send(group, "meanwhile")).collect::<Vec<_>>()
    });
    let named: Vec<_> =
        (0..RENAMES).map(|number| alice.done(rename(group, &format!("이름 {number}")))).collect();
    let sent = writer.join().expect("a writer");
    let mut all = [named, sent].concat();
    all.sort_unstable();
    let last = 1 + 2 * RENAMES;
    assert_eq!(all, (2..=last).collect::<Vec<_>>(), "each has a place of its own");
    assert_eq!(carol.hears(group, last), (1..=last).collect::<Vec<_>>());
    let told: Vec<_> = carol.told_in(group).split_off(1);
    let expected =
        (0..RENAMES).map(|number| renamed(&alice, &format!("이름 {number}"), number + 2));
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[test]
fn a_backend_changes_what_it_has_made_and_its_people_hear_it() {
    let (_server, backend) = start(&[]);
    let asked = json!({"name": "Order 1234", "members": ["alice"], "custom": {"state": "new"}});
    backend.put("/v1/users/alice", &json!({})).done();
    let made = backend.put(ORDER, &asked).done();
    let patch = |body: &Value| backend.ask("PATCH", ORDER, &[], &body.to_string());
    let mut alice = log_in(&backend, "alice");
    let both = json!({"name": "주문 1234", "custom": {"state": "paid", "total": "12"}});
    let name = [("Idempotency-Key", "paid")];
    let paid = || backend.ask("PATCH", ORDER, &name, &both.to_string());
    let first = paid().done();
    assert_eq!(first, json!({"seq": 2}));
    let event = alice.event();
    let custom = BTreeMap::from([("state", "paid"), ("total", "12")]);
    let entries = custom.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned()));
    let told = What::ChannelUpdated(ChannelUpdated {
        by: 0,
        name: Some("주문 1234".to_owned()),
        custom: Some(wire::CustomMap { entries: entries.collect() }),
        version: 2,
    });
    assert_eq!(event.content, Some(Content::System(wire::System { what: Some(told) })));
    // Nothing is left of what was noted, and nothing else is different.
    assert_eq!(patch(&json!({"custom": {}})).done(), json!({"seq": 3}));
    assert_eq!(paid().done(), first, "asked again under its name: the first answer");
    assert_eq!(patch(&json!({"custom": {}, "name": "주문 1234"})).done(), json!({"seq": 0}));
    let now = backend.get(ORDER).done();
    assert_eq!((&now["name"], &now["custom"]), (&json!("주문 1234"), &json!({})));
    assert_eq!((&now["version"], &now["head"]), (&json!(3), &json!(3)));
    assert_eq!(backend.put(ORDER, &asked).done(), now, "made once, found ever after");
    let rows = backend.get(&format!("{MESSAGES}?limit=2")).done();
    let system = rows["messages"].as_array().expect("a page").iter().map(|row| &row["system"]);
    assert!(system.eq(["channel_updated", "channel_updated"]));
    let by_number = format!("/v1/channels/{}", made["channel"]);
    assert_eq!(backend.ask("PATCH", &by_number, &[], r#"{"name":"x"}"#).status, 200);
}

#[test]
fn what_a_backend_may_not_change_is_refused_with_the_field_at_fault() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice", "bob"]);
    let direct = json!({"kind": "direct", "members": ["alice", "bob"]});
    let direct = backend.post("/v1/channels", &direct).done()["channel"].clone();
    let direct = format!("/v1/channels/{direct}");
    let long = json!({"name": "이".repeat(43)}).to_string();
    let many: BTreeMap<_, _> = (0..33).map(|number| (number.to_string(), "x")).collect();
    let many = json!({ "custom": many }).to_string();
    for (path, body, expected) in [
        (ORDER, "{}", (422, "invalid", "name")),
        (ORDER, r#"{"name":""}"#, (422, "invalid", "name")),
        (ORDER, r#"{"name":"a\nb"}"#, (422, "invalid", "name")),
        (ORDER, &long, (422, "too_large", "name")),
        (ORDER, &many, (422, "too_large", "custom")),
        (ORDER, r#"{"custom":{"a":1}}"#, (422, "invalid", "custom.a")),
        (ORDER, r#"{"kind":"broadcast"}"#, (422, "invalid", "kind")),
        (&direct, r#"{"name":"theirs"}"#, (403, "not_allowed", "")),
        (&direct, r#"{"custom":{"a":"1"}}"#, (403, "not_allowed", "")),
        ("/v1/channels/order:77", r#"{"name":"x"}"#, (404, "not_found", "")),
        ("/v1/channels/3", r#"{"name":"x"}"#, (404, "not_found", "")),
    ] {
        let answer = backend.ask("PATCH", path, &[], body);
        assert_eq!(answer.problem(), expected, "{path} {body}");
    }
    assert_eq!(backend.get(ORDER).done()["version"], 1, "nothing was changed");
}
