//! What a channel waits for, what it does next, and what the outside hears of it.

use std::time::Duration;

use damso_proto::id::{ChannelNo, MessageId, Seq, UserNo};

use super::mail::{Answer, Change, Found, Origin, Outcome, Rights};
use super::settle::Settled;
use crate::model::body::BodyHash;
use crate::runtime::placement::Shards;
use crate::runtime::route::{Route, ShardNo};
use crate::store::directory::{Moved, OutboxId, OutboxRow};
use crate::store::log::{KeyRow, NewKey, Run};

/// What the channel waits for.
pub(super) enum Stage {
    /// The stores are being read.
    Opening,
    /// Nothing: the next work may begin.
    Ready,
    /// A run is with the committer.
    InFlight,
    /// The store is asked for keys older than the window.
    LookingUp(Vec<NewKey>),
    /// The directory decides a command.
    Changing(Change),
    /// Shards apply a change of which no event tells.
    Spreading(Spread),
    /// A run's outcome is unknown; the store is being read again.
    Resolving(Run, u8),
}

/// A change of rights on its way to the shards.
pub(super) struct Spread {
    row: OutboxId,
    /// Those that have not applied it, one bit each.
    left: u32,
}

const _: () = assert!(Shards::MAX as u32 <= u32::BITS, "a shard has a bit");

impl Spread {
    /// No shard has applied it.
    pub(super) const fn new(row: OutboxId, shards: usize) -> Self {
        Self { row, left: if shards < 32 { (1 << shards) - 1 } else { u32::MAX } }
    }

    /// A shard applied `row`, now or in an earlier attempt to spread it. Returns whether that was
    /// the last one.
    pub(super) fn applied(&mut self, row: OutboxId, by: ShardNo) -> bool {
        if row != self.row {
            return false;
        }
        self.left &= !(1 << by.index());
        self.left == 0
    }
}

/// What to do next, for the owner to carry out.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing can be done now.
    Wait,
    /// Hand this run to the store.
    Append(Run),
    /// Tell every shard of this run, as if it had just become durable: it is, but how much of
    /// that they have heard is unknown.
    Repeat(Run),
    /// Ask the store for these keys.
    LookUp(Vec<NewKey>),
    /// Ask the directory; the event of the change will stand at this seq, or come next.
    Change(Seq),
    /// Tell every shard.
    Spread(Rights),
}

/// What the outside hears while a step is made.
pub(super) enum Told {
    /// Answer a request.
    Answer(Route, Outcome),
    /// Take a row to its log's owner.
    Row(Box<OutboxRow>, Origin),
    /// A row stands in its log, or not; its origin waits.
    RowStored(Origin, OutboxId, bool),
    /// The channel's committed head, for every shard.
    Head(ChannelNo, Seq),
    /// Rows that the directory may forget, and what of them stands elsewhere than promised.
    Forget(Vec<OutboxId>, Vec<Moved>),
}

/// Mints ids above the channel's last one.
pub(super) trait Mint {
    /// The next id, above `last`.
    fn mint_above(&mut self, last: MessageId) -> MessageId;
}

/// A row inside the run in flight.
pub(super) struct RowOut {
    pub(super) seq: Seq,
    pub(super) row: Box<OutboxRow>,
    pub(super) settling: Origin,
}

/// What becomes of one piece of work.
pub(super) enum Admitted {
    /// Give it a place.
    Yes,
    /// Its sender has the answer, or will have it with the first copy's.
    Answered,
    /// A row that is stored already, as this.
    Known(KeyRow),
    /// The store, or the outcome of the run, must be known first.
    Later,
}

/// Whether a run whose outcome was unknown turns out to be stored, now that the store was read.
pub(super) fn is_stored(run: &Run, found: &Found) -> bool {
    let last = run.events.last();
    last.is_some_and(|last| found.log.head.seq == last.seq && found.log.head.id == last.id)
}

/// Whether the run may be appended again as it is.
pub(super) fn still_fits(run: &Run, found: &Found) -> bool {
    found.log.head.seq == run.expected_head
}

/// The answer of the first time.
pub(super) fn duplicate_of(row: &KeyRow) -> Answer {
    let (seq, id) = (row.seq, row.id);
    let zero = Duration::ZERO;
    Answer::Sent { seq, id, duplicate: true, queued: zero, committed: zero }
}

/// The system's own scope: rows are known by their key, whatever their body.
pub(super) fn row_key(row: &OutboxRow) -> NewKey {
    NewKey { user: UserNo::default(), key: row.key, body: BodyHash(0) }
}

/// Tells what a settled command leads to.
pub(super) fn tell_settled(settled: Settled, told: &mut Vec<Told>) {
    let Settled { rows, moved, answers } = settled;
    told.extend(answers.into_iter().map(|(route, outcome)| Told::Answer(route, outcome)));
    if !rows.is_empty() {
        told.push(Told::Forget(rows, moved));
    }
}
