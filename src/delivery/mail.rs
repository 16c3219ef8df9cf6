//! What shards tell each other, and what delivery answers.
//!
//! All of it goes through one mailbox per shard, so one order holds: an event and
//! the change of rights that it tells never overtake what was committed before them.

use std::sync::Arc;
use std::time::Duration;

use damso_proto::id::{ChannelNo, MessageId, Seq, UserNo};
use damso_proto::time::Moment;
use damso_proto::wire;

use super::order::Order;
use super::rate::{Admission, Pace};
use crate::model::deadline::Deadline;
use crate::model::draft::Invalid;
use crate::model::rights::{Actor, Denied, Kind, RightsChange, Role};
use crate::model::update::ChannelUpdate;
use crate::runtime::route::{Route, ShardNo};
use crate::store::directory::{self, DirectoryError, Joining, OutboxId, OutboxRow};
use crate::store::log::{Group, KeyRow, NewKey, Opened, Run, StoreError, Undone};

/// One thing that reaches a shard.
pub enum Mail {
    /// A commit group is durable: answer own senders, feed own channel logs.
    Durable(Arc<Group>),
    /// A run of a channel owned here is not known to be stored.
    Undone(Run, Undone),
    /// Work for a channel owned here.
    Work(ChannelNo, Work),
    /// A channel owned here was read from the stores.
    Opened(ChannelNo, Result<Found, OpenError>),
    /// Old keys of a channel owned here were looked up.
    KeysFound(ChannelNo, Result<Vec<KeyRow>, Arc<StoreError>>),
    /// The directory decided a command of a channel owned here.
    Changed(ChannelNo, Result<directory::Done, Refusal>),
    /// Blocking work for a channel owned here panicked: what it did is unknown.
    Failed(ChannelNo),
    /// A change of rights of which no event tells.
    Rights(Rights),
    /// A shard applied such a change.
    RightsApplied {
        /// The channel.
        channel: ChannelNo,
        /// The change.
        row: OutboxId,
        /// The shard.
        by: ShardNo,
    },
    /// A shard applied the change of rights at this seq.
    Applied(ChannelNo, Seq),
    /// A channel's committed head, as its owner found it when it opened the channel.
    Head(ChannelNo, Seq),
    /// An outbox row stands in its target's log (or cannot: `false`).
    RowStored {
        /// The channel whose settling waits for it.
        origin: ChannelNo,
        /// The row.
        row: OutboxId,
        /// In the log, and committed.
        stored: bool,
    },
    /// An answer to a request of a connection here.
    Answer(Route, Outcome),
    /// Something is wanted of sessions here.
    Order(Order),
}

/// What a channel's owner is asked to do; done in order of arrival.
pub enum Work {
    /// Append an event.
    Event(Submission),
    /// Change who is in the channel.
    Change(Change),
    /// Append an outbox row of this or another channel.
    Row {
        /// The row.
        row: Box<OutboxRow>,
        /// Who waits for it.
        settling: Origin,
    },
    /// Append what the directory owes, to this log and others, and tell when all know.
    Settle {
        /// Rows of the command that made this channel.
        rows: Vec<OutboxRow>,
        /// Who waits for it.
        route: Option<Route>,
    },
}

/// A change of rights of which no event tells, for a shard.
#[derive(Clone, Debug)]
pub struct Rights {
    /// The channel.
    pub channel: ChannelNo,
    /// The row that the directory owes, which names the change.
    pub row: OutboxId,
    /// It holds from this seq on: the next one.
    pub at: Seq,
    /// Who may what.
    pub change: Arc<RightsChange>,
}

/// The channel whose command wrote a row, and the shard that orders it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The channel.
    pub channel: ChannelNo,
    /// Its owner.
    pub owner: ShardNo,
}

/// An event without its place.
pub struct Submission {
    /// Who sends it: the rights that count. The event's sender is their number.
    pub by: Actor,
    /// Sender, content, flags; channel, seq and id are stamped by the owner.
    pub event: wire::Event,
    /// Whose key asked for it.
    pub key: NewKey,
    /// Who waits for the acknowledgement.
    pub route: Route,
    /// When it arrived.
    pub queued_at: Moment,
    /// Until when its run may leave with it.
    pub deadline: Deadline,
    /// Whether it is one too many.
    pub admission: Admission,
}

/// A command on a channel, its members, or what one of them is to another.
pub struct Change {
    /// Who asks.
    pub by: Actor,
    /// What for.
    pub what: ChangeKind,
    /// Key and body hash of the command.
    pub key: NewKey,
    /// Who waits for the answer.
    pub route: Route,
    /// Until when the directory may begin with it.
    pub deadline: Deadline,
    /// It is one too many: refused with this time, unless it is a repetition.
    pub over: Option<Duration>,
}

/// Which change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// Add people.
    Add(Joining),
    /// Remove a person; oneself, if that is who asks.
    Remove(UserNo),
    /// Give a person a role.
    SetRole(UserNo, Role),
    /// Let a person write nothing until this time of day, or again (0).
    Mute(UserNo, u64),
    /// Remove a person, and keep them out until this time of day (0: for ever).
    Ban(UserNo, u64),
    /// Let a person be added again.
    LiftBan(UserNo),
    /// Block the other person of a direct channel, or no longer.
    Block(UserNo, bool),
    /// Give the channel another name, or note something else on it.
    Update(ChannelUpdate),
}

/// A channel as the stores know it.
pub struct Found {
    /// Where its log stands, and its recent keys.
    pub log: Opened,
    /// Kind and members, and rows that are not known to be applied everywhere.
    pub row: directory::Channel,
}

/// Why a channel cannot be opened.
#[derive(thiserror::Error, Debug)]
pub enum OpenError {
    /// There is none with this number.
    #[error("no such channel")]
    Absent,
    /// History cannot be read; trying again may help.
    #[error("history: {0}")]
    Store(#[from] StoreError),
    /// The directory cannot be read; trying again may help.
    #[error("directory: {0}")]
    Directory(#[from] DirectoryError),
}

/// What became of a request.
pub type Outcome = Result<Answer, Refusal>;

/// What a request led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The message is durable.
    Sent {
        /// Its position.
        seq: Seq,
        /// Its id.
        id: MessageId,
        /// The key was known: the answer of the first time.
        duplicate: bool,
        /// From arrival until its run left.
        queued: Duration,
        /// From then until it was durable.
        committed: Duration,
    },
    /// The command took effect on every shard, with this seq as the channel's last one; zero:
    /// nothing had to change.
    Done(Seq),
}

/// Why a request was not carried out: who is at fault, and whether trying again can help.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The caller's fault. Absent and forbidden look the same on purpose.
    #[error("no such channel, or not yours to use so")]
    NotFound,
    /// The caller's fault: they are in the channel, but it or their role does not allow it.
    #[error("the caller's role in this channel does not allow it")]
    NotAllowed,
    /// The caller's fault: they may write nothing for so long.
    #[error("muted for {after:?} more")]
    Muted {
        /// Until then.
        after: Duration,
    },
    /// The caller's fault: a person whom they want to add is kept out.
    #[error("one of these people is kept out of this channel")]
    Banned,
    /// Nobody's fault; until there is no block any more, trying again is useless. It does not say
    /// who blocks whom.
    #[error("one of the two people blocks the other")]
    Blocked,
    /// The caller's fault: this person, whom they want to add, blocks them.
    #[error("one of these people blocks who wants to add them")]
    BlockedBy(UserNo),
    /// The caller's fault: the key stands for another body.
    #[error("this key was used for another request")]
    KeyReused,
    /// The caller's fault: a field that only the owner can judge.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The caller's fault: a limit of the product.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// The caller's own deadline passed before it was begun; surely not carried out.
    #[error("the deadline passed before the work began")]
    Deadline,
    /// The caller's, or all members' together: too many in too little time.
    #[error("{}; try again in {after:?}", match whose {
        Pace::Person => "you ask too often",
        Pace::Channel => "too much is being sent in this channel",
    })]
    TooOften {
        /// Whose rate was too high.
        whose: Pace,
        /// Wait this long.
        after: Duration,
    },
    /// Nobody's fault; the same request may succeed later.
    #[error("too much is waiting; try again in {after:?}")]
    Overloaded {
        /// Wait this long.
        after: Duration,
    },
    /// Our fault, surely not carried out; the same request may succeed later.
    #[error("the store takes no writes at the moment; try again in {after:?}")]
    Unavailable {
        /// Wait this long.
        after: Duration,
    },
    /// Our fault; it may have been carried out: resend the same key.
    #[error("the outcome is unknown; resend the same key")]
    OutcomeUnknown,
}

impl Refusal {
    /// What a rule that denies means to whoever asked: a stranger must not learn that it is there.
    pub const fn of_denied(denied: Denied) -> Self {
        match denied {
            Denied::Stranger => Self::NotFound,
            Denied::Role | Denied::Kind => Self::NotAllowed,
            Denied::Blocked => Self::Blocked,
        }
    }
}

/// A membership as a person's home shard keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The channel.
    pub channel: ChannelNo,
    /// The first seq that the person may see.
    pub from: Seq,
    /// The channel's kind.
    pub kind: Kind,
    /// What the person may do there.
    pub role: Role,
}

impl Work {
    /// Who waits for it, if anybody.
    pub fn route(&self) -> Option<Route> {
        match self {
            Self::Event(submission) => Some(submission.route),
            Self::Change(change) => Some(change.route),
            Self::Row { .. } => None,
            Self::Settle { route, .. } => *route,
        }
    }
}
