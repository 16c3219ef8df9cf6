//! Who is in a channel, and who is kept out of it, a page at a time.

use damso_proto::id::{ChannelNo, UserNo};
use damso_proto::wire;

use super::floors::Floors;
use super::refusal::Refusal;
use crate::model::deadline::Deadline;
use crate::model::limits;
use crate::model::rights::{Actor, Op};
use crate::store::directory::Ban;

/// A page of members by rising number.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where the channel is absent or not the caller's;
/// [`crate::delivery::Refusal::NotAllowed`] where their role does not allow it.
pub(super) async fn members(
    actor: Actor,
    ask: wire::ListMembers,
    deadline: Deadline,
    floors: &Floors,
) -> Result<wire::MemberList, Refusal> {
    let channel = ChannelNo::new(ask.channel);
    floors.reads(actor, channel, Op::ListMembers).await?;
    let limit = page_of(ask.limit, limits::MEMBERS_PER_PAGE_MAX);
    let (directory, after) = (floors.directory.clone(), UserNo::new(ask.after));
    let found = floors
        .behind_door(deadline, move || directory.members(channel, after, limit + 1))
        .await??;
    floors.may(actor, channel, Op::ListMembers)?;
    let (found, end) = cut(found, limit);
    let members = found.into_iter().map(|(member, uid)| wire::Member {
        user: member.user.get(),
        role: member.role.to_wire().into(),
        uid: uid.as_str().to_owned(),
        muted_until_ms: member.muted_until_ms,
    });
    Ok(wire::MemberList { members: members.collect(), end })
}

/// A page of those who are kept out, by rising number.
///
/// # Errors
/// As [`members`].
pub(super) async fn bans(
    actor: Actor,
    ask: wire::ListBans,
    deadline: Deadline,
    floors: &Floors,
) -> Result<wire::BanList, Refusal> {
    let channel = ChannelNo::new(ask.channel);
    floors.reads(actor, channel, Op::Bans).await?;
    let limit = page_of(ask.limit, limits::MEMBERS_PER_PAGE_MAX);
    let (directory, now_ms) = (floors.directory.clone(), floors.clock.unix_ms());
    let page = (UserNo::new(ask.after), limit + 1);
    let found =
        floors.behind_door(deadline, move || directory.bans(channel, page, now_ms)).await??;
    floors.may(actor, channel, Op::Bans)?;
    let (found, end) = cut(found, limit);
    let bans = found.into_iter().map(|Ban { user, uid, until_ms }| wire::Ban {
        user: user.get(),
        uid: uid.as_str().to_owned(),
        until_ms,
    });
    Ok(wire::BanList { bans: bans.collect(), end })
}

/// How many entries a page is to have at most.
pub(super) fn page_of(asked: u32, max: usize) -> usize {
    let asked = usize::try_from(asked).unwrap_or(usize::MAX);
    if asked == 0 { max } else { asked.min(max) }
}

/// Cuts what was found, one more than wanted, to a page; and whether nothing follows it.
pub(super) fn cut<T>(mut found: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    let end = found.len() <= limit;
    found.truncate(limit);
    (found, end)
}
