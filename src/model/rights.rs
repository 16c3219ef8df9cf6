//! Who may do what: one table, one function; deny wins.

use damso_proto::id::UserNo;
use damso_proto::wire;

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

impl Kind {
    /// How it is written on the wire and on disk.
    pub const fn to_wire(self) -> wire::ChannelKind {
        match self {
            Self::Direct => wire::ChannelKind::Direct,
            Self::Group => wire::ChannelKind::Group,
            Self::Personal => wire::ChannelKind::Self_,
        }
    }

    /// Reads it back. `None`: no kind that this server knows.
    pub fn from_wire(number: i32) -> Option<Self> {
        match wire::ChannelKind::try_from(number).ok()? {
            wire::ChannelKind::Unspecified => None,
            wire::ChannelKind::Direct => Some(Self::Direct),
            wire::ChannelKind::Group => Some(Self::Group),
            wire::ChannelKind::Self_ => Some(Self::Personal),
        }
    }
}

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Adds and removes members.
    Owner,
    /// Reads and writes.
    Member,
}

impl Role {
    /// How it is written on the wire and on disk.
    pub const fn to_wire(self) -> wire::Role {
        match self {
            Self::Owner => wire::Role::Owner,
            Self::Member => wire::Role::Member,
        }
    }

    /// Reads it back. `None`: no role that this server knows.
    pub fn from_wire(number: i32) -> Option<Self> {
        match wire::Role::try_from(number).ok()? {
            wire::Role::Unspecified => None,
            wire::Role::Owner => Some(Self::Owner),
            wire::Role::Member => Some(Self::Member),
        }
    }
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
    /// Reads as before, and holds this role from the event on.
    Promoted(UserNo, Role),
}

impl RightsDelta {
    /// Whom it concerns.
    pub const fn user(self) -> UserNo {
        match self {
            Self::Added(user, _) | Self::Removed(user) | Self::Promoted(user, _) => user,
        }
    }
}

/// What a person may ask of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// Read its history, receive its events.
    Read,
    /// Append a message.
    Send,
    /// See who is in it.
    ListMembers,
    /// Add a person.
    AddMember,
    /// Remove another person, who holds this role now; `None`: is no member.
    RemoveMember(Option<Role>),
    /// Remove oneself.
    Leave,
}

/// Not allowed. Towards the person who asked, the channel is not there: who may not
/// must not learn whether it is.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// Is not in the channel.
    #[error("not a member")]
    Stranger,
    /// Is in it, but the role does not allow it.
    #[error("the role does not allow it")]
    Role,
    /// Nobody may, in a channel of this kind.
    #[error("the kind of channel does not allow it")]
    Kind,
}

/// Decides whether a person with `role` in a channel of `kind` may do `op`.
///
/// Deny wins: what no rule below allows is denied. The server itself never asks; it
/// alone writes personal logs.
///
/// # Errors
/// [`Denied`]; the reason is for logs, never for the person.
pub const fn authorise(kind: Kind, role: Option<Role>, op: Op) -> Result<(), Denied> {
    let Some(role) = role else { return Err(Denied::Stranger) };
    match (kind, op) {
        (Kind::Direct | Kind::Group | Kind::Personal, Op::Read) => Ok(()),
        (Kind::Direct | Kind::Group, Op::Send | Op::ListMembers) | (Kind::Group, Op::Leave) => {
            Ok(())
        }
        (Kind::Group, Op::AddMember | Op::RemoveMember(None | Some(Role::Member))) => match role {
            Role::Owner => Ok(()),
            Role::Member => Err(Denied::Role),
        },
        (Kind::Group, Op::RemoveMember(Some(Role::Owner))) => Err(Denied::Role),
        (Kind::Direct, Op::AddMember | Op::RemoveMember(_) | Op::Leave)
        | (
            Kind::Personal,
            Op::Send | Op::ListMembers | Op::AddMember | Op::RemoveMember(_) | Op::Leave,
        ) => Err(Denied::Kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Option<Role>; 3] = [None, Some(Role::Owner), Some(Role::Member)];

    fn ops() -> Vec<Op> {
        let mut ops = vec![Op::Read, Op::Send, Op::ListMembers, Op::AddMember, Op::Leave];
        ops.extend(ROLES.map(Op::RemoveMember));
        ops
    }

    /// The rules once more, as a list of all that is allowed, in the words of the product.
    fn is_allowed(kind: Kind, role: Option<Role>, op: Op) -> bool {
        let is_member = role.is_some();
        let may: &[Op] = match kind {
            // Their own log is theirs to read.
            Kind::Personal if is_member => &[Op::Read],
            // Two people talk; nobody comes or goes.
            Kind::Direct if is_member => &[Op::Read, Op::Send, Op::ListMembers],
            // Whoever leads a group decides who is in it, except over another who leads.
            Kind::Group if role == Some(Role::Owner) => &[
                Op::Read,
                Op::Send,
                Op::ListMembers,
                Op::Leave,
                Op::AddMember,
                Op::RemoveMember(None),
                Op::RemoveMember(Some(Role::Member)),
            ],
            Kind::Group if is_member => &[Op::Read, Op::Send, Op::ListMembers, Op::Leave],
            Kind::Personal | Kind::Direct | Kind::Group => &[],
        };
        may.contains(&op)
    }

    #[test]
    fn the_table_allows_what_the_product_says_and_nothing_else() {
        for kind in [Kind::Direct, Kind::Group, Kind::Personal] {
            for role in ROLES {
                for op in ops() {
                    let allowed = authorise(kind, role, op);
                    let expected = is_allowed(kind, role, op);
                    assert_eq!(allowed.is_ok(), expected, "{kind:?} {role:?} {op:?}: {allowed:?}");
                }
            }
        }
    }

    #[test]
    fn kinds_and_roles_come_back_and_unknown_numbers_do_not() {
        for kind in [Kind::Direct, Kind::Group, Kind::Personal] {
            assert_eq!(Kind::from_wire(kind.to_wire() as i32), Some(kind));
        }
        for role in [Role::Owner, Role::Member] {
            assert_eq!(Role::from_wire(role.to_wire() as i32), Some(role));
        }
        for foreign in [i32::MIN, -1, 0, 99] {
            assert_eq!((Kind::from_wire(foreign), Role::from_wire(foreign)), (None, None));
        }
    }

    #[test]
    fn a_stranger_learns_nothing_from_the_reason() {
        for kind in [Kind::Direct, Kind::Group, Kind::Personal] {
            for op in ops() {
                assert_eq!(authorise(kind, None, op), Err(Denied::Stranger), "{kind:?} {op:?}");
            }
        }
    }
}
