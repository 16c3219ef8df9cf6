//! Standings and missed events for a device that comes back: one round trip.
//!
//! ```text
//! enter every channel log (waiting) -> read heads -> tell -> each log goes live behind its replay,
//! one's own log and channels added meanwhile behind Resumed
//! ```

use std::rc::Rc;

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Seq, UserNo};
use damso_proto::wire;
use damso_proto::wire::server_frame::Kind;
use damso_proto::wire::standing::State;

use super::bulk::{Chunks, Gone};
use super::reply;
use super::shard::Shard;
use super::table::Resuming;
use crate::delivery::Arrival;
use crate::model::deadline::Deadline;
use crate::model::event::EncodedEvent;
use crate::model::limits;
use crate::model::rights::Actor;
use crate::requests::{self, Plan, Refusal, Replay, Visible};
use crate::runtime::route::ConnectionId;

/// Why a resume ended early.
enum Broken {
    /// The connection is gone.
    Gone,
    /// The stores cannot answer: the client is asked to come back.
    Refused(Refusal),
}

impl From<Gone> for Broken {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Answers the Resume frames of a connection that has just come.
pub(super) async fn run(
    shard: Rc<Shard>,
    id: ConnectionId,
    (user, arrival): (UserNo, Arrival),
    resuming: Box<Resuming>,
) {
    match answer(&shard, id, (user, arrival), *resuming).await {
        Ok(()) | Err(Broken::Gone) => {}
        Err(Broken::Refused(refusal)) => {
            tracing::warn!(%user, %refusal, "a resume cannot be answered");
            shard.close_unavailable(id);
        }
    }
}

async fn answer(
    shard: &Rc<Shard>,
    id: ConnectionId,
    (user, arrival): (UserNo, Arrival),
    resuming: Resuming,
) -> Result<(), Broken> {
    let floors = shard.floors();
    if let Arrival::Load(ticket) = arrival {
        let read = requests::memberships(user, floors).await?;
        floors.delivery.borrow_mut().loaded(user, ticket, read);
    }
    // From here on every change of the person's channels is either in this list or comes live.
    let entered = floors.delivery.borrow_mut().enter(user, id).ok_or(Broken::Gone)?;

    let mut chunks = Chunks::new(shard.clone(), id);
    for pending in resuming.pending.chunks(limits::OUTCOMES_MAX) {
        let (actor, pending) = (Actor::User(user), pending.to_vec());
        let outcomes = requests::outcomes(actor, pending, Deadline::NONE, floors).await?;
        chunks.push(&reply::unasked(Kind::Outcomes(outcomes))).await?;
    }
    let plan = requests::plan(user, entered, resuming.cursors, floors).await?;
    {
        let now = floors.clock.now();
        let mut delivery = floors.delivery.borrow_mut();
        for (channel, seq) in &plan.current {
            delivery.connections.start(*channel, id, *seq, now);
        }
    }
    let (channels, own) = (plan.channels, plan.own);
    tell(shard, (id, user), plan, &mut chunks).await?;
    let resumed = wire::Resumed { channels };
    chunks.push(&reply::unasked(Kind::Resumed(resumed))).await?;
    // What changed meanwhile is heard of behind all that was told, or the two would contradict.
    chunks.then_live(ChannelNo::self_of(user), own);
    chunks.flush().await?;
    shard.bulk_free(id).await?;
    floors.delivery.borrow_mut().told(user, id);
    shard.kick();
    Ok(())
}

/// Tells standings in order, each with its events, until the budget is used up; the rest is behind.
async fn tell(
    shard: &Rc<Shard>,
    to: (ConnectionId, UserNo),
    plan: Plan,
    chunks: &mut Chunks,
) -> Result<(), Broken> {
    let mut budget = shard.floors().modest(shard.floors().limits.resume_bytes);
    let mut replays = plan.replays;
    let mut rest = replays.as_mut_slice();
    while !rest.is_empty() {
        let (batch, later) = rest.split_at_mut(rest.len().min(limits::RESUME_READS_MAX));
        rest = later;
        if budget == 0 {
            batch.iter_mut().filter(|replay| replay.events).for_each(|replay| {
                replay.events = false;
                without_events(&mut replay.standing);
            });
        }
        let wanted = batch.iter().filter(|replay| replay.events).map(range_of).collect();
        let read = requests::replay(wanted, budget, shard.floors()).await?;
        let mut read = read.into_iter();
        for replay in batch {
            let events = if replay.events { read.next().flatten() } else { None };
            let frames: Option<Vec<Bytes>> = events.map(|events| {
                let frames = events.iter().map(|stored| EncodedEvent::from_stored(&stored.event));
                frames.map(|encoded| encoded.frame().clone()).collect()
            });
            let bytes: usize = frames.iter().flatten().map(Bytes::len).sum();
            budget = budget.saturating_sub(bytes);
            tell_one(shard, to, replay, frames, chunks).await?;
        }
    }
    Ok(())
}

async fn tell_one(
    shard: &Shard,
    (id, user): (ConnectionId, UserNo),
    replay: &mut Replay,
    frames: Option<Vec<Bytes>>,
    chunks: &mut Chunks,
) -> Result<(), Broken> {
    let channel = ChannelNo::new(replay.standing.channel);
    let Some(visible) = still_visible(shard, id, user, replay) else {
        let (channel, state) = (channel.get(), State::Gone.into());
        let standing = wire::Standing { channel, state, ..Default::default() };
        return Ok(chunks.push(&reply::unasked(Kind::Standing(standing))).await?);
    };
    if replay.events && frames.is_none() {
        without_events(&mut replay.standing);
    }
    chunks.push(&reply::unasked(Kind::Standing(replay.standing.clone()))).await?;
    for frame in frames.into_iter().flatten() {
        chunks.push(&frame).await?;
    }
    if channel != ChannelNo::self_of(user) {
        chunks.then_live(channel, visible.live);
    }
    Ok(())
}

/// What the person sees of a channel, if it is what they saw when the plan was made. They may have
/// been removed since, or even added again: that is another stretch, which is heard of live.
fn still_visible(
    shard: &Shard,
    id: ConnectionId,
    user: UserNo,
    replay: &Replay,
) -> Option<Visible> {
    let channel = ChannelNo::new(replay.standing.channel);
    let mut delivery = shard.floors().delivery.borrow_mut();
    let now = delivery.membership(user, channel);
    if now.is_none() {
        // Nobody would start its cursor, which would hold events for ever.
        delivery.connections.leave(channel, id);
    }
    replay.visible.filter(|planned| now.is_some_and(|now| now.from == planned.from))
}

/// The events do not come along: the device reads them from history.
fn without_events(standing: &mut wire::Standing) {
    match standing.state() {
        // An empty range: everything up to the head is history.
        State::New => standing.from = standing.to + 1,
        _ => standing.state = State::Behind.into(),
    }
}

fn range_of(replay: &Replay) -> (ChannelNo, Seq, Seq) {
    let standing = &replay.standing;
    (ChannelNo::new(standing.channel), Seq::new(standing.from), Seq::new(standing.to))
}
