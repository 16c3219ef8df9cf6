//! All channel logs of the shard, and the order in which channels with news get their turn.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::time::Duration;

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use slab::Slab;

use super::channel_log::{Appended, ChannelLog};
use super::options::Options;

/// The channels that have members on this shard.
#[derive(Default)]
pub(super) struct Channels {
    /// Indexes of `logs` alone: whoever looks a channel up needs its log, which has the number.
    by_number: HashTable<u32>,
    logs: Slab<ChannelLog>,
    /// Channels with news, in the order of their turns.
    robin: VecDeque<u32>,
    /// Channels that hold frames for cursors that cannot be served, oldest first.
    holders: VecDeque<u32>,
    bytes: usize,
}

impl Channels {
    /// The log of `channel`, made if need be.
    pub(super) fn enter(&mut self, channel: ChannelNo) -> u32 {
        let number = |index: &u32| self.logs[*index as usize].channel;
        let is_it = |index: &u32| number(index) == channel;
        match self.by_number.entry(hash(channel), is_it, |index| hash(number(index))) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(place) => {
                let index = self.logs.insert(ChannelLog::new(channel));
                *place.insert(u32::try_from(index).unwrap_or(u32::MAX)).get()
            }
        }
    }

    /// The log of `channel`, if it has members here.
    pub(super) fn find(&self, channel: ChannelNo) -> Option<u32> {
        let is_it = |index: &u32| self.logs[*index as usize].channel == channel;
        self.by_number.find(hash(channel), is_it).copied()
    }

    pub(super) fn log(&self, index: u32) -> &ChannelLog {
        &self.logs[index as usize]
    }

    /// Changes a log, and keeps the count of bytes true.
    pub(super) fn change<R>(&mut self, index: u32, change: impl FnOnce(&mut ChannelLog) -> R) -> R {
        let log = &mut self.logs[index as usize];
        let before = log.bytes();
        let outcome = change(log);
        self.bytes = self.bytes - before + log.bytes();
        outcome
    }

    /// Gives the event to its log, and its channel a place in the round robin.
    pub(super) fn append(
        &mut self,
        (channel, seq): (ChannelNo, Seq),
        frame: &Bytes,
        now: Moment,
        options: &Options,
    ) -> Appended {
        let Some(index) = self.find(channel) else { return Appended::Nobody };
        let outcome = self.change(index, |log| log.append(seq, frame, options));
        self.enqueue(index, now);
        self.shed(index, options);
        outcome
    }

    /// Gives a channel a place in the round robin, unless it has one.
    pub(super) fn enqueue(&mut self, index: u32, now: Moment) {
        let news = self.logs[index as usize].news_mut();
        if !news.queued {
            news.queued = true;
            news.since = now;
            self.robin.push_back(index);
        }
    }

    /// The channel whose turn it is.
    pub(super) fn take_turn(&mut self) -> Option<u32> {
        self.robin.pop_front()
    }

    /// Ends a turn: a channel with more to do keeps a place, in front only if the turn as a whole
    /// was used up. (Always in front, and one broadcast blocks all small groups.)
    pub(super) fn end_turn(&mut self, index: u32, cut: bool, now: Moment, options: &Options) {
        let log = &mut self.logs[index as usize];
        let more = log.has_news();
        let news = log.news_mut();
        news.queued = more;
        news.since = now;
        if more {
            if cut {
                self.robin.push_front(index)
            } else {
                self.robin.push_back(index)
            }
            return;
        }
        self.change(index, |log| log.rest(options));
        let log = &mut self.logs[index as usize];
        if log.bytes() > 0 && !log.holding {
            log.holding = true;
            self.holders.push_back(index);
        }
        self.drop_unused(index);
    }

    /// Frees a log without members.
    pub(super) fn drop_unused(&mut self, index: u32) {
        let log = &self.logs[index as usize];
        if log.is_unused() {
            self.bytes -= log.bytes();
            let found = self.by_number.find_entry(hash(log.channel), |other| *other == index);
            if let Ok(found) = found {
                found.remove();
            }
            if log.holding {
                self.holders.retain(|holder| *holder != index);
            }
            self.logs.remove(index as usize);
            if self.logs.is_empty() {
                *self = Self::default();
            }
        }
    }

    /// Keeps the shard's logs within their budget: those held for full sockets go first.
    fn shed(&mut self, grown: u32, options: &Options) {
        while self.bytes > options.shard_log_bytes_max {
            let Some(index) = self.holders.pop_front() else {
                self.change(grown, ChannelLog::forget);
                return;
            };
            let Some(log) = self.logs.get_mut(index as usize) else { continue };
            log.holding = false;
            if log.news().is_some_and(|news| !news.queued) {
                self.change(index, ChannelLog::forget);
            }
        }
    }

    /// Sheds what these options no longer keep: of each log first, then the largest whole. Returns
    /// the bytes.
    pub(super) fn trim(&mut self, options: &Options) -> usize {
        let before = self.bytes;
        let mut held: Vec<(usize, u32)> = Vec::new();
        for (index, log) in &mut self.logs {
            if log.bytes() > 0 {
                log.trim(options);
                held.push((log.bytes(), u32::try_from(index).unwrap_or(u32::MAX)));
            }
        }
        self.bytes = held.iter().map(|(bytes, _)| bytes).sum();
        held.sort_unstable();
        while self.bytes > options.shard_log_bytes_max
            && let Some((_, largest)) = held.pop()
        {
            self.change(largest, ChannelLog::forget);
        }
        before - self.bytes
    }

    pub(super) fn has_news(&self) -> bool {
        !self.robin.is_empty()
    }

    /// How long the next channel has waited since it had news, or since its last turn.
    pub(super) fn oldest_unsent(&self, now: Moment) -> Duration {
        let front = self.robin.front().and_then(|index| self.logs.get(*index as usize));
        front.and_then(ChannelLog::news).map_or(Duration::ZERO, |news| now.since(news.since))
    }

    /// Bytes of all frames held.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Channels with members here.
    pub(super) fn len(&self) -> usize {
        self.logs.len()
    }
}

/// Numbers are of our own making, so a fixed hasher gives no peer a lever.
fn hash(channel: ChannelNo) -> u64 {
    FixedState::default().hash_one(channel)
}
