//! Commands on who is in a channel, and as what.
//!
//! A change is told at `at`: in a group by an event there; in a broadcast by nothing, between the
//! last event before it and the event that will stand there.

use damso_proto::id::{ChannelNo, Seq, UserNo};
use damso_proto::wire;
use rusqlite::{OptionalExtension as _, params};

use super::commands::{Result, Work};
use super::reads;
use super::records::Joining;
use super::rows::{number, stored};
use super::seam::DirectoryError;
use crate::model::rights::{Actor, Kind, Op, RightsChange, RightsDelta, Role};
use crate::model::system;

impl Work<'_> {
    pub(super) fn add_members(
        &mut self,
        channel: ChannelNo,
        joining: &Joining,
        at: Seq,
    ) -> Result<(ChannelNo, Seq)> {
        let (kind, members) = self.heading(channel)?;
        let role = joining.role.unwrap_or(kind.default_role());
        self.allowed(kind, channel, Op::AddMembers(role))?;
        let mut new = Vec::with_capacity(joining.users.len());
        for &user in &joining.users {
            self.user_exists(user)?;
            if reads::is_banned(self.db, channel, user, self.command.now_ms)? {
                return Err(DirectoryError::Banned(user));
            }
            if !new.contains(&user) && reads::role_of(self.db, channel, user)?.is_none() {
                self.may_be_added(user)?;
                new.push(user);
            }
        }
        if new.is_empty() {
            return Ok((channel, Seq::ZERO));
        }
        self.has_room(kind, members, new.len())?;
        let from = joining.sight.first(at);
        for user in &new {
            self.enter(channel, *user, role, from)?;
        }
        self.writers_fit(kind, channel)?;
        let people = new.iter().map(|user| RightsDelta::Added(*user, role, joining.sight));
        let event = system::members_added(self.command.by.number(), &new);
        let told = self.tell(kind, channel, at, event, people.collect())?;
        for user in new {
            self.owe_personally(user, system::channel_added(channel, from, told))?;
        }
        Ok((channel, told))
    }

    pub(super) fn remove_member(
        &mut self,
        channel: ChannelNo,
        user: UserNo,
        at: Seq,
    ) -> Result<(ChannelNo, Seq)> {
        let leaves = Actor::User(user) == self.command.by;
        let (kind, _) = self.heading(channel)?;
        let role = reads::role_of(self.db, channel, user)?;
        let op = if leaves { Op::Leave } else { Op::RemoveMember(role) };
        self.allowed(kind, channel, op)?;
        let by = self.command.by.number();
        let event = match leaves {
            true => system::member_left(user),
            false => system::member_removed(by, user, false),
        };
        Ok((channel, self.put_out(kind, channel, (user, role), at, event)?))
    }

    /// Ends a membership, if there is one, which `event` tells. Returns the channel's last seq as
    /// that takes effect.
    pub(super) fn put_out(
        &mut self,
        kind: Kind,
        channel: ChannelNo,
        (user, role): (UserNo, Option<Role>),
        at: Seq,
        event: wire::Event,
    ) -> Result<Seq> {
        let Some(role) = role else { return Ok(Seq::ZERO) };
        self.go_out(channel, user)?;
        let mut people = vec![RightsDelta::Removed(user)];
        if role == Role::Owner {
            people.extend(self.promote_successor(kind, channel)?);
        }
        let successor = people.get(1).copied();
        let told = self.tell(kind, channel, at, event, people)?;
        self.owe_personally(user, system::channel_removed(channel, told))?;
        if let Some(RightsDelta::RoleSet(successor, role)) = successor {
            self.tell_role(kind, channel, user, (successor, role))?;
        }
        Ok(told)
    }

    pub(super) fn set_role(
        &mut self,
        channel: ChannelNo,
        user: UserNo,
        role: Role,
        at: Seq,
    ) -> Result<(ChannelNo, Seq)> {
        let (kind, _) = self.heading(channel)?;
        let held = reads::role_of(self.db, channel, user)?;
        // Whoever may not list members must not learn by this who is one.
        self.allowed(kind, channel, Op::SetRole(held.unwrap_or(Role::Reader), role))?;
        let held = held.ok_or(DirectoryError::NoUser(user))?;
        if held == role {
            return Ok((channel, Seq::ZERO));
        }
        let mut people = Vec::new();
        if role == Role::Owner
            && let Some(owner) = self.owner_of(channel)?
        {
            self.write_role(channel, owner, Role::Moderator)?;
            people.push(RightsDelta::RoleSet(owner, Role::Moderator));
        }
        self.write_role(channel, user, role)?;
        people.push(RightsDelta::RoleSet(user, role));
        self.writers_fit(kind, channel)?;
        let by = self.command.by.number();
        let given: Vec<RightsDelta> = people.clone();
        let event = system::role_set(by, user, role, None);
        let told = self.tell(kind, channel, at, event, people)?;
        for delta in given {
            if let RightsDelta::RoleSet(user, role) = delta {
                self.tell_role(kind, channel, by, (user, role))?;
            }
        }
        Ok((channel, told))
    }

    /// Owes what tells a change: an event at `at` to all, or a word to the shards alone. Returns
    /// the channel's last seq as it takes effect.
    pub(super) fn tell(
        &mut self,
        kind: Kind,
        channel: ChannelNo,
        at: Seq,
        event: wire::Event,
        people: Vec<RightsDelta>,
    ) -> Result<Seq> {
        let change = RightsChange { kind, version: self.raise_version(channel)?, people };
        if kind.tells_members() {
            self.owe(channel, at, event, change)?;
            return Ok(at);
        }
        self.owe_silently(channel, at, change)?;
        Ok(at.prev())
    }

    /// Where no event tells a role to all, whom it concerns is told.
    fn tell_role(
        &mut self,
        kind: Kind,
        channel: ChannelNo,
        by: UserNo,
        (user, role): (UserNo, Role),
    ) -> Result<()> {
        if kind.tells_members() {
            return Ok(());
        }
        self.owe_personally(user, system::role_set(by, user, role, Some(channel)))
    }

    /// Somebody takes over from the owner: moderators first, then members; of several, the one who
    /// has been in it longest, then the lowest number. A group is led by a reader rather than by
    /// nobody; a broadcast is not.
    fn promote_successor(&self, kind: Kind, channel: ChannelNo) -> Result<Option<RightsDelta>> {
        let sql = "SELECT user FROM members WHERE channel = ?1 AND role <> ?2
                   ORDER BY role <> ?3, role <> ?4, from_seq, user LIMIT 1";
        // No role has the number 0.
        let unfit = if kind == Kind::Broadcast { code(Role::Reader) } else { 0 };
        let order =
            params![stored(channel.get()), unfit, code(Role::Moderator), code(Role::Member)];
        let found =
            self.db.prepare_cached(sql)?.query_row(order, |row| number(row, 0)).optional()?;
        let Some(user) = found.map(UserNo::new) else { return Ok(None) };
        self.write_role(channel, user, Role::Owner)?;
        Ok(Some(RightsDelta::RoleSet(user, Role::Owner)))
    }

    pub(super) fn enter(
        &self,
        channel: ChannelNo,
        user: UserNo,
        role: Role,
        from: Seq,
    ) -> Result<()> {
        let max = self.options.channels_per_user_max;
        let sql = "SELECT count(*) FROM members WHERE user = ?1";
        if self.count(sql, params![stored(user.get())])? >= max {
            return Err(DirectoryError::TooManyChannels { user, max });
        }
        let member =
            params![stored(channel.get()), stored(user.get()), code(role), stored(from.get())];
        let sql = "INSERT INTO members (channel, user, role, from_seq) VALUES (?1, ?2, ?3, ?4)";
        self.db.prepare_cached(sql)?.execute(member)?;
        self.count_members(channel, 1)
    }

    fn go_out(&self, channel: ChannelNo, user: UserNo) -> Result<()> {
        let member = params![stored(channel.get()), stored(user.get())];
        let sql = "DELETE FROM members WHERE channel = ?1 AND user = ?2";
        self.db.prepare_cached(sql)?.execute(member)?;
        self.count_members(channel, -1)
    }

    fn count_members(&self, channel: ChannelNo, more: i64) -> Result<()> {
        let sql = "UPDATE channels SET members = members + ?2 WHERE number = ?1";
        self.db.prepare_cached(sql)?.execute(params![stored(channel.get()), more])?;
        Ok(())
    }

    fn write_role(&self, channel: ChannelNo, user: UserNo, role: Role) -> Result<()> {
        let sql =
            "UPDATE members SET role = ?3, muted_until_ms = 0 WHERE channel = ?1 AND user = ?2";
        let member = params![stored(channel.get()), stored(user.get()), code(role)];
        self.db.prepare_cached(sql)?.execute(member)?;
        Ok(())
    }

    fn owner_of(&self, channel: ChannelNo) -> Result<Option<UserNo>> {
        let sql = "SELECT user FROM members WHERE channel = ?1 AND role = 1";
        let owner = self
            .db
            .prepare_cached(sql)?
            .query_row([stored(channel.get())], |row| number(row, 0))
            .optional()?;
        Ok(owner.map(UserNo::new))
    }

    /// Whether a channel of `present` members takes `more`.
    pub(super) fn has_room(&self, kind: Kind, present: usize, more: usize) -> Result<()> {
        let max = match kind {
            Kind::Broadcast => self.options.broadcast_members_max,
            Kind::Direct | Kind::Group | Kind::Personal => self.options.group_members_max,
        };
        if present + more > max {
            return Err(DirectoryError::TooManyMembers { max });
        }
        Ok(())
    }

    /// Whether not too many may write: a broadcast's owner keeps them in memory.
    fn writers_fit(&self, kind: Kind, channel: ChannelNo) -> Result<()> {
        let max = self.options.group_members_max;
        let sql = "SELECT count(*) FROM members WHERE channel = ?1 AND role <> ?2";
        let writers = params![stored(channel.get()), code(Role::Reader)];
        if kind == Kind::Broadcast && self.count(sql, writers)? > max {
            return Err(DirectoryError::TooManyMembers { max });
        }
        Ok(())
    }
}

fn code(role: Role) -> i32 {
    role.to_wire() as i32
}
