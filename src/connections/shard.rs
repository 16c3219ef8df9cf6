//! The room's front: all connections of one shard, their lanes, and who is in which channel.
//!
//! In: `enter`, `control`, `bulk`, `join`, `start`, `stop_after`, `leave`, `append`, `finish`,
//! `remove`. Out: `turn` writes a budget's worth, then `take_notices` says what the shard must know.

use std::collections::BTreeSet;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;

use super::channel_log::{Appended, Start};
use super::channels::Channels;
use super::lists::Lists;
use super::metrics::Metrics;
use super::notice::{Notice, Why};
use super::options::Options;
use super::pipe::{Bulk, LaneFull, Life, Membership, Pipe, Ready};
use super::table::Table;
use super::thrift;
use super::wire::{Received, Scratch, Wire, WireError};
use crate::runtime::route::{ConnectionId, ShardNo};

/// See the module's text. One small task per connection waits in [`Connections::poll_ready`] and
/// reads; the shard calls [`Connections::turn`] while it says that there is more.
pub struct Connections {
    pub(super) table: Table,
    pub(super) channels: Channels,
    pub(super) lists: Lists,
    pub(super) scratch: Scratch,
    /// Where a record's plaintext is put together.
    pub(super) plain: Vec<u8>,
    pub(super) notices: Vec<Notice>,
    /// When connections with a full socket are to be looked at: due, slot, generation.
    pub(super) watched: BTreeSet<(Moment, u32, u32)>,
    /// What holds now; `whole` while memory is not scarce.
    pub(super) options: Options,
    whole: Options,
    pub(super) metrics: Metrics,
    /// The latest time that anyone told.
    pub(super) now: Moment,
}

impl Connections {
    /// A shard without connections.
    pub fn new(options: Options, shard: ShardNo) -> Self {
        Self {
            table: Table::default(),
            channels: Channels::default(),
            lists: Lists::default(),
            scratch: Scratch::default(),
            plain: Vec::new(),
            notices: Vec::new(),
            watched: BTreeSet::new(),
            options,
            whole: options,
            metrics: Metrics::new(shard),
            now: Moment::default(),
        }
    }

    /// Takes a logged-in connection over. What its wire had left to write goes out first.
    pub fn enter(&mut self, wire: Wire, now: Moment) -> ConnectionId {
        self.now = self.now.max(now);
        let mut pipe = Pipe::new(wire);
        if !pipe.wire.is_drained() {
            pipe.stall(now);
        }
        let id = self.table.enter(pipe);
        self.watch(id.slot);
        id
    }

    /// Whether the connection is here.
    pub fn contains(&self, id: ConnectionId) -> bool {
        self.table.get(id).is_some()
    }

    /// Waits until the connection can be read (if `read` is asked) or takes bytes again.
    /// `None`: it is gone, or over.
    pub fn poll_ready(
        &self,
        id: ConnectionId,
        read: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Ready>> {
        let Some(pipe) = self.table.get(id).filter(|pipe| pipe.life != Life::Over) else {
            return Poll::Ready(None);
        };
        pipe.poll_ready(read && pipe.life == Life::Open, cx).map(Some)
    }

    /// Reads once; plaintext is added to `plain`.
    ///
    /// # Errors
    /// [`WireError`]: the connection is over; remove it.
    pub fn receive(
        &mut self,
        id: ConnectionId,
        plain: &mut Vec<u8>,
    ) -> Result<Received, WireError> {
        let Some(pipe) = self.table.get_mut(id).filter(|pipe| pipe.life != Life::Over) else {
            return Ok(Received::End);
        };
        let received = pipe.wire.receive(&mut self.scratch, plain)?;
        if !pipe.wire.is_drained() && pipe.stall.is_none() {
            // TLS had something of its own to say, and the socket was full.
            pipe.stall(self.now);
            self.watch(id.slot);
        }
        Ok(received)
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, id: ConnectionId, now: Moment) {
        self.now = self.now.max(now);
        let Some(pipe) = self.table.get_mut(id).filter(|pipe| pipe.life != Life::Over) else {
            return;
        };
        match pipe.wire.flush() {
            Ok(took) => {
                if let Some(stall) = pipe.stall.as_mut().filter(|_| took) {
                    stall.since = now;
                }
                if pipe.wire.is_drained() {
                    self.drained(id);
                }
            }
            Err(_) => self.over(id.slot, Why::Broken),
        }
    }

    /// What was left of the last send is written: all lanes of the connection go on.
    fn drained(&mut self, id: ConnectionId) {
        let Some(pipe) = self.table.get_mut(id) else { return };
        let places = pipe.stall.take().map(|stall| stall.places).unwrap_or_default();
        if std::mem::take(&mut pipe.flags.bulk_in_flight) {
            self.notices.push(Notice::BulkFree(id));
        }
        for place in places {
            if let Some(Membership { log, member }) = pipe.memberships.get(place as usize).copied()
            {
                self.channels.change(log, |log| log.unblock(member as usize));
                self.channels.enqueue(log, self.now);
            }
        }
        if !pipe.control.is_empty() || pipe.life == Life::Finishing || pipe.flags.control_was_full {
            self.lists.add_control(id.slot, pipe);
        }
        if pipe.bulk.is_some() {
            self.lists.add_bulk(id.slot, pipe);
        }
    }

    /// Puts frames into the control lane: they leave with the next record, in this turn. For a
    /// connection that is gone or ending there is nobody to answer, and that is no error.
    ///
    /// # Errors
    /// [`LaneFull`]: nothing of `frames` was taken.
    pub fn control(&mut self, id: ConnectionId, frames: Bytes) -> Result<(), LaneFull> {
        let Some(pipe) = self.table.get_mut(id).filter(|pipe| pipe.life == Life::Open) else {
            return Ok(());
        };
        if pipe.control.len() + frames.len() > self.options.control_bytes_max {
            self.metrics.control_full.increment(1);
            return Err(LaneFull);
        }
        pipe.control.extend_from_slice(&frames);
        pipe.flags.control_was_full |= pipe.control.len() > self.options.control_bytes_max / 2;
        if pipe.can_send() {
            self.lists.add_control(id.slot, pipe);
        }
        Ok(())
    }

    /// Whether reading must stop until answers were taken.
    pub fn control_full(&self, id: ConnectionId) -> bool {
        let half = self.options.control_bytes_max / 2;
        self.table.get(id).is_some_and(|pipe| pipe.control.len() > half)
    }

    /// Hands the bulk lane its next chunk, whole frames; call it only while [`Self::bulk_free`].
    /// It leaves when the socket has drained and no answer waits. The cursors in `then` start at
    /// their seq once the chunk is with TLS, so that live events follow it.
    pub fn bulk(&mut self, id: ConnectionId, bytes: Bytes, then: Vec<(ChannelNo, Seq)>) {
        debug_assert!(bytes.len() <= super::options::BULK_BYTES_MAX, "one chunk");
        let Some(pipe) = self.table.get_mut(id).filter(|pipe| pipe.life == Life::Open) else {
            return;
        };
        pipe.bulk = Some(Box::new(Bulk { bytes, then }));
        if pipe.can_send() {
            self.lists.add_bulk(id.slot, pipe);
        }
    }

    /// Whether the bulk lane takes a chunk: the last one has left for good.
    pub fn bulk_free(&self, id: ConnectionId) -> bool {
        self.table.get(id).is_some_and(|pipe| pipe.bulk.is_none() && !pipe.flags.bulk_in_flight)
    }

    /// Writes what waits in the control lane and then `closing`; then the connection is over. No
    /// live event follows, and nothing more is read.
    pub fn finish(&mut self, id: ConnectionId, closing: Bytes) {
        let Some(pipe) = self.table.get_mut(id).filter(|pipe| pipe.life == Life::Open) else {
            return;
        };
        pipe.life = Life::Finishing;
        pipe.bulk = None;
        pipe.control.extend_from_slice(&closing);
        if pipe.can_send() {
            self.lists.add_control(id.slot, pipe);
        }
        self.leave_all(id.slot);
    }

    /// The same without the answers that wait: of all that is not encrypted yet, `closing` alone
    /// is sent. Where a frame among them is sent in part, its rest must follow, and they all do.
    pub fn cut(&mut self, id: ConnectionId, closing: Bytes) {
        if let Some(pipe) = self.table.get_mut(id)
            && pipe.life == Life::Open
            && !pipe.flags.control_is_cut
        {
            pipe.control = Vec::new();
        }
        self.finish(id, closing);
    }

    /// Takes the connection out of all channels and of the table. Its id is worth nothing then.
    /// Returns the wire of one whose last words were written: see [`Wire::part`].
    pub fn remove(&mut self, id: ConnectionId) -> Option<Wire> {
        if !self.contains(id) {
            return None;
        }
        self.leave_all(id.slot);
        let mut pipe = self.table.remove(id)?;
        pipe.wake();
        if pipe.flags.finished {
            return Some(pipe.wire);
        }
        pipe.wire.end(&mut self.scratch);
        None
    }

    /// Makes the connection a member of `channel`. A member again keeps its cursor, unless it was
    /// about to stop: then it starts anew, and what lies between is not its to see.
    pub fn join(&mut self, channel: ChannelNo, id: ConnectionId, start: Start) {
        if self.table.get(id).is_none_or(|pipe| pipe.life != Life::Open) {
            return;
        }
        if let Some((index, member)) = self.member(channel, id) {
            let log = self.channels.log(index);
            if log.stop_of(&log.members[member]).is_none() {
                return;
            }
            self.detach_member(index, member);
        }
        let index = self.channels.enter(channel);
        let Some(pipe) = self.table.get_mut(id) else { return };
        let place = narrow(pipe.memberships.len());
        let member = self.channels.change(index, |log| log.join(id.slot, place, start));
        let membership = Membership { log: index, member: narrow(member) };
        thrift::push(&mut pipe.memberships, membership);
        self.revisit(index);
    }

    /// Starts a cursor that waited, at `seq`. What the log no longer holds is told as `behind`.
    pub fn start(&mut self, channel: ChannelNo, id: ConnectionId, seq: Seq, now: Moment) {
        self.now = self.now.max(now);
        if let Some((index, member)) = self.member(channel, id) {
            self.channels.change(index, |log| log.start(member, seq));
            self.revisit(index);
        }
    }

    /// Lets the member have `seq` and nothing after it: nothing above is ever encrypted for it.
    pub fn stop_after(&mut self, channel: ChannelNo, id: ConnectionId, seq: Seq) {
        let Some((index, member)) = self.member(channel, id) else { return };
        if self.channels.change(index, |log| log.stop_after(member, seq)) {
            self.detach_member(index, member);
        }
        self.revisit(index);
    }

    /// Ends the membership at once.
    pub fn leave(&mut self, channel: ChannelNo, id: ConnectionId) {
        if let Some((index, member)) = self.member(channel, id) {
            self.detach_member(index, member);
            self.revisit(index);
        }
    }

    /// Gives the channel's members here the next event, as the frame that is sent.
    pub fn append(&mut self, channel: ChannelNo, seq: Seq, frame: &Bytes, now: Moment) -> Appended {
        self.now = self.now.max(now);
        let appended = self.channels.append((channel, seq), frame, now, &self.options);
        if appended == Appended::Gap {
            self.metrics.gaps.increment(1);
        }
        appended
    }

    /// Events up to `head` exist, whether they came here or not: members who lack some are told
    /// which they have to read from history.
    pub fn reach(&mut self, channel: ChannelNo, head: Seq, now: Moment) {
        self.now = self.now.max(now);
        if let Some(index) = self.channels.find(channel)
            && self.channels.change(index, |log| log.reach(head))
        {
            self.metrics.gaps.increment(1);
            self.revisit(index);
        }
    }

    /// Memory is scarce, or no longer. While it is, less is kept for readers who lag, from now on:
    /// they are told which events they have to read from history.
    pub fn keep_less(&mut self, is_scarce: bool) {
        self.options = if is_scarce { self.whole.scarce() } else { self.whole };
        if is_scarce {
            let shed = self.channels.trim(&self.options);
            self.metrics.shed(shed);
        }
    }

    /// How long the head of the round robin has waited since its last turn. Cursors that wait for
    /// their socket do not count.
    pub fn oldest_unsent(&self, now: Moment) -> Duration {
        self.channels.oldest_unsent(now)
    }

    /// What happened since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Connections here.
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// Bytes of unsent events.
    pub fn log_bytes(&self) -> usize {
        self.channels.bytes()
    }

    /// The connection's entry in the channel: index of the log, index in it.
    fn member(&self, channel: ChannelNo, id: ConnectionId) -> Option<(u32, usize)> {
        let index = self.channels.find(channel)?;
        let pipe = self.table.get(id)?;
        let members = &self.channels.log(index).members;
        // Whichever list is shorter: people are in few channels, or channels have few people.
        if members.len() < pipe.memberships.len() {
            members.iter().position(|member| member.slot == id.slot).map(|member| (index, member))
        } else {
            let membership = pipe.memberships.iter().find(|membership| membership.log == index)?;
            Some((index, membership.member as usize))
        }
    }

    /// Gives a channel whose members changed its turn, if there is anything to do in it.
    pub(super) fn revisit(&mut self, index: u32) {
        if self.channels.log(index).news().is_some() {
            self.channels.enqueue(index, self.now);
        } else {
            self.channels.drop_unused(index);
        }
    }

    /// Takes a member out of its log, and keeps both lists true.
    pub(super) fn detach_member(&mut self, index: u32, member: usize) {
        let gone = self.channels.log(index).members[member];
        if let Some(moved) = self.channels.change(index, |log| log.remove(member))
            && let Some(pipe) = self.table.at(moved.slot)
        {
            pipe.memberships[moved.place as usize].member = narrow(member);
        }
        let Some(pipe) = self.table.at(gone.slot) else { return };
        if let Some(Membership { log, member }) = pipe.remove_membership(gone.place) {
            self.channels.change(log, |log| log.moved(member as usize, gone.place));
        }
    }

    /// Takes a connection out of all its channels.
    pub(super) fn leave_all(&mut self, slot: u32) {
        while let Some(Membership { log, member }) =
            self.table.at(slot).and_then(|pipe| pipe.memberships.last().copied())
        {
            self.detach_member(log, member as usize);
            self.revisit(log);
        }
    }

    /// The connection is over: nothing more is read or written, and its shard is told.
    pub(super) fn over(&mut self, slot: u32, why: Why) {
        let id = self.table.id_at(slot);
        let Some(pipe) = self.table.at(slot).filter(|pipe| pipe.life != Life::Over) else { return };
        pipe.life = Life::Over;
        pipe.control = Vec::new();
        pipe.bulk = None;
        pipe.wake();
        self.notices.push(Notice::Gone(id, why));
        self.leave_all(slot);
    }

    /// Sees to it that a pipe whose socket is full is looked at when its time is up.
    pub(super) fn watch(&mut self, slot: u32) {
        let id = self.table.id_at(slot);
        let Some(pipe) = self.table.at(slot) else { return };
        if let Some(stall) = pipe.stall.as_ref().filter(|_| !pipe.flags.watched) {
            self.watched.insert((stall.since.plus(self.options.stalled_max), slot, id.generation));
            pipe.flags.watched = true;
        }
    }
}

/// An index into a list that has fewer than 2^32 entries.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
