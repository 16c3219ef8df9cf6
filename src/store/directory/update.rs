//! The command on what a channel is called, and what is noted on it.

use damso_proto::id::{ChannelNo, Seq};
use rusqlite::params;

use super::commands::{Result, Work};
use super::reads;
use super::rows::{stored, stored_custom};
use super::seam::DirectoryError;
use crate::model::rights::RightsChange;
use crate::model::system;
use crate::model::update::ChannelUpdate;

impl Work<'_> {
    pub(super) fn update_channel(
        &mut self,
        channel: ChannelNo,
        update: &ChannelUpdate,
        at: Seq,
    ) -> Result<(ChannelNo, Seq)> {
        let heading = reads::heading(self.db, channel)?.ok_or(DirectoryError::NoChannel)?;
        for op in update.ops() {
            self.allowed(heading.kind, channel, op)?;
        }
        let ChannelUpdate { name, custom } = update;
        let changed = ChannelUpdate {
            name: name.clone().filter(|name| **name != *heading.name),
            custom: custom.clone().filter(|custom| *custom != heading.custom),
        };
        if changed.is_empty() {
            return Ok((channel, Seq::ZERO));
        }
        let number = stored(channel.get());
        if let Some(name) = &changed.name {
            let sql = "UPDATE channels SET name = ?2 WHERE number = ?1";
            self.db.prepare_cached(sql)?.execute(params![number, name])?;
        }
        if let Some(custom) = &changed.custom {
            let sql = "UPDATE channels SET custom = ?2 WHERE number = ?1";
            self.db.prepare_cached(sql)?.execute(params![number, stored_custom(custom)])?;
        }
        let version = self.raise_version(channel)?;
        let event = system::channel_updated(self.command.by.number(), version, changed);
        // Of a broadcast, too: it says nothing of who reads it, and is one event for all of them.
        let change = RightsChange { kind: heading.kind, version, people: Vec::new() };
        self.owe(channel, at, event, change)?;
        Ok((channel, at))
    }
}
