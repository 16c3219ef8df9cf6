//! The front: a person on a device, whatever connections do.

use std::sync::Arc;
use std::time::Duration;

use damso_proto::address::{ConnectionString, Token};
use damso_proto::client::{
    Answer, AskError, Now, Options as Machine, Random, Replica, Snapshot, Ticket,
};
use damso_proto::id::{ChannelNo, Key, Seq, Uid, UserNo};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;
use tokio::sync::{oneshot, watch};

use crate::driver::Driver;
use crate::error::{ConnectError, Error};
use crate::event::{
    self, Admission, Ban, Channel, Draft, History, Member, Person, Position, Role, Update,
};
use crate::platform::{Native, Platform};
use crate::shared::{Inner, Shared, Stored};
use crate::state::State;
use crate::trust::{self, Trust};

/// Version of the protocol that this client speaks.
const VERSION: u32 = 1;
/// Pages of one list that are read, at most: 200 channels or 500 members each.
const LIST_PAGES_MAX: usize = 100;
/// Persons of one lookup, as the protocol bounds them.
const PEOPLE_MAX: usize = 100;

/// How a client logs in and how much it holds. The defaults suit a person's device.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which device this is: 1-64 bytes, chosen once per installation. Empty: the snapshot's, or a
    /// new one. After a close with 1402 (`device_unproven`) take a new name.
    pub device: String,
    /// How the server is known.
    pub trust: Trust,
    /// Where to go on; an empty one begins anew. It holds what proves this device to the server:
    /// keep it secret, and hand in none that is not stored.
    pub snapshot: Snapshot,
    /// Updates that wait for [`Client::take`] at most; then channels fall behind and are read later.
    pub updates_max: usize,
    /// Sends without an answer, at most.
    pub unsent_max: usize,
    /// How far below its head a channel that is new on this device starts.
    pub new_channel_events: u64,
    /// How long a request waits for its answer, reconnects included.
    pub request_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let machine = Machine::new(wire::Hello::default());
        Self {
            device: String::new(),
            trust: Trust::default(),
            snapshot: Snapshot::default(),
            updates_max: machine.inbox_events_max,
            unsent_max: machine.outbox_sends_max,
            new_channel_events: machine.new_channel_events,
            request_limit: machine.ask_limit,
        }
    }
}

/// A person on a device. Cheap to clone; the last clone to go closes it.
///
/// A thread of its own moves bytes, so the calls work on any executor, and a call
/// that is dropped half-way loses nothing: sends stay in the outbox, updates wait.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    _closes: Arc<Closes>,
}

/// Ends the background task with the last client.
#[derive(Debug)]
struct Closes(Arc<Shared>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.with(|inner, _| inner.replica.close());
        self.0.wake.notify_one();
    }
}

/// A message on its way. Dropping it does not unsend.
#[derive(Debug)]
pub struct SendHandle {
    channel: ChannelNo,
    key: Key,
    waiting: oneshot::Receiver<Result<Stored, Error>>,
    outcome: Option<Result<Stored, Error>>,
}

impl Client {
    /// Begins to connect in the background, and goes on doing so until closed.
    ///
    /// # Errors
    /// [`ConnectError`]: what would never work. What may work later is told by [`Client::state`].
    pub fn connect(address: ConnectionString) -> Result<Self, ConnectError> {
        Self::connect_with(address, Options::default())
    }

    /// The same with other than the default options.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(address: ConnectionString, options: Options) -> Result<Self, ConnectError> {
        let (client, run) = Self::connect_on(address, options, Arc::new(Native::new()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ConnectError::Thread)?;
        std::thread::Builder::new()
            .name("damso-client".into())
            .spawn(move || runtime.block_on(run))
            .map_err(ConnectError::Thread)?;
        Ok(client)
    }

    /// The same on a platform of the caller's, and without a thread: the caller runs the
    /// future, on tokio with its timers. It ends with the client. For simulation.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_on(
        address: ConnectionString,
        options: Options,
        platform: Arc<dyn Platform>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), ConnectError> {
        let tls = trust::config(&options.trust, address.pin)?;
        let token = address.token.as_ref().ok_or(ConnectError::NoToken)?;
        let source = platform.clone();
        let mut random = Random::new(move || source.random());
        let device = match options.device.len() {
            0 if options.snapshot.device.is_empty() => format!("rust-{:016x}", random.number()),
            0 => options.snapshot.device.clone(),
            1..=64 => options.device,
            bytes => return Err(ConnectError::Device(bytes)),
        };
        let hello = wire::Hello {
            min_version: VERSION,
            max_version: VERSION,
            event_level: wire::EventKind::Personal as u32,
            token: token.reveal().into(),
            device,
            sdk: concat!("damso-client/", env!("CARGO_PKG_VERSION")).into(),
            os: std::env::consts::OS.into(),
            ..Default::default()
        };
        let machine = Machine {
            inbox_events_max: options.updates_max,
            outbox_sends_max: options.unsent_max,
            new_channel_events: options.new_channel_events,
            ask_limit: options.request_limit,
            ..Machine::new(hello)
        };
        let replica = Replica::new(machine, options.snapshot, random);
        let shared = Arc::new(Shared::new(replica, platform));
        let driver = Driver { shared: shared.clone(), address, tls };
        Ok((Self { _closes: Arc::new(Closes(shared.clone())), shared }, driver.run()))
    }

    /// Takes a message for sending. It goes out now, or when there is a connection again;
    /// messages to one channel arrive in the order of these calls.
    ///
    /// # Errors
    /// [`Error::Busy`] (retry is safe) or [`Error::Closed`]: it was not taken.
    pub fn send(&self, channel: ChannelNo, draft: Draft) -> Result<SendHandle, Error> {
        let handle = self.shared.with(|inner, now| {
            let (ticket, key) = inner.replica.send(draft.to(channel), now)?;
            let (waiter, waiting) = oneshot::channel();
            inner.sends.insert(ticket, waiter);
            Ok(SendHandle { channel, key, waiting, outcome: None })
        });
        self.shared.wake.notify_one();
        handle
    }

    /// The sends of the snapshot that this client was made from, in order. Call it once, first.
    pub fn unsent(&self) -> Vec<SendHandle> {
        self.shared.with(|inner, _| {
            let unsent: Vec<_> = inner.replica.unsent().collect();
            let mut handles = Vec::with_capacity(unsent.len());
            for (ticket, unsent) in unsent {
                let (waiter, waiting) = oneshot::channel();
                if inner.sends.contains_key(&ticket) {
                    continue;
                }
                inner.sends.insert(ticket, waiter);
                let channel = ChannelNo::new(unsent.send.channel);
                handles.push(SendHandle { channel, key: unsent.key, waiting, outcome: None });
            }
            handles
        })
    }

    /// Waits until there is something to take. `false`: nothing will come any more.
    ///
    /// Takes nothing itself, so a wait that is dropped loses nothing.
    pub async fn ready(&self) -> bool {
        loop {
            let news = self.shared.news.notified();
            tokio::pin!(news);
            // From here on no notice is missed; then a look whether it came before.
            news.as_mut().enable();
            if self.shared.look(Replica::has_news) {
                return true;
            }
            if self.shared.state.borrow().is_over() {
                return false;
            }
            news.await;
        }
    }

    /// Takes what waits, at most `max`: each update once, each channel in its order.
    pub fn take(&self, max: usize) -> Vec<Update> {
        let taken = self.shared.with(|inner, now| inner.replica.take(max, now));
        self.shared.wake.notify_one();
        taken.into_iter().map(Update::from).collect()
    }

    /// The connection, as a person should be shown it.
    pub fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// When the token ends, milliseconds since 1970 on the server's clock, once that is soon: time
    /// to [`Client::renew`] it. `None` before, and again after.
    pub fn token_expiring(&self) -> watch::Receiver<Option<u64>> {
        self.shared.expiring.subscribe()
    }

    /// Goes on with a new token of the same person, now and in every later login. Returns when it
    /// ends, milliseconds since 1970.
    ///
    /// # Errors
    /// [`Error`]; with [`Error::Refused`] the client goes on with the token before. Asking again
    /// is safe.
    pub async fn renew(&self, token: &Token) -> Result<u64, Error> {
        let token = token.reveal().to_owned();
        match self.answer(|inner, now| inner.replica.renew(token, now)).await? {
            Answer::Renewed(renewed) => Ok(renewed.token_expires_ms),
            _ => Err(Error::Nonsense),
        }
    }

    /// Who this is: number and uid. `None` before the first login.
    pub fn person(&self) -> Option<(UserNo, String)> {
        self.shared.look(|replica| replica.person().map(|(user, uid)| (user, uid.into())))
    }

    /// Sends without an answer.
    pub fn unsent_count(&self) -> usize {
        self.shared.look(Replica::unsent_count)
    }

    /// Channels of which events exist that are not taken in yet: the app does not keep up.
    pub fn behind(&self) -> usize {
        self.shared.look(Replica::behind)
    }

    /// What to keep to go on after this process: what was taken, and what is unsent.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.look(Replica::snapshot)
    }

    /// The network may have changed: the connection is proved, or made anew at once.
    pub fn network_changed(&self) {
        self.shared.with(|inner, now| inner.replica.network_changed(now));
        self.shared.wake.notify_one();
    }

    /// Ends the client. Sends without an answer are lost unless a snapshot is kept.
    pub fn close(&self) {
        self.shared.with(|inner, _| inner.replica.close());
        self.shared.wake.notify_one();
    }

    /// Reads a part of a channel's past: at most `rows`, and no more than the server's page.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn history(
        &self,
        channel: ChannelNo,
        position: Position,
        rows: u32,
    ) -> Result<History, Error> {
        use wire::read_history::Direction::{After, Before};
        let (seq, direction) = match position {
            Position::Newest => (Seq::ZERO, Before),
            Position::Before(seq) => (seq, Before),
            Position::After(seq) => (seq, After),
        };
        let (channel, seq) = (channel.get(), seq.get());
        let read = wire::ReadHistory { channel, seq, direction: direction.into(), rows };
        match self.ask(Kind::ReadHistory(read)).await? {
            Answer::Page(page) => Ok(page.into()),
            _ => Err(Error::Nonsense),
        }
    }

    /// All channels of this person, by rising number.
    ///
    /// # Errors
    /// [`Error`]; asking again is safe.
    pub async fn channels(&self) -> Result<Vec<Channel>, Error> {
        let mut all: Vec<Channel> = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let after = all.last().map_or(0, |channel| channel.channel.get());
            match self.ask(Kind::ListChannels(wire::ListChannels { after, limit: 0 })).await? {
                Answer::Channels(list) => {
                    let last = list.end || list.channels.is_empty();
                    all.extend(list.channels.into_iter().map(Channel::from));
                    if last {
                        return Ok(all);
                    }
                }
                _ => return Err(Error::Nonsense),
            }
        }
        Err(Error::Nonsense)
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
        let mut all: Vec<Ban> = Vec::new();
        for _ in 0..LIST_PAGES_MAX {
            let after = all.last().map_or(0, |ban| ban.user.get());
            let ask = wire::ListBans { channel: channel.get(), after, limit: 0 };
            match self.ask(Kind::ListBans(ask)).await? {
                Answer::Bans(list) => {
                    let last = list.end || list.bans.is_empty();
                    all.extend(event::bans(list.bans));
                    if last {
                        return Ok(all);
                    }
                }
                _ => return Err(Error::Nonsense),
            }
        }
        Err(Error::Nonsense)
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
        let mut all: Vec<Member> = Vec::new();
        let channel = channel.get();
        for _ in 0..LIST_PAGES_MAX {
            let after = all.last().map_or(0, |member| member.user.get());
            let list = wire::ListMembers { channel, after, limit: 0 };
            match self.ask(Kind::ListMembers(list)).await? {
                Answer::Members(list) => {
                    let last = list.end || list.members.is_empty();
                    all.extend(event::members(list.members));
                    if last {
                        return Ok(all);
                    }
                }
                _ => return Err(Error::Nonsense),
            }
        }
        Err(Error::Nonsense)
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

    async fn done(&self, kind: Kind) -> Result<Seq, Error> {
        match self.ask(kind).await? {
            Answer::Done(done) => Ok(Seq::new(done.seq)),
            _ => Err(Error::Nonsense),
        }
    }

    async fn ask(&self, kind: Kind) -> Result<Answer, Error> {
        self.answer(|inner, now| inner.replica.ask(kind, now)).await
    }

    async fn answer(
        &self,
        ask: impl FnOnce(&mut Inner, Now) -> Result<Ticket, AskError>,
    ) -> Result<Answer, Error> {
        let answer = self.shared.with(|inner, now: Now| {
            let ticket = ask(inner, now)?;
            let (waiter, answer) = oneshot::channel();
            inner.asks.insert(ticket, waiter);
            Ok::<_, Error>(answer)
        })?;
        self.shared.wake.notify_one();
        Ok(answer.await.map_err(|_| Error::Closed)??)
    }
}

impl SendHandle {
    /// The channel that it goes to.
    pub fn channel(&self) -> ChannelNo {
        self.channel
    }

    /// The idempotency key that it was given. Until it is first sent it may be given another, if
    /// the server's clock shows that this one is of no use.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Waits until the message is on the server's disk. Every wait has the same outcome, and
    /// one that is dropped loses nothing.
    ///
    /// # Errors
    /// [`Error::Refused`]: it is not stored; [`Error::Unknown`]; [`Error::Closed`]: see a snapshot.
    pub async fn stored(&mut self) -> Result<Stored, Error> {
        if self.outcome.is_none() {
            self.outcome = Some((&mut self.waiting).await.unwrap_or(Err(Error::Closed)));
        }
        self.outcome.clone().unwrap_or(Err(Error::Closed))
    }
}
