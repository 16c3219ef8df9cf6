//! Channels: make, find, list.

use damso_proto::id::{ChannelNo, Uid, UserNo};
use damso_proto::wire;

use super::envelope::Envelope;
use super::floors::{Actor, Floors};
use super::key;
use super::refusal::Refusal;
use crate::delivery::Work;
use crate::model::body::BodyHash;
use crate::model::deadline::Deadline;
use crate::model::draft::{ChannelDraft, Invalid};
use crate::model::naming::CustomMap;
use crate::model::{limits, rights};
use crate::runtime::route::Route;
use crate::store::directory::{
    Command, Directory, DirectoryError, Done, Heading, Membership, NewChannel,
};
use crate::store::log::{Head, NewKey};

/// Makes a group or a broadcast with the caller as owner; answered when every shard and every member's
/// own log knows it. The same key again finds the same channel.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where a member does not exist; faults of name,
/// number of members and key.
pub(super) async fn create(
    actor: Actor,
    from: Envelope,
    ask: wire::CreateChannel,
    floors: &Floors,
) -> Result<wire::ChannelInfo, Refusal> {
    let draft = ChannelDraft::check(&ask, floors.limits.members_per_command)?;
    let key = key::check(actor.user, from.key, draft.body, floors.clock.unix_ms())?;
    let done = decide(key, from, floors, move |directory, command| {
        let members = users_of(directory, &draft.uids)?;
        let custom = CustomMap::default();
        let new = NewChannel { kind: draft.kind, name: &draft.name, key: None, custom: &custom };
        directory.create_channel(command, &new, &members)
    });
    settled_info(actor, from.route, done.await?, floors).await
}

/// Finds the direct channel with a person, or makes it.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where the person does not exist; the key's faults.
pub(super) async fn open_direct(
    actor: Actor,
    from: Envelope,
    ask: wire::OpenDirect,
    floors: &Floors,
) -> Result<wire::ChannelInfo, Refusal> {
    let uid = Uid::parse(&ask.uid).ok_or(Invalid::Value { field: "uid" })?;
    let body = BodyHash::of("open_direct", &[ask.uid.as_bytes()]);
    let key = key::check(actor.user, from.key, body, floors.clock.unix_ms())?;
    let done = decide(key, from, floors, move |directory, command| {
        let peer = users_of(directory, &[uid])?;
        let peer = peer.first().copied().ok_or(DirectoryError::NoUser(UserNo::default()))?;
        directory.open_direct(command, actor.user, peer)
    });
    settled_info(actor, from.route, done.await?, floors).await
}

/// A page of the caller's channels by rising number.
///
/// # Errors
/// [`Refusal::Directory`], [`Refusal::Store`]: retry is safe.
pub(super) async fn list(
    actor: Actor,
    ask: wire::ListChannels,
    deadline: Deadline,
    floors: &Floors,
) -> Result<wire::ChannelList, Refusal> {
    let limit = usize::try_from(ask.limit).unwrap_or(usize::MAX);
    let max = limits::CHANNELS_PER_PAGE_MAX;
    let limit = if limit == 0 { max } else { limit.min(max) };
    let (directory, log) = (floors.directory.clone(), floors.log.clone());
    let after = ChannelNo::new(ask.after);
    let (mut channels, end) = floors
        .behind_door(deadline, move || {
            let mut rows = directory.memberships(actor.user, after, limit + 1)?;
            let end = rows.len() <= limit;
            rows.truncate(limit);
            let numbers: Vec<_> = rows.iter().map(|row| row.channel).collect();
            let heads = log.heads(&numbers)?;
            let infos = rows.iter().zip(heads).map(|(row, head)| info(row, &head));
            Ok::<_, Refusal>((infos.collect::<Vec<_>>(), end))
        })
        .await??;
    // Some may have been left while the stores were read.
    let delivery = floors.delivery.borrow();
    channels.retain(|info| delivery.membership(actor.user, ChannelNo::new(info.channel)).is_some());
    Ok(wire::ChannelList { channels, end })
}

/// A channel as its member sees it.
pub(super) fn info(row: &Membership, head: &Head) -> wire::ChannelInfo {
    let Heading { kind, name, version, members, key, custom } = row.heading.clone();
    wire::ChannelInfo {
        channel: row.channel.get(),
        kind: kind.to_wire().into(),
        role: row.role.to_wire().into(),
        from: row.from.get(),
        head: head.seq.get(),
        peer: row.peer.unwrap_or_default().get(),
        name,
        version,
        members,
        key: key.map(|key| key.as_str().to_owned()).unwrap_or_default(),
        custom: custom.into_entries(),
        muted_until_ms: row.muted_until_ms,
    }
}

/// Has the directory carry a command out. What would begin too late, or is one too many, is
/// answered only if its key is known: a repetition begins nothing.
async fn decide(
    key: NewKey,
    from: Envelope,
    floors: &Floors,
    change: impl FnOnce(&dyn Directory, &Command) -> Result<Done, DirectoryError> + Send + 'static,
) -> Result<Done, Refusal> {
    let (directory, clock) = (floors.directory.clone(), floors.clock.clone());
    let command = command_of(key, floors);
    let decided = floors.behind_door(Deadline::NONE, move || {
        if let Some(refusal) = from.barred(clock.now()) {
            return directory.answered(&command)?.ok_or(refusal);
        }
        Ok(change(&*directory, &command)?)
    });
    decided.await?
}

/// Waits until every shard knows the channel, then tells the caller what it is.
async fn settled_info(
    actor: Actor,
    route: Route,
    done: Done,
    floors: &Floors,
) -> Result<wire::ChannelInfo, Refusal> {
    let Done { channel, rows, .. } = done;
    let work = Work::Settle { rows, route: Some(route) };
    floors.command(route, channel, work).await?;
    let (directory, log) = (floors.directory.clone(), floors.log.clone());
    floors
        .behind_door(Deadline::NONE, move || {
            let row = directory.membership(actor.user, channel)?.ok_or(Refusal::not_found())?;
            let heads = log.heads(&[channel])?;
            let head = heads.first().ok_or(Refusal::not_found())?;
            Ok(info(&row, head))
        })
        .await?
}

pub(super) fn command_of(key: NewKey, floors: &Floors) -> Command {
    let NewKey { user, key, body } = key;
    Command { by: rights::Actor::User(user), key, body, now_ms: floors.clock.unix_ms() }
}

pub(super) fn users_of(
    directory: &dyn Directory,
    uids: &[Uid],
) -> Result<Vec<UserNo>, DirectoryError> {
    let found = directory.users_by_uid(uids)?;
    let find = |uid: &Uid| found.iter().find(|user| user.uid == *uid).map(|user| user.number);
    let missing = DirectoryError::NoUser(UserNo::default());
    uids.iter().map(find).collect::<Option<_>>().ok_or(missing)
}
