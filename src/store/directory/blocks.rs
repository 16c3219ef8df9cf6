//! Commands on who blocks whom, and what a block forbids to others.
//!
//! While two people have a direct channel, its owner gives these commands, in one queue with what
//! they send there; else nobody orders anything between the two, and the transaction alone decides:
//! it comes before the one that makes their channel, or finds it and says so.

use damso_proto::id::{ChannelNo, Seq, UserNo};
use rusqlite::params;

use super::commands::{Result, Work};
use super::reads;
use super::rows::stored;
use super::seam::DirectoryError;
use crate::model::rights::{Actor, Denied, Kind, Op, RightsChange, RightsDelta};
use crate::model::{limits, system};

impl Work<'_> {
    /// `direct`: the direct channel of the two, and its next seq.
    pub(super) fn set_block(
        &mut self,
        peer: UserNo,
        blocked: bool,
        direct: Option<(ChannelNo, Seq)>,
    ) -> Result<(ChannelNo, Seq)> {
        let Actor::User(user) = self.command.by else { return Err(Denied::Role.into()) };
        if user == peer {
            return Err(DirectoryError::WithOneself);
        }
        match (reads::direct_of(self.db, user, peer)?, direct) {
            (Some(channel), None) => return Err(DirectoryError::HaveDirect(channel)),
            (None, None) => {}
            (Some(found), Some((channel, _))) if found == channel => {
                self.allowed(Kind::Direct, channel, Op::Block)?;
            }
            (_, Some(_)) => return Err(DirectoryError::NoChannel),
        }
        let place = direct.map_or(ChannelNo::self_of(user), |(channel, _)| channel);
        if !self.write_block(user, peer, blocked)? {
            return Ok((place, Seq::ZERO));
        }
        let mut head = Seq::ZERO;
        if let Some((channel, at)) = direct {
            let version =
                reads::heading(self.db, channel)?.ok_or(DirectoryError::NoChannel)?.version;
            // That there is a newer version would tell the other one. Nobody's list of channels
            // has this change in it, so none must know whether it does.
            let people = vec![RightsDelta::Blocks(user, blocked)];
            self.owe_silently(channel, at, RightsChange { kind: Kind::Direct, version, people })?;
            head = at.prev();
        }
        self.owe_personally(user, system::block_set(peer, blocked))?;
        Ok((place, head))
    }

    /// Whether whoever commands may add `user`, or make a channel with them.
    pub(super) fn may_be_added(&self, user: UserNo) -> Result<()> {
        match self.command.by {
            Actor::User(by) if reads::blocks(self.db, user, by)? => {
                Err(DirectoryError::BlockedBy(user))
            }
            Actor::User(_) | Actor::Service => Ok(()),
        }
    }

    /// Whether whoever commands may make a direct channel of these two.
    pub(super) fn neither_blocks(&self, user: UserNo, peer: UserNo) -> Result<()> {
        let is_person = matches!(self.command.by, Actor::User(_));
        if is_person && (reads::blocks(self.db, user, peer)? || reads::blocks(self.db, peer, user)?)
        {
            return Err(Denied::Blocked.into());
        }
        Ok(())
    }

    /// Returns whether that changed something.
    fn write_block(&self, user: UserNo, peer: UserNo, blocked: bool) -> Result<bool> {
        let pair = params![stored(user.get()), stored(peer.get())];
        if !blocked {
            let sql = "DELETE FROM blocks WHERE user = ?1 AND blocked = ?2";
            return Ok(self.db.prepare_cached(sql)?.execute(pair)? > 0);
        }
        self.user_exists(peer)?;
        let sql = "INSERT INTO blocks (user, blocked) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        let is_new = self.db.prepare_cached(sql)?.execute(pair)? > 0;
        let max = limits::BLOCKS_PER_USER_MAX;
        let sql = "SELECT count(*) FROM blocks WHERE user = ?1";
        if is_new && self.count(sql, params![stored(user.get())])? > max {
            return Err(DirectoryError::TooManyBlocks { max });
        }
        Ok(is_new)
    }
}
