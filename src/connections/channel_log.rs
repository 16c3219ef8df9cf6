//! Unsent events of one channel on this shard, with one cursor per local member.
//!
//! ```text
//! frames   | base ............ head |   dense by seq; empty, and freed, at rest
//! members  [ cursor ][ cursor ]...      the last seq that each one was sent
//!                        ^ position: the circle of visits goes on from here
//! cursor   | 1 blocked | 1 waiting | 1 stops | 61 bits of seq |
//! ```
//!
//! A *waiting* cursor has not started: its reader is still being told the past. A *blocked* one
//! waits for its socket. One that *stops* ends at an entry of `stops`.

use std::collections::VecDeque;

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;

use super::options::Options;
use super::thrift;

/// Where a new member's cursor stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// This event is the first to be sent.
    At(Seq),
    /// Not yet: events are kept for it until [`super::Connections::start`] says where it begins.
    /// Nothing before this one is ever sent, wherever that is.
    Waiting(Seq),
}

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// Members here will get it.
    Yes,
    /// Nobody here is in the channel.
    Nobody,
    /// It does not follow what the log has. One that is here already changes nothing; of one further
    /// ahead, members are told which seqs they have to read from history.
    Gap,
}

const BLOCKED: u64 = 1 << 63;
const WAITING: u64 = 1 << 62;
const STOPS: u64 = 1 << 61;
const SEQ: u64 = STOPS - 1;

/// The last seq that a member was sent, and what keeps it from more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cursor(u64);

impl Cursor {
    fn new(seq: Seq) -> Self {
        Self(seq.get().min(SEQ))
    }

    pub(super) const fn seq(self) -> Seq {
        Seq::new(self.0 & SEQ)
    }

    pub(super) const fn is_blocked(self) -> bool {
        self.0 & BLOCKED != 0
    }

    pub(super) const fn is_waiting(self) -> bool {
        self.0 & WAITING != 0
    }

    const fn stops(self) -> bool {
        self.0 & STOPS != 0
    }

    fn move_to(&mut self, seq: Seq) {
        self.0 = self.0 & !SEQ | seq.get().min(SEQ);
    }
}

/// One local member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Its slot in the table.
    pub(super) slot: u32,
    /// Its entry in the membership list of that pipe.
    pub(super) place: u32,
    pub(super) cursor: Cursor,
}

/// A member as others may keep it: checked when used, since lists move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) place: u32,
}

/// Whom to look at next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// The next one on the circle.
    Member(usize),
    /// One that was left behind.
    Again(Place),
}

/// One channel on one shard.
#[derive(Debug)]
pub(super) struct ChannelLog {
    pub(super) channel: ChannelNo,
    head: Option<Seq>,
    pub(super) members: Vec<Member>,
    news: Option<Box<News>>,
    waiting: u32,
    blocked: u32,
    /// It stands in the list of logs that are held for full sockets.
    pub(super) holding: bool,
}

/// What a channel needs only while there is something to do.
#[derive(Default, Debug)]
pub(super) struct News {
    frames: VecDeque<Bytes>,
    bytes: usize,
    position: usize,
    to_visit: usize,
    again: VecDeque<Place>,
    again_first: bool,
    stops: Vec<(u32, Seq)>,
    /// When it came into the round robin, or had its last turn.
    pub(super) since: Moment,
    pub(super) queued: bool,
}

impl ChannelLog {
    pub(super) fn new(channel: ChannelNo) -> Self {
        let members = Vec::new();
        Self { channel, head: None, members, news: None, waiting: 0, blocked: 0, holding: false }
    }

    /// Adds a member and returns its index. Its pipe must note it at `place`.
    pub(super) fn join(&mut self, slot: u32, place: u32, start: Start) -> usize {
        let mut cursor = match start {
            Start::At(seq) => Cursor::new(seq.prev()),
            Start::Waiting(first) => Cursor::new(first.prev().max(self.head())),
        };
        if matches!(start, Start::Waiting(_)) {
            cursor.0 |= WAITING;
            self.waiting += 1;
        }
        thrift::push(&mut self.members, Member { slot, place, cursor });
        if let Some(news) = self.news.as_mut().filter(|news| news.to_visit > 0) {
            // It may stand inside the stretch that is still to be visited.
            news.to_visit += 1;
        }
        if !cursor.is_waiting() && cursor.seq() < self.head() {
            self.again(self.members.len() - 1);
        }
        self.members.len() - 1
    }

    /// Takes a member out. Returns the one that moved to its index, if any.
    pub(super) fn remove(&mut self, index: usize) -> Option<Member> {
        let gone = self.members.swap_remove(index);
        self.waiting -= u32::from(gone.cursor.is_waiting());
        self.blocked -= u32::from(gone.cursor.is_blocked());
        if gone.cursor.stops() {
            self.news_mut().stops.retain(|(slot, _)| *slot != gone.slot);
        }
        thrift::shrink(&mut self.members);
        // The one that moved may have skipped its visit.
        self.visit_all();
        self.members.get(index).copied()
    }

    /// The member's entry in the list of its pipe has moved to `place`.
    pub(super) fn moved(&mut self, index: usize, place: u32) {
        let member = &mut self.members[index];
        let slot = member.slot;
        let before = Place { slot, place: std::mem::replace(&mut member.place, place) };
        if let Some(news) = &mut self.news {
            for again in news.again.iter_mut().filter(|again| **again == before) {
                again.place = place;
            }
        }
    }

    /// Everyone may have something to be sent, or to let go.
    fn visit_all(&mut self) {
        let members = self.members.len();
        if let Some(news) = &mut self.news {
            news.to_visit = members;
        }
    }

    /// Takes the next event.
    pub(super) fn append(&mut self, seq: Seq, frame: &Bytes, options: &Options) -> Appended {
        let follows = self.head.is_none_or(|head| head.next() == seq);
        if !follows {
            if seq <= self.head() {
                return Appended::Gap;
            }
            self.forget();
        }
        self.head = Some(seq);
        let members = self.members.len();
        let news = self.news_mut();
        news.frames.push_back(frame.clone());
        news.bytes += frame.len();
        news.to_visit = members;
        while news.bytes > options.log_bytes_max && news.frames.len() > 1 {
            news.let_go();
        }
        if follows { Appended::Yes } else { Appended::Gap }
    }

    /// Events up to `head` exist. Returns whether a member lacks some that never came here.
    pub(super) fn reach(&mut self, head: Seq) -> bool {
        if self.head.is_some_and(|known| head <= known) {
            return false;
        }
        let lacks = |member: &Member| !member.cursor.is_waiting() && member.cursor.seq() < head;
        let lacking = self.members.iter().any(lacks);
        // A cursor that waits compares itself with the head when it starts.
        if lacking || self.head.is_some() || self.waiting > 0 {
            self.forget();
            self.head = Some(head);
        }
        if lacking {
            self.news_mut();
            self.visit_all();
        }
        lacking
    }

    /// Starts a waiting cursor, with `seq` as its first event, or a later one that it joined with.
    /// One that has started goes on.
    pub(super) fn start(&mut self, index: usize, seq: Seq) {
        let head = self.head;
        let member = &mut self.members[index];
        if !member.cursor.is_waiting() {
            return;
        }
        self.waiting -= 1;
        member.cursor.0 &= !WAITING;
        let before = member.cursor.seq().max(seq.prev());
        member.cursor.move_to(before);
        if self.news.is_some() || head.is_some_and(|head| seq <= head) {
            self.again(index);
        }
    }

    /// Ends a member's stream with the event at `last`. Returns whether it has ended already.
    pub(super) fn stop_after(&mut self, index: usize, last: Seq) -> bool {
        let member = &mut self.members[index];
        if !member.cursor.is_waiting() && member.cursor.seq() >= last {
            return true;
        }
        let slot = member.slot;
        member.cursor.0 |= STOPS;
        let stops = &mut self.news_mut().stops;
        match stops.iter_mut().find(|(stopped, _)| *stopped == slot) {
            Some((_, stop)) => *stop = last.min(*stop),
            None => stops.push((slot, last)),
        }
        false
    }

    /// The last event that a member is to be sent now.
    pub(super) fn limit(&self, member: &Member) -> Seq {
        let head = self.head.unwrap_or_default();
        if !member.cursor.stops() {
            return head;
        }
        self.stop_of(member).map_or(head, |stop| stop.min(head))
    }

    /// The last event that a member is ever to be sent, if there is one.
    pub(super) fn stop_of(&self, member: &Member) -> Option<Seq> {
        let stops = &self.news.as_ref().filter(|_| member.cursor.stops())?.stops;
        stops.iter().find(|(slot, _)| *slot == member.slot).map(|(_, stop)| *stop)
    }

    /// Moves a member's cursor.
    pub(super) fn sent(&mut self, index: usize, to: Seq) {
        self.members[index].cursor.move_to(to);
    }

    /// The member's socket is full: no visit until [`ChannelLog::unblock`].
    pub(super) fn block(&mut self, index: usize) {
        self.members[index].cursor.0 |= BLOCKED;
        self.blocked += 1;
    }

    /// The member's socket has drained.
    pub(super) fn unblock(&mut self, index: usize) {
        let member = &mut self.members[index];
        if !member.cursor.is_blocked() {
            return;
        }
        member.cursor.0 &= !BLOCKED;
        let again = Place { slot: member.slot, place: member.place };
        self.blocked -= 1;
        self.news_mut().again.push_back(again);
    }

    /// Comes back to a member that has more to be sent.
    pub(super) fn again(&mut self, index: usize) {
        let Member { slot, place, .. } = self.members[index];
        self.news_mut().again.push_back(Place { slot, place });
    }

    /// Whom to visit next. `None`: everyone who could be served has been.
    ///
    /// The circle and the stragglers take turns, so that neither starves the other.
    pub(super) fn next(&mut self, options: &Options) -> Option<Next> {
        let members = self.members.len();
        let news = self.news.as_mut()?;
        news.again_first = !news.again_first;
        if (news.again_first || news.to_visit == 0)
            && let Some(place) = news.again.pop_front()
        {
            return Some(Next::Again(place));
        }
        if news.to_visit == 0 || members == 0 {
            return None;
        }
        if news.position >= members {
            news.position = 0;
            self.let_go_received(options);
            return self.next(options);
        }
        news.to_visit -= 1;
        let index = news.position;
        news.position += 1;
        Some(Next::Member(index))
    }

    /// Somebody is still to be visited.
    pub(super) fn has_news(&self) -> bool {
        self.news.as_ref().is_some_and(|news| news.to_visit > 0 || !news.again.is_empty())
    }

    /// Frees what nobody waits for; at rest that is everything.
    pub(super) fn rest(&mut self, options: &Options) {
        self.let_go_received(options);
        if let Some(news) = &self.news
            && news.frames.is_empty()
            && news.stops.is_empty()
            && !news.queued
            && !self.has_news()
        {
            self.news = None;
        }
    }

    /// Lets go of frames that everyone has, and of all but the newest that only blocked cursors lack.
    fn let_go_received(&mut self, options: &Options) {
        let Some(head) = self.head else { return };
        let (mut lowest, mut lowest_served) = (head, head);
        let resting = self.news.as_ref().is_none_or(|news| news.to_visit == 0);
        // At rest only cursors that are kept from reading can be below the head.
        if self.waiting > 0 || self.blocked > 0 || !resting || self.has_news() {
            for member in &self.members {
                let seq = member.cursor.seq();
                lowest = lowest.min(seq);
                if !member.cursor.is_blocked() {
                    lowest_served = lowest_served.min(seq);
                }
            }
        }
        let mut begins = self.begins();
        let Some(news) = self.news.as_deref_mut() else { return };
        while begins <= lowest && !news.frames.is_empty() {
            news.let_go();
            begins = begins.next();
        }
        let held = usize::try_from(lowest_served.next().get().saturating_sub(begins.get()));
        let held = held.unwrap_or(0).min(news.frames.len());
        let mut bytes: usize = news.frames.iter().take(held).map(Bytes::len).sum();
        while bytes > options.held_bytes_max {
            bytes -= news.let_go();
        }
        if news.frames.is_empty() {
            news.frames = VecDeque::new();
        }
    }

    /// Lets go of all frames that these options no longer keep, whoever lacks them.
    pub(super) fn trim(&mut self, options: &Options) {
        self.let_go_received(options);
        if let Some(news) = &mut self.news {
            while news.bytes > options.log_bytes_max && news.frames.len() > 1 {
                news.let_go();
            }
            news.frames.shrink_to_fit();
        }
    }

    /// Lets go of all frames: cursors below the head have missed them.
    pub(super) fn forget(&mut self) {
        if let Some(news) = &mut self.news {
            news.frames = VecDeque::new();
            news.bytes = 0;
        }
    }

    /// The oldest event that the log still has; behind the head when it has none.
    pub(super) fn begins(&self) -> Seq {
        let frames = self.news.as_ref().map_or(0, |news| news.frames.len() as u64);
        Seq::new((self.head.unwrap_or_default().get() + 1).saturating_sub(frames))
    }

    /// The frames of the events above `seq`, oldest first.
    pub(super) fn frames_above(&self, seq: Seq) -> impl Iterator<Item = &Bytes> {
        let skipped = seq.next().get().saturating_sub(self.begins().get());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let frames = self.news.as_ref().map(|news| &news.frames);
        frames.into_iter().flat_map(move |frames| frames.range(skipped.min(frames.len())..))
    }

    /// The last event that the log was given. Zero: none.
    pub(super) fn head(&self) -> Seq {
        self.head.unwrap_or_default()
    }

    /// Bytes of the frames held.
    pub(super) fn bytes(&self) -> usize {
        self.news.as_ref().map_or(0, |news| news.bytes)
    }

    pub(super) fn news(&self) -> Option<&News> {
        self.news.as_deref()
    }

    pub(super) fn news_mut(&mut self) -> &mut News {
        self.news.get_or_insert_default()
    }

    /// Nobody here and nothing to do: the log may go.
    pub(super) fn is_unused(&self) -> bool {
        self.members.is_empty() && self.news.as_ref().is_none_or(|news| !news.queued)
    }
}

impl News {
    /// Lets go of the oldest frame; returns its length.
    fn let_go(&mut self) -> usize {
        let len = self.frames.pop_front().map_or(0, |frame| frame.len());
        self.bytes -= len;
        len
    }
}
