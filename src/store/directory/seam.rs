//! The seam of the directory: what every engine does.

use damso_proto::id::{ChannelNo, Seq, Uid, UserNo};

use super::admission::{Admission, Login, Provision};
use super::records::{
    Ban, Channel, Command, Done, Heading, Joining, Member, Membership, Moved, NewChannel, OutboxId,
    OutboxRow, User,
};
use crate::model::device::DeviceId;
use crate::model::limits;
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::{Denied, Role};
use crate::model::update::ChannelUpdate;

/// The directory. Every call may block on a disk and belongs behind the blocking door.
///
/// A command is one transaction: after an error either nothing of it happened, or, where
/// the engine itself failed, perhaps all of it. Giving it again with the same key is
/// always safe and tells which.
pub trait Directory: Send + Sync {
    /// The person called `uid`; made, with their own log, if there is none yet.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn find_or_make_user(&self, uid: &Uid, now_ms: u64) -> Result<User, DirectoryError>;

    /// Whether somebody with a valid token may come in with this device. Writes only if the
    /// person or the device is new here, if the device presents its proof for the first time or
    /// needs a new one, or if it was not seen for a week.
    ///
    /// A revocation may be committed while this is decided: see [`Directory::revocations`].
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn admit(
        &self,
        login: &Login,
        provision: Provision,
        now_ms: u64,
    ) -> Result<Admission, DirectoryError>;

    /// The person called `uid`, if they may stay with a token issued at `issued_ms` and this device:
    /// neither was revoked. See [`Directory::revocations`].
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn may_stay(
        &self,
        uid: &Uid,
        device: &DeviceId,
        issued_ms: u64,
    ) -> Result<Option<UserNo>, DirectoryError>;

    /// From now on no token of `uid` counts that was issued earlier or, if a device is named,
    /// that device is not let in any more, known or not. Doing it again is safe. Sessions are
    /// not this room's to end. `None`: there is no such person.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; doing it again is safe.
    fn revoke(
        &self,
        uid: &Uid,
        device: Option<&DeviceId>,
        now_ms: u64,
    ) -> Result<Option<UserNo>, DirectoryError>;

    /// Counts up after each revocation of this process, once it is committed. Whoever reads it
    /// before [`Directory::admit`], and finds it the same later, knows that nothing was revoked
    /// which the answer does not know of.
    fn revocations(&self) -> u64;

    /// Those of these people who exist, in the order asked.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn users(&self, numbers: &[UserNo]) -> Result<Vec<User>, DirectoryError>;

    /// Those of these people who exist, in the order asked.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn users_by_uid(&self, uids: &[Uid]) -> Result<Vec<User>, DirectoryError>;

    /// A channel with everyone in it and all that its log still lacks. A person's own log
    /// counts as a channel of one. `None`: there is no such channel.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn channel(&self, channel: ChannelNo) -> Result<Option<Channel>, DirectoryError>;

    /// A person's channels above `after` by rising number, at most `max`. Their own log is
    /// not among them.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn memberships(
        &self,
        user: UserNo,
        after: ChannelNo,
        max: usize,
    ) -> Result<Vec<Membership>, DirectoryError>;

    /// One of a person's channels. `None`: they are not in it, or there is none.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn membership(
        &self,
        user: UserNo,
        channel: ChannelNo,
    ) -> Result<Option<Membership>, DirectoryError>;

    /// A channel's members above `after` by rising number, at most `max`, with their names.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn members(
        &self,
        channel: ChannelNo,
        after: UserNo,
        max: usize,
    ) -> Result<Vec<(Member, Uid)>, DirectoryError>;

    /// The answer that a command with this key was given before. `None`: none was.
    ///
    /// # Errors
    /// [`DirectoryError::KeyReused`]; [`DirectoryError::Engine`]; asking again is safe.
    fn answered(&self, command: &Command) -> Result<Option<Done>, DirectoryError>;

    /// A channel's row, without those who are in it. A person's own log has none.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn heading(&self, channel: ChannelNo) -> Result<Option<Heading>, DirectoryError>;

    /// The channel that a backend gave this key.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn channel_by_key(&self, key: &ChannelKey) -> Result<Option<ChannelNo>, DirectoryError>;

    /// Notes this on a person instead of what was noted before, and returns them as they are now:
    /// a repetition does not bring back what was noted over since.
    ///
    /// # Errors
    /// [`DirectoryError::NoUser`], [`DirectoryError::KeyReused`], [`DirectoryError::Engine`].
    fn note_on_user(
        &self,
        command: &Command,
        user: UserNo,
        custom: &CustomMap,
    ) -> Result<User, DirectoryError>;

    /// Makes a group or a broadcast with the commanding person as owner, or, if it is none, whom the
    /// channel names, and with
    /// `others` in the kind's default role, all of whom see it from its first event on. Where its
    /// key is taken by a channel of the same kind, that one is found, and nothing changes.
    ///
    /// # Errors
    /// [`DirectoryError::ChannelKeyTaken`], [`DirectoryError::NoUser`], [`DirectoryError::BlockedBy`],
    /// [`DirectoryError::TooManyMembers`],
    /// [`DirectoryError::TooManyChannels`], [`DirectoryError::KeyReused`],
    /// [`DirectoryError::Engine`].
    fn create_channel(
        &self,
        command: &Command,
        new: &NewChannel<'_>,
        others: &[UserNo],
    ) -> Result<Done, DirectoryError>;

    /// Finds the one direct channel of these two people, or makes it: for a person only while
    /// neither of the two blocks the other.
    ///
    /// # Errors
    /// [`DirectoryError::WithOneself`], [`DirectoryError::NoUser`], [`DirectoryError::Denied`],
    /// [`DirectoryError::TooManyChannels`], [`DirectoryError::KeyReused`],
    /// [`DirectoryError::Engine`].
    fn open_direct(
        &self,
        command: &Command,
        user: UserNo,
        peer: UserNo,
    ) -> Result<Done, DirectoryError>;

    /// Gives a group or a broadcast another name, or notes something else on it, which an event at
    /// `at` tells. Where nothing would be different, nothing changes.
    ///
    /// # Errors
    /// [`DirectoryError::NoChannel`], [`DirectoryError::Denied`], [`DirectoryError::KeyReused`],
    /// [`DirectoryError::Engine`].
    fn update_channel(
        &self,
        command: &Command,
        channel: ChannelNo,
        update: &ChannelUpdate,
        at: Seq,
    ) -> Result<Done, DirectoryError>;

    /// Adds people at `at`: the seq of the event that will tell it, or that will come next where
    /// none does. Who is in it already stays as they are.
    ///
    /// # Errors
    /// [`DirectoryError::NoChannel`], [`DirectoryError::Denied`], [`DirectoryError::NoUser`],
    /// [`DirectoryError::Banned`], [`DirectoryError::BlockedBy`], [`DirectoryError::TooManyMembers`],
    /// [`DirectoryError::TooManyChannels`], [`DirectoryError::KeyReused`],
    /// [`DirectoryError::Engine`].
    fn add_members(
        &self,
        command: &Command,
        channel: ChannelNo,
        joining: &Joining,
        at: Seq,
    ) -> Result<Done, DirectoryError>;

    /// Removes a person, who sees the channel up to `at`, if that event tells it, or up to the one
    /// before it. Removing oneself is leaving. Removing an absent person changes nothing.
    ///
    /// A group never stays without an owner while somebody is in it: when the owner
    /// leaves, a moderator takes over, or the member who has been in it longest. A broadcast may
    /// stay without one when only readers are left.
    ///
    /// # Errors
    /// [`DirectoryError::NoChannel`], [`DirectoryError::Denied`],
    /// [`DirectoryError::KeyReused`], [`DirectoryError::Engine`].
    fn remove_member(
        &self,
        command: &Command,
        channel: ChannelNo,
        user: UserNo,
        at: Seq,
    ) -> Result<Done, DirectoryError>;

    /// Lets a member write nothing until a time of day, or again (0).
    ///
    /// # Errors
    /// As [`Directory::set_role`].
    fn mute_member(
        &self,
        command: &Command,
        channel: ChannelNo,
        user: UserNo,
        until_ms: u64,
        at: Seq,
    ) -> Result<Done, DirectoryError>;

    /// Removes a person, if they are in it, and keeps them out until a time of day; 0: for ever.
    ///
    /// # Errors
    /// As [`Directory::remove_member`]; [`DirectoryError::NoUser`];
    /// [`DirectoryError::TooManyBans`].
    fn ban_member(
        &self,
        command: &Command,
        channel: ChannelNo,
        user: UserNo,
        until_ms: u64,
        at: Seq,
    ) -> Result<Done, DirectoryError>;

    /// Lets a person be added again. Whoever is not kept out stays so.
    ///
    /// # Errors
    /// [`DirectoryError::NoChannel`], [`DirectoryError::Denied`], [`DirectoryError::KeyReused`],
    /// [`DirectoryError::Engine`].
    fn lift_ban(
        &self,
        command: &Command,
        channel: ChannelNo,
        user: UserNo,
    ) -> Result<Done, DirectoryError>;

    /// Who is kept out of a channel at this time, above `after` by rising number, at most `max`.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn bans(
        &self,
        channel: ChannelNo,
        page: (UserNo, usize),
        now_ms: u64,
    ) -> Result<Vec<Ban>, DirectoryError>;

    /// Gives a member a role. An owner who gives their own away is a moderator then.
    ///
    /// # Errors
    /// [`DirectoryError::NoChannel`], [`DirectoryError::Denied`], [`DirectoryError::NoUser`] for
    /// whoever is no member, [`DirectoryError::TooManyMembers`] (of a broadcast, who may write),
    /// [`DirectoryError::KeyReused`], [`DirectoryError::Engine`].
    fn set_role(
        &self,
        command: &Command,
        channel: ChannelNo,
        user: UserNo,
        role: Role,
        at: Seq,
    ) -> Result<Done, DirectoryError>;

    /// Notes that the commanding person blocks `peer`, or no longer does. `direct`: the direct
    /// channel of the two, and the seq that comes next there; `None`: they have none. Answered with
    /// that channel's last seq, or zero.
    ///
    /// # Errors
    /// [`DirectoryError::HaveDirect`]: they have one, so its owner must give the command;
    /// [`DirectoryError::NoChannel`]: theirs is another; [`DirectoryError::WithOneself`],
    /// [`DirectoryError::NoUser`], [`DirectoryError::TooManyBlocks`], [`DirectoryError::Denied`],
    /// [`DirectoryError::KeyReused`], [`DirectoryError::Engine`].
    fn set_block(
        &self,
        command: &Command,
        peer: UserNo,
        blocked: bool,
        direct: Option<(ChannelNo, Seq)>,
    ) -> Result<Done, DirectoryError>;

    /// Whom a person blocks, above a number by rising number, at most so many.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn blocked_by(
        &self,
        user: UserNo,
        page: (UserNo, usize),
    ) -> Result<Vec<(UserNo, Uid)>, DirectoryError>;

    /// Events above `after` that are not in their logs yet, oldest first, at most `max`.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn outbox(&self, after: OutboxId, max: usize) -> Result<Vec<OutboxRow>, DirectoryError>;

    /// Events that are not in the log of `channel` yet, oldest first. They are appended
    /// in this order, before anything else.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn outbox_of(&self, channel: ChannelNo) -> Result<Vec<OutboxRow>, DirectoryError>;

    /// Forgets events that are in their logs and known to every shard. What was decided for a
    /// seq that another owner's event took is set right with it: the first seq that a member
    /// may see, and what a repeated command is answered.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; doing it again, or later, is safe.
    fn outbox_done(&self, ids: &[OutboxId], moved: &[Moved]) -> Result<(), DirectoryError>;
}

/// Limits that commands keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Most channels of a person, their own log not counted.
    pub channels_per_user_max: usize,
    /// Most members of a group, and most people who may write in a broadcast.
    pub group_members_max: usize,
    /// Most members of a broadcast.
    pub broadcast_members_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            channels_per_user_max: limits::CHANNELS_PER_USER_MAX,
            group_members_max: limits::GROUP_MEMBERS_MAX,
            broadcast_members_max: limits::BROADCAST_MEMBERS_MAX,
        }
    }
}

/// Why the directory did not do it.
#[derive(thiserror::Error, Debug)]
pub enum DirectoryError {
    /// There is no such channel.
    #[error("there is no such channel")]
    NoChannel,
    /// It is there, but the commanding person may not. They must not see the difference.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no such person.
    #[error("there is no user {0}")]
    NoUser(UserNo),
    /// The person is kept out of the channel. Until the ban ends, trying again is useless.
    #[error("user {0} is kept out of the channel")]
    Banned(UserNo),
    /// The person to be added blocks who commands. Until they no longer do, trying again is useless.
    #[error("user {0} blocks who wants to add them")]
    BlockedBy(UserNo),
    /// The two people have a direct channel: its owner must give the command.
    #[error("the two people have the direct channel {0}")]
    HaveDirect(ChannelNo),
    /// As many people are blocked as may be.
    #[error("{max} people are blocked, the most there may be")]
    TooManyBlocks {
        /// The limit.
        max: usize,
    },
    /// As many people are kept out as may be.
    #[error("{max} people are kept out of the channel, the most there may be")]
    TooManyBans {
        /// The limit.
        max: usize,
    },
    /// Another kind of channel has this key.
    #[error("another kind of channel has this key")]
    ChannelKeyTaken,
    /// A direct channel has two people.
    #[error("a direct channel needs another person")]
    WithOneself,
    /// The channel is full. Until somebody leaves, trying again is useless.
    #[error("the channel has {max} members, the most there may be")]
    TooManyMembers {
        /// The limit.
        max: usize,
    },
    /// The person is in too many channels. Until they leave one, trying again is useless.
    #[error("user {user} is in {max} channels, the most there may be")]
    TooManyChannels {
        /// Who.
        user: UserNo,
        /// The limit.
        max: usize,
    },
    /// The key was used for something else.
    #[error("the key was used for another request")]
    KeyReused,
    /// The directory is not one that this version can use. Nothing was written.
    #[error("{0}")]
    Unfit(String),
    /// The engine failed: a command's outcome is unknown until it is given again with its key.
    #[error("the directory failed: {0}")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}
