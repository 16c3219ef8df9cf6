//! Who is connected, and what is said to them: at once, or after the delay.

use std::time::Duration;

use bytes::Bytes;
use rustls::server::UnbufferedServerConnection;
use slab::Slab;

use super::delay::Delay;
use crate::engine::pipe::{Pipe, Scratch};
use crate::engine::poll::now_ns;

pub(super) struct Conn {
    pub(super) pipe: Pipe<UnbufferedServerConnection>,
    /// The beginning of a frame; while reading is paused, whole frames, too.
    pub(super) left: Vec<u8>,
    pub(super) user: u64,
    /// It was ready when too much waited, and epoll will not say so again.
    paused: bool,
    /// No other connection has it, unlike the slot.
    born: u64,
}

/// A connection, and not the next one in its slot.
#[derive(Clone, Copy, Debug)]
struct Address {
    slot: usize,
    born: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Crowd {
    pub(super) conns: Slab<Conn>,
    pub(super) scratch: Scratch,
    births: u64,
    delay: Option<Delay<Address>>,
    paused: Vec<usize>,
    /// Those who could not be told something.
    broken: Vec<usize>,
}

impl Crowd {
    pub(super) fn set_delay(&mut self, delay: Duration, held_bytes_max: usize) {
        self.delay = Some(Delay::new(delay, held_bytes_max));
    }

    /// The slot that the next one to [`enter`](Self::enter) gets.
    pub(super) fn next_slot(&self) -> usize {
        self.conns.vacant_key()
    }

    pub(super) fn enter(&mut self, pipe: Pipe<UnbufferedServerConnection>) {
        self.births += 1;
        let (user, born) = (self.conns.vacant_key() as u64 + 1, self.births);
        self.conns.insert(Conn { pipe, left: Vec::new(), user, paused: false, born });
    }

    /// Says what several are told, now or later.
    pub(super) fn say(&mut self, slot: usize, said: &Bytes) {
        self.say_or_hold(slot, said, || said.clone());
    }

    /// Says what one alone is told.
    pub(super) fn answer(&mut self, slot: usize, said: &[u8]) {
        self.say_or_hold(slot, said, || Bytes::copy_from_slice(said));
    }

    fn say_or_hold(&mut self, slot: usize, said: &[u8], kept: impl FnOnce() -> Bytes) {
        let Some(conn) = self.conns.get_mut(slot) else { return };
        if let Some(delay) = &mut self.delay {
            delay.hold(Address { slot, born: conn.born }, kept(), now_ns());
        } else if conn.pipe.send(&mut self.scratch, said).is_err() {
            self.broken.push(slot);
        }
    }

    /// Says what is due.
    pub(super) fn say_due(&mut self) {
        let Some(delay) = &mut self.delay else { return };
        if delay.next_due_ns().is_none() {
            return;
        }
        while let Some((to, said)) = delay.take_due(now_ns()) {
            if let Some(conn) = self.conns.get_mut(to.slot)
                && conn.born == to.born
                && conn.pipe.send(&mut self.scratch, &said).is_err()
            {
                self.broken.push(to.slot);
            }
        }
    }

    pub(super) fn next_due_ns(&self) -> Option<u64> {
        self.delay.as_ref()?.next_due_ns()
    }

    /// What waits for the end of the delay, bytes.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.delay.as_ref().map_or(0, Delay::held_bytes)
    }

    /// Something is still to be said or to be read, and no socket will tell.
    #[cfg(test)]
    pub(super) fn owes(&self) -> bool {
        self.next_due_ns().is_some() || !self.paused.is_empty()
    }

    /// So much waits that nothing should be read.
    pub(super) fn is_full(&self) -> bool {
        self.delay.as_ref().is_some_and(Delay::is_full)
    }

    /// Remembers a connection that was ready and is not read now.
    pub(super) fn pause(&mut self, slot: usize) {
        let conn = &mut self.conns[slot];
        if !conn.paused {
            conn.paused = true;
            self.paused.push(slot);
        }
    }

    /// Someone is paused who need not be any more.
    pub(super) fn may_resume(&self) -> bool {
        !self.paused.is_empty() && self.delay.as_ref().is_none_or(Delay::has_room)
    }

    /// Takes those who may be read again.
    pub(super) fn take_resumed(&mut self) -> Vec<usize> {
        if !self.may_resume() {
            return Vec::new();
        }
        let mut resumed = std::mem::take(&mut self.paused);
        // A slot may be another's by now; that one is not paused.
        resumed.retain(|slot| {
            self.conns.get_mut(*slot).is_some_and(|conn| std::mem::take(&mut conn.paused))
        });
        resumed
    }

    pub(super) fn mark_broken(&mut self, slot: usize) {
        self.broken.push(slot);
    }

    /// Takes one who could not be told something, out of the crowd.
    pub(super) fn take_broken(&mut self) -> Option<usize> {
        while let Some(slot) = self.broken.pop() {
            if self.conns.try_remove(slot).is_some() {
                return Some(slot);
            }
        }
        None
    }
}
