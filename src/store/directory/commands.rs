//! What changes the directory: each command runs within one transaction of its engine's.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Key, Seq, Uid, UserNo};
use damso_proto::wire;
use rusqlite::{Connection, OptionalExtension as _, Params, params};

use super::reads;
use super::records::{Command, Done, Moved, OutboxId, OutboxRow, Owed, User};
use super::rows::{number, stored, stored_custom, write_row};
use super::seam::{DirectoryError, Options};
use crate::model::limits;
use crate::model::naming::CustomMap;
use crate::model::rights::{Actor, Kind, Op, RightsChange, authorise};
use crate::runtime::random::Random;

/// Rows that a command deletes from behind the window: more than it adds, and never many.
const PRUNED_PER_COMMAND: i64 = 8;
/// A clock that goes back by less than this revives no key that was forgotten.
const PRUNE_MARGIN_MS: u64 = 60 * 60 * 1_000;

pub(super) type Result<T> = std::result::Result<T, DirectoryError>;

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
    db.prepare_cached("INSERT INTO users (number, uid, made_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![stored(user), uid.as_str(), stored(now_ms)])?;
    Ok(User { number: UserNo::new(user), uid: uid.clone(), custom: CustomMap::default() })
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
    let Command { by, key, body, .. } = command;
    let sql = "SELECT body, channel, seq FROM commands WHERE key = ?1 AND user = ?2";
    let known = db
        .prepare_cached(sql)?
        .query_row(params![key.as_bytes(), stored(by.number().get())], |row| {
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

pub(super) fn take_number(db: &Connection, name: &str, step: i64) -> Result<u64> {
    let sql = "UPDATE numbers SET next = next + ?2 WHERE name = ?1 RETURNING next - ?2";
    Ok(db.prepare_cached(sql)?.query_row(params![name, step], |row| number(row, 0))?)
}

impl Work<'_> {
    pub(super) fn note_on_user(
        &mut self,
        user: UserNo,
        custom: &CustomMap,
    ) -> Result<(ChannelNo, Seq)> {
        let sql = "UPDATE users SET custom = ?2 WHERE number = ?1";
        let row = params![stored(user.get()), stored_custom(custom)];
        match self.db.prepare_cached(sql)?.execute(row)? {
            0 => Err(DirectoryError::NoUser(user)),
            _ => Ok((ChannelNo::self_of(user), Seq::ZERO)),
        }
    }

    /// Runs `change` unless its key is known, and remembers what it answered.
    pub(super) fn once(
        mut self,
        change: impl FnOnce(&mut Self) -> Result<(ChannelNo, Seq)>,
    ) -> Result<Done> {
        if let Some(known) = known(self.db, self.command)? {
            return Ok(known);
        }
        if let Actor::User(user) = self.command.by {
            self.user_exists(user)?;
        }
        let (channel, seq) = change(&mut self)?;
        self.remember(channel, seq)?;
        Ok(Done { channel, seq, is_repeated: false, rows: self.rows })
    }

    /// Owes an event that must stand at `at` of `channel`, and the change that it tells.
    pub(super) fn owe(
        &mut self,
        channel: ChannelNo,
        at: Seq,
        event: wire::Event,
        change: RightsChange,
    ) -> Result<()> {
        self.owe_row(channel, at, Owed::Change(event, Arc::new(change)))
    }

    /// Owes every shard a change that no event tells, between the event before `at` and that one.
    pub(super) fn owe_silently(
        &mut self,
        channel: ChannelNo,
        at: Seq,
        change: RightsChange,
    ) -> Result<()> {
        self.owe_row(channel, at, Owed::Silence(Arc::new(change)))
    }

    pub(super) fn owe_personally(&mut self, user: UserNo, event: wire::Event) -> Result<()> {
        self.owe_row(ChannelNo::self_of(user), Seq::ZERO, Owed::Event(event))
    }

    fn owe_row(&mut self, channel: ChannelNo, at: Seq, owed: Owed) -> Result<()> {
        let mut random = [0; 10];
        self.random.fill(&mut random);
        let key = Key::new(self.command.now_ms, random);
        let id = OutboxId(take_number(self.db, "outbox", 1)?);
        let row = OutboxRow { id, channel, key, at, owed };
        write_row(self.db, &row)?;
        self.rows.push(row);
        Ok(())
    }

    /// Kind of a channel, and how many are in it.
    pub(super) fn heading(&self, channel: ChannelNo) -> Result<(Kind, usize)> {
        let heading = reads::heading(self.db, channel)?.ok_or(DirectoryError::NoChannel)?;
        Ok((heading.kind, usize::try_from(heading.members).unwrap_or(usize::MAX)))
    }

    /// Whether whoever commands may do `op` in `channel`.
    pub(super) fn allowed(&self, kind: Kind, channel: ChannelNo, op: Op) -> Result<()> {
        let by = self.command.by;
        let role = match by {
            Actor::User(user) => reads::role_of(self.db, channel, user)?,
            Actor::Service => None,
        };
        Ok(authorise(kind, by.caller(role), op)?)
    }

    pub(super) fn user_exists(&self, user: UserNo) -> Result<()> {
        reads::user(self.db, user)?.map(drop).ok_or(DirectoryError::NoUser(user))
    }

    pub(super) fn raise_version(&self, channel: ChannelNo) -> Result<u64> {
        let sql = "UPDATE channels SET version = version + 1 WHERE number = ?1 RETURNING version";
        Ok(self.db.prepare_cached(sql)?.query_row([stored(channel.get())], |row| number(row, 0))?)
    }

    pub(super) fn count(&self, sql: &str, of: impl Params) -> Result<usize> {
        let rows: i64 = self.db.prepare_cached(sql)?.query_row(of, |row| row.get(0))?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    /// Remembers the answer, and forgets a few that are older than the window.
    fn remember(&self, channel: ChannelNo, seq: Seq) -> Result<()> {
        let Command { by, key, body, now_ms } = self.command;
        self.db.prepare_cached("INSERT INTO commands VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
            params![
                key.as_bytes(),
                stored(by.number().get()),
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
