//! Members of a channel: add, remove, give a role, mute, keep out, leave. All idempotent.

use damso_proto::id::{ChannelNo, UserNo};
use damso_proto::wire;

use super::channels::{command_of, placed, users_of};
use super::envelope::Envelope;
use super::floors::Floors;
use super::key;
use super::refusal::Refusal;
use crate::delivery::{self, Answer, Change, ChangeKind, Work};
use crate::model::body::BodyHash;
use crate::model::deadline::Deadline;
use crate::model::draft::{Invalid, MembersDraft};
use crate::model::rights::{Actor, Op, Role};
use crate::store::directory::Joining;

/// Adds people; answered when every shard knows it.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where the channel or a person is absent *or* the channel
/// is not the caller's; [`crate::delivery::Refusal::NotAllowed`] where their role does not allow
/// it; [`crate::delivery::Refusal::Banned`], [`Refusal::Blocked`]; the draft's and the key's own
/// faults.
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
    match change(actor, from, channel, what, body, floors).await {
        Err(refusal) => Err(placed(refusal, &ask.uids, floors).await),
        done => done,
    }
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
    if Actor::User(user) == actor {
        // One leaves, or stays.
        return Err(delivery::Refusal::NotAllowed.into());
    }
    let body = BodyHash::of_numbers("remove_member", &[ask.channel, ask.user]);
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
    let number = u64::try_from(ask.role).map_err(|_| Invalid::Value { field: "role" })?;
    let body = BodyHash::of_numbers("set_role", &[ask.channel, ask.user, number]);
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
    let body = BodyHash::of_numbers("leave_channel", &[ask.channel]);
    if let Err(refusal) = floors.may(actor, channel, Op::Leave) {
        let key = key::check(actor, from.key, body, floors.clock.unix_ms())?;
        let (directory, command) = (floors.directory.clone(), command_of(key, floors));
        let known =
            floors.behind_door(Deadline::NONE, move || directory.answered(&command)).await??;
        return known.map(|done| wire::Done { seq: done.seq.get() }).ok_or(refusal);
    }
    change(actor, from, channel, ChangeKind::Remove(actor.number()), body, floors).await
}

/// Lets a member write nothing until a time of day, or again.
///
/// # Errors
/// As [`add`].
pub(super) async fn mute(
    actor: Actor,
    from: Envelope,
    ask: wire::MuteMember,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let wire::MuteMember { channel, user, until_ms } = ask;
    floors.may(actor, ChannelNo::new(channel), Op::Mute(Role::Reader))?;
    let body = BodyHash::of_numbers("mute_member", &[channel, user, until_ms]);
    let what = ChangeKind::Mute(UserNo::new(user), until_ms);
    change(actor, from, ChannelNo::new(channel), what, body, floors).await
}

/// Removes a person and keeps them out. After the answer nothing newer reaches them.
///
/// # Errors
/// As [`add`].
pub(super) async fn ban(
    actor: Actor,
    from: Envelope,
    ask: wire::BanMember,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let wire::BanMember { channel, user, until_ms } = ask;
    floors.may(actor, ChannelNo::new(channel), Op::RemoveMember(None))?;
    let body = BodyHash::of_numbers("ban_member", &[channel, user, until_ms]);
    let what = ChangeKind::Ban(UserNo::new(user), until_ms);
    change(actor, from, ChannelNo::new(channel), what, body, floors).await
}

/// Lets a person be added again.
///
/// # Errors
/// As [`add`].
pub(super) async fn lift_ban(
    actor: Actor,
    from: Envelope,
    ask: wire::LiftBan,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let wire::LiftBan { channel, user } = ask;
    floors.may(actor, ChannelNo::new(channel), Op::Bans)?;
    let body = BodyHash::of_numbers("lift_ban", &[channel, user]);
    let what = ChangeKind::LiftBan(UserNo::new(user));
    change(actor, from, ChannelNo::new(channel), what, body, floors).await
}

pub(super) async fn change(
    actor: Actor,
    from: Envelope,
    channel: ChannelNo,
    what: ChangeKind,
    body: BodyHash,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let key = key::check(actor, from.key, body, floors.clock.unix_ms())?;
    let Envelope { route, deadline, over, .. } = from;
    let work = Work::Change(Change { by: actor, what, key, route, deadline, over });
    match floors.command(route, channel, work).await? {
        Answer::Done(seq) | Answer::Sent { seq, .. } => Ok(wire::Done { seq: seq.get() }),
    }
}
