//! One frame of every kind that a server sends.

use damso_proto::code::{CloseCode, Code};
use damso_proto::wire::server_frame::Kind;
use damso_proto::wire::standing::State;
use damso_proto::wire::system::{self, What};
use damso_proto::wire::{self, ChannelInfo, ChannelKind, EventKind, Role, ServerFrame, event};

use super::{
    ALICE, BOB, BROADCAST, CAROL, DIRECT, GROUP, SELF, Sample, UNIX_MS, key, message_id, sample,
};

pub(crate) fn frames() -> Vec<Sample<ServerFrame>> {
    let mut all = vec![Sample { name: "server-keep-alive", frame: None }];
    all.extend(session());
    all.extend(standings());
    all.extend(events());
    all.extend(answers());
    all.extend(refusals());
    all.extend(closes());
    all
}

fn bare(kind: Kind) -> ServerFrame {
    ServerFrame { kind: Some(kind), ..Default::default() }
}

fn answer(id: u64, kind: Kind) -> ServerFrame {
    ServerFrame { kind: Some(kind), id, more: false }
}

fn session() -> Vec<Sample<ServerFrame>> {
    let limits = wire::Limits {
        frame_bytes: 65_536,
        text_bytes: 16_384,
        requests_in_flight: 32,
        page_rows: 100,
        page_bytes: 262_144,
        cursors_per_frame: 4_096,
        group_members: 1_000,
        members_per_page: 500,
        channels_per_user: 5_000,
    };
    let welcome = wire::Welcome {
        version: 1,
        user: ALICE,
        uid: "alice".into(),
        session: bytes::Bytes::from_static(&[0x5e; 16]),
        server_time_ms: UNIX_MS + 12,
        epoch: 1,
        limits: Some(limits),
        heartbeat_ms: 60_000,
        idle_limit_ms: 150_000,
        dedupe_window_ms: 604_800_000,
        token_expires_ms: UNIX_MS + 3_600_000,
        alternates: vec!["chat2.example.org:7443".into()],
        server: "damso/0.1.0".into(),
        ..Default::default()
    };
    let expiring = wire::TokenExpiring { expires_ms: UNIX_MS + 3_600_000 };
    let renewed = wire::Renewed { token_expires_ms: UNIX_MS + 7_200_000 };
    let first =
        wire::Welcome { device_proof: bytes::Bytes::from_static(&[0xde; 32]), ..welcome.clone() };
    vec![
        sample("welcome", bare(Kind::Welcome(welcome))),
        sample("welcome-first-time", bare(Kind::Welcome(first))),
        sample("outcomes-of-resume", bare(Kind::Outcomes(outcomes()))),
        sample("resumed", bare(Kind::Resumed(wire::Resumed { channels: 2 }))),
        sample("token-expiring", bare(Kind::TokenExpiring(expiring))),
        sample("renewed", answer(9, Kind::Renewed(renewed))),
        sample("server-ping", bare(Kind::Ping(wire::Ping { id: 1 }))),
        sample("server-pong", bare(Kind::Pong(wire::Pong { id: 1, time_ms: UNIX_MS + 60_012 }))),
    ]
}

fn outcomes() -> wire::Outcomes {
    let stored = wire::Outcome {
        channel: GROUP,
        key: key(3),
        seq: 301,
        id: message_id(3_000),
        expired: false,
    };
    let not_stored = wire::Outcome { channel: GROUP, key: key(4), ..Default::default() };
    let unknown = wire::Outcome { expired: true, ..not_stored.clone() };
    wire::Outcomes { outcomes: vec![stored, not_stored, unknown] }
}

fn group() -> ChannelInfo {
    ChannelInfo {
        channel: GROUP,
        kind: ChannelKind::Group.into(),
        role: Role::Owner.into(),
        from: 1,
        head: 301,
        name: "점심".into(),
        version: 2,
        members: 2,
        ..Default::default()
    }
}

fn direct() -> ChannelInfo {
    ChannelInfo {
        channel: DIRECT,
        kind: ChannelKind::Direct.into(),
        role: Role::Member.into(),
        from: 1,
        head: 1,
        peer: BOB,
        version: 1,
        members: 2,
        ..Default::default()
    }
}

fn broadcast() -> ChannelInfo {
    ChannelInfo {
        channel: BROADCAST,
        kind: ChannelKind::Broadcast.into(),
        role: Role::Reader.into(),
        from: 1,
        head: 7,
        muted_until_ms: UNIX_MS + 600_000,
        name: "공지".into(),
        version: 40,
        members: 10_000,
        key: "news:all".into(),
        custom: [("color".into(), "#ff7f50".into())].into(),
        ..Default::default()
    }
}

fn standings() -> Vec<Sample<ServerFrame>> {
    let stands = |state: State, from, to| wire::Standing {
        channel: GROUP,
        state: state.into(),
        from,
        to,
        head: 301,
        info: None,
    };
    let new = wire::Standing {
        channel: DIRECT,
        head: 1,
        info: Some(direct()),
        ..stands(State::New, 1, 1)
    };
    let gone = wire::Standing { head: 0, ..stands(State::Gone, 0, 0) };
    let standing = |name, standing| sample(name, bare(Kind::Standing(standing)));
    vec![
        standing("standing-tail", stands(State::Tail, 301, 301)),
        standing("standing-behind", stands(State::Behind, 101, 301)),
        standing("standing-new", new),
        standing("standing-gone", gone),
        standing("standing-floor-raised", stands(State::FloorRaised, 200, 301)),
        standing("standing-rolled-back", stands(State::RolledBack, 0, 250)),
    ]
}

fn message(seq: u64, sender: u64, content: event::Content) -> wire::Event {
    wire::Event {
        channel: GROUP,
        seq,
        id: message_id(3_000 + (seq - 301) * 1_000),
        sender,
        content: Some(content),
        ..Default::default()
    }
}

fn text(seq: u64, sender: u64, text: &str) -> wire::Event {
    message(seq, sender, event::Content::Text(text.into()))
}

fn told(kind: EventKind, channel: u64, what: What) -> Kind {
    let system = wire::System { what: Some(what) };
    Kind::Event(wire::Event {
        channel,
        seq: 4,
        id: message_id(0),
        kind: kind.into(),
        content: Some(event::Content::System(system)),
        ..Default::default()
    })
}

fn events() -> Vec<Sample<ServerFrame>> {
    let poll = wire::Custom {
        r#type: "poll/1".into(),
        body: bytes::Bytes::from_static(b"{\"q\":\"where?\"}"),
    };
    let reply = wire::Event {
        flags: wire::EventFlag::Silent as u32 | wire::EventFlag::Uncounted as u32,
        reply_to: 301,
        ..text(302, BOB, "좋아")
    };
    let system = |what| bare(told(EventKind::System, GROUP, what));
    let personal = |what| bare(told(EventKind::Personal, SELF, what));
    let created = system::Created { by: ALICE, members: vec![ALICE, BOB] };
    let added = system::MembersAdded { by: ALICE, members: vec![CAROL] };
    let removed = system::MemberRemoved { by: ALICE, member: CAROL, banned: false };
    let banned = system::MemberRemoved { banned: true, ..removed };
    let muted =
        system::Muted { by: ALICE, member: BOB, until_ms: UNIX_MS + 600_000, ..Default::default() };
    let own_muted = system::Muted { channel: BROADCAST, ..muted };
    let left = system::MemberLeft { member: BOB };
    let channel_added = system::ChannelAdded { channel: GROUP, from: 1, head: 1 };
    let role_set = system::RoleSet {
        by: ALICE,
        member: BOB,
        role: Role::Moderator.into(),
        ..Default::default()
    };
    let own_role = system::RoleSet { channel: BROADCAST, ..role_set };
    let block_set = system::BlockSet { user: BOB, blocked: true };
    let renamed = system::ChannelUpdated {
        by: ALICE,
        name: Some("저녁".into()),
        version: 7,
        ..Default::default()
    };
    let noted = system::ChannelUpdated {
        custom: Some(wire::CustomMap { entries: [("color".into(), "red".into())].into() }),
        version: 8,
        ..Default::default()
    };
    let channel_removed = system::ChannelRemoved { channel: GROUP, to: 310 };
    vec![
        sample("event-text", bare(Kind::Event(text(301, ALICE, "점심 먹자")))),
        sample("event-reply", bare(Kind::Event(reply))),
        sample(
            "event-custom",
            bare(Kind::Event(message(303, ALICE, event::Content::Custom(poll)))),
        ),
        sample("event-created", system(What::Created(created))),
        sample("event-members-added", system(What::MembersAdded(added))),
        sample("event-member-removed", system(What::MemberRemoved(removed))),
        sample("event-member-banned", system(What::MemberRemoved(banned))),
        sample("event-muted", system(What::Muted(muted))),
        sample("event-own-muted", personal(What::Muted(own_muted))),
        sample("event-member-left", system(What::MemberLeft(left))),
        sample("event-role-set", system(What::RoleSet(role_set))),
        sample("event-own-role-set", personal(What::RoleSet(own_role))),
        sample("event-block-set", personal(What::BlockSet(block_set))),
        sample("event-channel-renamed", system(What::ChannelUpdated(renamed))),
        sample("event-channel-noted", system(What::ChannelUpdated(noted))),
        sample("event-channel-added", personal(What::ChannelAdded(channel_added))),
        sample("event-channel-removed", personal(What::ChannelRemoved(channel_removed))),
    ]
}

fn answers() -> Vec<Sample<ServerFrame>> {
    let ack = wire::Ack {
        seq: 301,
        id: message_id(3_000),
        duplicate: false,
        queue_us: 40,
        commit_us: 900,
    };
    let again = wire::Ack { duplicate: true, queue_us: 0, commit_us: 0, ..ack };
    let row = |event| wire::Row { event: Some(event), rev: 0 };
    let page = |rows, from, to| {
        Kind::Page(wire::Page { channel: GROUP, rows, from, to, as_of: 302, floor: 1 })
    };
    let first = page(vec![row(text(301, ALICE, "점심 먹자"))], 301, 301);
    let last = page(vec![row(text(302, BOB, "좋아"))], 302, 302);
    let channels = vec![group(), direct(), broadcast()];
    let list = wire::ChannelList { channels, end: true };
    let member = |user, role: Role, uid: &str, muted_until_ms| {
        let (role, uid) = (role.into(), uid.into());
        wire::Member { user, role, uid, muted_until_ms }
    };
    let until_ms = UNIX_MS + 600_000;
    let bob = member(BOB, Role::Member, "bob", until_ms);
    let members = vec![member(ALICE, Role::Owner, "alice", 0), bob];
    let bans = vec![wire::Ban { user: CAROL, uid: "auth0|carol".into(), until_ms }];
    let bans = wire::BanList { bans, end: true };
    let people = vec![wire::Blocked { user: CAROL, uid: "auth0|carol".into() }];
    let blocks = wire::BlockList { people, end: true };
    let members = wire::MemberList { members, end: true };
    let people = vec![
        wire::Person {
            user: ALICE,
            uid: "alice".into(),
            custom: [("avatar".into(), "a1.png".into())].into(),
        },
        wire::Person { user: CAROL, uid: "auth0|carol".into(), ..Default::default() },
    ];
    vec![
        sample("ack", answer(3, Kind::Ack(ack))),
        sample("ack-duplicate", answer(3, Kind::Ack(again))),
        sample("page-part", ServerFrame { more: true, ..answer(7, first) }),
        sample("page-last-part", answer(7, last)),
        sample("page-empty", answer(6, page(vec![], 303, 302))),
        sample("outcomes", answer(8, Kind::Outcomes(outcomes()))),
        sample("channel", answer(20, Kind::Channel(group()))),
        sample("channel-list", answer(22, Kind::ChannelList(list))),
        sample("done", answer(23, Kind::Done(wire::Done { seq: 4 }))),
        sample("done-nothing-to-do", answer(24, Kind::Done(wire::Done { seq: 0 }))),
        sample("member-list", answer(26, Kind::MemberList(members))),
        sample("ban-list", answer(26, Kind::BanList(bans))),
        sample("block-list", answer(37, Kind::BlockList(blocks))),
        sample("people", answer(27, Kind::People(wire::People { people }))),
    ]
}

fn refusals() -> Vec<Sample<ServerFrame>> {
    let refused = |id, code: Code, retry_after_ms, field: &str, text: &str| {
        let refusal = wire::Refusal {
            code: code.number(),
            retry_after_ms,
            field: field.into(),
            text: text.into(),
            trace: "3f2a".into(),
        };
        answer(id, Kind::Refusal(refusal))
    };
    let late = refused(3, Code::Overloaded, 500, "", "too much waits in this channel");
    let unknown = refused(3, Code::OutcomeUnknown, 0, "", "the store did not answer");
    vec![
        sample("refusal-never", refused(4, Code::TooLarge, 0, "text", "at most 16384 bytes")),
        sample("refusal-later", late),
        sample("refusal-same-key", unknown),
        sample("refusal-log-in", refused(5, Code::TokenExpired, 0, "", "the token is over")),
        sample("refusal-upgrade", refused(5, Code::Version, 0, "", "this takes version 2")),
    ]
}

fn closes() -> Vec<Sample<ServerFrame>> {
    let close = |name, code: u32, retry_after_ms, address: &str, text: &str| {
        let closing =
            wire::Closing { code, retry_after_ms, address: address.into(), text: text.into() };
        sample(name, bare(Kind::Closing(closing)))
    };
    let number = CloseCode::number;
    vec![
        close("closing-now", number(CloseCode::Idle), 0, "", "nothing was heard"),
        close("closing-later", number(CloseCode::GoingAway), 2_000, "", "the server restarts"),
        // No code of this range exists yet; its meaning does.
        close("closing-elsewhere", 1_300, 0, "chat2.example.org:7443", "moved"),
        close("closing-log-in", number(CloseCode::TokenExpired), 0, "", "the token is over"),
        close("closing-stop", number(CloseCode::Version), 0, "", "this server speaks version 1"),
    ]
}
