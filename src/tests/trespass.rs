//! Requests about what is not one's own, or not as it must be: typed refusals, and no hint.

use bytes::Bytes;
use damso_proto::code::Code;
use damso_proto::id::{ChannelNo, Key, UserNo};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::standing::State;

use super::raw::{Raw, fresh_key, text};
use super::server::{Local, UNBOUND};

/// Two people with a group, and a third who is in nothing.
struct Scene {
    server: Local,
    alice: Raw,
    mallory: Raw,
    alice_no: UserNo,
    mallory_no: UserNo,
    group: u64,
}

fn user_of(heard: &[Said]) -> UserNo {
    match heard.first() {
        Some(Said::Welcome(welcome)) => UserNo::new(welcome.user),
        other => panic!("Welcome comes first, not {other:?}"),
    }
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("a time of this age")
}

impl Scene {
    fn new() -> Self {
        let server = Local::start(&UNBOUND);
        let (mut alice, heard) = Raw::log_in(&server.string("alice"), "a", Default::default());
        let alice_no = user_of(&heard);
        drop(Raw::log_in(&server.string("bob"), "b", Default::default()));
        let (mallory, heard) = Raw::log_in(&server.string("mallory"), "m", Default::default());
        let mallory_no = user_of(&heard);
        let ask = wire::CreateChannel {
            name: "secret".to_owned(),
            uids: vec!["bob".to_owned()],
            ..Default::default()
        };
        let group = match alice.ask(Ask::CreateChannel(ask)).0 {
            Said::Channel(info) => info.channel,
            other => panic!("expected a channel, heard {other:?}"),
        };
        alice.ask(text(group, "nobody else reads this"));
        Self { server, alice, mallory, alice_no, mallory_no, group }
    }
}

/// Every request about a channel.
fn about(channel: u64, user: UserNo) -> Vec<(&'static str, Ask)> {
    let (uid, user) = ("mallory".to_owned(), user.get());
    vec![
        ("Send", text(channel, "x")),
        ("ReadHistory", Ask::ReadHistory(wire::ReadHistory { channel, ..Default::default() })),
        (
            "AddMembers",
            Ask::AddMembers(wire::AddMembers { channel, uids: vec![uid], ..Default::default() }),
        ),
        ("RemoveMember", Ask::RemoveMember(wire::RemoveMember { channel, user })),
        ("SetRole", Ask::SetRole(wire::SetRole { channel, user, role: 4 })),
        ("MuteMember", Ask::MuteMember(wire::MuteMember { channel, user, until_ms: 1 })),
        ("BanMember", Ask::BanMember(wire::BanMember { channel, user, until_ms: 1 })),
        ("LiftBan", Ask::LiftBan(wire::LiftBan { channel, user })),
        ("ListBans", Ask::ListBans(wire::ListBans { channel, ..Default::default() })),
        (
            "UpdateChannel",
            Ask::UpdateChannel(wire::UpdateChannel {
                channel,
                name: Some("mine".to_owned()),
                custom: None,
            }),
        ),
        ("LeaveChannel", Ask::LeaveChannel(wire::LeaveChannel { channel })),
        ("ListMembers", Ask::ListMembers(wire::ListMembers { channel, ..Default::default() })),
    ]
}

#[test]
fn what_is_forbidden_looks_exactly_like_what_is_not_there() {
    let mut scene = Scene::new();
    let absent = 4_000_000;
    let absent_self = ChannelNo::self_of(UserNo::new(4_000_000)).get();
    let alices = ChannelNo::self_of(scene.alice_no).get();
    let asked = |channel| about(channel, scene.alice_no);
    let cases = [scene.group, alices, absent_self].map(asked);
    let expected: Vec<_> =
        asked(absent).into_iter().map(|(_, ask)| scene.mallory.refusal(ask)).collect();
    for asks in cases {
        for ((what, ask), expected) in asks.into_iter().zip(&expected) {
            let refusal = scene.mallory.refusal(ask.clone());
            assert_eq!(Code::from_number(refusal.code), Some(Code::NotFound), "{what}: {ask:?}");
            assert_eq!(&refusal, expected, "{what}: {ask:?}");
        }
    }
    let page = scene
        .alice
        .ask(Ask::ListMembers(wire::ListMembers { channel: scene.group, ..Default::default() }));
    let Said::MemberList(list) = page.0 else { panic!("a list of members") };
    let uids: Vec<_> = list.members.iter().map(|member| &*member.uid).collect();
    assert_eq!(uids, ["alice", "bob"], "nothing of it was carried out");
}

#[test]
fn a_member_may_not_do_what_is_the_owners() {
    let scene = Scene::new();
    let (mut bob, _) = Raw::log_in(&scene.server.string("bob"), "b", Default::default());
    let owner_only = [
        "AddMembers",
        "RemoveMember",
        "SetRole",
        "MuteMember",
        "BanMember",
        "LiftBan",
        "ListBans",
        "UpdateChannel",
    ];
    let asks = about(scene.group, scene.alice_no);
    for (what, ask) in asks.into_iter().filter(|(what, _)| owner_only.contains(what)) {
        let refusal = bob.refusal(ask);
        assert_eq!(Code::from_number(refusal.code), Some(Code::NotAllowed), "{what}");
    }
}

#[test]
fn ones_own_log_is_for_reading() {
    let mut scene = Scene::new();
    let own = ChannelNo::self_of(scene.mallory_no).get();
    for (what, ask) in about(own, scene.mallory_no) {
        match scene.mallory.ask(ask).0 {
            Said::Page(_) => assert_eq!(what, "ReadHistory"),
            Said::Refusal(refusal) => {
                assert_eq!(Code::from_number(refusal.code), Some(Code::NotAllowed), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn neither_resume_nor_outcomes_tell_of_others() {
    let mut scene = Scene::new();
    let key = fresh_key();
    assert!(matches!(scene.alice.ask_with(text(scene.group, "mine"), key).0, Said::Ack(_)));
    let absent = 4_000_000;
    let key = Bytes::copy_from_slice(key.as_bytes());
    let pending = |channel| wire::PendingKey { channel, key: key.clone() };
    let keys = vec![pending(scene.group), pending(absent)];
    let Said::Outcomes(wire::Outcomes { outcomes }) =
        scene.mallory.ask(Ask::ReadOutcome(wire::ReadOutcome { keys })).0
    else {
        panic!("outcomes")
    };
    let told: Vec<_> = outcomes.iter().map(|told| (told.seq, told.id, told.expired)).collect();
    assert_eq!(told, [(0, 0, false); 2]);

    let alices = ChannelNo::self_of(scene.alice_no).get();
    let mut asked = [scene.group, absent, alices];
    asked.sort_unstable();
    let mut before = 0;
    let channel_delta = asked.iter().map(|channel| {
        let delta = channel - before;
        before = *channel;
        delta
    });
    let resume = wire::Resume {
        channel_delta: channel_delta.collect(),
        seq: vec![1; 3],
        pending: vec![wire::PendingSend { channel: scene.group, key }],
        ..Default::default()
    };
    let (_, heard) = Raw::log_in(&scene.server.string("mallory"), "m2", resume);
    for said in heard {
        match said {
            Said::Standing(standing) if asked.contains(&standing.channel) => {
                let channel = standing.channel;
                let gone =
                    wire::Standing { channel, state: State::Gone.into(), ..Default::default() };
                assert_eq!(standing, gone);
            }
            Said::Outcomes(told) => assert!(told.outcomes.iter().all(|told| told.seq == 0)),
            Said::Event(event) => assert!(!asked.contains(&event.channel), "{event:?}"),
            _ => {}
        }
    }
}

#[test]
fn what_changes_something_needs_a_key_of_this_week() {
    let mut scene = Scene::new();
    let uid = "alice".to_owned();
    let group =
        wire::CreateChannel { name: "mine".to_owned(), uids: Vec::new(), ..Default::default() };
    let mut asks = about(scene.group, scene.mallory_no);
    asks.retain(|(what, _)| !matches!(*what, "ReadHistory" | "ListMembers" | "ListBans"));
    let user = scene.mallory_no.get();
    asks.push(("Block", Ask::Block(wire::Block { user })));
    asks.push(("Unblock", Ask::Unblock(wire::Unblock { user })));
    asks.push(("CreateChannel", Ask::CreateChannel(group)));
    asks.push(("OpenDirect", Ask::OpenDirect(wire::OpenDirect { uid })));
    let aged = |ms: u64| Bytes::copy_from_slice(Key::new(ms, [9; 10]).as_bytes());
    let day = 24 * 3_600 * 1_000;
    let keys = [
        ("none", Bytes::new(), Code::KeyMissing),
        ("15 bytes", Bytes::from_static(&[1; 15]), Code::KeyMissing),
        ("17 bytes", Bytes::from_static(&[1; 17]), Code::KeyMissing),
        ("no UUIDv7", Bytes::from_static(&[0xff; 16]), Code::KeyMissing),
        ("eight days old", aged(unix_ms() - 8 * day), Code::KeyExpired),
        ("of 1970", aged(0), Code::KeyExpired),
        ("of tomorrow", aged(unix_ms() + day), Code::KeyInFuture),
        ("of the end of time", aged((1 << 48) - 1), Code::KeyInFuture),
    ];
    for (what, ask) in asks {
        for (which, key, expected) in &keys {
            let refusal = match scene.alice.ask_bytes(ask.clone(), key.clone()) {
                Said::Refusal(refusal) => refusal,
                other => panic!("{what} with a key {which}: {other:?}"),
            };
            assert_eq!(Code::from_number(refusal.code), Some(*expected), "{what}, key {which}");
            assert_eq!(refusal.field, "key", "{what}, key {which}");
        }
    }
}

fn reply(channel: u64, reply_to: u64) -> Ask {
    let content = Some(wire::send::Content::Text("once".to_owned()));
    Ask::Send(wire::Send { channel, reply_to, content, ..Default::default() })
}

#[test]
fn nobody_answers_what_was_said_before_they_came() {
    let mut scene = Scene::new();
    let group = scene.group;
    let add =
        wire::AddMembers { channel: group, uids: vec!["mallory".to_owned()], ..Default::default() };
    let Said::Done(added) = scene.alice.ask(Ask::AddMembers(add)).0 else { panic!("Done") };
    for before in 1..added.seq {
        let refusal = scene.mallory.refusal(reply(group, before));
        let code = Code::from_number(refusal.code);
        assert_eq!((code, &*refusal.field), (Some(Code::Invalid), "reply_to"), "{before}");
    }
    assert!(matches!(scene.mallory.ask(reply(group, added.seq)).0, Said::Ack(_)));
    assert!(matches!(scene.alice.ask(reply(group, 1)).0, Said::Ack(_)));
}

#[test]
fn a_field_that_may_not_be_so_is_named() {
    let mut scene = Scene::new();
    let (group, kib) = (scene.group, 1_024);
    let send = |send: wire::Send| Ask::Send(wire::Send { channel: group, ..send });
    let content = |content| send(wire::Send { content: Some(content), ..Default::default() });
    let custom = |name: &str, bytes: usize| {
        let (r#type, body) = (name.to_owned(), vec![0; bytes].into());
        content(wire::send::Content::Custom(wire::Custom { r#type, body }))
    };
    let flagged = |flags: u32| {
        let content = Some(wire::send::Content::Text("x".to_owned()));
        send(wire::Send { flags, content, ..Default::default() })
    };
    let to_99 = reply(group, 99);
    let make = |name: &str, uids: Vec<String>| {
        Ask::CreateChannel(wire::CreateChannel {
            name: name.to_owned(),
            uids,
            ..Default::default()
        })
    };
    let many = |count: usize| (0..count).map(|number| format!("u{number}")).collect::<Vec<_>>();
    let direct = |uid: &str| Ask::OpenDirect(wire::OpenDirect { uid: uid.to_owned() });
    let block = |user: u64| Ask::Block(wire::Block { user });
    let find = |users: usize, uids: usize| {
        Ask::FindPeople(wire::FindPeople { users: vec![1; users], uids: many(uids) })
    };
    let keys = vec![wire::PendingKey::default(); 257];
    let channel_0 = Ask::Send(wire::Send { channel: 0, ..Default::default() });
    let cases = [
        ("no channel", channel_0, Code::Invalid, "channel"),
        ("no content", send(wire::Send::default()), Code::Invalid, "content"),
        ("an empty text", text(group, ""), Code::Invalid, "text"),
        ("a text too long", text(group, &"x".repeat(16 * kib + 1)), Code::TooLarge, "text"),
        ("a body too long", custom("poll/1", 16 * kib + 1), Code::TooLarge, "custom.body"),
        ("a type too long", custom(&"t".repeat(65), 1), Code::TooLarge, "custom.type"),
        ("a type that cannot be read", custom("a\u{7}", 1), Code::Invalid, "custom.type"),
        ("no type", custom("", 1), Code::Invalid, "custom.type"),
        ("a reserved flag", flagged(4), Code::Invalid, "flags"),
        ("a flag of the far future", flagged(1 << 31), Code::Invalid, "flags"),
        ("an answer to what is not there", to_99, Code::Invalid, "reply_to"),
        ("a group without a name", make("", vec![]), Code::Invalid, "name"),
        ("a name too long", make(&"n".repeat(129), vec![]), Code::TooLarge, "name"),
        ("a name of two lines", make("a\nb", vec![]), Code::Invalid, "name"),
        ("too many first members", make("g", many(101)), Code::TooLarge, "uids"),
        ("a member who is no uid", make("g", vec![String::new()]), Code::Invalid, "uids"),
        ("a member who is nobody", make("g", many(1)), Code::NotFound, ""),
        ("a direct channel with nobody", direct("nobody"), Code::NotFound, ""),
        ("a direct channel with oneself", direct("alice"), Code::LimitReached, ""),
        ("a direct channel with no uid", direct(""), Code::Invalid, "uid"),
        ("a block of oneself", block(scene.alice_no.get()), Code::Invalid, "user"),
        ("a block of nobody", block(0), Code::NotFound, ""),
        ("too many people", find(50, 51), Code::TooLarge, "users"),
        ("too many keys", Ask::ReadOutcome(wire::ReadOutcome { keys }), Code::TooLarge, "keys"),
    ];
    for (what, ask, code, field) in cases {
        let refusal = scene.alice.refusal(ask);
        assert_eq!(
            (Code::from_number(refusal.code), &*refusal.field),
            (Some(code), field),
            "{what}"
        );
    }
    for (what, ask) in [
        ("the longest text", text(group, &"x".repeat(16 * kib))),
        ("the longest body", custom(&"t".repeat(64), 16 * kib)),
        ("both flags that a sender may set", flagged(3)),
        ("an answer to the first event", reply(group, 1)),
    ] {
        assert!(matches!(scene.alice.ask(ask).0, Said::Ack(_)), "{what}");
    }
}

#[test]
fn a_key_means_one_thing_for_ever() {
    let mut scene = Scene::new();
    let (group, key) = (scene.group, fresh_key());
    let first = scene.alice.ask_with(text(group, "once"), key).0;
    assert!(matches!(first, Said::Ack(_)));
    let others = [
        ("another text", text(group, "twice")),
        ("another flag", {
            let content = Some(wire::send::Content::Text("once".to_owned()));
            Ask::Send(wire::Send { channel: group, flags: 1, content, ..Default::default() })
        }),
        ("another answer", reply(group, 1)),
    ];
    for (what, ask) in others {
        let Said::Refusal(refusal) = scene.alice.ask_with(ask, key).0 else { panic!("{what}") };
        assert_eq!(Code::from_number(refusal.code), Some(Code::KeyReused), "{what}");
    }
    // Somebody else's key is theirs.
    let (mut bob, _) = Raw::log_in(&scene.server.string("bob"), "b", Default::default());
    let Said::Ack(ack) = bob.ask_with(text(group, "mine"), key).0 else { panic!("an ack") };
    assert!(!ack.duplicate);
}
