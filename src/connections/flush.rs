//! One turn: cursors and lanes become TLS records, a budget of socket writes at a time.
//!
//! ```text
//! live     round robin of channels with news, a quantum each, then to the back
//! control  connections whose answers rode with no event
//! bulk     a chunk for connections whose socket has drained
//! ```
//!
//! The quantum keeps a broadcast to thousands from holding small groups up; the budget lets the
//! shard read, commit and answer before it writes on. A few writes of each turn are kept for
//! control and bulk, so that no lane starves another.

use damso_proto::time::Moment;

use super::notice::{Notice, Turn, Why};
use super::options::RECORD_BYTES_MAX;
use super::pass::{Outcome, Pass};
use super::pipe::{Bulk, Life, Pipe};
use super::shard::Connections;
use super::wire::{Scratch, WireError};
use crate::runtime::route::ConnectionId;

impl Connections {
    /// Writes a budget's worth: live events in turn, answers, chunks of the bulk lane.
    pub fn turn(&mut self, now: Moment) -> Turn {
        self.now = self.now.max(now);
        let mut turn = Turn::default();
        let budget = self.options.sends_per_turn;
        let (control, bulk) = self.lists.waiting();
        let for_control = at_most(control, self.options.control_sends_per_turn);
        let for_bulk = at_most(bulk, self.options.bulk_sends_per_turn);
        self.flush_live(budget.saturating_sub(for_control + for_bulk), &mut turn);
        self.flush_control(budget.saturating_sub(for_bulk), &mut turn);
        self.flush_bulk(budget, bulk, &mut turn);
        self.cut_slow(&mut turn);
        turn.more = self.channels.has_news() || self.lists.waiting() != (0, 0);
        self.metrics.count(&turn);
        self.metrics.show(self.table.len(), self.channels.len(), self.channels.bytes());
        turn
    }

    fn flush_live(&mut self, budget: u32, turn: &mut Turn) {
        let mut spent = 0;
        while spent < budget {
            let Some(index) = self.channels.take_turn() else { return };
            let quantum = self.options.sends_per_channel.min(budget - spent);
            let mut pass = Pass {
                table: &mut self.table,
                scratch: &mut self.scratch,
                plain: &mut self.plain,
                options: &self.options,
                now: self.now,
                turn,
                index,
                prepared: None,
                outcome: Outcome::default(),
            };
            let used = self.channels.change(index, |log| pass.run(log, quantum));
            let outcome = pass.outcome;
            spent += used;
            // Cut by its own quantum, a channel goes to the back; cut by the budget, it stays.
            let cut = used >= quantum && quantum < self.options.sends_per_channel;
            self.channels.end_turn(index, cut, self.now, &self.options);
            self.settle(index, outcome);
        }
    }

    /// Carries out what a pass could not do to lists that it was walking.
    fn settle(&mut self, index: u32, outcome: Outcome) {
        for (slot, place) in outcome.stopped {
            let membership = self
                .table
                .at(slot)
                .and_then(|pipe| pipe.memberships.get(place as usize).copied())
                .filter(|membership| membership.log == index);
            if let Some(membership) = membership {
                self.detach_member(index, membership.member as usize);
                self.revisit(index);
            }
        }
        for slot in outcome.stalled {
            self.watch(slot);
        }
        for slot in outcome.broken {
            self.over(slot, Why::Broken);
        }
    }

    /// Answers that found no event to ride with.
    fn flush_control(&mut self, budget: u32, turn: &mut Turn) {
        while turn.sends < budget {
            let Some(slot) = self.lists.next_control() else { return };
            let id = self.table.id_at(slot);
            let Some(pipe) = self.table.at(slot).filter(|pipe| pipe.flags.in_control) else {
                continue;
            };
            pipe.flags.in_control = false;
            if !pipe.can_send() {
                continue;
            }
            let sent = send_control(pipe, &mut self.scratch, &mut self.plain, self.now, turn);
            if sent.is_err() {
                self.over(slot, Why::Broken);
                continue;
            }
            if pipe.flags.control_was_full && pipe.control.is_empty() {
                pipe.flags.control_was_full = false;
                self.notices.push(Notice::ControlFree(id));
            }
            if pipe.stall.is_some() {
                self.watch(slot);
            } else if !pipe.control.is_empty() {
                self.lists.add_control(slot, pipe);
            } else if pipe.life == Life::Finishing {
                pipe.wire.end(&mut self.scratch);
                pipe.flags.finished = true;
                self.over(slot, Why::Finished);
            }
        }
    }

    /// Chunks of replays and pages.
    fn flush_bulk(&mut self, budget: u32, waiting: usize, turn: &mut Turn) {
        for _ in 0..waiting {
            if turn.sends >= budget {
                return;
            }
            let Some(slot) = self.lists.next_bulk() else { return };
            let Some(pipe) = self.table.at(slot).filter(|pipe| pipe.flags.in_bulk) else {
                continue;
            };
            pipe.flags.in_bulk = false;
            if !pipe.can_send() {
                continue;
            }
            if !pipe.control.is_empty() {
                self.lists.add_bulk(slot, pipe);
            } else if let Some(bulk) = pipe.bulk.take() {
                self.send_bulk(slot, *bulk, turn);
            }
        }
    }

    fn send_bulk(&mut self, slot: u32, bulk: Bulk, turn: &mut Turn) {
        let id = self.table.id_at(slot);
        let Some(pipe) = self.table.at(slot) else { return };
        turn.sends += at_most(bulk.bytes.len().div_ceil(RECORD_BYTES_MAX), u32::MAX);
        turn.bytes += bulk.bytes.len() as u64;
        match pipe.send(&mut self.scratch, &bulk.bytes, 0, self.now) {
            Ok(true) => self.notices.push(Notice::BulkFree(id)),
            Ok(false) => {
                pipe.flags.bulk_in_flight = true;
                turn.blocked += 1;
                self.watch(slot);
            }
            Err(_) => return self.over(slot, Why::Broken),
        }
        for (channel, seq) in bulk.then {
            self.start(channel, id, seq, self.now);
        }
    }

    /// Cuts connections whose socket has taken nothing for too long.
    fn cut_slow(&mut self, turn: &mut Turn) {
        while let Some(&(due, slot, generation)) = self.watched.first()
            && due <= self.now
        {
            self.watched.pop_first();
            let Some(pipe) = self.table.get_mut(ConnectionId { slot, generation }) else {
                continue;
            };
            pipe.flags.watched = false;
            let Some(stall) = &pipe.stall else { continue };
            if stall.since.plus(self.options.stalled_max) <= self.now {
                turn.slow += 1;
                self.over(slot, Why::Slow);
            } else {
                self.watch(slot);
            }
        }
    }
}

fn send_control(
    pipe: &mut Pipe,
    scratch: &mut Scratch,
    plain: &mut Vec<u8>,
    now: Moment,
    turn: &mut Turn,
) -> Result<(), WireError> {
    let control = pipe.control_in_record();
    if control == 0 {
        return Ok(());
    }
    plain.clear();
    plain.extend_from_slice(&pipe.control[..control]);
    turn.sends += 1;
    turn.bytes += control as u64;
    let drained = pipe.send(scratch, plain, control, now)?;
    turn.blocked += u32::from(!drained);
    Ok(())
}

fn at_most(count: usize, most: u32) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).min(most)
}
