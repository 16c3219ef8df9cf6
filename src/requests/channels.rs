//! Channels: make, find, list.

use damso_proto::id::{ChannelNo, Uid, UserNo};
use damso_proto::wire;

use super::envelope::Envelope;
use super::floors::Floors;
use super::key;
use super::lists::{cut, page_of};
use super::refusal::Refusal;
use crate::delivery::{self, Work};
use crate::model::body::BodyHash;
use crate::model::deadline::Deadline;
use crate::model::draft::{ChannelDraft, Invalid};
use crate::model::limits;
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::Actor;
use crate::runtime::route::Route;
use crate::store::directory::{
    Command, Directory, DirectoryError, Done, Heading, Membership, NewChannel,
};
use crate::store::log::{Head, NewKey};

/// Makes a group or a broadcast with the caller as owner; answered when every shard and every member's
/// own log knows it. The same key again finds the same channel.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where a member does not exist; [`Refusal::Blocked`]; faults
/// of name, number of members and key.
pub(super) async fn create(
    actor: Actor,
    from: Envelope,
    ask: wire::CreateChannel,
    floors: &Floors,
) -> Result<wire::ChannelInfo, Refusal> {
    let user = person(actor)?;
    let draft = ChannelDraft::check(&ask, floors.limits.members_per_command)?;
    let done = match make(actor, from, draft, ByBackend::default(), floors).await {
        Err(refusal) => return Err(placed(refusal, &ask.uids, floors).await),
        Ok(done) => done,
    };
    info_for(user, done.channel, floors).await
}

/// What a backend alone may say of a channel that it makes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ByBackend {
    /// What it calls it.
    pub key: Option<ChannelKey>,
    /// What it notes on it.
    pub custom: CustomMap,
    /// Whose it is.
    pub owner: Option<Uid>,
}

/// Has the directory make a channel; done when every shard and every member's own log knows it.
pub(super) async fn make(
    actor: Actor,
    from: Envelope,
    draft: ChannelDraft,
    more: ByBackend,
    floors: &Floors,
) -> Result<Done, Refusal> {
    let key = key::check(actor, from.key, more.body(draft.body), floors.clock.unix_ms())?;
    let done = decide(key, from, floors, move |directory, command| {
        let ChannelDraft { kind, name, uids, .. } = &draft;
        let ByBackend { key, custom, owner } = &more;
        let members = users_of(directory, uids)?;
        let owner = users_of(directory, owner.as_slice())?.first().copied();
        let new = NewChannel { kind: *kind, name, key: key.as_ref(), custom, owner };
        directory.create_channel(command, &new, &members)
    });
    settled(from.route, done.await?, floors).await
}

impl ByBackend {
    /// The hash of a request for a channel, with this added.
    fn body(&self, draft: BodyHash) -> BodyHash {
        if *self == Self::default() {
            return draft;
        }
        let Self { key, custom, owner } = self;
        let draft = draft.0.to_be_bytes();
        let key = key.as_ref().map_or("", ChannelKey::as_str);
        let owner = owner.as_ref().map_or("", Uid::as_str);
        let mut fields: Vec<&[u8]> = vec![&draft, key.as_bytes(), owner.as_bytes()];
        for (name, text) in custom.entries() {
            fields.extend([name.as_bytes(), text.as_bytes()]);
        }
        BodyHash::of("create_channel_by_backend", &fields)
    }
}

/// Finds the direct channel with a person, or makes it.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where the person does not exist;
/// [`crate::delivery::Refusal::Blocked`] where there is none, and one of the two blocks the other;
/// the key's faults.
pub(super) async fn open_direct(
    actor: Actor,
    from: Envelope,
    ask: wire::OpenDirect,
    floors: &Floors,
) -> Result<wire::ChannelInfo, Refusal> {
    let user = person(actor)?;
    let uid = Uid::parse(&ask.uid).ok_or(Invalid::Value { field: "uid" })?;
    let body = BodyHash::of("open_direct", &[ask.uid.as_bytes()]);
    let key = key::check(actor, from.key, body, floors.clock.unix_ms())?;
    let done = decide(key, from, floors, move |directory, command| {
        let peer = users_of(directory, &[uid])?;
        let peer = peer.first().copied().ok_or(DirectoryError::NoUser(UserNo::default()))?;
        directory.open_direct(command, user, peer)
    });
    let done = settled(from.route, done.await?, floors).await?;
    info_for(user, done.channel, floors).await
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
    let user = person(actor)?;
    let limit = page_of(ask.limit, limits::CHANNELS_PER_PAGE_MAX);
    let (directory, log) = (floors.directory.clone(), floors.log.clone());
    let after = ChannelNo::new(ask.after);
    let (mut channels, end) = floors
        .behind_door(deadline, move || {
            let (rows, end) = cut(directory.memberships(user, after, limit + 1)?, limit);
            let numbers: Vec<_> = rows.iter().map(|row| row.channel).collect();
            let heads = log.heads(&numbers)?;
            let infos = rows.iter().zip(heads).map(|(row, head)| info(row, &head));
            Ok::<_, Refusal>((infos.collect::<Vec<_>>(), end))
        })
        .await??;
    // Some may have been left while the stores were read.
    let delivery = floors.delivery.borrow();
    channels.retain(|info| delivery.membership(user, ChannelNo::new(info.channel)).is_some());
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
pub(super) async fn decide<T: From<Done> + Send + 'static>(
    key: NewKey,
    from: Envelope,
    floors: &Floors,
    change: impl FnOnce(&dyn Directory, &Command) -> Result<T, DirectoryError> + Send + 'static,
) -> Result<T, Refusal> {
    let (directory, clock) = (floors.directory.clone(), floors.clock.clone());
    let command = command_of(key, floors);
    let decided = floors.behind_door(Deadline::NONE, move || {
        if let Some(refusal) = from.barred(clock.now()) {
            return directory.answered(&command)?.map(T::from).ok_or(refusal);
        }
        Ok(change(&*directory, &command)?)
    });
    decided.await?
}

/// Waits until every shard knows the channel.
pub(super) async fn settled(route: Route, done: Done, floors: &Floors) -> Result<Done, Refusal> {
    let Done { channel, seq, is_repeated, rows } = done;
    let work = Work::Settle { rows, route: Some(route) };
    floors.command(route, channel, work).await?;
    Ok(Done { channel, seq, is_repeated, rows: Vec::new() })
}

/// What a channel is to a member.
async fn info_for(
    user: UserNo,
    channel: ChannelNo,
    floors: &Floors,
) -> Result<wire::ChannelInfo, Refusal> {
    let (directory, log) = (floors.directory.clone(), floors.log.clone());
    floors
        .behind_door(Deadline::NONE, move || {
            let row = directory.membership(user, channel)?.ok_or(Refusal::not_found())?;
            let heads = log.heads(&[channel])?;
            let head = heads.first().ok_or(Refusal::not_found())?;
            Ok(info(&row, head))
        })
        .await?
}

/// Names whoever blocks the caller, and so is not added, by their place among the `uids` of the
/// request.
pub(super) async fn placed(refusal: Refusal, uids: &[String], floors: &Floors) -> Refusal {
    let Refusal::Delivery(delivery::Refusal::BlockedBy(user)) = refusal else { return refusal };
    let directory = floors.directory.clone();
    match floors.behind_door(Deadline::NONE, move || directory.users(&[user])).await {
        Ok(Ok(found)) => {
            let is_theirs = |uid: &String| found.iter().any(|user| user.uid.as_str() == uid);
            uids.iter().position(is_theirs).map_or(refusal, |at| Refusal::Blocked { at })
        }
        Ok(Err(error)) => error.into(),
        Err(refusal) => refusal,
    }
}

/// Who asks, where only a person can: a service is in nothing, and blocks nobody.
pub(super) fn person(actor: Actor) -> Result<UserNo, Refusal> {
    match actor {
        Actor::User(user) => Ok(user),
        Actor::Service => Err(Refusal::Delivery(delivery::Refusal::NotAllowed)),
    }
}

pub(super) fn command_of(key: NewKey, floors: &Floors) -> Command {
    let NewKey { user, key, body } = key;
    Command { by: Actor::of_number(user), key, body, now_ms: floors.clock.unix_ms() }
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
