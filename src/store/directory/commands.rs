//! What changes the directory: each command runs within one transaction of its engine's.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Key, Seq, Uid, UserNo};
use damso_proto::wire;
use prost::Message as _;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::reads;
use super::rows::{number, stored, write_change};
use super::seam::{Command, DirectoryError, Done, Moved, Options, OutboxId, OutboxRow, User};
use crate::model::rights::{Kind, Op, RightsChange, RightsDelta, Role, authorise};
use crate::model::{limits, system};
use crate::runtime::random::Random;

/// Rows that a command deletes from behind the window: more than it adds, and never many.
const PRUNED_PER_COMMAND: i64 = 8;
/// A clock that goes back by less than this revives no key that was forgotten.
const PRUNE_MARGIN_MS: u64 = 60 * 60 * 1_000;

type Result<T> = std::result::Result<T, DirectoryError>;

/// A command at work: the transaction, and the events that it will owe.
pub(super) struct Work<'a> {
    pub(super) db: &'a Connection,
    pub(super) random: &'a dyn Random,
    pub(super) options: &'a Options,
    pub(super) command: &'a Command,
    pub(super) rows: Vec<OutboxRow>,
}

pub(super) fn find_or_make_user(db: &Connection, uid: &Uid, now_ms: u64) -> Result<User> {
    // Somebody may have made it since the reader looked.
    if let Some(found) = reads::user_by_uid(db, uid)? {
        return Ok(found);
    }
    let user = take_number(db, "user", 1)?;
    db.prepare_cached("INSERT INTO users VALUES (?1, ?2, ?3)")?.execute(params![
        stored(user),
        uid.as_str(),
        stored(now_ms)
    ])?;
    Ok(User { number: UserNo::new(user), uid: uid.clone() })
}

pub(super) fn outbox_done(db: &Connection, ids: &[OutboxId], moved: &[Moved]) -> Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
    for id in ids {
        delete.execute([stored(id.0)])?;
    }
    // From the highest down: one may have moved to where the next one was to be.
    let mut moved = moved.to_vec();
    moved.sort_unstable_by_key(|moved| std::cmp::Reverse(moved.from));
    for Moved { channel, from, to } in moved {
        let place = params![stored(channel.get()), stored(from.get()), stored(to.get())];
        let sql = "UPDATE members SET from_seq = ?3 WHERE channel = ?1 AND from_seq = ?2";
        db.prepare_cached(sql)?.execute(place)?;
        // Reads all of the window; two owners of one channel are as rare as that is slow.
        let sql = "UPDATE commands SET seq = ?3 WHERE channel = ?1 AND seq = ?2";
        db.prepare_cached(sql)?.execute(place)?;
    }
    Ok(())
}

/// The answer that this key was given before.
pub(super) fn known(db: &Connection, command: &Command) -> Result<Option<Done>> {
    let Command { user, key, body, .. } = command;
    let sql = "SELECT body, channel, seq FROM commands WHERE key = ?1 AND user = ?2";
    let known = db
        .prepare_cached(sql)?
        .query_row(params![key.as_bytes(), stored(user.get())], |row| {
            Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?))
        })
        .optional()?;
    match known {
        None => Ok(None),
        Some((known, ..)) if known != body.0 => Err(DirectoryError::KeyReused),
        Some((_, channel, seq)) => Ok(Some(Done {
            channel: ChannelNo::new(channel),
            seq: Seq::new(seq),
            is_repeated: true,
            rows: Vec::new(),
        })),
    }
}

fn take_number(db: &Connection, name: &str, step: i64) -> Result<u64> {
    let sql = "UPDATE numbers SET next = next + ?2 WHERE name = ?1 RETURNING next - ?2";
    Ok(db.prepare_cached(sql)?.query_row(params![name, step], |row| number(row, 0))?)
}

impl Work<'_> {
    /// Runs `change` unless its key is known, and remembers what it answered.
    pub(super) fn once(
        mut self,
        change: impl FnOnce(&mut Self) -> Result<(ChannelNo, Seq)>,
    ) -> Result<Done> {
        if let Some(known) = known(self.db, self.command)? {
            return Ok(known);
        }
        self.user_exists(self.command.user)?;
        let (channel, seq) = change(&mut self)?;
        self.remember(channel, seq)?;
        Ok(Done { channel, seq, is_repeated: false, rows: self.rows })
    }

    pub(super) fn create_group(
        &mut self,
        name: &str,
        others: &[UserNo],
    ) -> Result<(ChannelNo, Seq)> {
        let maker = self.command.user;
        let mut members = vec![maker];
        members.extend(others.iter().filter(|user| **user != maker));
        members[1..].sort_unstable();
        members.dedup();
        if members.len() > self.options.group_members_max {
            return Err(self.too_many_members());
        }
        self.make_channel(Kind::Group, name, &members)
    }

    pub(super) fn open_direct(&mut self, peer: UserNo) -> Result<(ChannelNo, Seq)> {
        let user = self.command.user;
        if user == peer {
            return Err(DirectoryError::WithOneself);
        }
        let sql = "SELECT number FROM channels WHERE low = ?1 AND high = ?2";
        let pair = params![stored(user.min(peer).get()), stored(user.max(peer).get())];
        let found =
            self.db.prepare_cached(sql)?.query_row(pair, |row| number(row, 0)).optional()?;
        match found {
            Some(channel) => Ok((ChannelNo::new(channel), Seq::ZERO)),
            None => self.make_channel(Kind::Direct, "", &[user, peer]),
        }
    }

    pub(super) fn add_member(
        &mut self,
        channel: ChannelNo,
        user: UserNo,
        at: Seq,
    ) -> Result<(ChannelNo, Seq)> {
        let kind = self.allowed(channel, Op::AddMember)?;
        self.user_exists(user)?;
        if reads::role_of(self.db, channel, user)?.is_some() {
            return Ok((channel, Seq::ZERO));
        }
        let sql = "SELECT count(*) FROM members WHERE channel = ?1";
        if self.count(sql, channel.get())? >= self.options.group_members_max {
            return Err(self.too_many_members());
        }
        self.enter(channel, user, Role::Member, at)?;
        let change = RightsChange {
            kind,
            version: self.raise_version(channel)?,
            people: vec![RightsDelta::Added(user, Role::Member)],
        };
        self.owe(channel, at, system::members_added(self.command.user, &[user]), Some(change))?;
        self.owe_personally(user, system::channel_added(channel, at))?;
        Ok((channel, at))
    }

    pub(super) fn remove_member(
        &mut self,
        channel: ChannelNo,
        user: UserNo,
        at: Seq,
    ) -> Result<(ChannelNo, Seq)> {
        let by = self.command.user;
        let role = reads::role_of(self.db, channel, user)?;
        let op = if user == by { Op::Leave } else { Op::RemoveMember(role) };
        let kind = self.allowed(channel, op)?;
        let Some(role) = role else { return Ok((channel, Seq::ZERO)) };
        let sql = "DELETE FROM members WHERE channel = ?1 AND user = ?2";
        let member = params![stored(channel.get()), stored(user.get())];
        self.db.prepare_cached(sql)?.execute(member)?;
        let mut people = vec![RightsDelta::Removed(user)];
        if role == Role::Owner {
            people.extend(self.promote_successor(channel)?);
        }
        let change = RightsChange { kind, version: self.raise_version(channel)?, people };
        let event = match op {
            Op::Leave => system::member_left(user),
            _ => system::member_removed(by, user),
        };
        self.owe(channel, at, event, Some(change))?;
        self.owe_personally(user, system::channel_removed(channel, at))?;
        Ok((channel, at))
    }

    /// The member who has been in it longest takes over; of several, the lowest number.
    fn promote_successor(&self, channel: ChannelNo) -> Result<Option<RightsDelta>> {
        let sql = "UPDATE members SET role = ?2 WHERE channel = ?1 AND user =
                   (SELECT user FROM members WHERE channel = ?1 ORDER BY from_seq, user LIMIT 1)
                   RETURNING user";
        let owner = Role::Owner;
        let promoted = self
            .db
            .prepare_cached(sql)?
            .query_row(params![stored(channel.get()), owner.to_wire() as i32], |row| number(row, 0))
            .optional()?;
        Ok(promoted.map(|user| RightsDelta::Promoted(UserNo::new(user), owner)))
    }

    /// Makes a channel whose first member commands; in a group, that is the owner.
    fn make_channel(
        &mut self,
        kind: Kind,
        name: &str,
        members: &[UserNo],
    ) -> Result<(ChannelNo, Seq)> {
        let first = Seq::ZERO.next();
        let channel = ChannelNo::new(take_number(self.db, "channel", 2)?);
        let pair = match (kind, members) {
            (Kind::Direct, &[one, other]) => {
                (Some(stored(one.min(other).get())), Some(stored(one.max(other).get())))
            }
            _ => (None, None),
        };
        for member in members {
            self.user_exists(*member)?;
        }
        self.db
            .prepare_cached("INSERT INTO channels VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6)")?
            .execute(params![
                stored(channel.get()),
                kind.to_wire() as i32,
                name,
                stored(self.command.now_ms),
                pair.0,
                pair.1
            ])?;
        let mut people = Vec::with_capacity(members.len());
        for (number, &member) in members.iter().enumerate() {
            let leads = kind == Kind::Group && number == 0;
            let role = if leads { Role::Owner } else { Role::Member };
            self.enter(channel, member, role, first)?;
            people.push(RightsDelta::Added(member, role));
        }
        let change = RightsChange { kind, version: 1, people };
        self.owe(channel, first, system::created(self.command.user, members), Some(change))?;
        for &member in members {
            self.owe_personally(member, system::channel_added(channel, first))?;
        }
        Ok((channel, first))
    }

    fn enter(&self, channel: ChannelNo, user: UserNo, role: Role, from: Seq) -> Result<()> {
        let max = self.options.channels_per_user_max;
        if self.count("SELECT count(*) FROM members WHERE user = ?1", user.get())? >= max {
            return Err(DirectoryError::TooManyChannels { user, max });
        }
        self.db.prepare_cached("INSERT INTO members VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            stored(channel.get()),
            stored(user.get()),
            role.to_wire() as i32,
            stored(from.get())
        ])?;
        Ok(())
    }

    /// Puts an event that must stand at `at` of `channel` into the outbox.
    fn owe(
        &mut self,
        channel: ChannelNo,
        at: Seq,
        event: wire::Event,
        change: Option<RightsChange>,
    ) -> Result<()> {
        let mut random = [0; 10];
        self.random.fill(&mut random);
        let key = Key::new(self.command.now_ms, random);
        let id = OutboxId(take_number(self.db, "outbox", 1)?);
        self.db.prepare_cached("INSERT INTO outbox VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(
            params![
                stored(id.0),
                stored(channel.get()),
                key.as_bytes(),
                stored(at.get()),
                event.encode_to_vec(),
                change.as_ref().map(write_change)
            ],
        )?;
        let change = change.map(Arc::new);
        self.rows.push(OutboxRow { id, channel, key, at, event, change });
        Ok(())
    }

    fn owe_personally(&mut self, user: UserNo, event: wire::Event) -> Result<()> {
        self.owe(ChannelNo::self_of(user), Seq::ZERO, event, None)
    }

    /// The kind of `channel`, if the commanding person may do `op` there.
    fn allowed(&self, channel: ChannelNo, op: Op) -> Result<Kind> {
        let (kind, ..) = reads::heading(self.db, channel)?.ok_or(DirectoryError::NoChannel)?;
        authorise(kind, reads::role_of(self.db, channel, self.command.user)?, op)?;
        Ok(kind)
    }

    fn user_exists(&self, user: UserNo) -> Result<()> {
        reads::user(self.db, user)?.map(drop).ok_or(DirectoryError::NoUser(user))
    }

    fn raise_version(&self, channel: ChannelNo) -> Result<u64> {
        let sql = "UPDATE channels SET version = version + 1 WHERE number = ?1 RETURNING version";
        Ok(self.db.prepare_cached(sql)?.query_row([stored(channel.get())], |row| number(row, 0))?)
    }

    fn count(&self, sql: &str, of: u64) -> Result<usize> {
        let rows: i64 = self.db.prepare_cached(sql)?.query_row([stored(of)], |row| row.get(0))?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    fn too_many_members(&self) -> DirectoryError {
        DirectoryError::TooManyMembers { max: self.options.group_members_max }
    }

    /// Remembers the answer, and forgets a few that are older than the window.
    fn remember(&self, channel: ChannelNo, seq: Seq) -> Result<()> {
        let Command { user, key, body, now_ms } = self.command;
        self.db.prepare_cached("INSERT INTO commands VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
            params![
                key.as_bytes(),
                stored(user.get()),
                stored(body.0),
                stored(channel.get()),
                stored(seq.get())
            ],
        )?;
        let window_ms = u64::try_from(limits::KEY_WINDOW.as_millis()).unwrap_or(u64::MAX);
        let oldest_ms = now_ms.saturating_sub(window_ms).saturating_sub(PRUNE_MARGIN_MS);
        let oldest = Key::new(oldest_ms, [0; 10]);
        let sql = "DELETE FROM commands WHERE (key, user) IN
                   (SELECT key, user FROM commands WHERE key < ?1 ORDER BY key LIMIT ?2)";
        self.db.prepare_cached(sql)?.execute(params![oldest.as_bytes(), PRUNED_PER_COMMAND])?;
        Ok(())
    }
}
