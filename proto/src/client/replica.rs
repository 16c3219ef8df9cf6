//! A person's channels on this device, across connections: nothing missed, nothing twice.
//!
//! ```text
//! socket <-bytes-> ClientConn <-frames-> Replica -> inbox  -> news, when the app takes them
//!                                          ^  `---> told   -> outcomes of sends, answers
//!                                          `------- outbox <- sends;  asks <- requests
//! ```
//!
//! The caller owns socket and clock: it asks [`Replica::next_dial`] when to connect,
//! hands in what the socket brought, writes [`Replica::output`], and after every call
//! drops the socket if [`Replica::is_up`] is no longer true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::asks::{AskError, Asks, Ticket};
use super::backoff::Random;
use super::channel_copy::ChannelCopy;
use super::conn::ClientConn;
use super::heard::Answer;
use super::inbox::{Inbox, News};
use super::link::{Dial, Link, SignedOut, State};
use super::outbox::{Outbox, SendOutcome, Unsent};
use super::resume::{self, Cursor};
use super::snapshot::{Proof, Snapshot};
use crate::id::{ChannelNo, Epoch, Key, RequestId, Seq, UserNo};
use crate::time::Moment;
use crate::wire;
use crate::wire::client_frame::Kind;

/// Requests in flight where Welcome names no limit.
pub(super) const IN_FLIGHT_DEFAULT: usize = 32;
/// A request that is not answered for so long was lost by the server.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The two clocks, read at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Monotonic: timers.
    pub at: Moment,
    /// Wall clock, milliseconds since 1970: keys.
    pub unix_ms: u64,
}

/// How a replica logs in and how much it holds.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Hello of every connection; time, session and proof are filled in, and the device, if it
    /// is empty, by the snapshot's.
    pub hello: wire::Hello,
    /// Events that wait for the app at most; then channels fall behind and are read again later.
    pub inbox_events_max: usize,
    /// Their bytes, at most.
    pub inbox_bytes_max: usize,
    /// Sends without an answer, at most.
    pub outbox_sends_max: usize,
    /// Their bytes, at most.
    pub outbox_bytes_max: usize,
    /// Requests that wait for an answer, at most.
    pub asks_max: usize,
    /// How long the app waits for an answer.
    pub ask_limit: Duration,
    /// How far below its head a channel that is new here starts; older ones are `ReadHistory`'s.
    pub new_channel_events: u64,
}

impl Options {
    /// Defaults for a person's device.
    pub fn new(hello: wire::Hello) -> Self {
        Self {
            hello,
            inbox_events_max: 4_096,
            inbox_bytes_max: 4 << 20,
            outbox_sends_max: 1_024,
            outbox_bytes_max: 4 << 20,
            asks_max: 256,
            ask_limit: Duration::from_secs(30),
            new_channel_events: 1_000,
        }
    }
}

/// Something that the app waits for. Told once.
#[derive(Clone, PartialEq, Debug)]
pub enum Told {
    /// What became of a send.
    Sent {
        /// The channel that it was for.
        channel: ChannelNo,
        /// The send.
        ticket: Ticket,
        /// Its key, the same for all of its attempts.
        key: Key,
        /// What became of it.
        outcome: SendOutcome,
    },
    /// The token ends soon: [`Replica::renew`] it.
    TokenExpiring {
        /// When, milliseconds since 1970 on the server's clock.
        expires_ms: u64,
    },
    /// The answer to a request.
    Answered {
        /// The request.
        ticket: Ticket,
        /// What the server said.
        result: Result<Answer, AskError>,
    },
}

/// A message was not taken for sending.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// Trying again is safe once some are sent.
    #[error("too many messages wait to be sent")]
    Full,
    /// Signed out or closed.
    #[error("the client is closed")]
    Closed,
}

/// A request on its way.
#[derive(Debug)]
pub(super) enum Flight {
    Send(ChannelNo),
    Ask(Ticket),
    Repair { channel: ChannelNo, before: Seq },
}

/// One person's channels on one device.
#[derive(Debug)]
pub struct Replica {
    pub(super) options: Options,
    pub(super) random: Random,
    pub(super) dial: Dial,
    pub(super) out: Vec<u8>,
    pub(super) copies: BTreeMap<ChannelNo, ChannelCopy>,
    /// Channels of `copies` that lack something and have not asked for it.
    pub(super) lacking: BTreeSet<ChannelNo>,
    pub(super) early_total: usize,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) asks: Asks,
    pub(super) told: VecDeque<Told>,
    pub(super) flights: BTreeMap<RequestId, (Flight, Moment)>,
    pub(super) in_flight_max: usize,
    pub(super) page_rows: u32,
    pub(super) user: Option<UserNo>,
    pub(super) uid: String,
    pub(super) epoch: Epoch,
    /// The epoch of the present Welcome; `epoch` follows when the resume is over.
    pub(super) epoch_new: Epoch,
    /// Between Hello and Resumed.
    pub(super) syncing: bool,
    pub(super) session: bytes::Bytes,
    /// The newest that the server told, or the one that was kept.
    pub(super) proof: Proof,
    /// `proof` came from a store, and so is fit to be presented.
    pub(super) is_proof_kept: bool,
    /// Server clock minus ours, milliseconds; 0 before the first Welcome.
    pub(super) ahead_ms: i64,
    next_ticket: u64,
    pub(super) repaired_last: ChannelNo,
    /// The last renewal, and the token before it.
    renewal: Option<(Ticket, String)>,
}

impl Replica {
    /// A replica that goes on where `snapshot` was taken, or begins with an empty one.
    pub fn new(mut options: Options, snapshot: Snapshot, random: Random) -> Self {
        if options.hello.device.is_empty() {
            options.hello.device.clone_from(&snapshot.device);
        }
        let is_same_device = options.hello.device == snapshot.device;
        let copy = |cursor: &Cursor| {
            let copy = ChannelCopy::placed(cursor.channel, cursor.seq, cursor.epoch);
            (cursor.channel, copy)
        };
        let epoch = snapshot.cursors.iter().map(|cursor| cursor.epoch).max().unwrap_or_default();
        let mut replica = Self {
            inbox: Inbox::new(options.inbox_events_max, options.inbox_bytes_max),
            outbox: Outbox::new(options.outbox_sends_max, options.outbox_bytes_max),
            asks: Asks::new(options.asks_max),
            options,
            random,
            dial: Dial::new(),
            out: Vec::new(),
            copies: snapshot.cursors.iter().map(copy).collect(),
            lacking: BTreeSet::new(),
            early_total: 0,
            told: VecDeque::new(),
            flights: BTreeMap::new(),
            in_flight_max: IN_FLIGHT_DEFAULT,
            page_rows: 0,
            user: snapshot.user,
            uid: String::new(),
            epoch,
            epoch_new: epoch,
            syncing: false,
            session: snapshot.session,
            is_proof_kept: is_same_device && !snapshot.proof.0.is_empty(),
            proof: if is_same_device { snapshot.proof } else { Proof::default() },
            ahead_ms: 0,
            next_ticket: 1,
            repaired_last: ChannelNo::new(0),
            renewal: None,
        };
        for unsent in snapshot.unsent {
            // It may have gone out after the snapshot was taken, so its outcome is asked for.
            let ticket = replica.ticket();
            replica.outbox.push(ticket, unsent, 1);
        }
        replica
    }

    /// Whether to connect now. Answer with [`Replica::connected`] or [`Replica::lost`].
    ///
    /// `Some(None)`: to the address of the connection string; else to this HOST:PORT.
    pub fn next_dial(&mut self, now: Now) -> Option<Option<String>> {
        self.dial.next(now.at)
    }

    /// There is a socket: logs in and resumes.
    pub fn connected(&mut self, now: Now) {
        self.out.clear();
        let pending = self.outbox.question(resume::PENDING_MAX);
        let resume = resume::frames(self.cursors(|copy| copy.have), pending, self.epoch);
        let mut hello = self.options.hello.clone();
        hello.client_time_ms = now.unix_ms;
        hello.previous_session = self.session.clone();
        if self.is_proof_kept {
            hello.device_proof = self.proof.0.clone();
        }
        let conn = ClientConn::open(hello, resume, now.at, &mut self.out);
        self.dial.link = Link::Up(conn);
        self.syncing = true;
    }

    /// The socket is gone or could not be made; `why` is for people.
    pub fn lost(&mut self, why: impl Into<String>, now: Now) {
        self.disconnected(why.into(), Duration::ZERO, now);
    }

    pub(super) fn disconnected(&mut self, why: String, asked: Duration, now: Now) {
        self.dial.lost(why, asked, now.at, &mut self.random);
        self.forget_flights();
    }

    fn forget_flights(&mut self) {
        self.out = Vec::new();
        self.flights.clear();
        self.outbox.disconnected();
        self.asks.disconnected();
        for (channel, copy) in &mut self.copies {
            copy.asked = false;
            copy.not_before = Moment::default();
            if copy.lacks() {
                self.lacking.insert(*channel);
            }
        }
    }

    /// Does what is due by the clock.
    pub fn handle_timeout(&mut self, now: Now) {
        if let Link::Up(conn) = &mut self.dial.link
            && let Err(silence) = conn.handle_timeout(now.at, &mut self.out)
        {
            self.disconnected(silence.to_string(), Duration::ZERO, now);
        }
        while let Some(ticket) = self.asks.late(now.at) {
            self.told.push_back(Told::Answered { ticket, result: Err(AskError::Deadline) });
        }
        let oldest = self.flights.values().map(|(_, sent_at)| *sent_at).min();
        if oldest.is_some_and(|sent_at| now.at >= sent_at.plus(ANSWER_LIMIT)) {
            self.disconnected("a request was not answered".into(), Duration::ZERO, now);
        }
        self.pump(now);
    }

    /// When to call [`Replica::handle_timeout`] or, while not connected, [`Replica::next_dial`].
    pub fn poll_timeout(&self) -> Option<Moment> {
        let mut soonest = self.asks.next_deadline();
        let mut at = |moment: Option<Moment>| {
            soonest = soonest.into_iter().chain(moment).min();
        };
        match &self.dial.link {
            Link::Waiting { until } => at(Some(*until)),
            Link::Connecting | Link::SignedOut(_) => {}
            Link::Up(conn) => {
                at(conn.poll_timeout());
                at(self.flights.values().map(|(_, sent_at)| sent_at.plus(ANSWER_LIMIT)).min());
                let room = self.flights.len() < self.in_flight_max;
                if conn.is_welcome() && self.sends_fit() {
                    at(self.outbox.poll_timeout());
                }
                if conn.is_welcome() && room {
                    at(self.asks.next_ready());
                }
                if conn.is_open() && room && self.repairs_fit() {
                    let copies = self.lacking.iter().filter_map(|channel| self.copies.get(channel));
                    at(copies.map(|copy| copy.not_before).min());
                }
            }
        }
        soonest
    }

    /// Takes a message for sending: it goes out now, or when there is a connection again.
    ///
    /// # Errors
    /// [`SendError`]: it was not taken.
    pub fn send(&mut self, send: wire::Send, now: Now) -> Result<(Ticket, Key), SendError> {
        if matches!(self.dial.link, Link::SignedOut(_)) {
            return Err(SendError::Closed);
        }
        let (ticket, key) = (self.ticket(), self.key(now));
        if !self.outbox.push(ticket, Unsent { key, send }, 0) {
            return Err(SendError::Full);
        }
        self.pump(now);
        Ok((ticket, key))
    }

    /// Asks the server something. Its answer is told under the ticket.
    ///
    /// # Errors
    /// [`AskError::TooMany`], [`AskError::Closed`].
    pub fn ask(&mut self, kind: Kind, now: Now) -> Result<Ticket, AskError> {
        if matches!(self.dial.link, Link::SignedOut(_)) {
            return Err(AskError::Closed);
        }
        let changes = matches!(
            kind,
            Kind::CreateChannel(_)
                | Kind::UpdateChannel(_)
                | Kind::OpenDirect(_)
                | Kind::AddMembers(_)
                | Kind::RemoveMember(_)
                | Kind::SetRole(_)
                | Kind::MuteMember(_)
                | Kind::BanMember(_)
                | Kind::LiftBan(_)
                | Kind::Block(_)
                | Kind::Unblock(_)
                | Kind::LeaveChannel(_)
        );
        let key = changes.then(|| self.key(now));
        let ticket = self.ticket();
        if !self.asks.push(ticket, kind, key, now.at.plus(self.options.ask_limit)) {
            return Err(AskError::TooMany);
        }
        self.pump(now);
        Ok(ticket)
    }

    /// Goes on with a new token of the same person, now and in every later login. A refused one is
    /// forgotten again. The answer is [`Answer::Renewed`].
    ///
    /// # Errors
    /// [`AskError::TooMany`], [`AskError::Closed`]: the token was not taken.
    pub fn renew(&mut self, token: String, now: Now) -> Result<Ticket, AskError> {
        let reauth = wire::Reauth { token: token.clone() };
        let ticket = self.ask(Kind::Reauth(reauth), now)?;
        let before = std::mem::replace(&mut self.options.hello.token, token);
        self.renewal = Some((ticket, before));
        Ok(ticket)
    }

    /// The server does not take this request: if it was the last renewal, its token counts no more.
    pub(super) fn not_renewed(&mut self, refused: Ticket) {
        if let Some((_, before)) = self.renewal.take_if(|(ticket, _)| *ticket == refused) {
            self.options.hello.token = before;
        }
    }

    /// The next news for the app, at most `max`. What is taken does not come again.
    pub fn take(&mut self, max: usize, now: Now) -> Vec<News> {
        let taken = self.inbox.take(max);
        for news in &taken {
            let copy = self.copies.get_mut(&news.channel());
            if let (Some(copy), Some(seq)) = (copy, news.position()) {
                copy.taken = seq;
            }
        }
        if self.inbox.has_much_room() && !self.lacking.is_empty() {
            self.settle_lacking();
            self.pump(now);
        }
        taken
    }

    /// What the app waited for and has not been told yet.
    pub fn next_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// The network may have changed: proves the connection, or makes a new one at once.
    pub fn network_changed(&mut self, now: Now) {
        if let Link::Up(conn) = &mut self.dial.link {
            conn.network_changed(now.at, &mut self.out);
        }
        self.dial.hurry(now.at);
    }

    /// The app wants no more. Sends without an answer are in the last snapshot.
    pub fn close(&mut self) {
        self.sign_out(SignedOut::ByApp);
    }

    pub(super) fn sign_out(&mut self, why: SignedOut) {
        self.dial.sign_out(why);
        self.forget_flights();
        for ticket in self.asks.drain() {
            self.told.push_back(Told::Answered { ticket, result: Err(AskError::Closed) });
        }
    }

    /// Bytes for the socket; the caller drains what it wrote.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Whether the present socket is of any more use.
    pub fn is_up(&self) -> bool {
        matches!(self.dial.link, Link::Up(_))
    }

    /// What a person sees of the connection.
    pub fn state(&self) -> State {
        self.dial.state()
    }

    /// Whose replica it is: number and uid. `None` before the first Welcome.
    pub fn person(&self) -> Option<(UserNo, &str)> {
        let user = self.user.filter(|_| !self.uid.is_empty());
        user.map(|user| (user, self.uid.as_str()))
    }

    /// Something waits to be taken.
    pub fn has_news(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// How much waits to be taken.
    pub fn news_waiting(&self) -> usize {
        self.inbox.len()
    }

    /// Channels that are behind: events of them exist that are read as soon as there is room.
    pub fn behind(&self) -> usize {
        self.copies.values().filter(|copy| copy.lacks()).count()
    }

    /// Sends without an answer.
    pub fn unsent(&self) -> impl Iterator<Item = (Ticket, Unsent)> {
        self.outbox.unsent()
    }

    /// How many [`Replica::unsent`] has.
    pub fn unsent_count(&self) -> usize {
        self.outbox.len()
    }

    /// What to keep if the process may end: the position of the app, and what is unsent.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            user: self.user,
            cursors: self.cursors(|copy| copy.taken),
            unsent: self.outbox.unsent().map(|(_, unsent)| unsent).collect(),
            session: self.session.clone(),
            device: self.options.hello.device.clone(),
            proof: self.proof.clone(),
        }
    }

    fn cursors(&self, at: impl Fn(&ChannelCopy) -> Seq) -> Vec<Cursor> {
        let placed = self.copies.iter().filter(|(_, copy)| copy.placed);
        placed
            .map(|(channel, copy)| Cursor { epoch: copy.epoch, channel: *channel, seq: at(copy) })
            .collect()
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }
}
