//! Standings and missed events for a device that comes back: one round trip.
//!
//! ```text
//! enter every channel log (waiting) -> read heads -> tell -> each log goes live behind its replay
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
use crate::connections::Start;
use crate::delivery::Arrival;
use crate::model::deadline::Deadline;
use crate::model::event::EncodedEvent;
use crate::model::limits;
use crate::requests::{self, Actor, Plan, Refusal, Replay};
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
        let read = requests::memberships(Actor { user }, floors).await?;
        floors.delivery.borrow_mut().loaded(user, ticket, read);
    }
    enter(shard, id, user)?;

    let mut chunks = Chunks::new(shard.clone(), id);
    for pending in resuming.pending.chunks(limits::OUTCOMES_MAX) {
        let (actor, pending) = (Actor { user }, pending.to_vec());
        let outcomes = requests::outcomes(actor, pending, Deadline::NONE, floors).await?;
        chunks.push(&reply::unasked(Kind::Outcomes(outcomes))).await?;
    }
    let plan = requests::plan(Actor { user }, resuming.cursors, floors).await?;
    {
        let now = floors.clock.now();
        let mut delivery = floors.delivery.borrow_mut();
        for (channel, seq) in &plan.current {
            delivery.connections.start(*channel, id, *seq, now);
        }
    }
    let channels = plan.channels;
    tell(shard, user, plan, &mut chunks).await?;
    let resumed = wire::Resumed { channels };
    chunks.push(&reply::unasked(Kind::Resumed(resumed))).await?;
    chunks.flush().await?;
    Ok(())
}

/// Enters the connection in every channel log of its person, before anything is read.
fn enter(shard: &Shard, id: ConnectionId, user: UserNo) -> Result<(), Broken> {
    let mut delivery = shard.floors().delivery.borrow_mut();
    if !delivery.connections.contains(id) {
        return Err(Broken::Gone);
    }
    let memberships = delivery.memberships(user).ok_or(Broken::Gone)?;
    let mut channels = vec![ChannelNo::self_of(user)];
    channels.extend(memberships.iter().map(|membership| membership.channel));
    for channel in channels {
        delivery.connections.join(channel, id, Start::Waiting);
    }
    Ok(())
}

/// Tells standings in order, each with its events, until the budget is used up; the rest is behind.
async fn tell(
    shard: &Rc<Shard>,
    user: UserNo,
    plan: Plan,
    chunks: &mut Chunks,
) -> Result<(), Broken> {
    let mut budget = limits::RESUME_BYTES_MAX;
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
            tell_one(shard, user, replay, frames, chunks).await?;
        }
    }
    Ok(())
}

async fn tell_one(
    shard: &Shard,
    user: UserNo,
    replay: &mut Replay,
    frames: Option<Vec<Bytes>>,
    chunks: &mut Chunks,
) -> Result<(), Broken> {
    let channel = ChannelNo::new(replay.standing.channel);
    // The person may have been removed since the plan was made.
    let mine = shard.floors().delivery.borrow().membership(user, channel).is_some();
    if !mine {
        let state = State::Gone.into();
        let channel = channel.get();
        replay.standing = wire::Standing { channel, state, ..Default::default() };
        chunks.push(&reply::unasked(Kind::Standing(replay.standing.clone()))).await?;
        return Ok(());
    }
    if replay.events && frames.is_none() {
        without_events(&mut replay.standing);
    }
    chunks.push(&reply::unasked(Kind::Standing(replay.standing.clone()))).await?;
    for frame in frames.into_iter().flatten() {
        chunks.push(&frame).await?;
    }
    if let Some(seq) = replay.live {
        chunks.then_live(channel, seq);
    }
    Ok(())
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
