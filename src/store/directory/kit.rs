//! Short words for what tests say often.

use damso_proto::id::{ChannelNo, Seq, UserNo};

use super::{Command, Directory, DirectoryError, Done, Joining, NewChannel};
use crate::model::naming::CustomMap;
use crate::model::rights::{Actor, Kind, Role, Sight};

type Result = std::result::Result<Done, DirectoryError>;

/// What a directory does, as people who make groups would say it.
pub(crate) trait Short: Directory {
    /// Makes a group.
    fn create_group(&self, command: &Command, name: &str, others: &[UserNo]) -> Result {
        self.create_channel(command, &new(Kind::Group, name, &CustomMap::default()), others)
    }

    /// Makes a broadcast.
    fn create_broadcast(&self, command: &Command, others: &[UserNo]) -> Result {
        self.create_channel(command, &new(Kind::Broadcast, "news", &CustomMap::default()), others)
    }

    /// Adds one person as the kind of channel has it.
    fn add_member(&self, command: &Command, channel: ChannelNo, user: UserNo, at: Seq) -> Result {
        self.add_members(command, channel, &joining(&[user], None), at)
    }

    /// Opens the direct channel of whoever commands.
    fn open_mine(&self, command: &Command, peer: UserNo) -> Result {
        let Actor::User(user) = command.by else { panic!("a person's") };
        self.open_direct(command, user, peer)
    }
}

impl<D: Directory + ?Sized> Short for D {}

/// A channel on which nothing is noted.
pub(crate) const fn new<'a>(kind: Kind, name: &'a str, none: &'a CustomMap) -> NewChannel<'a> {
    NewChannel { kind, name, key: None, custom: none, owner: None }
}

/// These people, who see what comes from now on.
pub(crate) fn joining(users: &[UserNo], role: Option<Role>) -> Joining {
    Joining { users: users.to_vec(), role, sight: Sight::FromHere }
}
