//! Sends that are not answered yet: one lane per channel, in order, each with its one key.
//!
//! Only the front of a lane is on its way. A sender's messages therefore stand in
//! the channel in the order in which they were sent, whatever is lost or refused
//! for a while in between; lanes do not wait for each other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use prost::Message as _;

use super::asks::Ticket;
use super::backoff::{Backoff, Random};
use crate::id::{ChannelNo, Key, MessageId, RequestId, Seq};
use crate::time::Moment;
use crate::wire;

/// A send without an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Unsent {
    /// Its key, the same for every attempt.
    pub key: Key,
    /// What is sent, with its channel.
    pub send: wire::Send,
}

/// What became of a send. Told once per send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendOutcome {
    /// It is on the server's disk and will never be lost, duplicated or reordered.
    Stored {
        /// Where it stands.
        seq: Seq,
        /// Its id.
        id: MessageId,
        /// An earlier attempt had stored it.
        duplicate: bool,
        /// Microseconds that it waited for its channel, then for the disk; 0 if told later.
        stages_us: (u32, u32),
    },
    /// It is not stored, and trying the same again will not help.
    Refused(wire::Refusal),
    /// It may be stored or not: it was not answered for longer than the server remembers keys.
    Unknown,
}

/// A send that left the outbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) ticket: Ticket,
    pub(super) key: Key,
    /// How often it went out.
    pub(super) attempts: u32,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    key: Key,
    send: wire::Send,
    attempts: u32,
    /// Resume asked what became of it; it waits for that answer.
    in_question: bool,
}

#[derive(Default, Debug)]
struct Lane {
    sends: VecDeque<Waiting>,
    /// The front is on its way under this id.
    on_its_way: Option<RequestId>,
    not_before: Moment,
    backoff: Backoff,
}

/// All sends without an answer.
#[derive(Debug)]
pub(super) struct Outbox {
    lanes: BTreeMap<ChannelNo, Lane>,
    count: usize,
    bytes: usize,
    sends_max: usize,
    bytes_max: usize,
}

impl Outbox {
    pub(super) fn new(sends_max: usize, bytes_max: usize) -> Self {
        Self { lanes: BTreeMap::new(), count: 0, bytes: 0, sends_max, bytes_max }
    }

    /// Takes a send in. `false`: the outbox is full.
    pub(super) fn push(&mut self, ticket: Ticket, unsent: Unsent, attempts: u32) -> bool {
        let bytes = unsent.send.encoded_len();
        if self.count >= self.sends_max || self.bytes + bytes > self.bytes_max {
            return false;
        }
        self.count += 1;
        self.bytes += bytes;
        let lane = self.lanes.entry(ChannelNo::new(unsent.send.channel)).or_default();
        let Unsent { key, send } = unsent;
        lane.sends.push_back(Waiting { ticket, key, send, attempts, in_question: false });
        true
    }

    /// A connection begins: everything that may be stored is asked for. At most `max` are named.
    pub(super) fn question(&mut self, max: usize) -> Vec<wire::PendingSend> {
        let mut named = Vec::new();
        for (channel, lane) in &mut self.lanes {
            for waiting in lane.sends.iter_mut().filter(|waiting| waiting.attempts > 0) {
                waiting.in_question = named.len() < max;
                if waiting.in_question {
                    let key = waiting.key.as_bytes().to_vec().into();
                    named.push(wire::PendingSend { channel: channel.get(), key });
                }
            }
        }
        named
    }

    /// Sends that were never on a wire get a key on the server's clock if theirs is useless.
    pub(super) fn rekey(
        &mut self,
        is_useless: impl Fn(Key) -> bool,
        mut make: impl FnMut() -> Key,
    ) {
        for waiting in self.lanes.values_mut().flat_map(|lane| &mut lane.sends) {
            if waiting.attempts == 0 && is_useless(waiting.key) {
                waiting.key = make();
            }
        }
    }

    /// The connection is gone, and with it every answer under way.
    pub(super) fn disconnected(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.on_its_way = None;
            lane.not_before = Moment::default();
            lane.sends.iter_mut().for_each(|waiting| waiting.in_question = false);
        }
    }

    /// The resume is over: what it did not answer is simply sent again.
    pub(super) fn resumed(&mut self) {
        for waiting in self.lanes.values_mut().flat_map(|lane| &mut lane.sends) {
            waiting.in_question = false;
        }
    }

    /// A channel whose front may be sent now.
    pub(super) fn ready(&self, now: Moment) -> Option<ChannelNo> {
        self.lanes.iter().find(|(_, lane)| lane.is_ready(now)).map(|(channel, _)| *channel)
    }

    /// When a lane that waits for time alone becomes ready.
    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        let waits = |lane: &&Lane| lane.is_ready(lane.not_before);
        self.lanes.values().filter(waits).map(|lane| lane.not_before).min()
    }

    /// The front of a lane as it goes out: the send, its key, and which attempt this is.
    pub(super) fn front(&mut self, channel: ChannelNo) -> Option<(wire::Send, Key, u32)> {
        let waiting = self.lanes.get_mut(&channel)?.sends.front_mut()?;
        let attempt = waiting.attempts;
        waiting.attempts = waiting.attempts.saturating_add(1);
        Some((waiting.send.clone(), waiting.key, attempt))
    }

    /// The front of a lane went out as request `id`.
    pub(super) fn went_out(&mut self, channel: ChannelNo, id: RequestId) {
        if let Some(lane) = self.lanes.get_mut(&channel) {
            lane.on_its_way = Some(id);
        }
    }

    /// The request `id` for the front of a lane has its final answer. `None`: not the front's.
    pub(super) fn answered(&mut self, channel: ChannelNo, id: RequestId) -> Option<Left> {
        let lane = self.lanes.get_mut(&channel)?;
        if lane.on_its_way != Some(id) {
            return None;
        }
        lane.on_its_way = None;
        lane.backoff.reset();
        let waiting = lane.sends.pop_front()?;
        Some(self.forget(&waiting, channel))
    }

    /// The request `id` was refused for now: the same again after `asked`, or a growing wait.
    pub(super) fn later(
        &mut self,
        channel: ChannelNo,
        id: RequestId,
        asked: Duration,
        now: Moment,
        random: &mut Random,
    ) {
        let Some(lane) = self.lanes.get_mut(&channel) else { return };
        if lane.on_its_way == Some(id) {
            lane.on_its_way = None;
            lane.not_before = now.plus(lane.backoff.delay_asked(asked, random));
        }
    }

    /// The resume told that `key` needs no further attempt. `None`: it is none of ours.
    pub(super) fn settled(&mut self, channel: ChannelNo, key: Key) -> Option<Left> {
        let lane = self.lanes.get_mut(&channel)?;
        let at = lane.sends.iter().position(|waiting| waiting.key == key)?;
        if at == 0 {
            lane.on_its_way = None;
        }
        let waiting = lane.sends.remove(at)?;
        Some(self.forget(&waiting, channel))
    }

    /// The resume told that `key` is not stored.
    pub(super) fn not_stored(&mut self, channel: ChannelNo, key: Key) {
        let lane = self.lanes.get_mut(&channel).into_iter();
        for waiting in lane.flat_map(|lane| &mut lane.sends).filter(|waiting| waiting.key == key) {
            waiting.in_question = false;
        }
    }

    /// Everything without an answer, lane by lane in order.
    pub(super) fn unsent(&self) -> impl Iterator<Item = (Ticket, Unsent)> {
        let all = self.lanes.values().flat_map(|lane| &lane.sends);
        all.map(|waiting| (waiting.ticket, Unsent { key: waiting.key, send: waiting.send.clone() }))
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn forget(&mut self, waiting: &Waiting, channel: ChannelNo) -> Left {
        self.count -= 1;
        self.bytes -= waiting.send.encoded_len();
        if self.lanes.get(&channel).is_some_and(|lane| lane.sends.is_empty()) {
            self.lanes.remove(&channel);
        }
        Left { ticket: waiting.ticket, key: waiting.key, attempts: waiting.attempts }
    }
}

impl Lane {
    fn is_ready(&self, now: Moment) -> bool {
        let front_waits = self.sends.front().is_some_and(|waiting| !waiting.in_question);
        front_waits && self.on_its_way.is_none() && now >= self.not_before
    }
}
