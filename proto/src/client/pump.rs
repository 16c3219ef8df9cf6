//! What goes out next, as long as the server takes more: sends, requests, then repairs.

use super::backoff::Random;
use super::conn::Ask;
use super::link::Link;
use super::replica::{Flight, Now, Replica};
use crate::id::{ChannelNo, Key};
use crate::wire;
use crate::wire::client_frame::Kind;

/// Requests in flight that sends leave to others, so that a full outbox blocks no answer.
const NOT_SENDS: usize = 4;
/// Pages of missing events in flight.
const REPAIRS_MAX: usize = 4;

impl Replica {
    /// Puts out whatever may go out now.
    pub(super) fn pump(&mut self, now: Now) {
        let welcome = matches!(&self.dial.link, Link::Up(conn) if conn.is_welcome());
        while welcome && self.flights.len() < self.in_flight_max {
            if !(self.pump_send(now) || self.pump_ask(now) || self.pump_repair(now)) {
                return;
            }
        }
    }

    /// Whether one more send may be on its way.
    pub(super) fn sends_fit(&self) -> bool {
        self.flights.len() < self.in_flight_max.saturating_sub(NOT_SENDS).max(1)
    }

    /// Whether one more page of missing events may be on its way, and has room when it comes.
    pub(super) fn repairs_fit(&self) -> bool {
        let repairs = |(flight, _): &&(Flight, _)| matches!(flight, Flight::Repair { .. });
        self.inbox.has_much_room() && self.flights.values().filter(repairs).count() < REPAIRS_MAX
    }

    fn pump_send(&mut self, now: Now) -> bool {
        if !self.sends_fit() {
            return false;
        }
        let Some(channel) = self.outbox.ready(now.at) else { return false };
        let Some((send, key, attempt)) = self.outbox.front(channel) else { return false };
        let ask = Ask::changing(Kind::Send(send), key, attempt);
        self.fly(ask, Flight::Send(channel), now);
        true
    }

    fn pump_ask(&mut self, now: Now) -> bool {
        let Some((ticket, ask)) = self.asks.next_out(now.at) else { return false };
        self.fly(ask, Flight::Ask(ticket), now);
        true
    }

    fn pump_repair(&mut self, now: Now) -> bool {
        let open = matches!(&self.dial.link, Link::Up(conn) if conn.is_open());
        if !open || !self.repairs_fit() {
            return false;
        }
        let Some(channel) = self.next_lacking(now) else { return false };
        let Some(copy) = self.copies.get_mut(&channel) else { return false };
        copy.asked = true;
        let before = copy.have;
        let hole = copy.hole_end().get().saturating_sub(before.get()).max(1);
        let rows = u32::try_from(hole).unwrap_or(u32::MAX).min(self.page_rows);
        let read = wire::ReadHistory {
            channel: channel.get(),
            seq: before.get(),
            direction: wire::read_history::Direction::After.into(),
            rows,
        };
        self.lacking.remove(&channel);
        self.repaired_last = channel;
        let ask = Ask::reading(Kind::ReadHistory(read));
        self.fly(ask, Flight::Repair { channel, before }, now);
        true
    }

    /// The next channel, round robin, that lacks something and may ask for it.
    fn next_lacking(&self, now: Now) -> Option<ChannelNo> {
        let after = (std::ops::Bound::Excluded(self.repaired_last), std::ops::Bound::Unbounded);
        let round = self.lacking.range(after).chain(self.lacking.range(..=self.repaired_last));
        let due = |channel: &&ChannelNo| {
            self.copies.get(channel).is_some_and(|copy| !copy.asked && now.at >= copy.not_before)
        };
        round.copied().find(|channel| due(&channel))
    }

    fn fly(&mut self, ask: Ask, flight: Flight, now: Now) {
        let Link::Up(conn) = &mut self.dial.link else { return };
        let id = conn.ask(ask, now.at, &mut self.out);
        if let Flight::Send(channel) = flight {
            self.outbox.went_out(channel, id);
        }
        self.flights.insert(id, (flight, now.at));
    }

    /// Marks a channel whose copy changed.
    pub(super) fn review(&mut self, channel: ChannelNo) {
        let Some(copy) = self.copies.get(&channel) else {
            self.lacking.remove(&channel);
            return;
        };
        if copy.lacks() && !copy.asked {
            self.lacking.insert(channel);
        } else {
            self.lacking.remove(&channel);
        }
    }

    /// The app made room: what is early and contiguous now moves before anything is read again.
    pub(super) fn settle_lacking(&mut self) {
        for channel in std::mem::take(&mut self.lacking) {
            if let Some(copy) = self.copies.get_mut(&channel) {
                copy.settle(&mut self.inbox, &mut self.early_total);
            }
            self.review(channel);
        }
    }

    /// A new key on the server's clock.
    pub(super) fn key(&mut self, now: Now) -> Key {
        new_key(now.unix_ms.saturating_add_signed(self.ahead_ms), &mut self.random)
    }
}

/// A key made at `unix_ms`.
pub(super) fn new_key(unix_ms: u64, random: &mut Random) -> Key {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&random.number().to_le_bytes());
    bytes[8..].copy_from_slice(&random.number().to_le_bytes()[..2]);
    Key::new(unix_ms, bytes)
}
