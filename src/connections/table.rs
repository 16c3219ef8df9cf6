//! The room's front: pipes and channel logs of one shard.
//!
//! In: `enter`, `control`, `bulk`, `join`, `start`, `stop_after`, `leave`, `append`,
//! `finish`, `remove`. Out: `turn` writes a budget's worth, then `take_notices` says
//! what the shard must know.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::log::{Appended, Log, Member};
use super::metrics::{Metrics, Sums};
use super::pipe::{Bulk, CONTROL_BYTES_MAX, LaneFull, Pipe, Ready, State};
use super::socket::poll_either;
use super::wire::{Received, Scratch, Wire, WireError};
use crate::runtime::route::{ConnectionId, ShardNo};

/// How pipes are treated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Writes of one turn.
    pub writes_per_turn: usize,
    /// Writes of one channel in a turn, then it stands at the back again.
    pub writes_per_channel: usize,
    /// A connection whose socket took nothing for this long is cut.
    pub stalled_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let stalled_max = crate::model::limits::STALLED_MAX;
        Self { writes_per_turn: 64, writes_per_channel: 16, stalled_max }
    }
}

/// Where a member's cursor begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At this seq.
    At(Seq),
    /// Not yet: [`Connections::start`] says where, once what lies before was read.
    Waiting,
}

/// What a turn left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// There is more to write at once.
    pub more: bool,
}

/// What the shard must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The bulk lane takes the next chunk.
    BulkFree(ConnectionId),
    /// The control lane has room again.
    ControlFree(ConnectionId),
    /// The connection is over: take it out.
    Gone(ConnectionId, Why),
}

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Its closing frame was written.
    Finished,
    /// Its socket took nothing for too long.
    Slow,
    /// Its socket or its TLS failed.
    Broken,
}

impl Why {
    /// For metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Slow => "slow",
            Self::Broken => "broken",
        }
    }
}

/// See the module's text.
pub struct Connections {
    pub(super) options: Options,
    pub(super) pipes: Vec<Slot>,
    pub(super) free: Vec<u32>,
    pub(super) logs: Vec<Option<Log>>,
    pub(super) free_logs: Vec<u32>,
    pub(super) by_channel: HashMap<ChannelNo, u32, FixedState>,
    /// Logs with news, by index.
    pub(super) queue: VecDeque<u32>,
    /// Pipes with answers.
    pub(super) answering: VecDeque<ConnectionId>,
    /// Pipes with a chunk of the bulk lane.
    pub(super) bulking: VecDeque<ConnectionId>,
    /// Pipes whose socket is full.
    pub(super) stalled: Vec<ConnectionId>,
    pub(super) notices: Vec<Notice>,
    pub(super) scratch: Scratch,
    pub(super) sums: Sums,
    metrics: Metrics,
    looked_at: Moment,
}

pub(super) struct Slot {
    generation: u32,
    pipe: Option<Pipe>,
}

/// How often full sockets are looked at.
const STALL_CHECK: Duration = Duration::from_secs(1);

impl Connections {
    /// A shard without connections.
    pub fn new(options: Options, shard: ShardNo) -> Self {
        Self {
            options,
            pipes: Vec::new(),
            free: Vec::new(),
            logs: Vec::new(),
            free_logs: Vec::new(),
            by_channel: HashMap::default(),
            queue: VecDeque::new(),
            answering: VecDeque::new(),
            bulking: VecDeque::new(),
            stalled: Vec::new(),
            notices: Vec::new(),
            scratch: Scratch::default(),
            sums: Sums::default(),
            metrics: Metrics::new(shard),
            looked_at: Moment::default(),
        }
    }

    /// Takes a logged-in connection over.
    pub fn enter(&mut self, wire: Wire, now: Moment) -> ConnectionId {
        let mut pipe = Pipe::new(wire);
        if !pipe.wire.is_drained() {
            pipe.stalled_since = Some(now);
        }
        let stalled = pipe.stalled_since.is_some();
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.pipes.push(Slot { generation: 0, pipe: None });
                u32::try_from(self.pipes.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let mut id = ConnectionId { slot, generation: 0 };
        if let Some(entry) = self.pipes.get_mut(slot as usize) {
            id.generation = entry.generation;
            entry.pipe = Some(pipe);
        }
        if stalled {
            self.stalled.push(id);
        }
        id
    }

    /// Whether the connection is here.
    pub fn contains(&self, id: ConnectionId) -> bool {
        self.pipe(id).is_some()
    }

    /// Whether the connection can be read (if `read` is asked) or takes bytes again.
    pub fn poll_ready(
        &self,
        id: ConnectionId,
        read: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Ready>> {
        let Some(pipe) = self.pipe(id) else { return Poll::Ready(None) };
        let read = read && pipe.state == State::Open;
        let ready = poll_either(pipe.wire.socket(), (read, !pipe.wire.is_drained()), cx);
        ready.map(|(readable, writable)| Some(Ready { readable, writable }))
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
        let Self { pipes, scratch, .. } = self;
        let Some(pipe) = pipe_in(pipes, id) else { return Ok(Received::End) };
        pipe.wire.receive(scratch, plain)
    }

    /// The socket takes bytes again.
    pub fn writable(&mut self, id: ConnectionId, now: Moment) {
        let Some(pipe) = pipe_in(&mut self.pipes, id) else { return };
        match pipe.wire.flush() {
            Err(_) => return self.over(id, Why::Broken),
            Ok(true) if !pipe.wire.is_drained() => pipe.stalled_since = Some(now),
            Ok(_) => {}
        }
        if pipe.wire.is_drained() {
            self.drained(id, now);
        }
    }

    /// Puts an answer into the control lane.
    ///
    /// # Errors
    /// [`LaneFull`]: the answer was not taken.
    pub fn control(&mut self, id: ConnectionId, frame: Bytes) -> Result<(), LaneFull> {
        let Some(pipe) = pipe_in(&mut self.pipes, id) else { return Ok(()) };
        if pipe.state != State::Open {
            return Ok(());
        }
        if pipe.control.len() + frame.len() > CONTROL_BYTES_MAX {
            return Err(LaneFull);
        }
        pipe.control.extend_from_slice(&frame);
        pipe.was_full |= half_full(pipe);
        self.list(id);
        Ok(())
    }

    /// Whether reading must stop until answers were taken.
    pub fn control_full(&self, id: ConnectionId) -> bool {
        self.pipe(id).is_some_and(half_full)
    }

    /// Hands the bulk lane its next chunk; `then` says which cursors start behind it.
    pub fn bulk(&mut self, id: ConnectionId, bytes: Bytes, then: Vec<(ChannelNo, Seq)>) {
        let Some(pipe) = pipe_in(&mut self.pipes, id) else { return };
        if pipe.state != State::Open {
            return;
        }
        pipe.bulk = Some(Box::new(Bulk { bytes, then }));
        self.bulking.push_back(id);
    }

    /// Whether the bulk lane takes a chunk: the last one was written and the socket has drained.
    pub fn bulk_free(&self, id: ConnectionId) -> bool {
        self.pipe(id).is_some_and(|pipe| pipe.bulk.is_none() && pipe.wire.is_drained())
    }

    /// Writes what waits in the control lane and then `closing`; then the connection is over.
    pub fn finish(&mut self, id: ConnectionId, closing: Bytes) {
        let Some(pipe) = pipe_in(&mut self.pipes, id) else { return };
        if pipe.state != State::Open {
            return;
        }
        pipe.control.extend_from_slice(&closing);
        pipe.state = State::Finishing;
        pipe.bulk = None;
        self.list(id);
    }

    /// Takes the connection out. Its cursors go with the next pass over their logs, or by `leave`.
    pub fn remove(&mut self, id: ConnectionId) {
        let Some(entry) = self.pipes.get_mut(id.slot as usize) else { return };
        if entry.generation != id.generation || entry.pipe.is_none() {
            return;
        }
        if let Some(mut pipe) = entry.pipe.take() {
            pipe.wire.end(&mut self.scratch);
        }
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(id.slot);
    }

    /// Makes the connection a member of `channel`. A member again keeps its cursor.
    pub fn join(&mut self, channel: ChannelNo, id: ConnectionId, start: Start) {
        let index = self.log_of(channel);
        let Some(log) = self.logs.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let next = match start {
            Start::At(seq) => seq,
            Start::Waiting => Seq::ZERO,
        };
        match log.members.iter_mut().find(|member| member.connection == id) {
            // Removed and added again: what lay between is not its to see.
            Some(member) if member.until != Seq::MAX => {
                *member = Member { connection: id, next, until: Seq::MAX };
            }
            Some(_) => {}
            None => log.members.push(Member { connection: id, next, until: Seq::MAX }),
        }
    }

    /// Starts a cursor that waited. What the log no longer holds is told as `behind`.
    pub fn start(&mut self, channel: ChannelNo, id: ConnectionId, seq: Seq, now: Moment) {
        let Some(index) = self.by_channel.get(&channel).copied() else { return };
        let Some(log) = self.logs.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let last = log.last();
        let Some(member) = log.members.iter_mut().find(|member| member.connection == id) else {
            return;
        };
        if member.next == Seq::ZERO {
            member.next = seq;
        }
        if member.wants(last) {
            self.enqueue(index, now);
        }
    }

    /// Lets the member have `seq` and nothing after it.
    pub fn stop_after(&mut self, channel: ChannelNo, id: ConnectionId, seq: Seq) {
        let Some(index) = self.by_channel.get(&channel).copied() else { return };
        let Some(log) = self.logs.get_mut(index as usize).and_then(Option::as_mut) else { return };
        if let Some(member) = log.members.iter_mut().find(|member| member.connection == id) {
            member.until = seq;
            if member.is_over() {
                self.leave(channel, id);
            }
        }
    }

    /// Ends the membership at once.
    pub fn leave(&mut self, channel: ChannelNo, id: ConnectionId) {
        let Some(index) = self.by_channel.get(&channel).copied() else { return };
        let Some(log) = self.logs.get_mut(index as usize).and_then(Option::as_mut) else { return };
        log.members.retain(|member| member.connection != id);
        if log.members.is_empty() && !log.queued {
            self.drop_log(index);
        }
    }

    /// Gives the channel's members here the next event.
    pub fn append(&mut self, channel: ChannelNo, seq: Seq, frame: &Bytes, now: Moment) -> Appended {
        let Some(index) = self.by_channel.get(&channel).copied() else { return Appended::Nobody };
        let Some(log) = self.logs.get_mut(index as usize).and_then(Option::as_mut) else {
            return Appended::Nobody;
        };
        let appended = log.append(seq, frame);
        if appended == Appended::Gap {
            self.sums.gaps += 1;
        }
        self.enqueue(index, now);
        appended
    }

    /// How long the head of the round robin has waited since its last turn.
    pub fn oldest_unsent(&self, now: Moment) -> Duration {
        let log = self.queue.front().and_then(|index| self.logs.get(*index as usize)?.as_ref());
        log.map_or(Duration::ZERO, |log| now.since(log.since))
    }

    /// Writes a budget's worth: live events in turn, answers, and chunks of the bulk lane.
    pub fn turn(&mut self, now: Moment) -> Turn {
        self.flush_live(now);
        self.flush_answers(now);
        self.flush_bulk(now);
        if now.since(self.looked_at) >= STALL_CHECK {
            self.looked_at = now;
            self.cut_slow(now);
        }
        let pipes = self.pipes.len() - self.free.len();
        self.metrics.tell(&mut self.sums, (pipes, self.by_channel.len(), self.queue.len()));
        let waiting = [self.queue.len(), self.answering.len(), self.bulking.len()];
        Turn { more: waiting.iter().any(|waiting| *waiting > 0) }
    }

    /// What happened since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(super) fn enqueue(&mut self, index: u32, now: Moment) {
        if let Some(log) = self.logs.get_mut(index as usize).and_then(Option::as_mut)
            && !log.queued
        {
            log.queued = true;
            log.since = now;
            log.position = 0;
            self.queue.push_back(index);
        }
    }

    pub(super) fn over(&mut self, id: ConnectionId, why: Why) {
        if let Some(pipe) = pipe_in(&mut self.pipes, id)
            && pipe.state != State::Over
        {
            pipe.state = State::Over;
            pipe.bulk = None;
            self.notices.push(Notice::Gone(id, why));
        }
    }

    pub(super) fn list(&mut self, id: ConnectionId) {
        if let Some(pipe) = pipe_in(&mut self.pipes, id)
            && !pipe.listed
        {
            pipe.listed = true;
            self.answering.push_back(id);
        }
    }

    pub(super) fn drop_log(&mut self, index: u32) {
        if let Some(log) = self.logs.get_mut(index as usize).and_then(Option::take) {
            self.by_channel.remove(&log.channel);
            self.free_logs.push(index);
        }
    }

    fn log_of(&mut self, channel: ChannelNo) -> u32 {
        if let Some(index) = self.by_channel.get(&channel) {
            return *index;
        }
        let log = Some(Log::new(channel));
        let index = match self.free_logs.pop() {
            Some(index) => {
                if let Some(entry) = self.logs.get_mut(index as usize) {
                    *entry = log;
                }
                index
            }
            None => {
                self.logs.push(log);
                u32::try_from(self.logs.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.by_channel.insert(channel, index);
        index
    }

    fn pipe(&self, id: ConnectionId) -> Option<&Pipe> {
        let entry = self.pipes.get(id.slot as usize)?;
        if entry.generation == id.generation { entry.pipe.as_ref() } else { None }
    }
}

/// The pipe of `id`, if that is still the one in its slot.
pub(super) fn pipe_in(pipes: &mut [Slot], id: ConnectionId) -> Option<&mut Pipe> {
    let entry = pipes.get_mut(id.slot as usize)?;
    if entry.generation == id.generation { entry.pipe.as_mut() } else { None }
}

/// Reading stops at half, so that what is in flight still fits.
fn half_full(pipe: &Pipe) -> bool {
    pipe.control.len() > CONTROL_BYTES_MAX / 2
}
