//! Commands that keep order in a channel: who may not write for a while, and who is kept out.

use damso_proto::id::{ChannelNo, Seq, UserNo};
use rusqlite::params;

use super::commands::{Result, Work};
use super::reads;
use super::rows::stored;
use super::seam::DirectoryError;
use crate::model::rights::{Actor, Denied, Op, RightsDelta, Role};
use crate::model::{limits, system};

/// Bans that are over and go with each new one: more than it adds, and never many.
const BANS_SWEPT: i64 = 8;

impl Work<'_> {
    pub(super) fn mute_member(
        &mut self,
        channel: ChannelNo,
        user: UserNo,
        until_ms: u64,
        at: Seq,
    ) -> Result<(ChannelNo, Seq)> {
        let (kind, _) = self.heading(channel)?;
        let held = reads::role_of(self.db, channel, user)?;
        // Whoever may not list members must not learn by this who is one.
        self.allowed(kind, channel, Op::Mute(held.unwrap_or(Role::Reader)))?;
        held.ok_or(DirectoryError::NoUser(user))?;
        let sql = "UPDATE members SET muted_until_ms = ?3
                   WHERE channel = ?1 AND user = ?2 AND muted_until_ms <> ?3";
        let muted = params![stored(channel.get()), stored(user.get()), stored(until_ms)];
        if self.db.prepare_cached(sql)?.execute(muted)? == 0 {
            return Ok((channel, Seq::ZERO));
        }
        let by = self.command.by.number();
        let people = vec![RightsDelta::Muted(user, until_ms)];
        let event = system::muted(by, user, until_ms, None);
        let told = self.tell(kind, channel, at, event, people)?;
        if !kind.tells_members() {
            self.owe_personally(user, system::muted(by, user, until_ms, Some(channel)))?;
        }
        Ok((channel, told))
    }

    pub(super) fn ban_member(
        &mut self,
        channel: ChannelNo,
        user: UserNo,
        until_ms: u64,
        at: Seq,
    ) -> Result<(ChannelNo, Seq)> {
        let (kind, _) = self.heading(channel)?;
        let role = reads::role_of(self.db, channel, user)?;
        self.allowed(kind, channel, Op::RemoveMember(role))?;
        if Actor::User(user) == self.command.by {
            return Err(Denied::Role.into());
        }
        self.user_exists(user)?;
        let (number, now_ms) = (stored(channel.get()), stored(self.command.now_ms));
        let over = "DELETE FROM bans WHERE (channel, user) IN (SELECT channel, user FROM bans
                    WHERE channel = ?1 AND until_ms <> 0 AND until_ms <= ?2 LIMIT ?3)";
        self.db.prepare_cached(over)?.execute(params![number, now_ms, BANS_SWEPT])?;
        let sql = "INSERT INTO bans (channel, user, until_ms) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO UPDATE SET until_ms = excluded.until_ms";
        let ban = params![number, stored(user.get()), stored(until_ms)];
        self.db.prepare_cached(sql)?.execute(ban)?;
        let max = limits::BANS_PER_CHANNEL_MAX;
        if self.count("SELECT count(*) FROM bans WHERE channel = ?1", params![number])? > max {
            return Err(DirectoryError::TooManyBans { max });
        }
        let event = system::member_removed(self.command.by.number(), user, true);
        Ok((channel, self.put_out(kind, channel, (user, role), at, event)?))
    }

    pub(super) fn lift_ban(
        &mut self,
        channel: ChannelNo,
        user: UserNo,
    ) -> Result<(ChannelNo, Seq)> {
        let (kind, _) = self.heading(channel)?;
        self.allowed(kind, channel, Op::Bans)?;
        let sql = "DELETE FROM bans WHERE channel = ?1 AND user = ?2";
        let ban = params![stored(channel.get()), stored(user.get())];
        self.db.prepare_cached(sql)?.execute(ban)?;
        Ok((channel, Seq::ZERO))
    }
}
