//! Slots with generations: an id of an earlier connection never reaches a later one.

use crate::runtime::route::ConnectionId;

use super::pipe::Pipe;

/// The pipes of one shard.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    pipe: Option<Pipe>,
}

impl Table {
    /// Enters a pipe.
    pub(super) fn enter(&mut self, pipe: Pipe) -> ConnectionId {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                // There are fewer descriptors than that.
                let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
                self.slots.push(Slot { generation: 0, pipe: None });
                slot
            }
        };
        let entry = &mut self.slots[slot as usize];
        entry.pipe = Some(pipe);
        ConnectionId { slot, generation: entry.generation }
    }

    /// Takes a pipe out; its id is worth nothing from now on.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Pipe> {
        let entry = self.slots.get_mut(id.slot as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        let pipe = entry.pipe.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(pipe)
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Pipe> {
        let entry = self.slots.get(id.slot as usize)?;
        entry.pipe.as_ref().filter(|_| entry.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Pipe> {
        let entry = self.slots.get_mut(id.slot as usize)?;
        entry.pipe.as_mut().filter(|_| entry.generation == id.generation)
    }

    /// The pipe in a slot, whatever its generation: for lists that are kept true with the table.
    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Pipe> {
        self.slots.get_mut(slot as usize)?.pipe.as_mut()
    }

    /// The id of the pipe that is now in a slot.
    pub(super) fn id_at(&self, slot: u32) -> ConnectionId {
        let generation = self.slots.get(slot as usize).map_or(0, |entry| entry.generation);
        ConnectionId { slot, generation }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
