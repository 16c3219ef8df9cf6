//! Who is who, who talks to whom, and lists of both, a page at a time.

use std::collections::BTreeSet;
use std::thread;

use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::event::Content;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::system::What;
use damso_proto::wire::{ChannelKind, Role};

use super::raw::{Raw, fresh_key, text};
use super::server::{Local, UNBOUND};

fn open_direct(uid: &str) -> Ask {
    Ask::OpenDirect(wire::OpenDirect { uid: uid.to_owned() })
}

fn create(name: &str, uids: &[&str]) -> Ask {
    let uids = uids.iter().map(|uid| (*uid).to_owned()).collect();
    Ask::CreateChannel(wire::CreateChannel { name: name.to_owned(), uids, ..Default::default() })
}

fn info(answer: Said) -> wire::ChannelInfo {
    match answer {
        Said::Channel(info) => info,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

fn user_of(heard: &[Said]) -> u64 {
    match heard.first() {
        Some(Said::Welcome(welcome)) => welcome.user,
        other => panic!("Welcome comes first, not {other:?}"),
    }
}

fn log_in(server: &Local, uid: &str) -> (Raw, u64) {
    let (raw, heard) = Raw::log_in(&server.string(uid), "d", Default::default());
    let user = user_of(&heard);
    (raw, user)
}

/// All of a person's channels, so many at a time.
fn channels(raw: &mut Raw, limit: u32) -> Vec<wire::ChannelInfo> {
    let mut all: Vec<wire::ChannelInfo> = Vec::new();
    loop {
        let after = all.last().map_or(0, |info| info.channel);
        let Said::ChannelList(list) =
            raw.ask(Ask::ListChannels(wire::ListChannels { after, limit })).0
        else {
            panic!("a list of channels")
        };
        assert!(limit == 0 || list.channels.len() <= usize::try_from(limit).expect("few"));
        all.extend(list.channels);
        if list.end {
            return all;
        }
    }
}

#[test]
fn two_who_open_the_same_direct_channel_at_once_find_one() {
    let server = Local::start(&UNBOUND);
    for round in 0..20 {
        let uids = [format!("a{round}"), format!("b{round}")];
        let [mut one, mut other] = uids.each_ref().map(|uid| log_in(&server, uid));
        let (first, second) = thread::scope(|scope| {
            let first = scope.spawn(|| info(one.0.ask(open_direct(&uids[1])).0));
            let second = info(other.0.ask(open_direct(&uids[0])).0);
            (first.join().expect("an answer"), second)
        });
        assert_eq!(first.channel, second.channel, "round {round}");
        assert_eq!((first.peer, second.peer), (other.1, one.1), "each sees the other");
        for info in [&first, &second] {
            assert_eq!((info.kind(), info.role()), (ChannelKind::Direct, Role::Member));
            assert_eq!((info.from, info.head, info.version), (1, 1, 1));
        }
        let again = info(one.0.ask(open_direct(&uids[1])).0);
        assert_eq!(again, first, "and find it again");
        assert!(matches!(one.0.ask(text(first.channel, "hello")).0, Said::Ack(_)));
        let heard = loop {
            let event = other.0.event();
            if let Some(Content::Text(text)) = event.content {
                break text;
            }
        };
        assert_eq!(heard, "hello");
    }
}

#[test]
fn a_repeated_key_makes_one_channel_and_its_people_hear_of_it_once() {
    let server = Local::start(&UNBOUND);
    let (mut alice, _) = log_in(&server, "alice");
    let (mut bob, bob_no) = log_in(&server, "bob");
    let key = fresh_key();
    let first = info(alice.ask_with(create("once", &["bob"]), key).0);
    let again = info(alice.ask_with(create("once", &["bob"]), key).0);
    assert_eq!(first, again);
    assert!(matches!(alice.ask_with(create("twice", &["bob"]), key).0, Said::Refusal(_)));
    assert_eq!(channels(&mut alice, 0), std::slice::from_ref(&first));
    let told: Vec<_> = bob
        .fence()
        .expect("bob is here")
        .into_iter()
        .filter_map(|frame| match frame.kind? {
            Said::Event(event) if event.channel == 2 * bob_no + 1 => event.content,
            _ => None,
        })
        .collect();
    let added = wire::system::ChannelAdded { channel: first.channel, from: 1, head: 1 };
    let what = Some(What::ChannelAdded(added));
    assert_eq!(told, [Content::System(wire::System { what })]);
}

#[test]
fn pages_of_channels_add_up_whatever_their_size() {
    let server = Local::start(&UNBOUND);
    let (mut alice, alice_no) = log_in(&server, "alice");
    drop(log_in(&server, "bob"));
    let made: Vec<_> = (0..203).map(|number| create(&format!("group {number}"), &[])).collect();
    let mut made: BTreeSet<_> =
        made.into_iter().map(|ask| info(alice.ask(ask).0).channel).collect();
    made.insert(info(alice.ask(open_direct("bob")).0).channel);
    assert_eq!(made.len(), 204);
    for limit in [0, 1, 7, 200, 203, 204, 205, u32::MAX] {
        let all = channels(&mut alice, limit);
        assert!(all.is_sorted_by(|one, next| one.channel < next.channel), "limit {limit}");
        assert!(all.iter().map(|info| info.channel).eq(made.iter().copied()), "limit {limit}");
        assert!(all.iter().all(|info| info.channel != 2 * alice_no + 1), "own log is no channel");
    }
    let beyond = wire::ListChannels { after: u64::MAX, limit: 5 };
    let Said::ChannelList(list) = alice.ask(Ask::ListChannels(beyond)).0 else { panic!("a list") };
    assert!(list.channels.is_empty() && list.end);
}

#[test]
fn pages_of_members_add_up_and_name_the_owner() {
    let server = Local::start(&UNBOUND);
    let uids: Vec<_> = (0..12).map(|number| format!("member {number}")).collect();
    for uid in &uids {
        drop(log_in(&server, uid));
    }
    let (mut alice, alice_no) = log_in(&server, "alice");
    let names: Vec<_> = uids.iter().map(String::as_str).collect();
    let channel = info(alice.ask(create("many", &names)).0).channel;
    for limit in [0, 1, 5, 13, 14, u32::MAX] {
        let mut all: Vec<wire::Member> = Vec::new();
        loop {
            let after = all.last().map_or(0, |member| member.user);
            let ask = Ask::ListMembers(wire::ListMembers { channel, after, limit });
            let Said::MemberList(list) = alice.ask(ask).0 else { panic!("a list of members") };
            all.extend(list.members);
            if list.end {
                break;
            }
        }
        assert!(all.is_sorted_by(|one, next| one.user < next.user), "limit {limit}");
        let told: BTreeSet<_> = all.iter().map(|member| &*member.uid).collect();
        let expected: BTreeSet<_> = names.iter().copied().chain(["alice"]).collect();
        assert_eq!(told, expected, "limit {limit}");
        let owners: Vec<_> =
            all.iter().filter(|member| member.role() == Role::Owner).map(|own| own.user).collect();
        assert_eq!(owners, [alice_no], "limit {limit}");
    }
}

#[test]
fn people_are_found_by_number_and_by_uid_and_nobody_else_is() {
    let server = Local::start(&UNBOUND);
    let (mut alice, alice_no) = log_in(&server, "alice");
    let (_, bob_no) = log_in(&server, "bob");
    let (_, unicode_no) = log_in(&server, "민수");
    let cases = [
        (vec![bob_no], vec![], vec![(bob_no, "bob")]),
        (vec![], vec!["민수"], vec![(unicode_no, "민수")]),
        (vec![alice_no, bob_no], vec![], vec![(alice_no, "alice"), (bob_no, "bob")]),
        (vec![0, 99_999, u64::MAX], vec!["nobody", "", "BOB"], vec![]),
        (vec![99_999, alice_no], vec!["nobody", "bob"], vec![(alice_no, "alice"), (bob_no, "bob")]),
        (vec![], vec![], vec![]),
    ];
    for (users, uids, expected) in cases {
        let uids = uids.into_iter().map(str::to_owned).collect();
        let ask = wire::FindPeople { users: users.clone(), uids };
        let Said::People(found) = alice.ask(Ask::FindPeople(ask)).0 else { panic!("people") };
        let found: Vec<_> = found.people.iter().map(|person| (person.user, &*person.uid)).collect();
        assert_eq!(found, expected, "{users:?}");
    }
}

#[test]
fn with_strict_provisioning_a_good_token_alone_makes_nobody() {
    let mut server = Local::start(&["--shards", "1"]);
    let (_, alice_no) = log_in(&server, "alice");
    server.restart(&["--shards", "1", "--provision", "strict"]);
    assert_eq!(log_in(&server, "alice").1, alice_no, "whoever is known comes in");
    let string = server.string("bob").parse().expect("a connection string");
    let mut bob = Raw::connect(&string).expect("a connection");
    let hello = super::raw::hello(&string, "d");
    bob.write(&super::raw::encode(&super::raw::frame(Ask::Hello(hello)))).expect("Hello");
    assert_eq!(bob.closing(), Some(damso_proto::code::CloseCode::TokenInvalid));
}
