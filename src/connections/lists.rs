//! Connections with something to send besides live events, in the order of their turns.
//!
//! A slot stands in a list at most once, by a flag of its pipe. An entry whose pipe went away
//! meets a flag that is not set, and is passed over.

use std::collections::VecDeque;

use super::pipe::Pipe;

/// The two lists, by slot.
#[derive(Default)]
pub(super) struct Lists {
    control: VecDeque<u32>,
    bulk: VecDeque<u32>,
}

impl Lists {
    /// The pipe has answers to send.
    pub(super) fn add_control(&mut self, slot: u32, pipe: &mut Pipe) {
        if !std::mem::replace(&mut pipe.flags.in_control, true) {
            self.control.push_back(slot);
        }
    }

    /// The pipe has a chunk to send.
    pub(super) fn add_bulk(&mut self, slot: u32, pipe: &mut Pipe) {
        if !std::mem::replace(&mut pipe.flags.in_bulk, true) {
            self.bulk.push_back(slot);
        }
    }

    pub(super) fn next_control(&mut self) -> Option<u32> {
        self.control.pop_front()
    }

    pub(super) fn next_bulk(&mut self) -> Option<u32> {
        self.bulk.pop_front()
    }

    /// Pipes waiting, in control and in bulk.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.control.len(), self.bulk.len())
    }
}
