//! What waits for the app: bounded, in order, taken in batches.

use std::collections::VecDeque;

use prost::Message as _;

use crate::id::{ChannelNo, Seq};
use crate::wire;

/// Even a tiny inbox has room for a resume that tells of every channel.
const OVERFULL_SPARE: usize = 65_536;

/// One thing for the app, in the order of its channel.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// The next event of a channel: each comes once, in order of seq, whatever connections do.
    Event(wire::Event),
    /// These seqs, both included, are not to be had: cut off by retention, or not this person's.
    Skipped {
        /// The channel.
        channel: ChannelNo,
        /// First seq that is left out.
        from: Seq,
        /// Last seq that is left out.
        to: Seq,
    },
    /// The server's history was restored: what the app holds above `to` never happened.
    RolledBack {
        /// The channel.
        channel: ChannelNo,
        /// The last seq that is still true.
        to: Seq,
    },
    /// The channel is no longer this person's.
    Gone {
        /// The channel.
        channel: ChannelNo,
    },
}

impl News {
    /// The channel that it is about.
    pub fn channel(&self) -> ChannelNo {
        match self {
            Self::Event(event) => ChannelNo::new(event.channel),
            Self::Skipped { channel, .. }
            | Self::RolledBack { channel, .. }
            | Self::Gone { channel } => *channel,
        }
    }

    /// Where the app stands in the channel once it has taken this. `None`: nowhere new.
    pub(super) fn position(&self) -> Option<Seq> {
        match self {
            Self::Event(event) => Some(Seq::new(event.seq)),
            Self::Skipped { to, .. } | Self::RolledBack { to, .. } => Some(*to),
            Self::Gone { .. } => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.encoded_len(),
            _ => 0,
        }
    }
}

/// The queue between the machine and the app.
#[derive(Debug)]
pub(super) struct Inbox {
    news: VecDeque<News>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
}

impl Inbox {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self { news: VecDeque::new(), bytes: 0, events_max, bytes_max }
    }

    /// Adds without asking for room: for what is rare and must not be lost.
    pub(super) fn push(&mut self, news: News) {
        self.bytes += news.bytes();
        self.news.push_back(news);
    }

    pub(super) fn take(&mut self, max: usize) -> Vec<News> {
        let taken: Vec<News> = self.news.drain(..max.min(self.news.len())).collect();
        self.bytes -= taken.iter().map(News::bytes).sum::<usize>();
        if self.news.is_empty() {
            self.news = VecDeque::new();
        }
        taken
    }

    /// Takes back what the app has not seen of a channel, where `gone` says so.
    pub(super) fn retract(&mut self, channel: ChannelNo, gone: impl Fn(Seq) -> bool) {
        let removed = |news: &News| {
            news.channel() == channel && matches!(news, News::Event(e) if gone(Seq::new(e.seq)))
        };
        self.bytes -= self.news.iter().filter(|n| removed(n)).map(News::bytes).sum::<usize>();
        self.news.retain(|news| !removed(news));
    }

    /// Whether one more event fits.
    pub(super) fn has_room(&self) -> bool {
        self.news.len() < self.events_max && self.bytes < self.bytes_max
    }

    /// Whether it is worth fetching what had no room before.
    pub(super) fn has_much_room(&self) -> bool {
        self.news.len() <= self.events_max / 2 && self.bytes <= self.bytes_max / 2
    }

    /// What is added without asking for room has become too much.
    pub(super) fn is_overfull(&self) -> bool {
        self.news.len() > self.events_max.saturating_mul(2).saturating_add(OVERFULL_SPARE)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.news.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.news.len()
    }
}
