//! Members of a channel: add, remove, give a role, leave, list. All idempotent.

use damso_proto::id::{ChannelNo, UserNo};
use damso_proto::wire;

use super::channels::{command_of, users_of};
use super::envelope::Envelope;
use super::floors::{Actor, Floors};
use super::key;
use super::refusal::Refusal;
use crate::delivery::{self, Answer, Change, ChangeKind, Work};
use crate::model::body::BodyHash;
use crate::model::deadline::Deadline;
use crate::model::draft::{Invalid, MembersDraft};
use crate::model::limits;
use crate::model::rights::{self, Op, Role};
use crate::store::directory::Joining;

/// Adds people; answered when every shard knows it.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where the channel or a person is absent *or* the channel
/// is not the caller's; [`crate::delivery::Refusal::NotAllowed`] where their role does not allow
/// it; the draft's and the key's own faults.
pub(super) async fn add(
    actor: Actor,
    from: Envelope,
    ask: wire::AddMembers,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let max = floors.limits.members_per_command;
    let MembersDraft { channel, uids, role, sight, body } = MembersDraft::check(&ask, max)?;
    // The least that can be meant; the owner knows what it is.
    floors.may(actor, channel, Op::AddMembers(role.unwrap_or(Role::Reader)))?;
    let directory = floors.directory.clone();
    let users = floors.behind_door(Deadline::NONE, move || users_of(&*directory, &uids)).await??;
    let what = ChangeKind::Add(Joining { users, role, sight });
    change(actor, from, channel, what, body, floors).await
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
    let user = UserNo::new(ask.user);
    if user == actor.user {
        // One leaves, or stays.
        return Err(delivery::Refusal::NotAllowed.into());
    }
    let fields: [&[u8]; 2] = [&ask.channel.to_be_bytes(), &ask.user.to_be_bytes()];
    let body = BodyHash::of("remove_member", &fields);
    change(actor, from, channel, ChangeKind::Remove(user), body, floors).await
}

/// Gives another member a role.
///
/// # Errors
/// As [`add`].
pub(super) async fn set_role(
    actor: Actor,
    from: Envelope,
    ask: wire::SetRole,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let channel = ChannelNo::new(ask.channel);
    let role = Role::from_wire(ask.role).ok_or(Invalid::Value { field: "role" })?;
    // As above: what they are now is known to the owner alone.
    floors.may(actor, channel, Op::SetRole(Role::Reader, role))?;
    let fields: [&[u8]; 3] =
        [&ask.channel.to_be_bytes(), &ask.user.to_be_bytes(), &ask.role.to_be_bytes()];
    let body = BodyHash::of("set_role", &fields);
    let what = ChangeKind::SetRole(UserNo::new(ask.user), role);
    change(actor, from, channel, what, body, floors).await
}

/// Leaves a group or a broadcast. The same key again is answered as at first, though the caller has
/// left.
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
    change(actor, from, channel, ChangeKind::Remove(actor.user), body, floors).await
}

/// A page of members by rising number.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where the channel is absent or not the caller's;
/// [`crate::delivery::Refusal::NotAllowed`] where their role does not allow it.
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
    let Envelope { route, deadline, over, .. } = from;
    let by = rights::Actor::User(actor.user);
    let work = Work::Change(Change { by, what, key, route, deadline, over });
    match floors.command(route, channel, work).await? {
        Answer::Done(seq) | Answer::Sent { seq, .. } => Ok(wire::Done { seq: seq.get() }),
    }
}
