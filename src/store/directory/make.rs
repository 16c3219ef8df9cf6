//! Commands that make channels.

use damso_proto::id::{ChannelNo, Seq, UserNo};
use rusqlite::params;

use super::commands::{Result, Work, take_number};
use super::reads;
use super::records::NewChannel;
use super::rows::{stored, stored_custom};
use super::seam::DirectoryError;
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::{Actor, Kind, RightsChange, RightsDelta, Role, Sight};
use crate::model::system;

impl Work<'_> {
    pub(super) fn create_channel(
        &mut self,
        new: &NewChannel<'_>,
        others: &[UserNo],
    ) -> Result<(ChannelNo, Seq)> {
        if let Some(key) = new.key
            && let Some(found) = reads::channel_by_key(self.db, key)?
        {
            let (kind, _) = self.heading(found)?;
            return match kind == new.kind {
                true => Ok((found, Seq::ZERO)),
                false => Err(DirectoryError::ChannelKeyTaken),
            };
        }
        let mut members = Vec::with_capacity(1 + others.len());
        let owner = match self.command.by {
            Actor::User(maker) => Some(maker),
            Actor::Service => new.owner,
        };
        members.extend(owner.map(|owner| (owner, Role::Owner)));
        let mut others = others.to_vec();
        others.sort_unstable();
        others.dedup();
        others.retain(|user| Some(*user) != owner);
        for other in &others {
            self.may_be_added(*other)?;
        }
        members.extend(others.into_iter().map(|user| (user, new.kind.default_role())));
        self.has_room(new.kind, 0, members.len())?;
        self.make_channel(new, &members)
    }

    pub(super) fn open_direct(&mut self, user: UserNo, peer: UserNo) -> Result<(ChannelNo, Seq)> {
        if user == peer {
            return Err(DirectoryError::WithOneself);
        }
        match reads::direct_of(self.db, user, peer)? {
            Some(channel) => Ok((channel, Seq::ZERO)),
            None => {
                self.neither_blocks(user, peer)?;
                let pair = [(user, Role::Member), (peer, Role::Member)];
                let custom = CustomMap::default();
                let new = NewChannel {
                    kind: Kind::Direct,
                    name: "",
                    key: None,
                    custom: &custom,
                    owner: None,
                };
                self.make_channel(&new, &pair)
            }
        }
    }

    fn make_channel(
        &mut self,
        new: &NewChannel<'_>,
        members: &[(UserNo, Role)],
    ) -> Result<(ChannelNo, Seq)> {
        let NewChannel { kind, name, key, custom, .. } = *new;
        let first = Seq::ZERO.next();
        let channel = ChannelNo::new(take_number(self.db, "channel", 2)?);
        let pair = match (kind, members) {
            (Kind::Direct, &[(one, _), (other, _)]) => {
                (Some(stored(one.min(other).get())), Some(stored(one.max(other).get())))
            }
            _ => (None, None),
        };
        for (member, _) in members {
            self.user_exists(*member)?;
        }
        let sql = "INSERT INTO channels
                       (number, kind, name, version, made_ms, low, high, members, key, custom)
                   VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, 0, ?7, ?8)";
        self.db.prepare_cached(sql)?.execute(params![
            stored(channel.get()),
            kind.to_wire() as i32,
            name,
            stored(self.command.now_ms),
            pair.0,
            pair.1,
            key.map(ChannelKey::as_str),
            stored_custom(custom)
        ])?;
        let mut people = Vec::with_capacity(members.len());
        for &(member, role) in members {
            self.enter(channel, member, role, first)?;
            people.push(RightsDelta::Added(member, role, Sight::FromHere));
        }
        let change = RightsChange { kind, version: 1, people };
        // Who reads a broadcast is not told to everybody who does.
        let named: Vec<UserNo> = match kind.tells_members() {
            true => members.iter().map(|(member, _)| *member).collect(),
            false => Vec::new(),
        };
        let created = system::created(self.command.by.number(), &named);
        self.owe(channel, first, created, change)?;
        for &(member, _) in members {
            self.owe_personally(member, system::channel_added(channel, first, first))?;
        }
        Ok((channel, first))
    }
}
