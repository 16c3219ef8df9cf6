//! A person's channels: who is in them, and what they may there.

use damso_proto::client::Answer;
use damso_proto::id::{ChannelNo, Seq, Uid, UserNo};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;

use crate::channel::Channel;
use crate::client::Client;
use crate::error::Error;
use crate::event::{self, Admission, Ban, Member, Person, Role};

/// Pages of one list that are read, at most: 200 channels or 500 members each.
const LIST_PAGES_MAX: usize = 100;
/// Persons of one lookup, as the protocol bounds them.
const PEOPLE_MAX: usize = 100;

impl Client {
    /// All channels of this person, by rising number.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn channels(&self) -> Result<Vec<Channel>, Error> {
        let ask = |after| Kind::ListChannels(wire::ListChannels { after, limit: 0 });
        self.pages(
            ask,
            |channel: &Channel| channel.channel.get(),
            |answer| {
                let Answer::Channels(list) = answer else { return None };
                let is_last = list.end || list.channels.is_empty();
                Some((list.channels.into_iter().map(Channel::from).collect(), is_last))
            },
        )
        .await
    }

    /// The direct channel with a person, found or made.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe, there is only one.
    pub async fn open_direct(&self, uid: &Uid) -> Result<Channel, Error> {
        self.channel(Kind::OpenDirect(wire::OpenDirect { uid: uid.to_string() })).await
    }

    /// Makes a group with this person as owner.
    ///
    /// # Errors
    /// [`Error`]; after [`Error::Timeout`] it may exist: look at [`Client::channels`].
    pub async fn create_group(&self, name: &str, uids: &[Uid]) -> Result<Channel, Error> {
        self.make(wire::ChannelKind::Group, name, uids).await
    }

    /// Makes a broadcast with this person as owner, and these people as readers.
    ///
    /// # Errors
    /// [`Error`]; after [`Error::Timeout`] it may exist: look at [`Client::channels`].
    pub async fn create_broadcast(&self, name: &str, uids: &[Uid]) -> Result<Channel, Error> {
        self.make(wire::ChannelKind::Broadcast, name, uids).await
    }

    /// Gives a channel that this person leads another name, 1-128 bytes. The seq of the event that
    /// tells it; 0: that is its name.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn rename(&self, channel: ChannelNo, name: &str) -> Result<Seq, Error> {
        let (channel, name) = (channel.get(), Some(name.to_owned()));
        let rename = wire::UpdateChannel { channel, name, ..Default::default() };
        self.done(Kind::UpdateChannel(rename)).await
    }

    /// Adds people, at most 100, to a channel that this person leads. The channel's last event as
    /// they came in; 0: all of them were in it.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn add_members(
        &self,
        channel: ChannelNo,
        uids: &[Uid],
        admission: Admission,
    ) -> Result<Seq, Error> {
        let Admission { role, history } = admission;
        let add = wire::AddMembers {
            channel: channel.get(),
            uids: uids.iter().map(Uid::to_string).collect(),
            role: role.map_or(wire::Role::Unspecified, Role::to_wire).into(),
            history,
        };
        self.done(Kind::AddMembers(add)).await
    }

    /// Gives a person of a channel that this person leads a role. The channel's last event as it
    /// took effect; 0: they had it.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn set_role(
        &self,
        channel: ChannelNo,
        user: UserNo,
        role: Role,
    ) -> Result<Seq, Error> {
        let (channel, user, role) = (channel.get(), user.get(), role.to_wire().into());
        self.done(Kind::SetRole(wire::SetRole { channel, user, role })).await
    }

    /// Removes a person from a channel that this person leads. Nothing newer than the returned
    /// seq reaches them; 0: they were not in it.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn remove_member(&self, channel: ChannelNo, user: UserNo) -> Result<Seq, Error> {
        let remove = wire::RemoveMember { channel: channel.get(), user: user.get() };
        self.done(Kind::RemoveMember(remove)).await
    }

    /// Lets a member of a channel that this person leads write nothing until a time, milliseconds
    /// since 1970, or again (0). The channel's last event as it took effect; 0: it was so already.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn mute(
        &self,
        channel: ChannelNo,
        user: UserNo,
        until_ms: u64,
    ) -> Result<Seq, Error> {
        let (channel, user) = (channel.get(), user.get());
        self.done(Kind::MuteMember(wire::MuteMember { channel, user, until_ms })).await
    }

    /// Removes a person from a channel that this person leads, and keeps them out until a time,
    /// milliseconds since 1970, or for ever (`None`). Nothing newer than the returned seq reaches
    /// them; 0: they were not in it.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn ban(
        &self,
        channel: ChannelNo,
        user: UserNo,
        until_ms: Option<u64>,
    ) -> Result<Seq, Error> {
        let (channel, user) = (channel.get(), user.get());
        let until_ms = until_ms.unwrap_or_default();
        self.done(Kind::BanMember(wire::BanMember { channel, user, until_ms })).await
    }

    /// Lets a person be added again to a channel that this person leads.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn lift_ban(&self, channel: ChannelNo, user: UserNo) -> Result<(), Error> {
        let (channel, user) = (channel.get(), user.get());
        self.done(Kind::LiftBan(wire::LiftBan { channel, user })).await.map(drop)
    }

    /// Who is kept out of a channel that this person leads, by rising number.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn bans(&self, channel: ChannelNo) -> Result<Vec<Ban>, Error> {
        let channel = channel.get();
        let ask = |after| Kind::ListBans(wire::ListBans { channel, after, limit: 0 });
        self.pages(
            ask,
            |ban: &Ban| ban.user.get(),
            |answer| {
                let Answer::Bans(list) = answer else { return None };
                let is_last = list.end || list.bans.is_empty();
                Some((event::bans(list.bans).collect(), is_last))
            },
        )
        .await
    }

    /// Leaves a group or a broadcast.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn leave(&self, channel: ChannelNo) -> Result<Seq, Error> {
        self.done(Kind::LeaveChannel(wire::LeaveChannel { channel: channel.get() })).await
    }

    /// All members of a group, by rising number.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn members(&self, channel: ChannelNo) -> Result<Vec<Member>, Error> {
        let channel = channel.get();
        let ask = |after| Kind::ListMembers(wire::ListMembers { channel, after, limit: 0 });
        self.pages(
            ask,
            |member: &Member| member.user.get(),
            |answer| {
                let Answer::Members(list) = answer else { return None };
                let is_last = list.end || list.members.is_empty();
                Some((event::members(list.members).collect(), is_last))
            },
        )
        .await
    }

    /// Persons by number and by uid; who is not there is left out.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn people(&self, users: &[UserNo], uids: &[Uid]) -> Result<Vec<Person>, Error> {
        let mut all = Vec::new();
        let numbers = users.chunks(PEOPLE_MAX).map(|users| wire::FindPeople {
            users: users.iter().map(|user| user.get()).collect(),
            uids: Vec::new(),
        });
        let names = uids.chunks(PEOPLE_MAX).map(|uids| wire::FindPeople {
            users: Vec::new(),
            uids: uids.iter().map(Uid::to_string).collect(),
        });
        for find in numbers.chain(names).collect::<Vec<_>>() {
            match self.ask(Kind::FindPeople(find)).await? {
                Answer::People(people) => all.extend(event::people(people)),
                _ => return Err(Error::Nonsense),
            }
        }
        Ok(all)
    }

    async fn make(
        &self,
        kind: wire::ChannelKind,
        name: &str,
        uids: &[Uid],
    ) -> Result<Channel, Error> {
        let uids = uids.iter().map(Uid::to_string).collect();
        let create = wire::CreateChannel { name: name.into(), uids, kind: kind.into() };
        self.channel(Kind::CreateChannel(create)).await
    }

    async fn channel(&self, kind: Kind) -> Result<Channel, Error> {
        match self.ask(kind).await? {
            Answer::Channel(info) => Ok(info.into()),
            _ => Err(Error::Nonsense),
        }
    }

    /// A whole list, page by page. `ask` names what comes behind a number, `number` that of an
    /// entry, and `read` a page's entries and whether nothing follows.
    pub(crate) async fn pages<T>(
        &self,
        ask: impl Fn(u64) -> Kind,
        number: impl Fn(&T) -> u64,
        read: impl Fn(Answer) -> Option<(Vec<T>, bool)>,
    ) -> Result<Vec<T>, Error> {
        let mut all: Vec<T> = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let after = all.last().map_or(0, &number);
            let (page, is_last) = read(self.ask(ask(after)).await?).ok_or(Error::Nonsense)?;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
        Err(Error::Nonsense)
    }
}
