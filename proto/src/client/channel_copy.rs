//! One channel as this client holds it: what is contiguous, what is early, what is missing.
//!
//! ```text
//! 1 ........ taken ........ have | hole | early ... | hole | known
//! by the app  waits for the app          kept until the hole is filled
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use super::inbox::{Inbox, News};
use crate::id::{ChannelNo, Epoch, Seq};
use crate::time::Moment;
use crate::wire;

/// Events kept beyond a hole, those next to it first. What has no room is read again.
const EARLY_EVENTS_MAX: usize = 64;
const EARLY_EVENTS_MAX_TOTAL: usize = 1_024;
/// Waits between pages that brought nothing: doubled from the first to the last.
const FRUITLESS_FIRST: Duration = Duration::from_secs(1);
const FRUITLESS_MAX: Duration = Duration::from_secs(32);

/// A client's copy of one channel's log.
#[derive(Debug)]
pub(super) struct ChannelCopy {
    channel: ChannelNo,
    /// Whether `have` is a position: not before the first visible seq is known.
    pub(super) placed: bool,
    /// The last contiguous seq.
    pub(super) have: Seq,
    /// The last seq that the app took.
    pub(super) taken: Seq,
    /// The newest seq that is known to exist.
    pub(super) known: Seq,
    /// The epoch that `have` belongs to.
    pub(super) epoch: Epoch,
    /// The last seq that this person may see, once they are out.
    pub(super) ending: Option<Seq>,
    /// A page is on its way.
    pub(super) asked: bool,
    /// No page is asked for earlier.
    pub(super) not_before: Moment,
    fruitless: u32,
    early: BTreeMap<Seq, wire::Event>,
}

impl ChannelCopy {
    /// A channel of which nothing is known but its number.
    pub(super) fn unplaced(channel: ChannelNo, epoch: Epoch) -> Self {
        Self {
            channel,
            placed: false,
            have: Seq::ZERO,
            taken: Seq::ZERO,
            known: Seq::ZERO,
            epoch,
            ending: None,
            asked: false,
            not_before: Moment::default(),
            fruitless: 0,
            early: BTreeMap::new(),
        }
    }

    /// A channel held up to `have`.
    pub(super) fn placed(channel: ChannelNo, have: Seq, epoch: Epoch) -> Self {
        let unplaced = Self::unplaced(channel, epoch);
        Self { placed: true, have, taken: have, known: have, ..unplaced }
    }

    /// The first visible seq became known. Says nothing to the app: it held nothing.
    pub(super) fn place(&mut self, first: Seq, inbox: &mut Inbox, early_total: &mut usize) {
        if !self.placed {
            self.placed = true;
            self.have = first.prev();
            self.taken = self.have;
            self.known = self.known.max(self.have);
            self.settle(inbox, early_total);
        }
    }

    /// An event of this channel came, live or replayed.
    pub(super) fn event(&mut self, event: wire::Event, inbox: &mut Inbox, early_total: &mut usize) {
        let seq = Seq::new(event.seq);
        self.known = self.known.max(seq);
        if seq <= self.have && self.placed {
            return;
        }
        if self.placed && seq == self.have.next() {
            if inbox.has_room() {
                self.have = seq;
                inbox.push(News::Event(event));
                self.settle(inbox, early_total);
            }
            return;
        }
        // Where the app does not keep up, everything is read again anyway.
        if !inbox.has_room() || self.early.contains_key(&seq) {
            return;
        }
        let full = self.early.len() >= EARLY_EVENTS_MAX || *early_total >= EARLY_EVENTS_MAX_TOTAL;
        if full && self.early.last_key_value().is_none_or(|(last, _)| *last < seq) {
            return;
        }
        self.early.insert(seq, event);
        if full {
            self.early.pop_last();
        } else {
            *early_total += 1;
        }
    }

    /// A page that was asked for to fill the hole behind `have`.
    pub(super) fn page(&mut self, page: wire::Page, inbox: &mut Inbox, early_total: &mut usize) {
        self.known = self.known.max(Seq::new(page.as_of));
        self.floor(Seq::new(page.floor), inbox, early_total);
        let covers = page.from <= page.to && Seq::new(page.from) <= self.have.next();
        if !covers {
            return;
        }
        for row in page.rows {
            let Some(event) = row.event else { continue };
            let seq = Seq::new(event.seq);
            if seq <= self.have || seq.get() > page.to {
                continue;
            }
            if !inbox.has_room() {
                return;
            }
            self.have = seq;
            inbox.push(News::Event(event));
        }
        self.have = self.have.max(Seq::new(page.to));
        self.known = self.known.max(self.have);
        self.settle(inbox, early_total);
    }

    /// Seqs below `floor` are not to be had.
    pub(super) fn floor(&mut self, floor: Seq, inbox: &mut Inbox, early_total: &mut usize) {
        if !self.placed {
            self.place(floor.max(Seq::new(1)), inbox, early_total);
        } else if floor > self.have.next() {
            if !inbox.has_room() {
                self.known = self.known.max(floor.prev());
                return;
            }
            let from = self.have.next();
            self.have = floor.prev();
            self.known = self.known.max(self.have);
            inbox.push(News::Skipped { channel: self.channel, from, to: self.have });
            self.settle(inbox, early_total);
        }
    }

    /// History was restored: nothing above `to` is true; the head is `head`.
    pub(super) fn roll_back(
        &mut self,
        to: Seq,
        head: Seq,
        inbox: &mut Inbox,
        early_total: &mut usize,
    ) {
        *early_total -= self.early.len();
        self.early.clear();
        self.known = head.max(to);
        if self.have > to {
            self.have = to;
            inbox.retract(self.channel, |seq| seq > to);
            if self.taken > to {
                inbox.push(News::RolledBack { channel: self.channel, to });
            }
        }
    }

    /// The page asked for has come whole, or will not come. `before`: `have` when it was asked for.
    pub(super) fn answered(&mut self, before: Seq, now: Moment) {
        self.asked = false;
        if self.have > before {
            self.fruitless = 0;
        } else {
            self.wait_longer(Duration::ZERO, now);
        }
    }

    /// The page was refused or brought nothing: not again before `asked_ms` or a growing wait.
    pub(super) fn wait_longer(&mut self, asked: Duration, now: Moment) {
        let own = FRUITLESS_FIRST.saturating_mul(1 << self.fruitless.min(5)).min(FRUITLESS_MAX);
        self.fruitless += 1;
        self.asked = false;
        self.not_before = now.plus(own.max(asked));
    }

    /// Forgets what is early; called before the copy goes.
    pub(super) fn release(&mut self, early_total: &mut usize) {
        *early_total -= self.early.len();
        self.early.clear();
    }

    /// Something exists that is not here.
    pub(super) fn lacks(&self) -> bool {
        !self.placed || self.have < self.known
    }

    /// One's own log says that `to` is the last event, of this membership or of one before it.
    pub(super) fn end(&mut self, to: Seq) {
        // Two logs keep no order between them. Nothing above `to` is sent but to a member again.
        let newest = if self.placed { self.have } else { self.known };
        if newest <= to {
            self.ending = Some(to);
        }
    }

    /// This person is out, and everything that they may see is here, or nothing ever was.
    pub(super) fn is_over(&mut self) -> bool {
        if self.ending.is_some_and(|last| self.have > last) {
            // Let in again meanwhile: what lay between is not theirs, and was passed over.
            self.ending = None;
        }
        self.ending.is_some_and(|last| self.have == last || !self.placed)
    }

    /// The first early event, if any: a page need not reach beyond it.
    pub(super) fn hole_end(&self) -> Seq {
        self.early.first_key_value().map_or(self.known, |(first, _)| first.prev())
    }

    /// Moves what has become contiguous to the app.
    pub(super) fn settle(&mut self, inbox: &mut Inbox, early_total: &mut usize) {
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.have.next() {
                return;
            }
            let next = *entry.key() == self.have.next();
            if next && !inbox.has_room() {
                return;
            }
            let (seq, event) = entry.remove_entry();
            *early_total -= 1;
            if next {
                self.have = seq;
                inbox.push(News::Event(event));
            }
        }
    }
}
