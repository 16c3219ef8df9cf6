//! Who may do what: one table, one function; deny wins.

use damso_proto::id::UserNo;

/// What a channel is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Two people.
    Direct,
    /// Members who all write.
    Group,
    /// A person's own log. Only the server writes.
    Personal,
}

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Adds and removes members.
    Owner,
    /// Reads and writes.
    Member,
}

/// A change of who is in a channel, as it travels with the event that tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RightsChange {
    /// The channel's kind, so that a shard which meets the channel here knows it.
    pub kind: Kind,
    /// The directory's version of the channel after this change.
    pub version: u64,
    /// The people concerned, each once.
    pub people: Vec<RightsDelta>,
}

/// One person's part of a [`RightsChange`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RightsDelta {
    /// Reads from the event's seq on.
    Added(UserNo, Role),
    /// Reads up to the event's seq, and nothing after it.
    Removed(UserNo),
}
