//! Who may do what: one table, one function; deny wins.

use damso_proto::id::{Seq, UserNo};
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
    /// A few write, any number read. Who comes and goes is told to them alone.
    Broadcast,
}

impl Kind {
    /// How it is written on the wire and on disk.
    pub const fn to_wire(self) -> wire::ChannelKind {
        match self {
            Self::Direct => wire::ChannelKind::Direct,
            Self::Group => wire::ChannelKind::Group,
            Self::Personal => wire::ChannelKind::Self_,
            Self::Broadcast => wire::ChannelKind::Broadcast,
        }
    }

    /// Reads it back. `None`: no kind that this server knows.
    pub fn from_wire(number: i32) -> Option<Self> {
        match wire::ChannelKind::try_from(number).ok()? {
            wire::ChannelKind::Unspecified => None,
            wire::ChannelKind::Direct => Some(Self::Direct),
            wire::ChannelKind::Group => Some(Self::Group),
            wire::ChannelKind::Self_ => Some(Self::Personal),
            wire::ChannelKind::Broadcast => Some(Self::Broadcast),
        }
    }

    /// Whether a change of its members is an event that all of them get. Elsewhere there are too
    /// many of them: only whom it concerns is told.
    pub const fn tells_members(self) -> bool {
        !matches!(self, Self::Broadcast)
    }

    /// What a person is who is added without a word about it.
    pub const fn default_role(self) -> Role {
        match self {
            Self::Broadcast => Role::Reader,
            Self::Direct | Self::Group | Self::Personal => Role::Member,
        }
    }
}

/// What a member may do. Each may what the next one may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Decides about everybody. A channel has one at most.
    Owner,
    /// Decides about those who only write or read.
    Moderator,
    /// Reads and writes.
    Member,
    /// Reads.
    Reader,
}

impl Role {
    /// Every role, from the one that may most.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Moderator, Self::Member, Self::Reader];

    /// How it is written on the wire and on disk.
    pub const fn to_wire(self) -> wire::Role {
        match self {
            Self::Owner => wire::Role::Owner,
            Self::Moderator => wire::Role::Moderator,
            Self::Member => wire::Role::Member,
            Self::Reader => wire::Role::Reader,
        }
    }

    /// Reads it back. `None`: no role that this server knows.
    pub fn from_wire(number: i32) -> Option<Self> {
        match wire::Role::try_from(number).ok()? {
            wire::Role::Unspecified => None,
            wire::Role::Owner => Some(Self::Owner),
            wire::Role::Member => Some(Self::Member),
            wire::Role::Moderator => Some(Self::Moderator),
            wire::Role::Reader => Some(Self::Reader),
        }
    }

    /// Whether it decides about people who hold `other`.
    const fn is_over(self, other: Self) -> bool {
        match self {
            Self::Owner => !matches!(other, Self::Owner),
            Self::Moderator => matches!(other, Self::Member | Self::Reader),
            Self::Member | Self::Reader => false,
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
    /// The people concerned, each once; nobody, where only the channel's name or notes changed.
    pub people: Vec<RightsDelta>,
}

/// One person's part of a [`RightsChange`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RightsDelta {
    /// Is in from the event's seq on.
    Added(UserNo, Role, Sight),
    /// Reads up to the event's seq, and nothing after it.
    Removed(UserNo),
    /// Reads as before, and holds this role from the event on, unmuted.
    RoleSet(UserNo, Role),
    /// Reads as before, and writes nothing until this time of day, milliseconds since 1970.
    Muted(UserNo, u64),
    /// Blocks the other person of a direct channel, or no longer does.
    Blocks(UserNo, bool),
}

impl RightsDelta {
    /// Whom it concerns.
    pub const fn user(self) -> UserNo {
        match self {
            Self::Added(user, ..)
            | Self::Removed(user)
            | Self::RoleSet(user, _)
            | Self::Muted(user, _)
            | Self::Blocks(user, _) => user,
        }
    }
}

/// How much of a channel's past somebody sees who is added to it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum Sight {
    /// What comes from now on.
    #[default]
    FromHere,
    /// All of it.
    FromStart,
}

impl Sight {
    /// The first seq that they see who come in at `at`.
    pub fn first(self, at: Seq) -> Seq {
        match self {
            Self::FromHere => at,
            Self::FromStart => Seq::ZERO.next(),
        }
    }
}

/// Who asks for something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Actor {
    /// A person, as their verified token says.
    User(UserNo),
    /// The backend that people's accounts belong to.
    Service,
}

impl Actor {
    /// The person, or the number that stands for none of them.
    pub fn number(self) -> UserNo {
        match self {
            Self::User(user) => user,
            Self::Service => UserNo::default(),
        }
    }

    /// Who has this number, as [`Actor::number`] gave it.
    pub fn of_number(number: UserNo) -> Self {
        if number == UserNo::default() { Self::Service } else { Self::User(number) }
    }

    /// What the actor is to a channel in which a person of that number would hold `role`.
    pub fn caller(self, role: Option<Role>) -> Caller {
        match self {
            Self::User(_) => role.map_or(Caller::Stranger, Caller::In),
            Self::Service => Caller::Service,
        }
    }
}

/// What whoever asks is to a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Caller {
    /// Not in it.
    Stranger,
    /// In it.
    In(Role),
    /// In it, a direct one of two people of whom one blocks the other.
    Blocked(Role),
    /// The backend that people's accounts belong to.
    Service,
}

/// What may be asked of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// Read its history, receive its events.
    Read,
    /// Append a message.
    Send,
    /// See who is in it.
    ListMembers,
    /// Add people, who are to hold this role.
    AddMembers(Role),
    /// Remove another person, who holds this role now; `None`: is no member.
    RemoveMember(Option<Role>),
    /// Give another person, who holds the first role, the second one. To give one's own role of
    /// owner away is to take the one below it.
    SetRole(Role, Role),
    /// Let another person, who holds this role, write nothing for a while, or again.
    Mute(Role),
    /// See who is kept out, and let somebody be added again. Keeping somebody out is removing them.
    Bans,
    /// Give the channel another name.
    Rename,
    /// Note something else on it: the backend's word to its apps.
    Note,
    /// Remove oneself.
    Leave,
    /// Block the other person, or no longer.
    Block,
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
    /// Is in it, but one of the two people there blocks the other.
    #[error("one of the two people blocks the other")]
    Blocked,
}

/// Decides whether somebody may do `op` in a channel of `kind`.
///
/// Deny wins: what no rule below allows is denied. The server itself never asks; it
/// alone writes personal logs.
///
/// # Errors
/// [`Denied`]; the reason is for logs, never for a stranger.
pub const fn authorise(kind: Kind, who: Caller, op: Op) -> Result<(), Denied> {
    if !possible(kind, op) {
        return match who {
            Caller::Stranger => Err(Denied::Stranger),
            Caller::In(_) | Caller::Blocked(_) | Caller::Service => Err(Denied::Kind),
        };
    }
    let role = match who {
        Caller::Stranger => return Err(Denied::Stranger),
        // A person's own log is nobody else's to read.
        Caller::Service if matches!(kind, Kind::Personal) => return Err(Denied::Stranger),
        // It has no place of its own to leave, and nobody to block.
        Caller::Service if matches!(op, Op::Leave | Op::Block) => return Err(Denied::Role),
        Caller::Service => return Ok(()),
        Caller::Blocked(_) if matches!(op, Op::Send) => return Err(Denied::Blocked),
        Caller::In(role) | Caller::Blocked(role) => role,
    };
    let allowed = match op {
        Op::Read | Op::Leave | Op::Block => true,
        Op::Send => !matches!(role, Role::Reader),
        Op::ListMembers => match kind {
            Kind::Broadcast => matches!(role, Role::Owner | Role::Moderator),
            Kind::Direct | Kind::Group | Kind::Personal => true,
        },
        Op::AddMembers(given) => role.is_over(given),
        Op::RemoveMember(Some(held)) | Op::Mute(held) => role.is_over(held),
        Op::RemoveMember(None) | Op::Bans | Op::Rename => {
            matches!(role, Role::Owner | Role::Moderator)
        }
        Op::Note => false,
        Op::SetRole(held, Role::Owner) => matches!(role, Role::Owner) && role.is_over(held),
        Op::SetRole(held, given) => role.is_over(held) && role.is_over(given),
    };
    if allowed { Ok(()) } else { Err(Denied::Role) }
}

/// Whether anybody at all may do `op` in a channel of `kind`.
const fn possible(kind: Kind, op: Op) -> bool {
    match kind {
        // An owner is made by giving a member that role, and lost by giving it to another.
        Kind::Group | Kind::Broadcast => {
            !matches!(op, Op::AddMembers(Role::Owner) | Op::SetRole(Role::Owner, _) | Op::Block)
        }
        Kind::Direct => matches!(op, Op::Read | Op::Send | Op::ListMembers | Op::Block),
        Kind::Personal => matches!(op, Op::Read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 4] = [Kind::Direct, Kind::Group, Kind::Personal, Kind::Broadcast];

    fn callers() -> Vec<Caller> {
        let mut all = vec![Caller::Stranger, Caller::Service];
        all.extend(Role::ALL.map(Caller::In));
        all.extend(Role::ALL.map(Caller::Blocked));
        all
    }

    fn ops() -> Vec<Op> {
        let mut ops = vec![Op::Read, Op::Send, Op::ListMembers, Op::Leave, Op::RemoveMember(None)];
        ops.extend([Op::Bans, Op::Block, Op::Rename, Op::Note]);
        for held in Role::ALL {
            ops.extend([Op::AddMembers(held), Op::RemoveMember(Some(held)), Op::Mute(held)]);
            ops.extend(Role::ALL.map(|given| Op::SetRole(held, given)));
        }
        ops
    }

    /// The rules once more, as a list of all that is allowed, in the words of the product.
    fn is_allowed(kind: Kind, who: Caller, op: Op) -> bool {
        use Role::{Member, Moderator, Owner, Reader};
        // Whoever leads decides who is in it, except over another who leads; moderators keep order
        // among the others.
        let over = |below: &[Role]| {
            let mut ops = vec![Op::RemoveMember(None), Op::Bans];
            for held in below {
                let held = *held;
                ops.extend([Op::AddMembers(held), Op::RemoveMember(Some(held)), Op::Mute(held)]);
                ops.extend(below.iter().map(|given| Op::SetRole(held, *given)));
            }
            ops
        };
        let (read, write, list) = (vec![Op::Read], vec![Op::Send], vec![Op::ListMembers]);
        let (leave, none) = (vec![Op::Leave], Vec::new());
        let block = vec![Op::Block];
        // Its name is for those who lead to give, what is noted on it for the backend.
        let (rename, note) = (vec![Op::Rename], vec![Op::Note]);
        let give_away: Vec<Op> =
            [Moderator, Member, Reader].map(|held| Op::SetRole(held, Owner)).to_vec();
        let may: Vec<Op> = match (kind, who) {
            (_, Caller::Stranger) | (Kind::Personal, Caller::Service) => none,
            // Their own log is theirs to read.
            (Kind::Personal, Caller::In(_)) => read,
            // Two people talk; nobody comes or goes.
            (Kind::Direct, Caller::In(Reader)) => [read, list, block].concat(),
            (Kind::Direct, Caller::In(_)) => [read, write, list, block].concat(),
            (Kind::Direct, Caller::Service) => [read, write, list].concat(),
            // A block takes the word from both, and nothing else; it is as good as one where no
            // block should be known of.
            (kind, Caller::Blocked(role)) => {
                return op != Op::Send && is_allowed(kind, Caller::In(role), op);
            }
            // The backend decides about everybody.
            (Kind::Group | Kind::Broadcast, Caller::Service) => {
                [read, write, list, rename, note, over(&[Moderator, Member, Reader]), give_away]
                    .concat()
                    .into_iter()
                    .chain([Op::RemoveMember(Some(Owner)), Op::Mute(Owner)])
                    .collect()
            }
            (Kind::Group | Kind::Broadcast, Caller::In(Owner)) => {
                let over = over(&[Moderator, Member, Reader]);
                [read, write, list, leave, rename, over, give_away].concat()
            }
            (Kind::Group | Kind::Broadcast, Caller::In(Moderator)) => {
                [read, write, list, leave, rename, over(&[Member, Reader])].concat()
            }
            (Kind::Group, Caller::In(Member)) => [read, write, list, leave].concat(),
            (Kind::Group, Caller::In(Reader)) => [read, list, leave].concat(),
            // Who reads along is nobody's business but of those who lead.
            (Kind::Broadcast, Caller::In(Member)) => [read, write, leave].concat(),
            (Kind::Broadcast, Caller::In(Reader)) => [read, leave].concat(),
        };
        may.contains(&op)
    }

    #[test]
    fn the_table_allows_what_the_product_says_and_nothing_else() {
        for kind in KINDS {
            for who in callers() {
                for op in ops() {
                    let allowed = authorise(kind, who, op);
                    let expected = is_allowed(kind, who, op);
                    assert_eq!(allowed.is_ok(), expected, "{kind:?} {who:?} {op:?}: {allowed:?}");
                }
            }
        }
    }

    #[test]
    fn kinds_and_roles_come_back_and_unknown_numbers_do_not() {
        for kind in KINDS {
            assert_eq!(Kind::from_wire(kind.to_wire() as i32), Some(kind));
        }
        for role in Role::ALL {
            assert_eq!(Role::from_wire(role.to_wire() as i32), Some(role));
        }
        for foreign in [i32::MIN, -1, 0, 99] {
            assert_eq!((Kind::from_wire(foreign), Role::from_wire(foreign)), (None, None));
        }
    }

    #[test]
    fn a_stranger_learns_nothing_from_the_reason() {
        for kind in KINDS {
            for op in ops() {
                let denied = authorise(kind, Caller::Stranger, op);
                assert_eq!(denied, Err(Denied::Stranger), "{kind:?} {op:?}");
            }
        }
    }
}
