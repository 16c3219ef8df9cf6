//! What an app sees: updates of channels, events, people, and drafts of messages.

use std::collections::BTreeMap;

use bytes::Bytes;
use damso_proto::client::News;
use damso_proto::id::{ChannelNo, MessageId, Seq, Uid, UserNo};
use damso_proto::wire;

/// One step of a channel, in its order. Each comes once.
#[derive(Clone, PartialEq, Debug)]
pub enum Update {
    /// The next event.
    Event(Event),
    /// These seqs, both included, are not to be had: older than what is kept, or not this person's.
    Skipped {
        /// The channel.
        channel: ChannelNo,
        /// First seq that is left out.
        from: Seq,
        /// Last seq that is left out.
        to: Seq,
    },
    /// The server's history was restored: forget everything above `to`.
    RolledBack {
        /// The channel.
        channel: ChannelNo,
        /// The last seq that is still true.
        to: Seq,
    },
    /// The channel is no longer this person's.
    Gone {
        /// The channel.
        channel: ChannelNo,
    },
}

/// One entry of a channel's log.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// The channel.
    pub channel: ChannelNo,
    /// Its position there: dense, from 1.
    pub seq: Seq,
    /// Its id, with its time.
    pub id: MessageId,
    /// Who caused it; 0 = the system, or the service that people's accounts belong to.
    pub sender: UserNo,
    /// The message that this one answers.
    pub reply_to: Option<Seq>,
    /// Shown, but nobody is disturbed.
    pub silent: bool,
    /// Does not raise the unread count.
    pub uncounted: bool,
    /// What it says.
    pub content: Content,
}

/// What an event says.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// Text by a person.
    Text(String),
    /// Content of the app's own making.
    Custom {
        /// Its name, as the app chose it.
        name: String,
        /// Its bytes.
        body: Bytes,
    },
    /// Something happened in the channel, or to this person.
    System(System),
    /// Of a kind that this version does not know: show nothing.
    Unknown,
}

/// What happened in a channel, or to this person in their own log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum System {
    /// The channel was made.
    Created {
        /// By whom.
        by: UserNo,
        /// With whom.
        members: Vec<UserNo>,
    },
    /// People came in.
    MembersAdded {
        /// By whom.
        by: UserNo,
        /// Who.
        members: Vec<UserNo>,
    },
    /// Someone was put out.
    MemberRemoved {
        /// By whom.
        by: UserNo,
        /// Who.
        member: UserNo,
        /// And is kept out.
        banned: bool,
    },
    /// Someone left.
    MemberLeft {
        /// Who.
        member: UserNo,
    },
    /// In one's own log: a channel is now this person's, from `from` on.
    ChannelAdded {
        /// Which.
        channel: ChannelNo,
        /// The first seq that this person sees.
        from: Seq,
    },
    /// In one's own log: a channel is no longer this person's, from after `to`.
    ChannelRemoved {
        /// Which.
        channel: ChannelNo,
        /// The last seq that this person sees.
        to: Seq,
    },
    /// Someone may write nothing for a while, or again.
    Muted {
        /// By whom.
        by: UserNo,
        /// Who.
        member: UserNo,
        /// Until then, milliseconds since 1970; 0: they may again.
        until_ms: u64,
        /// In one's own log: the broadcast in which it holds.
        channel: Option<ChannelNo>,
    },
    /// Someone was given a role.
    RoleSet {
        /// By whom.
        by: UserNo,
        /// Who.
        member: UserNo,
        /// What they are from now on.
        role: Role,
        /// In one's own log: the broadcast in which it holds.
        channel: Option<ChannelNo>,
    },
    /// In one's own log: this person blocks another one, or no longer.
    BlockSet {
        /// Whom.
        user: UserNo,
        /// From now on; else no longer.
        blocked: bool,
    },
    /// The channel is called otherwise, or something else is noted on it; see
    /// [`Channel::follow`](crate::Channel::follow).
    ChannelUpdated {
        /// By whom.
        by: UserNo,
        /// Its name from now on. `None`: as it was.
        name: Option<String>,
        /// What is noted on it from now on. `None`: as it was.
        custom: Option<BTreeMap<String, String>>,
        /// The channel's version as of this change.
        version: u64,
    },
}

impl Event {
    /// When it was stored, milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        self.id.unix_ms()
    }
}

/// A message that is not sent yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Draft {
    send: wire::Send,
}

impl Draft {
    /// A text, 1 byte to 16 KiB.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(wire::send::Content::Text(text.into()))
    }

    /// Content of the app's own making: its name (`poll/1`), and at most 16 KiB.
    pub fn custom(name: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let custom = wire::Custom { r#type: name.into(), body: body.into() };
        Self::of(wire::send::Content::Custom(custom))
    }

    /// Answers the message at `seq` of the same channel.
    #[must_use]
    pub fn reply_to(mut self, seq: Seq) -> Self {
        self.send.reply_to = seq.get();
        self
    }

    /// Disturbs nobody.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.send.flags |= wire::EventFlag::Silent as u32;
        self
    }

    /// Does not raise the unread count.
    #[must_use]
    pub fn uncounted(mut self) -> Self {
        self.send.flags |= wire::EventFlag::Uncounted as u32;
        self
    }

    fn of(content: wire::send::Content) -> Self {
        Self { send: wire::Send { content: Some(content), ..Default::default() } }
    }

    pub(crate) fn to(self, channel: ChannelNo) -> wire::Send {
        wire::Send { channel: channel.get(), ..self.send }
    }
}

/// What a member may do. Each may what the next one may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Decides about everybody.
    Owner,
    /// Decides about those who only write or read.
    Moderator,
    /// Reads and writes.
    Member,
    /// Reads.
    Reader,
}

impl Role {
    /// A role that this version does not know may at least read.
    pub(crate) fn from_wire(role: wire::Role) -> Self {
        match role {
            wire::Role::Owner => Self::Owner,
            wire::Role::Moderator => Self::Moderator,
            wire::Role::Member => Self::Member,
            wire::Role::Reader | wire::Role::Unspecified => Self::Reader,
        }
    }

    pub(crate) const fn to_wire(self) -> wire::Role {
        match self {
            Self::Owner => wire::Role::Owner,
            Self::Moderator => wire::Role::Moderator,
            Self::Member => wire::Role::Member,
            Self::Reader => wire::Role::Reader,
        }
    }
}

/// How people are added to a channel.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Admission {
    /// What they are to be. `None`: members of a group, readers of a broadcast.
    pub role: Option<Role>,
    /// Whether they see what was there before them.
    pub history: bool,
}

/// A person who is kept out of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    /// Their number.
    pub user: UserNo,
    /// Who they are.
    pub uid: Uid,
    /// Until then, milliseconds since 1970. `None`: for ever.
    pub until_ms: Option<u64>,
}

/// A member of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Their number.
    pub user: UserNo,
    /// Who they are.
    pub uid: Uid,
    /// What they may do there.
    pub role: Role,
    /// They may not write until then, milliseconds since 1970.
    pub muted_until_ms: u64,
}

/// A person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// Their number.
    pub user: UserNo,
    /// Who they are.
    pub uid: Uid,
    /// What the backend noted on them.
    pub custom: BTreeMap<String, String>,
}

/// A part of a channel's past, oldest first.
#[derive(Clone, PartialEq, Debug)]
pub struct History {
    /// What was said.
    pub events: Vec<Event>,
    /// The first seq that it stands for.
    pub from: Seq,
    /// The last seq that it stands for; below `from`: there is nothing.
    pub to: Seq,
    /// The head when it was read.
    pub head: Seq,
    /// The first seq that this person may see: reading on below it is in vain.
    pub floor: Seq,
}

/// Which part of a channel's past to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    /// The newest.
    Newest,
    /// The newest below this seq.
    Before(Seq),
    /// The oldest above this seq.
    After(Seq),
}

impl From<News> for Update {
    fn from(news: News) -> Self {
        match news {
            News::Event(event) => Self::Event(event.into()),
            News::Skipped { channel, from, to } => Self::Skipped { channel, from, to },
            News::RolledBack { channel, to } => Self::RolledBack { channel, to },
            News::Gone { channel } => Self::Gone { channel },
        }
    }
}

impl From<wire::Event> for Event {
    fn from(event: wire::Event) -> Self {
        let has = |flag: wire::EventFlag| event.flags & flag as u32 != 0;
        Self {
            channel: ChannelNo::new(event.channel),
            seq: Seq::new(event.seq),
            id: MessageId::new(event.id),
            sender: UserNo::new(event.sender),
            reply_to: (event.reply_to != 0).then(|| Seq::new(event.reply_to)),
            silent: has(wire::EventFlag::Silent),
            uncounted: has(wire::EventFlag::Uncounted),
            content: event.content.map_or(Content::Unknown, Content::from),
        }
    }
}

impl From<wire::event::Content> for Content {
    fn from(content: wire::event::Content) -> Self {
        match content {
            wire::event::Content::Text(text) => Self::Text(text),
            wire::event::Content::Custom(custom) => {
                Self::Custom { name: custom.r#type, body: custom.body }
            }
            wire::event::Content::System(system) => {
                system.what.map_or(Self::Unknown, |what| Self::System(what.into()))
            }
        }
    }
}

impl From<wire::system::What> for System {
    fn from(what: wire::system::What) -> Self {
        use wire::system::What;
        let people = |numbers: Vec<u64>| numbers.into_iter().map(UserNo::new).collect();
        match what {
            What::Created(it) => {
                Self::Created { by: UserNo::new(it.by), members: people(it.members) }
            }
            What::MembersAdded(it) => {
                Self::MembersAdded { by: UserNo::new(it.by), members: people(it.members) }
            }
            What::MemberRemoved(it) => {
                let (by, member) = (UserNo::new(it.by), UserNo::new(it.member));
                Self::MemberRemoved { by, member, banned: it.banned }
            }
            What::MemberLeft(it) => Self::MemberLeft { member: UserNo::new(it.member) },
            What::ChannelAdded(it) => {
                Self::ChannelAdded { channel: ChannelNo::new(it.channel), from: Seq::new(it.from) }
            }
            What::ChannelRemoved(it) => {
                Self::ChannelRemoved { channel: ChannelNo::new(it.channel), to: Seq::new(it.to) }
            }
            What::Muted(it) => Self::Muted {
                by: UserNo::new(it.by),
                member: UserNo::new(it.member),
                until_ms: it.until_ms,
                channel: (it.channel != 0).then(|| ChannelNo::new(it.channel)),
            },
            What::BlockSet(it) => {
                Self::BlockSet { user: UserNo::new(it.user), blocked: it.blocked }
            }
            What::ChannelUpdated(it) => Self::ChannelUpdated {
                by: UserNo::new(it.by),
                name: it.name,
                custom: it.custom.map(|custom| custom.entries),
                version: it.version,
            },
            What::RoleSet(it) => Self::RoleSet {
                by: UserNo::new(it.by),
                member: UserNo::new(it.member),
                role: Role::from_wire(it.role()),
                channel: (it.channel != 0).then(|| ChannelNo::new(it.channel)),
            },
        }
    }
}

impl From<wire::Page> for History {
    fn from(page: wire::Page) -> Self {
        Self {
            events: page.rows.into_iter().filter_map(|row| row.event).map(Event::from).collect(),
            from: Seq::new(page.from),
            to: Seq::new(page.to),
            head: Seq::new(page.as_of),
            floor: Seq::new(page.floor),
        }
    }
}

/// Members with a uid that is one; a server sends no others.
pub(crate) fn members(list: Vec<wire::Member>) -> impl Iterator<Item = Member> {
    list.into_iter().filter_map(|member| {
        let role = Role::from_wire(member.role());
        let (user, uid) = (UserNo::new(member.user), Uid::parse(&member.uid)?);
        Some(Member { user, uid, role, muted_until_ms: member.muted_until_ms })
    })
}

/// Those of them with a uid that is one; a server sends no others.
pub(crate) fn bans(list: Vec<wire::Ban>) -> impl Iterator<Item = Ban> {
    list.into_iter().filter_map(|ban| {
        let (user, uid) = (UserNo::new(ban.user), Uid::parse(&ban.uid)?);
        Some(Ban { user, uid, until_ms: (ban.until_ms != 0).then_some(ban.until_ms) })
    })
}

/// People with a uid that is one; a server sends no others.
pub(crate) fn people(people: wire::People) -> Vec<Person> {
    let person = |person: wire::Person| {
        let (user, uid) = (UserNo::new(person.user), Uid::parse(&person.uid)?);
        Some(Person { user, uid, custom: person.custom })
    };
    people.people.into_iter().filter_map(person).collect()
}
