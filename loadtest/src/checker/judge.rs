//! Takes observations one by one, and in the end says which laws held.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _};

use damso_proto::id::{Key, Seq, UserNo};
use foldhash::fast::FixedState;
use foldhash::quality;

use super::history::{ACKED, Log, MESSAGE, RECEIVED, STORED, Slot};
use super::law::Findings;
use super::receivers::{Misstep, Receivers};
use super::sends::{Entered, Outcome, Send, Sends};
use super::{Content, Counts, Law, Observation, ReceiverNo, Seen, SessionNo, Verdict, Who};

/// Index of history and of acks in the table of observers.
const BY_HISTORY: u32 = 0;
const BY_ACK: u32 = 1;

/// A history checker. Feed it with [`observe`](Self::observe), then [`finish`](Self::finish).
#[derive(Debug)]
pub struct Checker {
    sends: Sends,
    logs: HashMap<u64, Log, FixedState>,
    receivers: Receivers,
    /// Who saw things; slots name their first observer by index.
    observers: Vec<Who>,
    observer_of: HashMap<(u64, u64), u32, FixedState>,
    findings: Findings,
    counts: Counts,
}

impl Checker {
    /// A checker that names at most `witnesses_max` places per broken law.
    pub fn new(witnesses_max: usize) -> Self {
        Self {
            sends: Sends::default(),
            logs: HashMap::default(),
            receivers: Receivers::default(),
            observers: vec![Who::History, Who::Ack],
            observer_of: HashMap::default(),
            findings: Findings::new(witnesses_max),
            counts: Counts::default(),
        }
    }

    /// Takes in what happened next.
    pub fn observe(&mut self, observation: Observation) {
        match observation {
            Observation::Sent { sender, session, channel, key, body } => {
                let content = content_hash(channel.get(), Content::Message { sender, body });
                self.sent(key, sender.get(), session.0, channel.get(), content);
            }
            Observation::Acked { key, channel, seq, id, duplicate } => {
                self.acked(&key, (channel.get(), seq.get(), id.get()), duplicate);
            }
            Observation::Refused { key } => {
                self.answered(&key, |send| {
                    if send.outcome == Outcome::Open {
                        send.outcome = Outcome::Refused;
                    }
                });
            }
            Observation::Doubtful { key } => self.answered(&key, |send| send.doubt = true),
            Observation::Received { receiver, session, seen } => {
                self.received(receiver, session, &seen);
            }
            Observation::Resumed { receiver, session, channel, cursor } => {
                self.counts.resumed += 1;
                let step =
                    self.receivers.resume(receiver.0, session.0, channel.get(), cursor.get());
                self.misstep(step, (channel.get(), cursor.get()), receiver, session);
            }
            Observation::Skipped { receiver, channel, to } => {
                self.counts.skipped += self.receivers.skip(receiver.0, channel.get(), to.get());
            }
            Observation::Removed { receiver, channel, last } => {
                let step = self.receivers.remove(receiver.0, channel.get(), last.get());
                self.misstep(step, (channel.get(), last.get()), receiver, SessionNo(0));
            }
            Observation::MustStart { receiver, channel, from } => {
                self.receivers.must_start(receiver.0, channel.get(), from.get());
            }
            Observation::MustReach { receiver, channel, seq } => {
                self.receivers.must_reach(receiver.0, channel.get(), seq.get());
            }
            Observation::Stored { seen } => {
                self.counts.stored += 1;
                self.see(&seen, STORED, BY_HISTORY, Who::History);
            }
            Observation::ReadBack { channel, from, head } => {
                let log = self.logs.entry(channel.get()).or_default();
                log.close_reading(from.get(), head.get());
            }
        }
    }

    /// Ends the run and judges it.
    pub fn finish(mut self) -> Verdict {
        for (receiver, session, channel, at, must) in self.receivers.short() {
            let who = Who::Receiver(ReceiverNo(receiver), SessionNo(session));
            self.findings.add(Law::NotReached, (channel, must), who, || format!("stands at {at}"));
        }
        for (receiver, session, channel, first, must) in self.receivers.late() {
            let who = Who::Receiver(ReceiverNo(receiver), SessionNo(session));
            let began = || format!("it began at {first}");
            self.findings.add(Law::ReceiverHole, (channel, must), who, began);
        }
        let mut channels: Vec<u64> = self.logs.keys().copied().collect();
        channels.sort_unstable();
        let mut ids = Vec::new();
        for channel in channels {
            self.judge_channel(channel, &mut ids);
        }
        self.judge_ids(ids);
        self.count_outcomes();
        self.findings.verdict(self.counts)
    }

    fn sent(&mut self, key: Key, sender: u64, session: u64, channel: u64, content: u64) {
        let above = self.logs.get(&channel).map_or(0, |log| log.acked_top);
        let send = Send {
            sender,
            session,
            channel,
            content,
            above,
            outcome: Outcome::Open,
            repeated: false,
            doubt: false,
            place: 0,
        };
        match self.sends.enter(*key.as_bytes(), send) {
            Entered::New => self.counts.sends += 1,
            Entered::Repeat => self.counts.repeats += 1,
            Entered::Ambiguous => {
                let who = Who::Sender(UserNo::new(sender), SessionNo(session));
                self.findings.add(Law::SameBody, (channel, 0), who, || format!("{key:?}"));
            }
        }
    }

    fn answered(&mut self, key: &Key, change: impl FnOnce(&mut Send)) {
        match self.sends.of_key(key.as_bytes()) {
            Some(send) => change(send),
            None => self.findings.add(Law::AckUnasked, (0, 0), Who::Ack, || format!("{key:?}")),
        }
    }

    fn acked(&mut self, key: &Key, place: (u64, u64, u64), duplicate: bool) {
        let (channel, seq, id) = place;
        let Some(send) = self.sends.of_key(key.as_bytes()) else {
            self.findings.add(Law::AckUnasked, (channel, seq), Who::Ack, || format!("{key:?}"));
            return;
        };
        let who = Who::Sender(UserNo::new(send.sender), SessionNo(send.session));
        if duplicate && !send.repeated {
            self.findings.add(Law::FalseDuplicate, (channel, seq), who, || format!("{key:?}"));
        }
        let earlier = send.outcome;
        if channel != send.channel
            || matches!(earlier, Outcome::Acked { seq: s, id: i } if (s, i) != (seq, id))
        {
            let sent_to = send.channel;
            self.findings.add(Law::AckChanged, (channel, seq), who, || {
                format!("{key:?} sent to channel {sent_to}; before: {earlier:?}; now id {id}")
            });
        }
        send.outcome = Outcome::Acked { seq, id };
        let content = send.content;
        self.place((channel, seq), id, content, ACKED | MESSAGE, (BY_ACK, Who::Ack));
        let log = self.logs.entry(channel).or_default();
        log.acked_top = log.acked_top.max(seq);
    }

    fn received(&mut self, receiver: ReceiverNo, session: SessionNo, seen: &Seen) {
        self.counts.received += 1;
        let who = Who::Receiver(receiver, session);
        let by = *self.observer_of.entry((receiver.0, session.0)).or_insert_with(|| {
            self.observers.push(who);
            u32::try_from(self.observers.len() - 1).unwrap_or(u32::MAX)
        });
        self.see(seen, RECEIVED, by, who);
        let place = (seen.channel.get(), seen.seq.get());
        let step = self.receivers.receive(receiver.0, session.0, place.0, place.1);
        self.misstep(step, place, receiver, session);
    }

    fn misstep(
        &mut self,
        step: Option<Misstep>,
        place: (u64, u64),
        receiver: ReceiverNo,
        session: SessionNo,
    ) {
        if let Some((law, at)) = step {
            let who = Who::Receiver(receiver, session);
            self.findings.add(law, place, who, || format!("stood at {at}"));
        }
    }

    fn see(&mut self, seen: &Seen, mark: u8, by: u32, who: Who) {
        let message = matches!(seen.content, Content::Message { .. });
        let marks = if message { mark | MESSAGE } else { mark };
        let content = content_hash(seen.channel.get(), seen.content);
        let place = (seen.channel.get(), seen.seq.get());
        self.place(place, seen.id.get(), content, marks, (by, who));
    }

    fn place(
        &mut self,
        (channel, seq): (u64, u64),
        id: u64,
        content: u64,
        marks: u8,
        (by, who): (u32, Who),
    ) {
        let log = self.logs.entry(channel).or_default();
        if seq == Seq::ZERO.get() {
            self.findings.add(Law::HistoryHole, (channel, 0), who, || "seq 0 is no place".into());
            return;
        }
        if let Some(first) = log.see(seq, Slot { id, content, by, marks, ..Slot::default() }) {
            let before = self.observers.get(first.by as usize).copied().unwrap_or(Who::History);
            self.findings.add(Law::Diverged, (channel, seq), who, || {
                format!(
                    "id {id} content {content:016x}; {before} had id {} content {:016x}",
                    first.id, first.content
                )
            });
        }
    }

    fn judge_channel(&mut self, channel: u64, ids: &mut Vec<(u64, u64, u64)>) {
        let Some(log) = self.logs.remove(&channel) else { return };
        let mut last_id = 0;
        let mut expected = log.read.map(|read| read.from);
        let mut acked = false;
        // The last send of each session of each sender, by rank.
        let mut last_of = HashMap::<(u64, u64), u32, FixedState>::default();
        for (seq, slot) in log.slots() {
            let who = self.observers.get(slot.by as usize).copied().unwrap_or(Who::History);
            acked |= slot.marks & ACKED != 0;
            ids.push((slot.id, channel, seq));
            if slot.id <= last_id {
                let before = last_id;
                self.findings.add(Law::IdOrder, (channel, seq), who, || {
                    format!("id {} after {before}", slot.id)
                });
            }
            last_id = last_id.max(slot.id);
            if let Some(read) = log.read.filter(|read| seq >= read.from) {
                if read.has(seq, slot) {
                    self.hole(channel, expected.unwrap_or(seq), seq);
                    expected = Some(seq + 1);
                } else {
                    let law = if slot.marks & ACKED != 0 { Law::Lost } else { Law::Vanished };
                    self.findings.add(law, (channel, seq), who, || {
                        format!(
                            "id {}; history was read from {} to {}",
                            slot.id, read.from, read.head
                        )
                    });
                }
            }
            if slot.marks & MESSAGE != 0 {
                self.judge_message((channel, seq), slot, who, &mut last_of);
            }
        }
        if let Some(read) = log.read {
            self.hole(channel, expected.unwrap_or(read.from), read.head.saturating_add(1));
        }
        self.counts.channels += 1;
        self.counts.channels_unread += u64::from(acked && log.read.is_none());
    }

    /// History was expected to go on at `expected`, and goes on at `next`.
    fn hole(&mut self, channel: u64, expected: u64, next: u64) {
        if next > expected {
            self.findings.add(Law::HistoryHole, (channel, expected), Who::History, || {
                format!("{} seqs up to {}", next - expected, next - 1)
            });
        }
    }

    fn judge_message(
        &mut self,
        (channel, seq): (u64, u64),
        slot: &Slot,
        who: Who,
        last_of: &mut HashMap<(u64, u64), u32, FixedState>,
    ) {
        let place = (channel, seq);
        let Some((rank, send)) = self.sends.of_content(slot.content) else {
            self.findings.add(Law::Unsent, place, who, || format!("id {}", slot.id));
            return;
        };
        let sender = Who::Sender(UserNo::new(send.sender), SessionNo(send.session));
        if send.place != 0 {
            let first = send.place;
            self.findings.add(Law::StoredTwice, place, sender, || format!("first at seq {first}"));
            return;
        }
        send.place = seq;
        if send.outcome == Outcome::Refused && !send.doubt {
            self.findings.add(Law::RefusedStored, place, sender, || format!("id {}", slot.id));
        }
        if seq <= send.above {
            let above = send.above;
            self.findings.add(Law::RealTime, place, sender, || {
                format!("when it was sent, seq {above} was acknowledged")
            });
        }
        // A repetition may have overtaken or been overtaken: its session promises no order.
        if !send.repeated {
            let last = last_of.entry((send.sender, send.session)).or_insert(rank);
            if rank < *last {
                let (rank, last) = (rank, *last);
                self.findings.add(Law::SenderOrder, place, sender, || {
                    format!("send number {rank} stands behind number {last}")
                });
            }
            *last = rank.max(*last);
        }
    }

    fn judge_ids(&mut self, mut ids: Vec<(u64, u64, u64)>) {
        ids.sort_unstable();
        for pair in ids.windows(2) {
            if let &[(id, channel, seq), (other_id, other_channel, other_seq)] = pair
                && id == other_id
            {
                let place = (other_channel, other_seq);
                self.findings.add(Law::IdShared, place, Who::History, || {
                    format!("id {id}, as channel {channel} seq {seq}")
                });
            }
        }
    }

    fn count_outcomes(&mut self) {
        for send in self.sends.iter() {
            match send.outcome {
                Outcome::Acked { .. } => self.counts.acked += 1,
                Outcome::Refused => self.counts.refused += 1,
                Outcome::Open => self.counts.unanswered += 1,
            }
        }
    }
}

fn content_hash(channel: u64, content: Content) -> u64 {
    let mut hasher = quality::FixedState::with_seed(1).build_hasher();
    hasher.write_u64(channel);
    match content {
        Content::Message { sender, body } => {
            hasher.write_u64(sender.get());
            hasher.write_u64(body.0);
        }
        Content::Other(body) => {
            hasher.write_u64(u64::MAX);
            hasher.write_u64(body.0);
        }
    }
    hasher.finish()
}
