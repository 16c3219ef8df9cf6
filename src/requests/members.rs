//! Members of a group: add, remove, leave, list. All idempotent.

use damso_proto::id::{ChannelNo, Uid, UserNo};
use damso_proto::wire;

use super::channels::command_of;
use super::envelope::Envelope;
use super::floors::{Actor, Floors};
use super::key;
use super::refusal::Refusal;
use crate::delivery::{Answer, Change, ChangeKind, Work};
use crate::model::body::BodyHash;
use crate::model::deadline::Deadline;
use crate::model::draft::Invalid;
use crate::model::limits;
use crate::model::rights::Op;

/// Adds a person; answered when every shard knows it.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where channel or person is absent *or* the
/// caller may not add; the key's faults.
pub(super) async fn add(
    actor: Actor,
    from: Envelope,
    ask: wire::AddMember,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let channel = ChannelNo::new(ask.channel);
    floors.may(actor, channel, Op::AddMember)?;
    let uid = Uid::parse(&ask.uid).ok_or(Invalid::Value { field: "uid" })?;
    let body = BodyHash::of("add_member", &[&ask.channel.to_be_bytes(), ask.uid.as_bytes()]);
    let directory = floors.directory.clone();
    let found =
        floors.behind_door(Deadline::NONE, move || directory.users_by_uid(&[uid])).await??;
    let user = found.first().ok_or(Refusal::not_found())?.number;
    change(actor, from, channel, ChangeKind::Add(user), body, floors).await
}

/// Removes a person. After the answer nothing newer reaches them.
///
/// # Errors
/// As [`add`].
pub(super) async fn remove(
    actor: Actor,
    from: Envelope,
    ask: wire::RemoveMember,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let channel = ChannelNo::new(ask.channel);
    // Whom it concerns is known to the owner alone, which asks again.
    floors.may(actor, channel, Op::RemoveMember(None))?;
    let what = ChangeKind::Remove(UserNo::new(ask.user));
    let fields: [&[u8]; 2] = [&ask.channel.to_be_bytes(), &ask.user.to_be_bytes()];
    let body = BodyHash::of("remove_member", &fields);
    change(actor, from, channel, what, body, floors).await
}

/// Leaves a group. The same key again is answered as at first, though the caller has left.
///
/// # Errors
/// As [`add`]; a channel that the caller already left looks absent.
pub(super) async fn leave(
    actor: Actor,
    from: Envelope,
    ask: wire::LeaveChannel,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let channel = ChannelNo::new(ask.channel);
    let body = BodyHash::of("leave_channel", &[&ask.channel.to_be_bytes()]);
    if let Err(refusal) = floors.may(actor, channel, Op::Leave) {
        let key = key::check(actor.user, from.key, body, floors.clock.unix_ms())?;
        let (directory, command) = (floors.directory.clone(), command_of(key, floors));
        let known =
            floors.behind_door(Deadline::NONE, move || directory.answered(&command)).await??;
        return known.map(|done| wire::Done { seq: done.seq.get() }).ok_or(refusal);
    }
    change(actor, from, channel, ChangeKind::Leave, body, floors).await
}

/// A page of members by rising number.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where the channel is absent or not the caller's.
pub(super) async fn list(
    actor: Actor,
    ask: wire::ListMembers,
    deadline: Deadline,
    floors: &Floors,
) -> Result<wire::MemberList, Refusal> {
    let channel = ChannelNo::new(ask.channel);
    floors.may(actor, channel, Op::ListMembers)?;
    let limit = usize::try_from(ask.limit).unwrap_or(usize::MAX);
    let max = limits::MEMBERS_PER_PAGE_MAX;
    let limit = if limit == 0 { max } else { limit.min(max) };
    let (directory, after) = (floors.directory.clone(), UserNo::new(ask.after));
    let mut found = floors
        .behind_door(deadline, move || directory.members(channel, after, limit + 1))
        .await??;
    floors.may(actor, channel, Op::ListMembers)?;
    let end = found.len() <= limit;
    found.truncate(limit);
    let members = found.into_iter().map(|(member, uid)| wire::Member {
        user: member.user.get(),
        role: member.role.to_wire().into(),
        uid: uid.as_str().to_owned(),
    });
    Ok(wire::MemberList { members: members.collect(), end })
}

async fn change(
    actor: Actor,
    from: Envelope,
    channel: ChannelNo,
    what: ChangeKind,
    body: BodyHash,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let key = key::check(actor.user, from.key, body, floors.clock.unix_ms())?;
    let Envelope { route, deadline, .. } = from;
    let work = Work::Change(Change { by: actor.user, what, key, route, deadline });
    match floors.command(route, channel, work).await? {
        Answer::Done(seq) | Answer::Sent { seq, .. } => Ok(wire::Done { seq: seq.get() }),
    }
}
