//! The generator of ids: one per shard.

use std::sync::atomic::AtomicU64;

use damso_proto::id::{ID_EPOCH_MS, MessageId};

use super::leap::LeapGuard;
use super::slots::Slots;
use crate::runtime::clock::Readings;
use crate::runtime::placement::Shards;
use crate::runtime::route::ShardNo;

const SEQUENCE_BITS: u32 = 12;
const MACHINE_BITS: u32 = 10;
const TIME_BITS: u32 = 41;
const SHARD_BITS: u32 = Shards::MAX.trailing_zeros();
const _: () = assert!(TIME_BITS + MACHINE_BITS + SEQUENCE_BITS == 63 && SHARD_BITS == 5);

/// The first millisecond that no longer fits an id: in September 2095.
const TIME_END_MS: u64 = 1 << TIME_BITS;

/// Who mints: node x 32 + shard. No two live generators may share it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine(u16);

impl Machine {
    /// Most nodes of a cluster.
    pub const NODES_MAX: u16 = 1 << (MACHINE_BITS - SHARD_BITS);

    /// `None`: a node above 31 or a shard above 31.
    pub fn new(node: u16, shard: ShardNo) -> Option<Self> {
        let shard = u16::try_from(shard.index()).ok().filter(|shard| *shard < Shards::MAX)?;
        (node < Self::NODES_MAX).then_some(Self(node << SHARD_BITS | shard))
    }
}

/// A generator of message ids, one per shard. May be shared: every id comes once.
#[derive(Debug)]
pub struct Snowflake {
    machine: Machine,
    slots: Slots<AtomicU64>,
    clock: LeapGuard,
}

impl Snowflake {
    /// A generator whose first id is above `above`, the highest id known to be stored.
    pub fn new(machine: Machine, above: MessageId) -> Self {
        // Id 0 means "none", so the first millisecond is never used.
        let slots = Slots::new(AtomicU64::new(1 << SEQUENCE_BITS));
        let made = Self { machine, slots, clock: LeapGuard::new() };
        made.raise_above(above);
        made
    }

    /// Mints the next id. Lock-free.
    pub fn mint(&self, readings: Readings) -> MessageId {
        let since_epoch_ms = self.clock.follow(readings).saturating_sub(ID_EPOCH_MS);
        // A clock beyond the range cannot be followed; ids go on from where they are.
        let floor = if since_epoch_ms < TIME_END_MS { since_epoch_ms << SEQUENCE_BITS } else { 0 };
        id(self.slots.take(floor), self.machine)
    }

    /// Makes every later id greater than `last`, which another machine may have minted.
    ///
    /// Goes on in the millisecond after `last`, with this machine's own bits: `last + 1`
    /// would carry into another's.
    pub fn raise_above(&self, last: MessageId) {
        let after = ((last.get() >> (MACHINE_BITS + SEQUENCE_BITS)) + 1) << SEQUENCE_BITS;
        self.slots.raise(after, |next| id(next, self.machine) <= last);
    }

    /// How often a leap of the clock was not followed. More than 0: look at the machine's time.
    pub fn leaps(&self) -> u64 {
        self.clock.leaps()
    }
}

fn id(slot: u64, machine: Machine) -> MessageId {
    let ms = slot >> SEQUENCE_BITS;
    let sequence = slot & ((1 << SEQUENCE_BITS) - 1);
    MessageId::new(
        ms << (MACHINE_BITS + SEQUENCE_BITS) | u64::from(machine.0) << SEQUENCE_BITS | sequence,
    )
}
