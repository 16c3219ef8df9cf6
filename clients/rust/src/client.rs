//! The front: a person on a device, whatever connections do.

use std::sync::Arc;
use std::time::Duration;

use damso_proto::address::{ConnectionString, Token};
use damso_proto::client::{
    Answer, AskError, Now, Options as Machine, Random, Replica, Snapshot, Ticket,
};
use damso_proto::id::{ChannelNo, Key, Seq, UserNo};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;
use tokio::sync::{oneshot, watch};

use crate::driver::Driver;
use crate::error::{ConnectError, Error};
use crate::event::{Draft, History, Position, Update};
use crate::platform::{Native, Platform};
use crate::shared::{Inner, Shared, Stored};
use crate::state::State;
use crate::trust::{self, Trust};

/// Version of the protocol that this client speaks.
const VERSION: u32 = 1;

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

    pub(crate) async fn done(&self, kind: Kind) -> Result<Seq, Error> {
        match self.ask(kind).await? {
            Answer::Done(done) => Ok(Seq::new(done.seq)),
            _ => Err(Error::Nonsense),
        }
    }

    pub(crate) async fn ask(&self, kind: Kind) -> Result<Answer, Error> {
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
