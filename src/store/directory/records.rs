//! What the directory is told, what it holds, and what it answers.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Key, Seq, Uid, UserNo};
use damso_proto::wire;

use crate::model::body::BodyHash;
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::{Actor, Kind, RightsChange, Role, Sight};

/// Who commands, and how a repetition is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command {
    /// Whose rights count, and in whose scope the key lies.
    pub by: Actor,
    /// The idempotency key. That it is neither too old nor from the future is checked before.
    pub key: Key,
    /// What is commanded.
    pub body: BodyHash,
    /// Time of day, milliseconds since 1970.
    pub now_ms: u64,
}

/// A command that took effect, now or when its key was first seen.
#[derive(Clone, PartialEq, Debug)]
pub struct Done {
    /// The channel that it concerns; for one that was made, its number.
    pub channel: ChannelNo,
    /// The channel's last seq as it took effect: where an event tells it, that one.
    /// [`Seq::ZERO`]: nothing had to change.
    pub seq: Seq,
    /// The key was known: this is the first answer again.
    pub is_repeated: bool,
    /// What must now enter logs, in this order. Empty for a repetition, whose rows may
    /// still be in the outbox.
    pub rows: Vec<OutboxRow>,
}

/// A row's place in the outbox: rising with every command.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OutboxId(pub u64);

/// An event that the directory owes to a log.
#[derive(Clone, PartialEq, Debug)]
pub struct OutboxRow {
    /// Its place in the outbox.
    pub id: OutboxId,
    /// The log that it must enter.
    pub channel: ChannelNo,
    /// The key under which it is appended, of the user 0.
    pub key: Key,
    /// Where its event must stand. [`Seq::ZERO`]: at the end, wherever that is (people's own logs).
    /// For a change that no event tells: the seq that comes after it.
    pub at: Seq,
    /// What is owed.
    pub owed: Owed,
}

/// What the directory owes to a channel.
#[derive(Clone, PartialEq, Debug)]
pub enum Owed {
    /// An event, without its place, for a person's own log.
    Event(wire::Event),
    /// An event, without its place, and the change of rights that it tells.
    Change(wire::Event, Arc<RightsChange>),
    /// A change of rights for every shard, of which no event tells.
    Silence(Arc<RightsChange>),
}

impl Owed {
    /// The event, if there is one.
    pub const fn event(&self) -> Option<&wire::Event> {
        match self {
            Self::Event(event) | Self::Change(event, _) => Some(event),
            Self::Silence(_) => None,
        }
    }

    /// Whether no event tells it.
    pub const fn is_silent(&self) -> bool {
        matches!(self, Self::Silence(_))
    }

    /// The change of rights, if there is one.
    pub const fn change(&self) -> Option<&Arc<RightsChange>> {
        match self {
            Self::Event(_) => None,
            Self::Change(_, change) | Self::Silence(change) => Some(change),
        }
    }
}

/// A channel to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewChannel<'a> {
    /// A group or a broadcast.
    pub kind: Kind,
    /// Its name.
    pub name: &'a str,
    /// What a backend calls it.
    pub key: Option<&'a ChannelKey>,
    /// What it notes on it.
    pub custom: &'a CustomMap,
    /// Whose it is, where no person makes it.
    pub owner: Option<UserNo>,
}

/// People to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joining {
    /// Who.
    pub users: Vec<UserNo>,
    /// As what; `None`: as the kind of channel has it.
    pub role: Option<Role>,
    /// What they see.
    pub sight: Sight,
}

/// A person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Inside.
    pub number: UserNo,
    /// Outside.
    pub uid: Uid,
    /// What the backend noted on them.
    pub custom: CustomMap,
}

/// A channel, without those who are in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heading {
    /// What it is.
    pub kind: Kind,
    /// Of a direct channel empty.
    pub name: String,
    /// Counts up with every change of members, name or notes.
    pub version: u64,
    /// How many are in it.
    pub members: u64,
    /// What a backend calls it.
    pub key: Option<ChannelKey>,
    /// What it noted on it.
    pub custom: CustomMap,
}

/// A channel as its owner needs it.
#[derive(Clone, PartialEq, Debug)]
pub struct Channel {
    /// Its number.
    pub number: ChannelNo,
    /// What it is.
    pub kind: Kind,
    /// Of a direct channel empty.
    pub name: String,
    /// Counts up with every change of members, name or notes; 0 for a person's own log.
    pub version: u64,
    /// Everyone in it, by rising number; of a broadcast, everyone who may more than read.
    pub members: Vec<Member>,
    /// Of a direct channel: those of its two people who block the other.
    pub blockers: Vec<UserNo>,
    /// Events that are not in its log yet, oldest first.
    pub pending: Vec<OutboxRow>,
}

/// A person in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Who.
    pub user: UserNo,
    /// What they may.
    pub role: Role,
    /// The first seq that they may see.
    pub from: Seq,
    /// They may not write until this time of day; 0: they may, if the role allows it.
    pub muted_until_ms: u64,
}

/// A person who is kept out of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    /// Inside.
    pub user: UserNo,
    /// Outside.
    pub uid: Uid,
    /// Until this time of day; 0: for ever.
    pub until_ms: u64,
}

/// A channel as its member sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// Its number.
    pub channel: ChannelNo,
    /// What the member may.
    pub role: Role,
    /// The first seq that the member may see.
    pub from: Seq,
    /// The other person of a direct channel.
    pub peer: Option<UserNo>,
    /// See [`Member::muted_until_ms`].
    pub muted_until_ms: u64,
    /// The channel itself.
    pub heading: Heading,
}

/// A command's event that stands elsewhere than the command was decided for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The channel.
    pub channel: ChannelNo,
    /// The seq that was promised.
    pub from: Seq,
    /// The seq that it has.
    pub to: Seq,
}
