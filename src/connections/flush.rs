//! The loop that turns cursors into writes, a budget at a time.
//!
//! Channels with news stand in a round robin. One gets at most a quantum of writes,
//! then it stands at the back; where the turn's budget ends first, it stays in front.
//! So a broadcast to thousands does not keep small groups waiting, and after each
//! turn the shard reads, commits and answers before it writes on.

use damso_proto::id::Seq;
use damso_proto::time::Moment;
use damso_proto::wire;
use prost::Message as _;

use super::log::Log;
use super::pipe::State;
use super::table::{Connections, Notice, Why, pipe_in};
use super::wire::RECORD_BYTES_MAX;
use crate::runtime::route::ConnectionId;

/// What a member was sent.
enum Sent {
    /// It has everything for now, or cannot take more.
    Done,
    /// One write was made.
    Written,
    /// Its connection is gone.
    Gone,
    /// Its connection failed.
    Broken,
}

/// What ended a channel's pass.
enum Pass {
    /// Every member was looked at.
    Complete,
    /// The quantum or the budget ended.
    Cut,
}

impl Connections {
    pub(super) fn flush_live(&mut self, now: Moment) {
        let mut budget = self.options.writes_per_turn;
        while budget > 0 {
            let Some(index) = self.queue.pop_front() else { return };
            let Some(mut log) = self.logs.get_mut(index as usize).and_then(Option::take) else {
                continue;
            };
            let quantum = self.options.writes_per_channel.min(budget);
            let (writes, pass) = self.pass(&mut log, quantum, now);
            budget -= writes;
            log.since = now;
            let again = match pass {
                Pass::Cut => true,
                Pass::Complete => self.complete(&mut log),
            };
            log.queued = again;
            let abandoned = log.members.is_empty() && !again;
            if let Some(entry) = self.logs.get_mut(index as usize) {
                *entry = Some(log);
            }
            if abandoned {
                self.drop_log(index);
            } else if again && matches!(pass, Pass::Cut) && budget == 0 {
                self.queue.push_front(index);
            } else if again {
                self.queue.push_back(index);
            }
        }
    }

    /// Serves members from where the pass stands, at most `quantum` writes.
    fn pass(&mut self, log: &mut Log, quantum: usize, now: Moment) -> (usize, Pass) {
        let mut writes = 0;
        while log.position < log.members.len() {
            if writes == quantum {
                return (writes, Pass::Cut);
            }
            match self.serve(log, now) {
                Sent::Written => writes += 1,
                Sent::Done => log.position += 1,
                Sent::Gone => drop(log.members.swap_remove(log.position)),
                Sent::Broken => {
                    let member = log.members.swap_remove(log.position);
                    self.over(member.connection, Why::Broken);
                }
            }
        }
        (writes, Pass::Complete)
    }

    /// Sends the member at the log's position what fits into one record.
    fn serve(&mut self, log: &mut Log, now: Moment) -> Sent {
        let (first, last) = (log.first(), log.last());
        let Some(member) = log.members.get(log.position).copied() else { return Sent::Done };
        let Self { pipes, scratch, sums, stalled, .. } = self;
        let Some(pipe) = pipe_in(pipes, member.connection) else { return Sent::Gone };
        if !member.wants(last) {
            return if member.is_over() { Sent::Gone } else { Sent::Done };
        }
        if !pipe.takes_live() {
            pipe.stall(log.channel);
            return Sent::Done;
        }
        scratch.plain.clear();
        scratch.plain.append(&mut pipe.control);
        let mut next = member.next;
        if next < first {
            let to = first.prev().min(member.until);
            behind(log, next, to, &mut scratch.plain);
            sums.fallen += 1;
            next = first;
        }
        for frame in log.from(next, member.until) {
            if !scratch.plain.is_empty() && scratch.plain.len() + frame.len() > RECORD_BYTES_MAX {
                break;
            }
            scratch.plain.extend_from_slice(frame);
            next = next.next();
            sums.deliveries += 1;
        }
        sums.writes += 1;
        sums.plain_bytes += scratch.plain.len() as u64;
        if pipe.wire.send_plain(scratch).is_err() {
            return Sent::Broken;
        }
        if let Some(member) = log.members.get_mut(log.position) {
            member.next = next;
        }
        if !pipe.wire.is_drained() && pipe.stalled_since.is_none() {
            pipe.stalled_since = Some(now);
            stalled.push(member.connection);
            sums.blocked += 1;
        }
        Sent::Written
    }

    /// After a pass: drops what everybody has. `true`: somebody who can take more wants more.
    fn complete(&mut self, log: &mut Log) -> bool {
        log.position = 0;
        let last = log.last();
        let Self { pipes, .. } = self;
        let mut again = false;
        for member in &log.members {
            let takes = pipe_in(pipes, member.connection).is_some_and(|pipe| pipe.takes_live());
            again |= takes && member.wants(last);
        }
        log.trim(|member| pipe_in(pipes, member.connection).is_none_or(|pipe| !pipe.takes_live()));
        again
    }

    /// Answers that did not ride along with live events.
    pub(super) fn flush_answers(&mut self, now: Moment) {
        let most = self.answering.len().min(self.options.writes_per_turn);
        for _ in 0..most {
            let Some(id) = self.answering.pop_front() else { return };
            self.flush_control(id, now);
        }
    }

    fn flush_control(&mut self, id: ConnectionId, now: Moment) {
        let Self { pipes, scratch, sums, stalled, notices, .. } = self;
        let Some(pipe) = pipe_in(pipes, id) else { return };
        pipe.listed = false;
        if pipe.state == State::Over || !pipe.wire.is_drained() {
            return;
        }
        if !pipe.control.is_empty() {
            let control = std::mem::take(&mut pipe.control);
            sums.writes += 1;
            sums.plain_bytes += control.len() as u64;
            if pipe.wire.send(scratch, &control).is_err() {
                return self.over(id, Why::Broken);
            }
        }
        if std::mem::take(&mut pipe.was_full) {
            notices.push(Notice::ControlFree(id));
        }
        if !pipe.wire.is_drained() {
            if pipe.stalled_since.is_none() {
                pipe.stalled_since = Some(now);
                stalled.push(id);
                sums.blocked += 1;
            }
        } else if pipe.state == State::Finishing {
            pipe.wire.end(scratch);
            self.over(id, Why::Finished);
        }
    }

    /// Chunks of the bulk lane, a record at a time, for sockets that have drained.
    pub(super) fn flush_bulk(&mut self, now: Moment) {
        let most = self.bulking.len().min(self.options.writes_per_channel);
        for _ in 0..most {
            let Some(id) = self.bulking.pop_front() else { return };
            self.flush_chunk(id, now);
        }
    }

    fn flush_chunk(&mut self, id: ConnectionId, now: Moment) {
        let Self { pipes, scratch, sums, stalled, notices, .. } = self;
        let Some(pipe) = pipe_in(pipes, id) else { return };
        if !pipe.takes_live() || !pipe.control.is_empty() {
            // Answers go first; a full socket brings the chunk back once it has drained.
            if pipe.takes_live() {
                self.bulking.push_back(id);
            }
            return;
        }
        let Some(bulk) = &mut pipe.bulk else { return };
        let record = bulk.bytes.split_to(bulk.bytes.len().min(RECORD_BYTES_MAX));
        sums.plain_bytes += record.len() as u64;
        if !record.is_empty() {
            sums.writes += 1;
            if pipe.wire.send(scratch, &record).is_err() {
                return self.over(id, Why::Broken);
            }
        }
        if !pipe.wire.is_drained() && pipe.stalled_since.is_none() {
            pipe.stalled_since = Some(now);
            stalled.push(id);
            sums.blocked += 1;
        }
        if !bulk.bytes.is_empty() {
            if pipe.wire.is_drained() {
                self.bulking.push_back(id);
            }
            return;
        }
        let then = std::mem::take(&mut bulk.then);
        pipe.bulk = None;
        if pipe.wire.is_drained() {
            notices.push(Notice::BulkFree(id));
        }
        for (channel, seq) in then {
            self.start(channel, id, seq, now);
        }
    }

    /// The socket has taken everything: what waited for it goes on.
    pub(super) fn drained(&mut self, id: ConnectionId, now: Moment) {
        let Some(pipe) = pipe_in(&mut self.pipes, id) else { return };
        pipe.stalled_since = None;
        let channels = std::mem::take(&mut pipe.stalled);
        let bulk = pipe.bulk.is_some();
        let answers = !pipe.control.is_empty() || pipe.state == State::Finishing || pipe.was_full;
        if bulk {
            self.bulking.push_back(id);
        } else {
            self.notices.push(Notice::BulkFree(id));
        }
        if answers {
            self.list(id);
        }
        for channel in channels {
            if let Some(index) = self.by_channel.get(&channel).copied() {
                self.enqueue(index, now);
            }
        }
    }

    /// Cuts connections whose socket has taken nothing for too long.
    pub(super) fn cut_slow(&mut self, now: Moment) {
        let max = self.options.stalled_max;
        let mut stalled = std::mem::take(&mut self.stalled);
        stalled.retain(|id| {
            let Some(pipe) = pipe_in(&mut self.pipes, *id) else { return false };
            let Some(since) = pipe.stalled_since else { return false };
            if now.since(since) < max {
                return true;
            }
            self.sums.slow += 1;
            self.over(*id, Why::Slow);
            false
        });
        self.stalled.append(&mut stalled);
    }
}

/// Tells that the seqs `from..=to` have to be read from history.
fn behind(log: &Log, from: Seq, to: Seq, plain: &mut Vec<u8>) {
    let standing = wire::Standing {
        channel: log.channel.get(),
        state: wire::standing::State::Behind.into(),
        from: from.get(),
        to: to.get(),
        head: log.last().get(),
        info: None,
    };
    let kind = Some(wire::server_frame::Kind::Standing(standing));
    let frame = wire::ServerFrame { kind, id: 0, more: false };
    // A Vec grows as needed: encoding into it does not fail.
    let encoded = frame.encode_length_delimited(plain);
    debug_assert!(encoded.is_ok(), "a Vec has room");
}
