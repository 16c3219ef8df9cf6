//! Who may what in a channel, as its owner knows it.
//!
//! Everybody in it stands here, but for a broadcast's readers: there are too many, and nothing that
//! they may ask for needs more than the directory's word.

use damso_proto::id::{Seq, UserNo};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::mail::{Change, ChangeKind};
use crate::model::rights::{
    Actor, Caller, Denied, Kind, Op, RightsChange, RightsDelta, Role, authorise,
};
use crate::store::directory;

/// A person in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Member {
    role: Role,
    /// The first seq that they may see.
    from: Seq,
    /// They may not write until this time of day.
    muted_until_ms: u64,
}

/// Somebody whose rights allow a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Writer {
    /// The first seq that they see.
    pub(super) from: Seq,
    /// They may not write until this time of day.
    pub(super) muted_until_ms: u64,
    /// One of the two people here blocks the other: they may not write.
    pub(super) is_blocked: bool,
}

/// See the module's text.
pub(super) struct Roster {
    kind: Kind,
    members: HashMap<UserNo, Member, FixedState>,
    /// Of a direct channel: those of its two people who block the other.
    blockers: Vec<UserNo>,
}

impl Default for Roster {
    /// Of a channel that was not read yet: nobody may anything.
    fn default() -> Self {
        Self { kind: Kind::Personal, members: HashMap::default(), blockers: Vec::new() }
    }
}

impl Roster {
    /// As the directory has it.
    pub(super) fn read(row: &directory::Channel) -> Self {
        let directory::Channel { kind, members, blockers, .. } = row;
        let member = |it: &directory::Member| {
            let directory::Member { user, role, from, muted_until_ms } = *it;
            (user, Member { role, from, muted_until_ms })
        };
        let members = members.iter().map(member).collect();
        Self { kind: *kind, members, blockers: blockers.clone() }
    }

    /// A change of members that is told at `at`, or holds from there on.
    pub(super) fn apply(&mut self, change: &RightsChange, at: Seq) {
        self.kind = change.kind;
        for delta in &change.people {
            match *delta {
                RightsDelta::Added(user, role, _) | RightsDelta::RoleSet(user, role)
                    if self.kind == Kind::Broadcast && role == Role::Reader =>
                {
                    self.members.remove(&user);
                }
                // What was read from the directory may have this change in it already.
                RightsDelta::Added(user, role, sight) => self.hold(user, role, sight.first(at)),
                // Where a broadcast's reader may write from now on, it is not known here what they
                // see, which is asked for replies alone: what they answer is everybody's to see.
                RightsDelta::RoleSet(user, role) => self.hold(user, role, Seq::ZERO.next()),
                RightsDelta::Removed(user) => drop(self.members.remove(&user)),
                RightsDelta::Muted(user, until_ms) => {
                    if let Some(member) = self.members.get_mut(&user) {
                        member.muted_until_ms = until_ms;
                    }
                }
                RightsDelta::Blocks(user, blocked) => {
                    self.blockers.retain(|blocker| *blocker != user);
                    self.blockers.extend(blocked.then_some(user));
                }
            }
        }
    }

    /// Somebody who writes here, or wrote here and may for now write nothing new: what of theirs is
    /// known already is answered.
    pub(super) fn writer(&self, by: Actor) -> Result<Writer, Denied> {
        let member = match by {
            Actor::User(user) => self.members.get(&user).copied(),
            // It sees everything, and is in nothing.
            Actor::Service => None,
        };
        let caller = match by.caller(member.map(|member| member.role)) {
            Caller::In(role) if !self.blockers.is_empty() => Caller::Blocked(role),
            caller => caller,
        };
        let is_blocked = match authorise(self.kind, caller, Op::Send) {
            Ok(()) => false,
            Err(Denied::Blocked) => true,
            Err(denied) => return Err(denied),
        };
        let (from, muted_until_ms) =
            member.map_or((Seq::ZERO.next(), 0), |member| (member.from, member.muted_until_ms));
        Ok(Writer { from, muted_until_ms, is_blocked })
    }

    /// Whether a command may go on to the directory, which decides again.
    pub(super) fn may_change(&self, change: &Change) -> Result<(), Denied> {
        let role = match change.by {
            Actor::User(user) => self.role_of(user),
            Actor::Service => None,
        };
        let may = |op| authorise(self.kind, change.by.caller(role), op);
        let op = match &change.what {
            ChangeKind::Add(joining) => {
                Op::AddMembers(joining.role.unwrap_or(self.kind.default_role()))
            }
            ChangeKind::Remove(user) if Actor::User(*user) == change.by => Op::Leave,
            ChangeKind::Remove(user) | ChangeKind::Ban(user, _) => {
                Op::RemoveMember(self.role_of(*user))
            }
            ChangeKind::Mute(user, _) => Op::Mute(self.role_of(*user).unwrap_or(Role::Reader)),
            ChangeKind::LiftBan(_) => Op::Bans,
            ChangeKind::Block(..) => Op::Block,
            ChangeKind::Update(update) => return update.ops().try_for_each(may),
            // Who is no member at all, the directory finds out.
            ChangeKind::SetRole(user, role) => {
                Op::SetRole(self.role_of(*user).unwrap_or(Role::Reader), *role)
            }
        };
        may(op)
    }

    fn hold(&mut self, user: UserNo, role: Role, from: Seq) {
        let member = Member { role, from, muted_until_ms: 0 };
        let held = self.members.entry(user).or_insert(member);
        // A new role begins unmuted; the one that somebody had does not end a mute.
        if held.role != role {
            *held = Member { from: held.from, ..member };
        }
    }

    /// What a person is here, as far as is known: of a broadcast, anybody might be a reader.
    fn role_of(&self, user: UserNo) -> Option<Role> {
        let known = self.members.get(&user).map(|member| member.role);
        known.or((self.kind == Kind::Broadcast).then_some(Role::Reader))
    }
}
