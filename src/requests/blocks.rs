//! Who blocks whom: block, no longer block, list.

use damso_proto::id::{ChannelNo, UserNo};
use damso_proto::wire;

use super::channels::{decide, person, settled};
use super::envelope::Envelope;
use super::floors::Floors;
use super::key;
use super::lists::{cut, page_of};
use super::members::change;
use super::refusal::Refusal;
use crate::delivery::ChangeKind;
use crate::model::body::BodyHash;
use crate::model::deadline::Deadline;
use crate::model::draft::Invalid;
use crate::model::limits;
use crate::model::rights::Actor;
use crate::store::directory::{DirectoryError, Done};

/// What the directory says of a block.
enum Decided {
    Done(Done),
    /// The two have this direct channel: its owner knows what they send there, and decides.
    Elsewhere(ChannelNo),
}

impl From<Done> for Decided {
    fn from(done: Done) -> Self {
        Self::Done(done)
    }
}

/// Blocks a person. After the answer nothing more of theirs comes in the direct channel of the two.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where there is no such person;
/// [`crate::delivery::Refusal::Limit`]; the key's own faults.
pub(super) async fn block(
    actor: Actor,
    from: Envelope,
    ask: wire::Block,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let body = BodyHash::of_numbers("block", &[ask.user]);
    set(actor, from, (UserNo::new(ask.user), true), body, floors).await
}

/// Blocks a person no longer.
///
/// # Errors
/// The key's own faults.
pub(super) async fn unblock(
    actor: Actor,
    from: Envelope,
    ask: wire::Unblock,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let body = BodyHash::of_numbers("unblock", &[ask.user]);
    set(actor, from, (UserNo::new(ask.user), false), body, floors).await
}

/// A page of those whom the caller blocks, by rising number.
///
/// # Errors
/// [`Refusal::Directory`]: retry is safe.
pub(super) async fn list(
    actor: Actor,
    ask: wire::ListBlocks,
    deadline: Deadline,
    floors: &Floors,
) -> Result<wire::BlockList, Refusal> {
    let user = person(actor)?;
    let limit = page_of(ask.limit, limits::MEMBERS_PER_PAGE_MAX);
    let directory = floors.directory.clone();
    let page = (UserNo::new(ask.after), limit + 1);
    let found = floors.behind_door(deadline, move || directory.blocked_by(user, page)).await??;
    let (found, end) = cut(found, limit);
    let people = found
        .into_iter()
        .map(|(user, uid)| wire::Blocked { user: user.get(), uid: uid.as_str().to_owned() });
    Ok(wire::BlockList { people: people.collect(), end })
}

async fn set(
    actor: Actor,
    from: Envelope,
    (peer, blocked): (UserNo, bool),
    body: BodyHash,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    if person(actor)? == peer {
        return Err(Invalid::Value { field: "user" }.into());
    }
    let key = key::check(actor, from.key, body, floors.clock.unix_ms())?;
    let decided = decide(key, from, floors, move |directory, command| {
        match directory.set_block(command, peer, blocked, None) {
            Err(DirectoryError::HaveDirect(channel)) => Ok(Decided::Elsewhere(channel)),
            done => done.map(Decided::Done),
        }
    });
    match decided.await? {
        Decided::Done(done) => {
            let Done { seq, .. } = settled(from.route, done, floors).await?;
            Ok(wire::Done { seq: seq.get() })
        }
        Decided::Elsewhere(channel) => {
            change(actor, from, channel, ChangeKind::Block(peer, blocked), body, floors).await
        }
    }
}
