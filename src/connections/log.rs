//! Unsent events of one channel, and a cursor for each member here.
//!
//! ```text
//! frames   first ............... last      (empty at rest, holding no memory)
//! members  next --^     ^-- next   next = last + 1: has everything
//! ```
//!
//! A cursor below `first` has fallen off: its member is told which seqs it has to
//! read from history, and goes on at `first`.

use std::collections::VecDeque;

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;

use crate::runtime::route::ConnectionId;

/// Most bytes of a log.
const BYTES_MAX: usize = 256 * 1024;
/// Most bytes of a log that only cursors with a full socket still need.
const STALLED_BYTES_MAX: usize = 16 * 1024;

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// Members here will get it.
    Yes,
    /// Nobody here is in the channel.
    Nobody,
    /// It does not follow what the log has; members here are told to read what lies between.
    Gap,
}

/// One member's cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) connection: ConnectionId,
    /// The next seq to send; zero: not started.
    pub(super) next: Seq,
    /// The last seq to send.
    pub(super) until: Seq,
}

impl Member {
    /// The seqs that wait for this member, given the log's last one.
    pub(super) fn wants(&self, last: Seq) -> bool {
        self.next != Seq::ZERO && self.next <= last.min(self.until)
    }

    /// Has got everything that it may get.
    pub(super) fn is_over(&self) -> bool {
        self.next > self.until
    }
}

/// See the module's text.
pub(super) struct Log {
    pub(super) channel: ChannelNo,
    pub(super) members: Vec<Member>,
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// The last seq accepted; zero: none since the first member came.
    last: Seq,
    /// Where the pass over the members stands.
    pub(super) position: usize,
    /// Stands in the round robin.
    pub(super) queued: bool,
    /// When it entered the round robin, or had its last turn.
    pub(super) since: Moment,
}

impl Log {
    pub(super) fn new(channel: ChannelNo) -> Self {
        Self {
            channel,
            members: Vec::new(),
            frames: VecDeque::new(),
            bytes: 0,
            last: Seq::ZERO,
            position: 0,
            queued: false,
            since: Moment::default(),
        }
    }

    pub(super) fn last(&self) -> Seq {
        self.last
    }

    /// The first seq that the log still holds; one above the last if it holds none.
    pub(super) fn first(&self) -> Seq {
        Seq::new(self.last.get() + 1 - self.frames.len() as u64)
    }

    /// Takes the next event. One that does not follow starts the log anew: cursors before it fall.
    pub(super) fn append(&mut self, seq: Seq, frame: &Bytes) -> Appended {
        if self.members.is_empty() {
            return Appended::Nobody;
        }
        let follows = self.last == Seq::ZERO || seq == self.last.next();
        if !follows {
            if seq <= self.last {
                return Appended::Gap;
            }
            self.frames.clear();
            self.bytes = 0;
        }
        self.last = seq;
        self.bytes += frame.len();
        self.frames.push_back(frame.clone());
        while self.bytes > BYTES_MAX && self.frames.len() > 1 {
            self.drop_first();
        }
        if follows { Appended::Yes } else { Appended::Gap }
    }

    /// Frames from `next` on, up to and including `until`.
    pub(super) fn from(&self, next: Seq, until: Seq) -> impl Iterator<Item = &Bytes> {
        let skip = next.get().saturating_sub(self.first().get());
        let take = until.min(self.last).get().saturating_add(1).saturating_sub(next.get());
        let (skip, take) = (to_usize(skip), to_usize(take));
        self.frames.iter().skip(skip).take(take)
    }

    /// Drops what every cursor has passed; `is_stalled` says whose socket is full. Their
    /// cursors hold back a small amount only.
    pub(super) fn trim(&mut self, mut is_stalled: impl FnMut(&Member) -> bool) {
        if self.frames.is_empty() {
            return;
        }
        let (mut low, mut low_moving) = (Seq::MAX, Seq::MAX);
        for member in &self.members {
            // One that has not started may need everything.
            let next = if member.is_over() { Seq::MAX } else { member.next };
            low = low.min(next);
            if !is_stalled(member) {
                low_moving = low_moving.min(next);
            }
        }
        while !self.frames.is_empty() && self.first() < low {
            self.drop_first();
        }
        while self.bytes > STALLED_BYTES_MAX && !self.frames.is_empty() && self.first() < low_moving
        {
            self.drop_first();
        }
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }

    fn drop_first(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= frame.len();
        }
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(slot: u32, next: u64) -> Member {
        let connection = ConnectionId { slot, generation: 0 };
        Member { connection, next: Seq::new(next), until: Seq::MAX }
    }

    fn log(members: &[Member]) -> Log {
        let mut log = Log::new(ChannelNo::new(2));
        log.members = members.to_vec();
        log
    }

    fn seqs(log: &Log, next: u64) -> Vec<u8> {
        log.from(Seq::new(next), Seq::MAX).map(|frame| frame[0]).collect()
    }

    #[test]
    fn a_log_at_rest_holds_nothing() {
        let mut log = log(&[member(0, 4), member(1, 4)]);
        for seq in 1..=3 {
            log.append(Seq::new(seq), &Bytes::copy_from_slice(&[seq as u8]));
        }
        assert_eq!(seqs(&log, 2), [2, 3]);
        log.trim(|_| false);
        assert_eq!((log.bytes, log.frames.capacity()), (0, 0));
        assert_eq!(log.first(), Seq::new(4));
    }

    #[test]
    fn only_the_next_event_is_taken() {
        let mut log = log(&[member(0, 8)]);
        let frame = Bytes::from_static(b"x");
        assert_eq!(log.append(Seq::new(8), &frame), Appended::Yes);
        assert_eq!(log.append(Seq::new(8), &frame), Appended::Gap);
        assert_eq!(log.last(), Seq::new(8));
        assert_eq!(log.append(Seq::new(11), &frame), Appended::Gap);
        assert_eq!((log.first(), log.last()), (Seq::new(11), Seq::new(11)));
    }

    #[test]
    fn a_stalled_cursor_holds_back_a_small_amount() {
        let mut log = log(&[member(0, 1), member(1, 41)]);
        for seq in 1..=40 {
            log.append(Seq::new(seq), &Bytes::from(vec![0; 1_000]));
        }
        log.trim(|member| member.connection.slot == 0);
        assert!(log.bytes <= STALLED_BYTES_MAX);
        assert!(log.first() > Seq::new(1), "the stalled cursor has fallen off");
    }

    #[test]
    fn a_cursor_that_has_not_started_keeps_what_it_may_need() {
        let mut log = log(&[member(0, 0), member(1, 41)]);
        for seq in 1..=40 {
            log.append(Seq::new(seq), &Bytes::from(vec![0; 1_000]));
        }
        log.trim(|_| false);
        assert_eq!(log.first(), Seq::new(1));
    }
}
