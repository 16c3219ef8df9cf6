//! What acknowledgements, refusals, answers and standings mean.

use damso_proto::client::Answer;
use damso_proto::code::Retry;
use damso_proto::id::{ChannelNo, MessageId, Seq};
use damso_proto::wire;
use damso_proto::wire::standing::State;

use super::Damso;
use super::asks::{INVITED_MAX, Line, Step};
use super::person::Asked;
use crate::checker::{Observation, ReceiverNo, Seen};
use crate::driver::{How, Told};
use crate::scenario::Kind as Sort;

impl Damso {
    pub(super) fn acked(&mut self, conn: u32, id: u64, ack: &wire::Ack, told: &mut Vec<Told>) {
        let Some(Asked::Send(sent)) = self.people[conn as usize].answered(id, false) else {
            return;
        };
        let channel = ChannelNo::new(self.numbers[sent.channel as usize]);
        self.watch(Observation::Acked {
            key: sent.key,
            channel,
            seq: Seq::new(ack.seq),
            id: MessageId::new(ack.id),
            duplicate: ack.duplicate,
        });
        let head = &mut self.heads[sent.channel as usize];
        *head = ack.seq.max(*head);
        told.push(Told::Acked(sent.payload.tag));
    }

    pub(super) fn refused(
        &mut self,
        line: &mut Line<'_>,
        id: u64,
        refusal: &wire::Refusal,
        told: &mut Vec<Told>,
    ) {
        let (code, after_ms) = (refusal.code, refusal.retry_after_ms);
        let text = || format!("code {code}: {}", refusal.text);
        match self.people[line.conn as usize].answered(id, false) {
            Some(Asked::Send(sent)) => {
                // Only this range leaves open whether the message was stored.
                let key = sent.key;
                self.watch(if Retry::of_number(code) == Retry::SameKey {
                    Observation::Doubtful { key }
                } else {
                    Observation::Refused { key }
                });
                told.push(Told::Refused { tag: sent.payload.tag, code, after_ms });
            }
            Some(Asked::Page { tag, .. }) => told.push(Told::Refused { tag, code, after_ms }),
            Some(Asked::Step { channel }) => {
                told.push(Told::Unusable(format!("making channel {channel}: {}", text())));
            }
            Some(Asked::Behind { number, .. }) => {
                told.push(Told::Unusable(format!("catching up in channel {number}: {}", text())));
            }
            Some(Asked::Back { channel, .. }) => {
                told.push(Told::Unusable(format!("reading channel {channel} back: {}", text())));
            }
            None => {}
        }
    }

    pub(super) fn answered(
        &mut self,
        line: &mut Line<'_>,
        (id, more): (u64, bool),
        answer: Answer,
        told: &mut Vec<Told>,
    ) {
        let asked = self.people[line.conn as usize].answered(id, more);
        match (asked, answer) {
            (Some(Asked::Step { channel }), Answer::Channel(info)) => {
                self.made(channel, info.channel);
                told.push(Told::Settled);
            }
            (Some(Asked::Step { .. }), _) => told.push(Told::Settled),
            (Some(Asked::Page { tag, rows, from }), Answer::Page(page)) => {
                self.page_part(line.conn, (id, more), (tag, rows, from), &page, told);
            }
            (Some(Asked::Behind { number, from, to }), Answer::Page(page)) => {
                self.caught_up(line, (id, more), (number, from, to), &page, told);
            }
            (Some(Asked::Back { channel, rows }), Answer::Page(page)) => {
                self.back_part(line.conn, (id, more), (channel, rows), &page, told);
            }
            _ => {}
        }
    }

    /// A channel has its number; the members for whom there was no room are added.
    fn made(&mut self, channel: u32, number: u64) {
        self.numbers[channel as usize] = number;
        self.channels.insert(number, channel);
        let class = self.setting.layout.class(channel);
        if class.kind != Sort::Direct {
            let others = self.invited(channel) + 1..class.members;
            let firsts = others.step_by(INVITED_MAX as usize);
            self.steps.extend(firsts.map(|first| Step { channel, add: Some(first) }));
        }
    }

    fn page_part(
        &mut self,
        conn: u32,
        (id, more): (u64, bool),
        (tag, rows, from): (crate::engine::payload::Tag, u32, u64),
        page: &wire::Page,
        told: &mut Vec<Told>,
    ) {
        let rows = rows + page.rows.len() as u32;
        let from = if from == 0 { page.from } else { from.min(page.from) };
        if more {
            if let Some(Asked::Page { rows: so_far, from: first, .. }) =
                self.people[conn as usize].asked(id)
            {
                (*so_far, *first) = (rows, from);
            }
            return;
        }
        let next = (from > page.floor && rows > 0).then_some(from);
        told.push(Told::Page { tag, rows, next });
    }

    /// A part of what did not come live.
    fn caught_up(
        &mut self,
        line: &mut Line<'_>,
        (id, more): (u64, bool),
        (number, from, to): (u64, u64, u64),
        page: &wire::Page,
        told: &mut Vec<Told>,
    ) {
        for event in page.rows.iter().filter_map(|row| row.event.as_ref()) {
            if (from..=to).contains(&event.seq) {
                self.message(event, How::CaughtUp, told);
            }
        }
        // An empty page: nothing is behind this place. One that stands still would be asked for again
        // and again.
        let read = if page.to >= page.from && page.to >= from { page.to } else { to };
        let next = read.saturating_add(1);
        if more {
            if let Some(Asked::Behind { from, .. }) = self.people[line.conn as usize].asked(id) {
                *from = next;
            }
        } else if read < to {
            self.catch_up(line, number, next, to);
        }
    }

    /// A part of a channel that is read back for the checker.
    fn back_part(
        &mut self,
        conn: u32,
        (id, more): (u64, bool),
        (channel, rows): (u32, u32),
        page: &wire::Page,
        told: &mut Vec<Told>,
    ) {
        for event in page.rows.iter().filter_map(|row| row.event.as_ref()) {
            self.watch(Observation::Stored { seen: Seen::from(event) });
        }
        let (at, head, floor) =
            self.back.entry(channel).or_insert((0, page.as_of, page.floor.max(1)));
        // An empty page: nothing is behind this place; and one that stands still says as much.
        *at = if page.to >= page.from && page.to > *at { page.to } else { *head };
        let rows = rows + page.rows.len() as u32;
        if more {
            if let Some(Asked::Back { rows: so_far, .. }) = self.people[conn as usize].asked(id) {
                *so_far = rows;
            }
            return;
        }
        let (at, head, floor) = (*at, *head, *floor);
        let next = (at < head).then_some(at);
        if next.is_none() {
            let channel = ChannelNo::new(self.numbers[channel as usize]);
            let (from, head) = (Seq::new(floor), Seq::new(head));
            self.watch(Observation::ReadBack { channel, from, head });
        }
        told.push(Told::ReadBack { channel, rows, next });
    }

    pub(super) fn standing(
        &mut self,
        line: &mut Line<'_>,
        standing: &wire::Standing,
        told: &mut Vec<Told>,
    ) {
        let (number, from, to) = (standing.channel, standing.from, standing.to);
        match standing.state() {
            State::Behind | State::FloorRaised => {
                let receiver = ReceiverNo(line.conn.into());
                let (channel, seq) = (ChannelNo::new(number), Seq::new(to));
                self.watch(Observation::Skipped { receiver, channel, to: seq });
                self.people[line.conn as usize].set_place(number, to);
                if from <= to {
                    self.catch_up(line, number, from, to);
                }
            }
            State::New => self.told += 1,
            State::RolledBack | State::Gone => {
                let what =
                    format!("channel {number} is {:?} in the middle of the run", standing.state());
                told.push(Told::Unusable(what));
            }
            State::Unspecified | State::Tail => {}
        }
    }

    /// Every member who is here must have seen every acknowledged message.
    pub(super) fn everyone_must_have_everything(&mut self, live: &[bool]) {
        for channel in 0..self.setting.layout.channels() {
            let head = self.heads[channel as usize];
            if head == 0 {
                continue;
            }
            let number = ChannelNo::new(self.numbers[channel as usize]);
            let invited = self.invited(channel);
            for (at, person) in self.setting.layout.members(channel).enumerate() {
                if !live.get(person as usize).copied().unwrap_or(false) {
                    continue;
                }
                let receiver = ReceiverNo(person.into());
                let seq = Seq::new(head);
                self.watch(Observation::MustReach { receiver, channel: number, seq });
                // The others were added later, and told from where on.
                if at as u32 <= invited {
                    let from = Seq::new(1);
                    let start = Observation::MustStart { receiver, channel: number, from };
                    self.watch(start);
                }
            }
        }
    }
}
