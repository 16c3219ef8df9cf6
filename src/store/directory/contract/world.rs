//! A directory with people, on every engine.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Key, Seq, Uid, UserNo};
use damso_proto::wire;

use super::super::kit::Short as _;
use super::super::{Command, Directory as _, Options, OutboxRow, Sqlite};
use crate::model::body::BodyHash;
use crate::model::rights::{Actor, RightsChange, Role};
use crate::runtime::random::SeededRandom;

pub(super) const NOW_MS: u64 = 1_800_000_000_000;
pub(super) const HOUR_MS: u64 = 3_600_000;

/// Limits small enough to be reached.
const OPTIONS: Options =
    Options { channels_per_user_max: 4, group_members_max: 5, broadcast_members_max: 7 };

/// Runs a law on every engine.
pub(super) fn every_engine(law: impl Fn(&World)) {
    let random = || Arc::new(SeededRandom::new(1));
    law(&World::new(Sqlite::in_memory(OPTIONS, random()).unwrap()));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("directory.sqlite");
    law(&World::new(Sqlite::open(&path, OPTIONS, random()).unwrap()));
}

/// A directory with people 1 to 9, called p1 to p9.
pub(super) struct World {
    pub(super) directory: Sqlite,
}

impl World {
    fn new(directory: Sqlite) -> Self {
        for n in 1..=9 {
            let user = directory.find_or_make_user(&uid(n), NOW_MS).unwrap();
            assert_eq!((user.number, user.uid), (p(n), uid(n)), "numbers are dense from 1");
        }
        Self { directory }
    }

    pub(super) fn group(&self, key: u8, maker: u64, others: &[u64]) -> ChannelNo {
        let others: Vec<_> = others.iter().map(|n| p(*n)).collect();
        self.directory.create_group(&command(key, maker), "group", &others).unwrap().channel
    }

    pub(super) fn roles(&self, channel: ChannelNo) -> Vec<(u64, Role)> {
        let members = self.directory.channel(channel).unwrap().unwrap().members;
        members.into_iter().map(|member| (member.user.get(), member.role)).collect()
    }

    pub(super) fn channels_of(&self, user: u64) -> Vec<ChannelNo> {
        let memberships = self.directory.memberships(p(user), ChannelNo::new(0), 100).unwrap();
        memberships.into_iter().map(|membership| membership.channel).collect()
    }
}

pub(super) fn p(n: u64) -> UserNo {
    UserNo::new(n)
}

pub(super) fn uid(n: u64) -> Uid {
    Uid::parse(&format!("p{n}")).unwrap()
}

pub(super) fn command(key: u8, user: u64) -> Command {
    command_at(NOW_MS, key, user)
}

pub(super) fn command_at(now_ms: u64, key: u8, user: u64) -> Command {
    Command {
        by: Actor::User(p(user)),
        key: Key::new(now_ms, [key; 10]),
        body: BodyHash(u64::MAX),
        now_ms,
    }
}

/// What a row says, without its place in the outbox and its key.
pub(super) fn told(row: &OutboxRow) -> (ChannelNo, Seq, Option<wire::Event>, Option<RightsChange>) {
    let change = row.owed.change().map(|change| (**change).clone());
    (row.channel, row.at, row.owed.event().cloned(), change)
}

pub(super) fn seq(n: u64) -> Seq {
    Seq::new(n)
}
