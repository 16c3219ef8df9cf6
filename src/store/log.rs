//! The seam of history: a channel's log, as every engine keeps it.
//!
//! The log is the truth: (channel, seq), dense from 1. An append states the head
//! that it stands on (compare-and-set), so two owners are slow, never wrong.
//!
//! ```text
//! owner --append(run)--> engine: runs gather while the last group is synced
//!                           | one commit group = one durable batch
//!                           +--> sink.durable(group), once, groups in order
//!                           +--> sink.undone(run, why), to nobody's client before the owner decided
//! ```
//!
//! `append` never blocks and may be called from any thread. Everything else blocks
//! on the disk and belongs behind the blocking door.

use std::sync::Arc;

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Epoch, Key, MessageId, Ordinal, Seq, UserNo};
use damso_proto::time::Moment;

pub use crate::model::body::BodyHash;
use crate::model::event::EncodedEvent;
use crate::model::rights::RightsChange;
use crate::runtime::route::Route;

/// A channel's events on their way to the store.
#[derive(Clone, Debug)]
pub struct Run {
    /// The channel whose log they enter.
    pub channel: ChannelNo,
    /// The head that they stand on: `events[0].seq` is the next after it.
    pub expected_head: Seq,
    /// At least one, seqs dense, ids rising.
    pub events: Vec<NewEvent>,
}

/// An event that has its place but is not durable yet.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Its position, also inside `encoded`.
    pub seq: Seq,
    /// Its id, also inside `encoded`.
    pub id: MessageId,
    /// What is stored and sent.
    pub encoded: EncodedEvent,
    /// Raises the unread count.
    pub counted: bool,
    /// The idempotency key that asked for it.
    pub key: Option<NewKey>,
    /// Who waits for the acknowledgement. The engine carries it, and never looks.
    pub route: Option<Route>,
    /// What it changes in rights. The engine carries it, and never looks.
    pub change: Option<Arc<RightsChange>>,
    /// When the owner took it in; for stage times.
    pub queued_at: Moment,
}

/// An idempotency key to be remembered with its event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewKey {
    /// Whose key: the scope is (user, channel).
    pub user: UserNo,
    /// The key.
    pub key: Key,
    /// Hash of the request's body: the same key with another body is refused.
    pub body: BodyHash,
}

/// A remembered key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRow {
    /// The key, its owner and what it asked for.
    pub key: NewKey,
    /// Where its event stands.
    pub seq: Seq,
    /// Its event's id.
    pub id: MessageId,
}

/// What one commit made durable: all of it or, after a crash, nothing.
#[derive(Debug)]
pub struct Group {
    /// Its place in the feed: dense, from 1.
    pub position: FeedPosition,
    /// At most one run of a channel.
    pub runs: Vec<Run>,
    /// When the commit began and ended; for stage times.
    pub committing_at: Moment,
    /// When it was durable.
    pub durable_at: Moment,
}

/// All commit groups of a store in order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FeedPosition(pub u64);

/// Where the engine tells what became of runs. Called on the engine's thread, or within
/// [`ChannelLog::append`], without any lock of the engine's held: must not block.
pub trait Sink: Send + Sync {
    /// These runs are durable and visible to `read`. Groups come in order, each once.
    fn durable(&self, group: Arc<Group>);
    /// This run was not, or perhaps not, stored.
    fn undone(&self, run: Run, why: Undone);
}

/// Why a run is not known to be stored.
#[derive(thiserror::Error, Clone, Debug)]
pub enum Undone {
    /// Another owner wrote: surely not stored. Open again, then re-apply what waits.
    #[error("the channel's head is {head}, not the expected one")]
    Conflict {
        /// The head that the store has.
        head: Seq,
    },
    /// Surely never sent to the disk. [`StoreError::Busy`]: the same run may be appended later;
    /// [`StoreError::Stopped`]: not before the store is reopened.
    #[error("the store did not take it: {0}")]
    Refused(Arc<StoreError>),
    /// May be stored now, later, or never. Open again and append the *same* run:
    /// a read that does not find it proves nothing.
    #[error("the outcome of a commit is unknown: {0}")]
    Unknown(Arc<StoreError>),
}

/// What a store cannot do, and whether trying again can help.
#[derive(thiserror::Error, Debug)]
pub enum StoreError {
    /// The engine stopped taking writes until it is reopened; reading goes on.
    #[error("the store takes no writes: {reason}")]
    Stopped {
        /// What happened, for the operator.
        reason: String,
    },
    /// Too much waits already, or a reserve is reached; the same may be asked again later.
    #[error("the store is busy: {reason}")]
    Busy {
        /// Which bound was reached.
        reason: String,
    },
    /// What was asked breaks the rules of a log, so it can never succeed: a fault of the asker.
    #[error("channel {channel}: no run of a log: {reason}")]
    Unsound {
        /// The channel.
        channel: ChannelNo,
        /// Which rule.
        reason: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was attempted, on which path.
        action: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Stored bytes are not what was written. Only this range is affected.
    #[error("channel {channel}: stored events {from} to {to} are damaged")]
    Damaged {
        /// The channel.
        channel: ChannelNo,
        /// First damaged seq.
        from: Seq,
        /// Last damaged seq.
        to: Seq,
    },
    /// The directory came back with less than it acknowledged, or is of another make. Nothing is served.
    #[error("{0}")]
    Unfit(String),
}

/// A channel as an owner finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Where its log ends.
    pub head: Head,
    /// Every key of the channel made at or after `keys_from_ms`, oldest first.
    pub keys: Vec<KeyRow>,
    /// The horizon of `keys`, milliseconds since 1970; later than the one asked for where there
    /// would be too many. Older keys: ask [`ChannelLog::find_key`].
    pub keys_from_ms: u64,
}

/// Where a channel's log begins and ends. A channel without events has all zeros and floor 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The last committed seq.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// Countable messages up to it.
    pub ordinal: Ordinal,
    /// The first seq still kept.
    pub floor: Seq,
    /// The epoch in which the head was written.
    pub epoch: Epoch,
    /// The first seq of that epoch.
    pub epoch_first: Seq,
}

impl Head {
    /// The head of a channel without events.
    pub const EMPTY: Self = Self {
        seq: Seq::ZERO,
        id: MessageId::new(0),
        ordinal: Ordinal::new(0),
        floor: Seq::new(1),
        epoch: Epoch::new(0),
        epoch_first: Seq::ZERO,
    };

    /// Whether `run` may follow this head, by the rules that hold for every engine.
    ///
    /// # Errors
    /// [`Undone::Conflict`] where it expects another head; [`Undone::Refused`] with
    /// [`StoreError::Unsound`] where its seqs have gaps or its ids do not rise.
    pub fn accept(&self, run: &Run) -> Result<(), Undone> {
        if run.expected_head != self.seq {
            return Err(Undone::Conflict { head: self.seq });
        }
        let unsound = |reason| {
            let channel = run.channel;
            Undone::Refused(Arc::new(StoreError::Unsound { channel, reason }))
        };
        if run.events.is_empty() {
            return Err(unsound("it is empty"));
        }
        let (mut seq, mut id) = (self.seq, self.id);
        for event in &run.events {
            if event.seq != seq.next() {
                return Err(unsound("its seqs are not dense"));
            }
            if event.id <= id {
                return Err(unsound("its ids do not rise"));
            }
            (seq, id) = (event.seq, event.id);
        }
        Ok(())
    }

    /// The head after one more event, written in `epoch`.
    #[must_use]
    pub fn after(self, event: &NewEvent, epoch: Epoch) -> Self {
        let ordinal = self.ordinal.get() + u64::from(event.counted);
        let epoch_first = if self.epoch == epoch { self.epoch_first } else { event.seq };
        let floor = self.floor;
        let ordinal = Ordinal::new(ordinal);
        Self { seq: event.seq, id: event.id, ordinal, floor, epoch, epoch_first }
    }
}

impl Run {
    /// Its channel, first and last seq. An empty run ends before it begins.
    pub fn range(&self) -> (ChannelNo, Seq, Seq) {
        let last = self.events.last().map_or(self.expected_head, |event| event.seq);
        (self.channel, self.expected_head.next(), last)
    }

    /// Whether an engine of these capabilities takes a run of this size.
    ///
    /// # Errors
    /// [`Undone::Refused`] with [`StoreError::Unsound`].
    pub fn fits(&self, capabilities: &Capabilities) -> Result<(), Undone> {
        let fits = self.events.len() <= capabilities.run_events_max
            && self.bytes() <= capabilities.run_bytes_max;
        let reason = "it is larger than the store's largest";
        let unsound = || StoreError::Unsound { channel: self.channel, reason };
        if fits { Ok(()) } else { Err(Undone::Refused(Arc::new(unsound()))) }
    }

    /// Bytes of its events, as limits count them.
    pub fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.encoded.event().len()).sum()
    }
}

/// An event as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvent {
    /// Its position.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// Countable messages up to it.
    pub ordinal: Ordinal,
    /// The key that asked for it, and whose.
    pub key: Option<NewKey>,
    /// The `Event` message.
    pub event: Bytes,
}

/// Which way a page grows, and so which end is cut when it is full. Rows are always oldest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// From `from` upward; what does not fit is missing at the upper end.
    Rising,
    /// From `to` downward; what does not fit is missing at the lower end.
    Falling,
}

/// A bounded read of one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First seq wanted.
    pub from: Seq,
    /// Last seq wanted. Above the head is allowed.
    pub to: Seq,
    /// Which end is cut.
    pub order: Order,
    /// At most this many events.
    pub rows_max: usize,
    /// At most this many bytes of events; one event is always returned.
    pub bytes_max: usize,
}

/// A durable group as the feed tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedRow {
    /// Its place.
    pub position: FeedPosition,
    /// Channel, first and last seq of each run.
    pub ranges: Vec<(ChannelNo, Seq, Seq)>,
}

/// What an engine can do at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Most events of a run.
    pub run_events_max: usize,
    /// Most bytes of a run's events.
    pub run_bytes_max: usize,
    /// Appends of one channel in flight. The contract is written for 1.
    pub runs_in_flight: usize,
}

/// History. One contract suite holds for every engine.
pub trait ChannelLog: Send + Sync {
    /// What this engine can do at once.
    fn capabilities(&self) -> Capabilities;

    /// The store's present epoch.
    fn epoch(&self) -> Epoch;

    /// No id at or below this may be minted again.
    fn high_water(&self) -> MessageId;

    /// Whether appends are taken now. `Err`: the text says why not, and what it waits for.
    fn writable(&self) -> Result<(), String>;

    /// Reads what an owner needs before it orders events.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Damaged`]; asking again is safe.
    fn open(&self, channel: ChannelNo, keys_from_ms: u64) -> Result<Opened, StoreError>;

    /// Hands a run over; its outcome comes through the sink. Never blocks.
    fn append(&self, run: Run);

    /// Reads events within `range`, oldest first. Only committed ones are seen.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] names the range that cannot be read; others can.
    fn read(&self, channel: ChannelNo, range: Range) -> Result<Vec<StoredEvent>, StoreError>;

    /// The committed heads of many channels, in the order asked.
    ///
    /// # Errors
    /// [`StoreError::Io`]; asking again is safe. [`StoreError::Damaged`] names the first channel
    /// whose head is; ask for the others without it.
    fn heads(&self, channels: &[ChannelNo]) -> Result<Vec<Head>, StoreError>;

    /// Looks a key up that may be older than [`Opened::keys_from_ms`].
    ///
    /// # Errors
    /// [`StoreError::Io`]; asking again is safe.
    fn find_key(
        &self,
        channel: ChannelNo,
        user: UserNo,
        key: Key,
    ) -> Result<Option<KeyRow>, StoreError>;

    /// Durable groups from `from` on, oldest first, at most `rows_max`.
    ///
    /// # Errors
    /// [`StoreError::Io`]; asking again is safe.
    fn feed(&self, from: FeedPosition, rows_max: usize) -> Result<Vec<FeedRow>, StoreError>;

    /// Commits what was handed over, tells the sink, and stops. Later appends are refused.
    fn close(&self);
}
