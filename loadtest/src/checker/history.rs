//! What stands where: one slot per (channel, seq), filled by whoever saw it first.
//!
//! ```text
//! slot  | id 8 | content 8 | first seen by 4 | reading 2 | marks 1 |    24 bytes
//! ```
//!
//! Slots lie in chunks of 64, so a run of seqs costs 24 bytes each and a wild seq one chunk.

use std::collections::BTreeMap;

/// Slots in a chunk.
const CHUNK: u64 = 64;

/// Somebody received it.
pub(super) const RECEIVED: u8 = 1;
/// A sender was told that it stands here.
pub(super) const ACKED: u8 = 2;
/// History had it at some reading.
pub(super) const STORED: u8 = 4;
/// It is a message, so somebody must have sent it.
pub(super) const MESSAGE: u8 = 8;

/// What is known of one place.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) content: u64,
    /// Index into the table of observers.
    pub(super) by: u32,
    /// The last reading of history that had it; readings count from 1.
    pub(super) reading: u16,
    /// What is known; 0 = nothing was seen here.
    pub(super) marks: u8,
}

/// A full reading of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) from: u64,
    pub(super) head: u64,
    number: u16,
}

impl Reading {
    /// Whether this reading, or a later unfinished one, had the slot.
    pub(super) fn has(&self, seq: u64, slot: &Slot) -> bool {
        seq >= self.from && seq <= self.head && slot.reading >= self.number
    }
}

/// All places of one channel.
#[derive(Debug)]
pub(super) struct Log {
    chunks: BTreeMap<u64, Box<[Slot; CHUNK as usize]>>,
    reading: u16,
    /// The last full reading.
    pub(super) read: Option<Reading>,
    /// The highest seq acknowledged so far.
    pub(super) acked_top: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { chunks: BTreeMap::new(), reading: 1, read: None, acked_top: 0 }
    }
}

impl Log {
    /// Enters what was seen at `seq`. `Some`: something else stands there.
    pub(super) fn see(&mut self, seq: u64, new: Slot) -> Option<Slot> {
        let chunk =
            self.chunks.entry(seq / CHUNK).or_insert_with(|| Box::new([Slot::default(); 64]));
        let slot = &mut chunk[(seq % CHUNK) as usize];
        if new.marks & STORED != 0 {
            slot.reading = self.reading;
        }
        if slot.marks == 0 {
            *slot = Slot { reading: slot.reading, ..new };
            return None;
        }
        let clash = (slot.id != new.id || slot.content != new.content).then_some(*slot);
        slot.marks |= new.marks;
        clash
    }

    /// Ends a full reading; what it did not have is not in history.
    pub(super) fn close_reading(&mut self, from: u64, head: u64) {
        self.read = Some(Reading { from, head, number: self.reading });
        // Beyond 65,535 readings of one channel the last ones count as one.
        self.reading = self.reading.saturating_add(1);
    }

    /// All known places by rising seq.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u64, &Slot)> {
        self.chunks.iter().flat_map(|(chunk, slots)| {
            let base = chunk * CHUNK;
            (base..).zip(slots.iter()).filter(|(_, slot)| slot.marks != 0)
        })
    }
}
