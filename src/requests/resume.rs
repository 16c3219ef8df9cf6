//! How each channel stands for a device that comes back, and what it missed.
//!
//! The caller has entered the connection in every channel log *before* it asks here,
//! so what is committed after the heads were read waits there, and nothing can fall
//! between. Newest activity comes first; a person's own log before everything.

use std::cmp::Reverse;

use damso_proto::id::{ChannelNo, Epoch, Seq, UserNo};
use damso_proto::wire;
use damso_proto::wire::standing::State;
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::channels::info;
use super::floors::Floors;
use super::refusal::Refusal;
use crate::delivery::Membership;
use crate::model::deadline::Deadline;
use crate::model::limits;
use crate::store::directory;
use crate::store::log::{Head, Order, Range, StoreError, StoredEvent};

/// What the device says it has.
#[derive(Clone, Default, Debug)]
pub struct Cursors {
    /// By rising channel number, each channel once.
    pub seqs: Vec<Cursor>,
}

/// What the device has of one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// The channel.
    pub channel: ChannelNo,
    /// The last contiguous seq.
    pub seq: Seq,
    /// The epoch that it was taken under.
    pub epoch: Epoch,
}

/// How the device's channels stand.
#[derive(Debug, Default)]
pub struct Plan {
    /// Up to date: live from this seq on. The person's own log is not among them.
    pub current: Vec<(ChannelNo, Seq)>,
    /// The person's own log is live from this seq on, once all else is told.
    pub own: Seq,
    /// To be told, in this order.
    pub replays: Vec<Replay>,
    /// Channels that the person is in, their own log not counted.
    pub channels: u32,
}

/// One channel that is not up to date.
#[derive(Debug)]
pub struct Replay {
    /// What the device is told first.
    pub standing: wire::Standing,
    /// Whether the events `from..=to` of the standing follow.
    pub events: bool,
    /// What the person may see, as the plan was made. `None`: not their channel.
    pub visible: Option<Visible>,
}

/// What a person may see of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Visible {
    /// The first seq. Whoever was removed and added again since sees another one.
    pub from: Seq,
    /// Live from this seq on, once what was missed is written.
    pub live: Seq,
}

/// Reads what a person is in, for their home shard, each with the channel's version.
///
/// # Errors
/// [`Refusal::Directory`]: retry is safe.
pub async fn memberships(user: UserNo, floors: &Floors) -> Result<Vec<(Membership, u64)>, Refusal> {
    let directory = floors.directory.clone();
    let rows =
        floors.behind_door(Deadline::NONE, move || all_memberships(&*directory, user)).await??;
    let membership = |row: directory::Membership| {
        let directory::Membership { channel, from, role, heading, .. } = row;
        (Membership { channel, from, kind: heading.kind, role }, heading.version)
    };
    Ok(rows.into_iter().map(membership).collect())
}

/// Compares cursors with committed heads, for what a connection entered with.
///
/// # Errors
/// [`Refusal::Store`], [`Refusal::Directory`]: retry is safe.
pub async fn plan(
    user: UserNo,
    memberships: Vec<Membership>,
    cursors: Cursors,
    floors: &Floors,
) -> Result<Plan, Refusal> {
    let (log, directory) = (floors.log.clone(), floors.directory.clone());
    floors
        .behind_door(Deadline::NONE, move || {
            let numbers: Vec<_> = memberships.iter().map(|found| found.channel).collect();
            let heads = log.heads(&numbers)?;
            let mut plan = compare(&memberships, &heads, &cursors);
            let new = |replay: &Replay| replay.standing.state() == State::New;
            if plan.replays.iter().any(new) {
                let rows = all_memberships(&*directory, user)?;
                for replay in plan.replays.iter_mut().filter(|replay| new(replay)) {
                    let channel = ChannelNo::new(replay.standing.channel);
                    let row = rows.iter().find(|row| row.channel == channel);
                    let head = numbers.iter().position(|number| *number == channel);
                    let head = head.and_then(|at| heads.get(at));
                    replay.standing.info = row.zip(head).map(|(row, head)| info(row, head));
                }
            }
            Ok(plan)
        })
        .await?
}

/// Reads what replays want, each whole or not at all, within `bytes_max` together.
///
/// # Errors
/// [`Refusal::Store`]: retry is safe. A damaged range is not an error: it comes back unread.
pub async fn replay(
    wanted: Vec<(ChannelNo, Seq, Seq)>,
    bytes_max: usize,
    floors: &Floors,
) -> Result<Vec<Option<Vec<StoredEvent>>>, Refusal> {
    let log = floors.log.clone();
    floors
        .behind_door(Deadline::NONE, move || {
            let mut left = bytes_max;
            let mut read = |(channel, from, to): (ChannelNo, Seq, Seq)| {
                let rows_max = usize::try_from(to.get() - from.get() + 1).unwrap_or(usize::MAX);
                let range = Range { from, to, order: Order::Rising, rows_max, bytes_max: left };
                let events = match log.read(channel, range) {
                    Ok(events) => events,
                    Err(error @ StoreError::Damaged { .. }) => {
                        tracing::error!(%error, "a replay skips damaged events");
                        return Ok(None);
                    }
                    Err(error) => return Err(Refusal::Store(error)),
                };
                let bytes: usize = events.iter().map(|stored| stored.event.len()).sum();
                if events.len() < rows_max || bytes > left {
                    return Ok(None);
                }
                left -= bytes;
                Ok(Some(events))
            };
            wanted.into_iter().map(&mut read).collect()
        })
        .await?
}

fn compare(memberships: &[Membership], heads: &[Head], cursors: &Cursors) -> Plan {
    let mut plan = Plan::default();
    let mut replays: Vec<(Head, Replay)> = Vec::new();
    for (membership, head) in memberships.iter().zip(heads) {
        let own = membership.channel.self_user().is_some();
        plan.channels += u32::from(!own);
        if own {
            plan.own = head.seq.next();
        }
        let had = cursors.seqs.binary_search_by_key(&membership.channel, |had| had.channel);
        let had = had.ok().and_then(|at| cursors.seqs.get(at)).copied();
        match stand(membership, head, had) {
            Some(replay) => replays.push((*head, replay)),
            None if own => {}
            None => plan.current.push((membership.channel, head.seq.next())),
        }
    }
    // Own log first, then newest activity.
    replays.sort_by_key(|(head, replay)| {
        let own = ChannelNo::new(replay.standing.channel).self_user().is_some();
        (!own, Reverse(head.id))
    });
    let mine: HashSet<ChannelNo, FixedState> =
        memberships.iter().map(|membership| membership.channel).collect();
    let gone = cursors.seqs.iter().filter(|had| !mine.contains(&had.channel));
    let gone = gone.map(|had| Replay {
        standing: wire::Standing {
            channel: had.channel.get(),
            state: State::Gone.into(),
            ..Default::default()
        },
        events: false,
        visible: None,
    });
    plan.replays = replays.into_iter().map(|(_, replay)| replay).chain(gone).collect();
    plan
}

/// How one channel stands. `None`: up to date.
fn stand(membership: &Membership, head: &Head, had: Option<Cursor>) -> Option<Replay> {
    let first = membership.from.max(head.floor);
    let standing = |state: State, from: Seq, to: Seq| wire::Standing {
        channel: membership.channel.get(),
        state: state.into(),
        from: from.get(),
        to: to.get(),
        head: head.seq.get(),
        info: None,
    };
    let visible = Some(Visible { from: membership.from, live: head.seq.next() });
    let Some(Cursor { seq: had, epoch, .. }) = had else {
        let newest = Seq::new(head.seq.get().saturating_sub(limits::NEW_TAIL_EVENTS - 1));
        let from = newest.max(first);
        let state = standing(State::New, from, head.seq);
        return Some(Replay { standing: state, events: from <= head.seq, visible });
    };
    // A cursor of an earlier epoch is valid only below that of the restore.
    let valid = if epoch < head.epoch && epoch != Epoch::default() {
        head.seq.min(head.epoch_first.prev().max(head.floor.prev()))
    } else {
        head.seq
    };
    if had > valid {
        let state = standing(State::RolledBack, Seq::ZERO, valid);
        tracing::error!(channel = %membership.channel, %had, %valid, "a device holds what history lacks");
        return Some(Replay { standing: state, events: false, visible });
    }
    let from = had.next().max(membership.from);
    if from > head.seq {
        return None;
    }
    if from < head.floor {
        let state = standing(State::FloorRaised, head.floor, head.seq);
        return Some(Replay { standing: state, events: false, visible });
    }
    let few = head.seq.get() - from.get() < limits::TAIL_EVENTS_MAX;
    let state = if few { State::Tail } else { State::Behind };
    Some(Replay { standing: standing(state, from, head.seq), events: few, visible })
}

fn all_memberships(
    directory: &dyn directory::Directory,
    user: UserNo,
) -> Result<Vec<directory::Membership>, directory::DirectoryError> {
    directory.memberships(user, ChannelNo::default(), limits::CHANNELS_PER_USER_CEILING)
}
