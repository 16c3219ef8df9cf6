//! What the server itself tells: events of the system, ready but for their place.

use damso_proto::id::{ChannelNo, Seq, UserNo};
use damso_proto::wire;
use damso_proto::wire::EventKind;
use damso_proto::wire::event::Content;
use damso_proto::wire::system::{
    BlockSet, ChannelAdded, ChannelRemoved, ChannelUpdated, Created, MemberLeft, MemberRemoved,
    MembersAdded, Muted, RoleSet, What,
};

use crate::model::rights::Role;
use crate::model::update::ChannelUpdate;

/// The first event of a channel: who made it, and who is in it from the start.
pub fn created(by: UserNo, members: &[UserNo]) -> wire::Event {
    let members = members.iter().map(|member| member.get()).collect();
    event(EventKind::System, by, What::Created(Created { by: by.get(), members }))
}

/// People were added.
pub fn members_added(by: UserNo, members: &[UserNo]) -> wire::Event {
    let members = members.iter().map(|member| member.get()).collect();
    event(EventKind::System, by, What::MembersAdded(MembersAdded { by: by.get(), members }))
}

/// A person was removed; the last event of the channel that they get.
/// `banned`: and is kept out.
pub fn member_removed(by: UserNo, member: UserNo, banned: bool) -> wire::Event {
    let what = MemberRemoved { by: by.get(), member: member.get(), banned };
    event(EventKind::System, by, What::MemberRemoved(what))
}

/// A person left; the last event of the channel that they get.
pub fn member_left(member: UserNo) -> wire::Event {
    event(EventKind::System, member, What::MemberLeft(MemberLeft { member: member.get() }))
}

/// A person was given a role: in their own log, in a channel whose log does not tell it.
pub fn role_set(by: UserNo, member: UserNo, role: Role, own: Option<ChannelNo>) -> wire::Event {
    let (kind, channel) = place_of(own);
    let (who, member, role) = (by.get(), member.get(), role.to_wire().into());
    let sender = if own.is_none() { by } else { UserNo::default() };
    event(kind, sender, What::RoleSet(RoleSet { by: who, member, role, channel }))
}

/// A person may write nothing until a time: told where a role is told.
pub fn muted(by: UserNo, member: UserNo, until_ms: u64, own: Option<ChannelNo>) -> wire::Event {
    let (kind, channel) = place_of(own);
    let (who, member) = (by.get(), member.get());
    let sender = if own.is_none() { by } else { UserNo::default() };
    event(kind, sender, What::Muted(Muted { by: who, member, until_ms, channel }))
}

fn place_of(own: Option<ChannelNo>) -> (EventKind, u64) {
    own.map_or((EventKind::System, 0), |channel| (EventKind::Personal, channel.get()))
}

/// The channel has another name, or something else is noted on it, as of this version.
pub fn channel_updated(by: UserNo, version: u64, update: ChannelUpdate) -> wire::Event {
    let ChannelUpdate { name, custom } = update;
    let name = name.map(Into::into);
    let custom = custom.map(|custom| wire::CustomMap { entries: custom.into_entries() });
    let what = ChannelUpdated { by: by.get(), name, custom, version };
    event(EventKind::System, by, What::ChannelUpdated(what))
}

/// In a person's own log: they are in `channel`, which had come up to `head` then, and see it from
/// `from` on.
pub fn channel_added(channel: ChannelNo, from: Seq, head: Seq) -> wire::Event {
    let what = ChannelAdded { channel: channel.get(), from: from.get(), head: head.get() };
    event(EventKind::Personal, UserNo::default(), What::ChannelAdded(what))
}

/// In a person's own log: they are no longer in `channel`, which they see up to `to`.
pub fn channel_removed(channel: ChannelNo, to: Seq) -> wire::Event {
    let what = ChannelRemoved { channel: channel.get(), to: to.get() };
    event(EventKind::Personal, UserNo::default(), What::ChannelRemoved(what))
}

/// In a person's own log: they block `user` from now on, or no longer.
pub fn block_set(user: UserNo, blocked: bool) -> wire::Event {
    let what = BlockSet { user: user.get(), blocked };
    event(EventKind::Personal, UserNo::default(), What::BlockSet(what))
}

fn event(kind: EventKind, sender: UserNo, what: What) -> wire::Event {
    wire::Event {
        kind: kind.into(),
        sender: sender.get(),
        content: Some(Content::System(wire::System { what: Some(what) })),
        ..Default::default()
    }
}
