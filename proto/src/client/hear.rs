//! What a replica makes of what it hears.

use std::collections::BTreeMap;
use std::time::Duration;

use super::asks::AskError;
use super::channel_copy::ChannelCopy;
use super::conn::Fault;
use super::heard::{Answer, Heard};
use super::inbox::News;
use super::link::{Link, SignedOut};
use super::outbox::{Left, SendOutcome};
use super::pump::new_key;
use super::replica::{Flight, IN_FLIGHT_DEFAULT, Now, Replica, Told};
use super::retry;
use super::snapshot::Proof;
use crate::id::{ChannelNo, Epoch, Key, MessageId, RequestId, Seq, UserNo};
use crate::wire;
use crate::wire::event::Content;
use crate::wire::standing::State as Stands;
use crate::wire::system::What;

/// Requests in flight, whatever Welcome allows.
const IN_FLIGHT_MAX: u32 = 1_024;
/// Rows of a page, whatever Welcome allows.
const PAGE_ROWS_MAX: u32 = 1_000;
/// Channels that are followed, whatever the server sends events of.
const CHANNELS_MAX: usize = 65_536;
/// A key this far ahead of the server's clock would be refused.
const KEY_AHEAD_MS_MAX: u64 = 60_000;

/// Whether the connection goes on after something heard.
enum Flow {
    Go,
    Pong(u64),
    Opened,
    Lost { why: String, asked: Duration },
    SignOut(SignedOut),
}

impl Replica {
    /// Takes in what the socket brought.
    pub fn received(&mut self, bytes: &[u8], now: Now) {
        // The connection is set aside, so that what it heard can borrow from it.
        let Link::Up(mut conn) = std::mem::replace(&mut self.dial.link, Link::Connecting) else {
            return;
        };
        let mut input = bytes;
        loop {
            let flow = match conn.next(&mut input, now.at) {
                Ok(Some(heard)) => self.hear(heard, now).unwrap_or_else(Flow::from),
                Ok(None) => break,
                Err(fault) => fault.into(),
            };
            match flow {
                Flow::Go if self.inbox.is_overfull() => {
                    let why = "the server told more changes than there is room for".into();
                    return self.disconnected(why, Duration::ZERO, now);
                }
                Flow::Go => {}
                Flow::Pong(id) => conn.pong(id, now.unix_ms, now.at, &mut self.out),
                Flow::Opened => self.dial.online(now.at),
                Flow::Lost { why, asked } => return self.disconnected(why, asked, now),
                Flow::SignOut(why) => return self.sign_out(why),
            }
        }
        self.dial.link = Link::Up(conn);
        self.pump(now);
    }

    fn hear(&mut self, heard: Heard<'_>, now: Now) -> Result<Flow, Fault> {
        match heard {
            Heard::Event(event) => self.event(event.decode()?),
            Heard::Ack { id, ack } => self.ack(id, ack, now),
            Heard::Refused { id, refusal } => self.refused(id, *refusal, now),
            Heard::Answer { id, more, answer } => self.answer(id, more, answer, now),
            Heard::Welcome(welcome) => return Ok(self.welcome(&welcome, now)),
            Heard::Outcomes(outcomes) => self.outcomes(outcomes),
            Heard::Standing(standing) => self.standing(&standing),
            Heard::Resumed { .. } => {
                self.resumed();
                return Ok(Flow::Opened);
            }
            Heard::Ping(id) => return Ok(Flow::Pong(id)),
            Heard::Pong(_) => {}
            Heard::TokenExpiring(expires_ms) => {
                self.told.push_back(Told::TokenExpiring { expires_ms });
            }
            Heard::Unknown(id) => self.nonsense(id, now),
            Heard::Closing(closing) => return Ok(self.closing(*closing)),
        }
        Ok(Flow::Go)
    }

    fn welcome(&mut self, welcome: &wire::Welcome, now: Now) -> Flow {
        let user = UserNo::new(welcome.user);
        if self.user.is_some_and(|known| known != user) {
            return Flow::SignOut(SignedOut::OtherPerson);
        }
        self.user = Some(user);
        self.uid.clone_from(&welcome.uid);
        self.session = welcome.session.clone();
        if !welcome.device_proof.is_empty() {
            // Whether it is stored is known to the process that begins with it.
            self.proof = Proof(welcome.device_proof.clone());
            self.is_proof_kept = false;
        }
        self.epoch_new = Epoch::new(welcome.epoch);
        self.ahead_ms =
            welcome.server_time_ms.cast_signed().wrapping_sub(now.unix_ms.cast_signed());
        let limits = welcome.limits.unwrap_or_default();
        self.in_flight_max = match limits.requests_in_flight {
            0 => IN_FLIGHT_DEFAULT,
            named => named.min(IN_FLIGHT_MAX) as usize,
        };
        self.page_rows =
            if limits.page_rows == 0 { PAGE_ROWS_MAX } else { limits.page_rows }.min(PAGE_ROWS_MAX);
        self.dial.welcome(welcome);
        // What was never on a wire may still get another key: this clock or that one was wrong.
        let server_ms = welcome.server_time_ms;
        let useless = |key: Key| {
            let window = welcome.dedupe_window_ms;
            let old = window != 0 && key.unix_ms().saturating_add(window) < server_ms;
            old || key.unix_ms() > server_ms.saturating_add(KEY_AHEAD_MS_MAX)
        };
        let random = &mut self.random;
        self.outbox.rekey(useless, || new_key(server_ms, random));
        Flow::Go
    }

    fn resumed(&mut self) {
        self.syncing = false;
        self.epoch = self.epoch_new;
        self.outbox.resumed();
        let mut over = Vec::new();
        for (channel, copy) in &mut self.copies {
            copy.epoch = self.epoch_new;
            if copy.ending.is_some() {
                over.push(*channel);
            }
        }
        over.into_iter().for_each(|channel| self.forget(channel));
        let channels: Vec<ChannelNo> = self.copies.keys().copied().collect();
        channels.into_iter().for_each(|channel| self.review(channel));
    }

    fn closing(&mut self, closing: wire::Closing) -> Flow {
        let wire::Closing { code, retry_after_ms, address, text } = closing;
        if !retry::reconnects_after(code) {
            return Flow::SignOut(SignedOut::Closed { code, text });
        }
        self.dial.redirect(address);
        let why = format!("the server closed the connection (code {code}): {text}");
        Flow::Lost { why, asked: Duration::from_millis(retry_after_ms.into()) }
    }

    fn event(&mut self, event: wire::Event) {
        let channel = ChannelNo::new(event.channel);
        let seq = Seq::new(event.seq);
        let what = self.of_own_log(&event);
        let (copies, inbox, early) = (&mut self.copies, &mut self.inbox, &mut self.early_total);
        let Some(copy) = copy_of(copies, channel, self.epoch_new) else { return };
        let is_new = seq > copy.have;
        // The channel's own word: nothing follows it, whenever one's own log says the same.
        if is_new && self.user.is_some_and(|user| removes(&event, user)) {
            copy.ending = Some(seq);
        }
        copy.event(event, inbox, early);
        self.finish(channel);
        self.follow(what.filter(|_| is_new));
    }

    /// What an entry of one's own log says of one's channels.
    fn of_own_log(&self, event: &wire::Event) -> Option<What> {
        let own = self.user.map(ChannelNo::self_of)?;
        match &event.content {
            Some(Content::System(wire::System { what })) if event.channel == own.get() => {
                what.clone()
            }
            _ => None,
        }
    }

    /// Joins or leaves as one's own log says. Until the resume is over, its standings say it.
    fn follow(&mut self, what: Option<What>) {
        match what {
            _ if self.syncing => {}
            Some(What::ChannelAdded(added)) => self.added(added),
            Some(What::ChannelRemoved(removed)) => self.removed(removed),
            _ => {}
        }
    }

    fn added(&mut self, added: wire::system::ChannelAdded) {
        let channel = ChannelNo::new(added.channel);
        let epoch = self.epoch_new;
        let Some(copy) = copy_of(&mut self.copies, channel, epoch) else { return };
        copy.ending = None;
        copy.known = copy.known.max(Seq::new(added.head));
        // Whoever may read all of the past begins with its newest part, as after a resume.
        let recent = added.head.saturating_sub(self.options.new_channel_events) + 1;
        let first = Seq::new(added.from.max(recent));
        copy.place(first, &mut self.inbox, &mut self.early_total);
        self.review(channel);
    }

    fn removed(&mut self, removed: wire::system::ChannelRemoved) {
        let (channel, to) = (ChannelNo::new(removed.channel), Seq::new(removed.to));
        if let Some(copy) = self.copies.get_mut(&channel) {
            copy.end(to);
            self.finish(channel);
        }
    }

    /// Drops the copy if it is over; else sees what it lacks.
    fn finish(&mut self, channel: ChannelNo) {
        if self.copies.get_mut(&channel).is_some_and(ChannelCopy::is_over) {
            self.forget(channel);
        } else {
            self.review(channel);
        }
    }

    fn forget(&mut self, channel: ChannelNo) {
        if let Some(mut copy) = self.copies.remove(&channel) {
            copy.release(&mut self.early_total);
            // Of one without a place, the app was told nothing.
            if copy.placed {
                self.inbox.push(News::Gone { channel });
            }
        }
        self.lacking.remove(&channel);
    }

    fn standing(&mut self, standing: &wire::Standing) {
        let channel = ChannelNo::new(standing.channel);
        let (from, to) = (Seq::new(standing.from), Seq::new(standing.to));
        let head = Seq::new(standing.head);
        let epoch = self.epoch_new;
        if standing.state() == Stands::Gone {
            return self.forget(channel);
        }
        let Some(copy) = copy_of(&mut self.copies, channel, epoch) else { return };
        let (inbox, early) = (&mut self.inbox, &mut self.early_total);
        match standing.state() {
            Stands::Tail | Stands::Behind => copy.known = copy.known.max(to),
            Stands::New => {
                let visible = standing.info.as_ref().map_or(1, |info| info.from.max(1));
                let recent = head.get().saturating_sub(self.options.new_channel_events) + 1;
                let first = if from <= to && from != Seq::ZERO { from.get() } else { recent };
                copy.ending = None;
                copy.place(Seq::new(first.max(visible)), inbox, early);
                copy.known = copy.known.max(to).max(head);
            }
            Stands::FloorRaised => {
                copy.floor(from, inbox, early);
                copy.known = copy.known.max(to).max(head);
            }
            Stands::RolledBack => {
                copy.roll_back(to, head, inbox, early);
                copy.epoch = epoch;
            }
            Stands::Gone | Stands::Unspecified => {}
        }
        self.review(channel);
    }

    fn outcomes(&mut self, outcomes: wire::Outcomes) {
        for outcome in outcomes.outcomes {
            let channel = ChannelNo::new(outcome.channel);
            let Some(key) = Key::parse(&outcome.key) else { continue };
            let what = match outcome.seq {
                0 if outcome.expired => SendOutcome::Unknown,
                0 => {
                    self.outbox.not_stored(channel, key);
                    continue;
                }
                seq => SendOutcome::Stored {
                    seq: Seq::new(seq),
                    id: MessageId::new(outcome.id),
                    duplicate: true,
                    stages_us: (0, 0),
                },
            };
            if let Some(left) = self.outbox.settled(channel, key) {
                self.tell(channel, left, what);
            }
        }
    }

    fn ack(&mut self, id: RequestId, ack: wire::Ack, now: Now) {
        let Some((Flight::Send(channel), _)) = self.flights.get(&id) else {
            return self.nonsense(id, now);
        };
        let channel = *channel;
        self.flights.remove(&id);
        if let Some(left) = self.outbox.answered(channel, id) {
            let outcome = SendOutcome::Stored {
                seq: Seq::new(ack.seq),
                id: MessageId::new(ack.id),
                duplicate: ack.duplicate,
                stages_us: (ack.queue_us, ack.commit_us),
            };
            self.tell(channel, left, outcome);
        }
    }

    fn refused(&mut self, id: RequestId, refusal: wire::Refusal, now: Now) {
        let Some((flight, _)) = self.flights.remove(&id) else { return };
        let again = retry::may_succeed_later(refusal.code);
        let asked = Duration::from_millis(refusal.retry_after_ms.into());
        match flight {
            Flight::Send(channel) if again => {
                self.outbox.later(channel, id, asked, now.at, &mut self.random);
            }
            Flight::Send(channel) => {
                let Some(left) = self.outbox.answered(channel, id) else { return };
                // An earlier attempt may have been stored, and its key was forgotten since.
                let unknown = retry::is_key_expired(refusal.code) && left.attempts > 1;
                let outcome =
                    if unknown { SendOutcome::Unknown } else { SendOutcome::Refused(refusal) };
                self.tell(channel, left, outcome);
            }
            Flight::Ask(ticket) if again => {
                let wait = asked.max(Duration::from_secs(1));
                self.asks.later(ticket, now.at.plus(wait));
            }
            Flight::Ask(ticket) => {
                self.not_renewed(ticket);
                if self.asks.refused(ticket) {
                    let result = Err(AskError::Refused(refusal));
                    self.told.push_back(Told::Answered { ticket, result });
                }
            }
            Flight::Repair { channel, .. } if retry::is_not_found(refusal.code) => {
                self.forget(channel);
            }
            Flight::Repair { channel, .. } => {
                if let Some(copy) = self.copies.get_mut(&channel) {
                    copy.wait_longer(asked, now.at);
                }
                self.review(channel);
            }
        }
    }

    fn answer(&mut self, id: RequestId, more: bool, answer: Answer, now: Now) {
        match self.flights.get_mut(&id) {
            None => {}
            Some((Flight::Ask(ticket), sent_at)) => {
                let ticket = *ticket;
                *sent_at = now.at;
                if let Some(result) = self.asks.answered(ticket, answer, more) {
                    self.told.push_back(Told::Answered { ticket, result });
                }
            }
            Some((Flight::Repair { channel, before }, sent_at)) => {
                let (channel, before) = (*channel, *before);
                *sent_at = now.at;
                let Answer::Page(page) = answer else { return self.nonsense(id, now) };
                self.repaired(channel, page);
                if let Some(copy) = self.copies.get_mut(&channel).filter(|_| !more) {
                    copy.answered(before, now.at);
                }
                self.finish(channel);
            }
            Some((Flight::Send(_), _)) => return self.nonsense(id, now),
        }
        if !more {
            self.flights.remove(&id);
        }
    }

    /// A request got an answer that this client does not understand.
    fn nonsense(&mut self, id: RequestId, now: Now) {
        match self.flights.remove(&id) {
            Some((Flight::Ask(ticket), _)) if self.asks.refused(ticket) => {
                let result = Err(AskError::Nonsense);
                self.told.push_back(Told::Answered { ticket, result });
            }
            Some((Flight::Send(channel), _)) => {
                self.outbox.later(channel, id, Duration::ZERO, now.at, &mut self.random);
            }
            Some((Flight::Repair { channel, .. }, _)) => {
                if let Some(copy) = self.copies.get_mut(&channel) {
                    copy.wait_longer(Duration::ZERO, now.at);
                }
                self.review(channel);
            }
            _ => {}
        }
    }

    /// A repaired page of one channel; of one's own log, it also says what is ours.
    fn repaired(&mut self, channel: ChannelNo, page: wire::Page) {
        let Some(copy) = self.copies.get_mut(&channel) else { return };
        let before = copy.have;
        let rows = page.rows.iter().filter_map(|row| row.event.as_ref());
        let news = rows.filter(|event| Seq::new(event.seq) > before);
        let whats: Vec<What> = news.filter_map(|event| self.of_own_log(event)).collect();
        let Some(copy) = self.copies.get_mut(&channel) else { return };
        copy.page(page, &mut self.inbox, &mut self.early_total);
        whats.into_iter().for_each(|what| self.follow(Some(what)));
    }

    fn tell(&mut self, channel: ChannelNo, left: Left, outcome: SendOutcome) {
        let Left { ticket, key, .. } = left;
        self.told.push_back(Told::Sent { channel, ticket, key, outcome });
    }
}

/// Whether this is the event by which `user` left or was removed.
fn removes(event: &wire::Event, user: UserNo) -> bool {
    let Some(Content::System(wire::System { what })) = &event.content else { return false };
    match what {
        Some(What::MemberRemoved(removed)) => removed.member == user.get(),
        Some(What::MemberLeft(left)) => left.member == user.get(),
        _ => false,
    }
}

/// The copy of a channel, made if there is room for one more.
fn copy_of(
    copies: &mut BTreeMap<ChannelNo, ChannelCopy>,
    channel: ChannelNo,
    epoch: Epoch,
) -> Option<&mut ChannelCopy> {
    if copies.len() >= CHANNELS_MAX && !copies.contains_key(&channel) {
        return None;
    }
    Some(copies.entry(channel).or_insert_with(|| ChannelCopy::unplaced(channel, epoch)))
}

impl From<Fault> for Flow {
    fn from(fault: Fault) -> Self {
        Self::Lost { why: fault.to_string(), asked: Duration::ZERO }
    }
}

impl From<prost::DecodeError> for Flow {
    fn from(error: prost::DecodeError) -> Self {
        Fault::from(error).into()
    }
}
