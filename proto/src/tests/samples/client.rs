//! One frame of every kind that a client sends.

use damso_proto::wire::client_frame::Kind;
use damso_proto::wire::read_history::Direction;
use damso_proto::wire::{self, ClientFrame, EventFlag, send};

use super::{ALICE, BOB, BROADCAST, DIRECT, GROUP, SELF, Sample, UNIX_MS, key, sample};

pub(crate) fn frames() -> Vec<Sample<ClientFrame>> {
    let mut all = vec![Sample { name: "client-keep-alive", frame: None }];
    all.extend(session());
    all.extend(messages());
    all.extend(channels());
    all
}

fn bare(kind: Kind) -> ClientFrame {
    ClientFrame { kind: Some(kind), ..Default::default() }
}

fn asking(id: u64, kind: Kind) -> ClientFrame {
    ClientFrame { kind: Some(kind), id, ..Default::default() }
}

fn changing(id: u64, kind: Kind) -> ClientFrame {
    ClientFrame { kind: Some(kind), id, key: key(id as u8), ..Default::default() }
}

fn session() -> Vec<Sample<ClientFrame>> {
    let hello = wire::Hello {
        min_version: 1,
        max_version: 1,
        event_level: 2,
        token: "eyJh.eyJz.c2ln".into(),
        device: "alice-phone".into(),
        sdk: "stranger/0.1".into(),
        os: "android 15".into(),
        locale: "ko-KR".into(),
        client_time_ms: UNIX_MS,
        ..Default::default()
    };
    let again = wire::Hello {
        activity: wire::Activity::Background.into(),
        device_proof: bytes::Bytes::from_static(&[0xde; 32]),
        previous_session: bytes::Bytes::from_static(&[0x5e; 16]),
        ..hello.clone()
    };
    let cursors = wire::Resume {
        channel_delta: vec![SELF, GROUP - SELF, DIRECT - GROUP],
        seq: vec![3, 300, 0],
        epoch: 1,
        ..Default::default()
    };
    let pending = wire::PendingSend { channel: GROUP, key: key(3) };
    let rest = wire::Resume { pending: vec![pending], epoch: 1, last: true, ..Default::default() };
    let reauth = wire::Reauth { token: "eyJh.eyJz.bmV3".into() };
    let first = wire::Resume { last: true, ..Default::default() };
    let resume = wire::Resume { last: true, ..cursors.clone() };
    vec![
        sample("hello", bare(Kind::Hello(hello))),
        sample("hello-again", bare(Kind::Hello(again))),
        sample("resume", bare(Kind::Resume(resume))),
        sample("resume-first-time", bare(Kind::Resume(first))),
        sample("resume-part", bare(Kind::Resume(cursors))),
        sample("resume-last-part", bare(Kind::Resume(rest))),
        sample("client-ping", bare(Kind::Ping(wire::Ping { id: 1 }))),
        sample("client-pong", bare(Kind::Pong(wire::Pong { id: 1, time_ms: UNIX_MS + 60_000 }))),
        sample("cancel", bare(Kind::Cancel(wire::Cancel { id: 5 }))),
        sample("reauth", asking(9, Kind::Reauth(reauth))),
    ]
}

fn messages() -> Vec<Sample<ClientFrame>> {
    let text = |text: &str| Some(send::Content::Text(text.into()));
    let send = wire::Send { channel: GROUP, content: text("점심 먹자"), ..Default::default() };
    let reply = wire::Send {
        channel: GROUP,
        flags: EventFlag::Silent as u32 | EventFlag::Uncounted as u32,
        reply_to: 301,
        content: text("좋아"),
    };
    let poll = wire::Custom {
        r#type: "poll/1".into(),
        body: bytes::Bytes::from_static(b"{\"q\":\"where?\"}"),
    };
    let custom = wire::Send {
        channel: GROUP,
        content: Some(send::Content::Custom(poll)),
        ..Default::default()
    };
    let again = ClientFrame {
        deadline_ms: 5_000,
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        attempt: 1,
        ..changing(3, Kind::Send(send.clone()))
    };
    let read = |direction: Direction, seq, rows| {
        Kind::ReadHistory(wire::ReadHistory {
            channel: GROUP,
            seq,
            direction: direction.into(),
            rows,
        })
    };
    let pending = wire::PendingKey { channel: GROUP, key: key(3) };
    let outcome = wire::ReadOutcome { keys: vec![pending] };
    vec![
        sample("send-text", changing(3, Kind::Send(send))),
        sample("send-again", again),
        sample("send-reply", changing(4, Kind::Send(reply))),
        sample("send-custom", changing(5, Kind::Send(custom))),
        sample("read-history-before", asking(6, read(Direction::Before, 0, 50))),
        sample("read-history-after", asking(7, read(Direction::After, 300, 0))),
        sample("read-outcome", asking(8, Kind::ReadOutcome(outcome))),
    ]
}

fn channels() -> Vec<Sample<ClientFrame>> {
    let uids: Vec<String> = vec!["bob".into(), "auth0|carol".into()];
    let create =
        wire::CreateChannel { name: "점심".into(), uids: uids.clone(), ..Default::default() };
    let broadcast = wire::CreateChannel {
        name: "공지".into(),
        kind: wire::ChannelKind::Broadcast.into(),
        ..Default::default()
    };
    let open = wire::OpenDirect { uid: "bob".into() };
    let list = wire::ListChannels { after: GROUP, limit: 100 };
    let add = wire::AddMembers { channel: GROUP, uids: vec!["bob".into()], ..Default::default() };
    let add_readers = wire::AddMembers {
        channel: BROADCAST,
        uids,
        role: wire::Role::Reader.into(),
        history: true,
    };
    let set_role = wire::SetRole { channel: GROUP, user: BOB, role: wire::Role::Moderator.into() };
    let until_ms = UNIX_MS + 600_000;
    let mute = wire::MuteMember { channel: GROUP, user: BOB, until_ms };
    let ban = wire::BanMember { channel: GROUP, user: BOB, until_ms };
    let lift = wire::LiftBan { channel: GROUP, user: BOB };
    let bans = wire::ListBans { channel: GROUP, after: ALICE, limit: 100 };
    let (block, unblock) = (wire::Block { user: BOB }, wire::Unblock { user: BOB });
    let blocks = wire::ListBlocks { after: ALICE, limit: 100 };
    let rename =
        wire::UpdateChannel { channel: GROUP, name: Some("저녁".into()), ..Default::default() };
    let note = wire::UpdateChannel {
        channel: GROUP,
        custom: Some(wire::CustomMap { entries: [("color".into(), "red".into())].into() }),
        ..Default::default()
    };
    let forget = wire::UpdateChannel { custom: Some(Default::default()), ..note.clone() };
    let remove = wire::RemoveMember { channel: GROUP, user: BOB };
    let leave = wire::LeaveChannel { channel: GROUP };
    let members = wire::ListMembers { channel: GROUP, after: ALICE, limit: 100 };
    let people = wire::FindPeople { users: vec![ALICE, BOB], uids: vec!["auth0|carol".into()] };
    vec![
        sample("create-group", changing(20, Kind::CreateChannel(create))),
        sample("create-broadcast", changing(28, Kind::CreateChannel(broadcast))),
        sample("open-direct", changing(21, Kind::OpenDirect(open))),
        sample("list-channels", asking(22, Kind::ListChannels(list))),
        sample("add-members", changing(23, Kind::AddMembers(add))),
        sample("add-readers", changing(29, Kind::AddMembers(add_readers))),
        sample("mute-member", changing(31, Kind::MuteMember(mute))),
        sample("ban-member", changing(32, Kind::BanMember(ban))),
        sample("lift-ban", changing(33, Kind::LiftBan(lift))),
        sample("list-bans", asking(34, Kind::ListBans(bans))),
        sample("block", changing(35, Kind::Block(block))),
        sample("unblock", changing(36, Kind::Unblock(unblock))),
        sample("list-blocks", asking(37, Kind::ListBlocks(blocks))),
        sample("rename-channel", changing(38, Kind::UpdateChannel(rename))),
        sample("note-on-channel", changing(39, Kind::UpdateChannel(note))),
        sample("note-nothing-on-channel", changing(40, Kind::UpdateChannel(forget))),
        sample("set-role", changing(30, Kind::SetRole(set_role))),
        sample("remove-member", changing(24, Kind::RemoveMember(remove))),
        sample("leave-channel", changing(25, Kind::LeaveChannel(leave))),
        sample("list-members", asking(26, Kind::ListMembers(members))),
        sample("find-people", asking(27, Kind::FindPeople(people))),
    ]
}
