//! Where everything that is heard ends up: figures, the checker, and answers to set-up requests.

use std::collections::HashMap;

use damso_proto::client::{Answer, EventBytes, Heard};
use damso_proto::code::Retry;
use damso_proto::id::{ChannelNo, Key, MessageId, Seq, UserNo};
use damso_proto::wire;
use damso_proto::wire::event::Content as EventContent;
use damso_proto::wire::standing::State;
use damso_proto::wire::system::What;
use foldhash::fast::FixedState;

use super::order::Ran;
use crate::checker::{Checker, Observation, ReceiverNo, Seen, SessionNo};
use crate::engine::payload::{Payload, Read};

/// The name of a load message's custom content.
pub(super) const PAYLOAD_TYPE: &str = "load/1";
/// Witnesses named per broken law.
const WITNESSES: usize = 10;
/// Closings quoted in a report.
const CLOSINGS_QUOTED: usize = 5;

/// What a request was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// A message of the running phase.
    Send { phase: u32, number: u32, channel: ChannelNo, key: Key },
    /// A channel to be made, or one more member for it.
    Setup { channel: u32 },
    /// A page of history.
    Page { channel: u32 },
}

/// An answer that a set-up loop waits for.
#[derive(Debug)]
pub(super) enum Answered {
    /// What was asked for; whether further parts follow.
    With(Answer, bool),
    /// Why not.
    Refused(wire::Refusal),
}

/// One message of the running phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) intended_ns: u64,
    pub(super) sent_ns: u64,
    /// Deliveries still missing.
    pub(super) missing: u32,
    pub(super) answered: bool,
}

/// What the worker must do after hearing something.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Then {
    Nothing,
    Pong(u64),
    Opened,
    Closed,
}

/// See the module.
pub(super) struct Desk {
    run: u64,
    pub(super) checker: Checker,
    asked: HashMap<(u32, u64), Asked, FixedState>,
    /// Answers to set-up and history requests.
    pub(super) answers: Vec<(u32, Asked, Answered)>,
    /// The running phase.
    pub(super) phase: u32,
    pub(super) sent: Vec<Sent>,
    pub(super) ran: Ran,
    /// Messages of the phase without an answer, and deliveries missing.
    pub(super) unanswered: u64,
    pub(super) missing: u64,
    /// When something of the phase was last heard.
    pub(super) heard_ns: u64,
    /// The highest seq acknowledged, by channel number.
    pub(super) heads: HashMap<u64, u64, FixedState>,
    /// Members who learned that they are in a channel.
    pub(super) told: u64,
    pub(super) corrupt: u64,
    /// Who logged in, by connection.
    pub(super) users: Vec<UserNo>,
}

impl Desk {
    pub(super) fn new(run: u64) -> Self {
        Self {
            run,
            checker: Checker::new(WITNESSES),
            asked: HashMap::default(),
            answers: Vec::new(),
            phase: 0,
            sent: Vec::new(),
            ran: Ran::default(),
            unanswered: 0,
            missing: 0,
            heard_ns: 0,
            heads: HashMap::default(),
            told: 0,
            corrupt: 0,
            users: Vec::new(),
        }
    }

    /// Notes what request `id` of connection `conn` is for.
    pub(super) fn ask(&mut self, conn: u32, id: u64, asked: Asked) {
        self.asked.insert((conn, id), asked);
    }

    /// A connection is gone: quotes why.
    pub(super) fn lost(&mut self, conn: u32, why: &str) {
        self.ran.lost += 1;
        if self.ran.closings.len() < CLOSINGS_QUOTED {
            self.ran.closings.push(format!("connection {conn}: {why}"));
        }
    }

    /// Takes in what connection `conn` heard at `now_ns`.
    pub(super) fn hear(&mut self, conn: u32, heard: Heard<'_>, now_ns: u64) -> Then {
        match heard {
            Heard::Event(event) => self.event(conn, &event, now_ns),
            Heard::Ack { id, ack } => self.acked(conn, id.get(), &ack, now_ns),
            Heard::Refused { id, refusal } => self.refused(conn, id.get(), *refusal, now_ns),
            Heard::Answer { id, more, answer } => {
                let place = (conn, id.get());
                let asked =
                    if more { self.asked.get(&place).copied() } else { self.asked.remove(&place) };
                if let Some(asked) = asked {
                    self.answers.push((conn, asked, Answered::With(answer, more)));
                }
            }
            Heard::Standing(standing) => self.standing(conn, &standing),
            Heard::Resumed { .. } => return Then::Opened,
            Heard::Ping(id) => return Then::Pong(id),
            Heard::Closing(closing) => {
                self.lost(conn, &format!("closed with code {}: {}", closing.code, closing.text));
                return Then::Closed;
            }
            Heard::Welcome(welcome) => {
                let at = conn as usize;
                self.users.resize(self.users.len().max(at + 1), UserNo::default());
                self.users[at] = UserNo::new(welcome.user);
            }
            Heard::Outcomes(_) | Heard::Pong(_) | Heard::Unknown(_) => {}
        }
        Then::Nothing
    }

    fn event(&mut self, conn: u32, bytes: &EventBytes<'_>, now_ns: u64) {
        let Ok(event) = bytes.decode() else {
            self.corrupt += 1;
            return;
        };
        self.checker.observe(Observation::Received {
            receiver: ReceiverNo(conn.into()),
            session: SessionNo(0),
            seen: Seen::from(&event),
        });
        match &event.content {
            Some(EventContent::Custom(custom)) if custom.r#type == PAYLOAD_TYPE => {
                self.delivered(&custom.body, now_ns);
            }
            Some(EventContent::System(wire::System { what: Some(What::ChannelAdded(added)) })) => {
                self.told += 1;
                self.checker.observe(Observation::MustStart {
                    receiver: ReceiverNo(conn.into()),
                    channel: ChannelNo::new(added.channel),
                    from: Seq::new(added.from),
                });
            }
            _ => {}
        }
    }

    fn delivered(&mut self, body: &[u8], now_ns: u64) {
        let Read::Whole(payload) = Payload::read(body) else {
            self.corrupt += 1;
            return;
        };
        if payload.run != self.run || u32::from(payload.tag.phase) != self.phase {
            return;
        }
        let Some(sent) = self.sent.get_mut(payload.tag.number as usize) else { return };
        self.heard_ns = now_ns;
        self.ran.delivered += 1;
        self.ran.response.record_ns(now_ns.saturating_sub(sent.intended_ns));
        self.ran.service.record_ns(now_ns.saturating_sub(sent.sent_ns));
        // A repeated delivery is the checker's to report.
        if sent.missing == 0 {
            return;
        }
        sent.missing -= 1;
        self.missing -= 1;
        if sent.missing == 0 {
            self.ran.complete += 1;
            self.ran.last.record_ns(now_ns.saturating_sub(sent.intended_ns));
        }
    }

    fn acked(&mut self, conn: u32, id: u64, ack: &wire::Ack, now_ns: u64) {
        let Some(Asked::Send { phase, number, channel, key }) = self.asked.remove(&(conn, id))
        else {
            return;
        };
        self.checker.observe(Observation::Acked {
            key,
            channel,
            seq: Seq::new(ack.seq),
            id: MessageId::new(ack.id),
            duplicate: ack.duplicate,
        });
        let head = self.heads.entry(channel.get()).or_default();
        *head = ack.seq.max(*head);
        if phase == self.phase
            && let Some(sent) = self.sent.get_mut(number as usize)
        {
            sent.answered = true;
            self.unanswered -= 1;
            self.heard_ns = now_ns;
            self.ran.acked += 1;
            self.ran.ack.record_ns(now_ns.saturating_sub(sent.intended_ns));
        }
    }

    fn refused(&mut self, conn: u32, id: u64, refusal: wire::Refusal, now_ns: u64) {
        match self.asked.remove(&(conn, id)) {
            Some(Asked::Send { phase, number, key, .. }) => {
                // Only this range leaves open whether the message was stored.
                let doubtful = Retry::of_number(refusal.code) == Retry::SameKey;
                self.checker.observe(if doubtful {
                    Observation::Doubtful { key }
                } else {
                    Observation::Refused { key }
                });
                if phase == self.phase
                    && let Some(sent) = self.sent.get_mut(number as usize)
                {
                    *self.ran.refused.entry(refusal.code).or_default() += 1;
                    sent.answered = true;
                    self.unanswered -= 1;
                    self.heard_ns = now_ns;
                    // Whatever it is, it is not waited for.
                    self.missing -= u64::from(std::mem::take(&mut sent.missing));
                }
            }
            Some(asked) => self.answers.push((conn, asked, Answered::Refused(refusal))),
            None => {}
        }
    }

    fn standing(&mut self, conn: u32, standing: &wire::Standing) {
        let (receiver, channel) = (ReceiverNo(conn.into()), ChannelNo::new(standing.channel));
        match standing.state() {
            State::Behind => {
                self.ran.skipped += (standing.to + 1).saturating_sub(standing.from);
                let to = Seq::new(standing.to);
                self.checker.observe(Observation::Skipped { receiver, channel, to });
            }
            State::New => self.told += 1,
            _ => {}
        }
    }
}
