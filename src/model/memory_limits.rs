//! When a server is short of memory: shares of its budget (`limits.memory`), and what they mean.

use std::time::Duration;

/// Least budget, bytes: what the stores take at their bounds is below the first level then.
pub const MEMORY_FLOOR_BYTES: u64 = 384 << 20;
/// Of the machine's memory, the default budget, percent: the kernel's buffers of sockets and the
/// stores' files need the rest.
pub const MEMORY_OF_MACHINE_PERCENT: u64 = 60;
/// Of what a container may take, kept for the kernel's part of it, bytes.
pub const MEMORY_BESIDE_BYTES: u64 = 512 << 20;
/// From here on nobody new comes in, percent of the budget.
pub const MEMORY_TIGHT_PERCENT: u64 = 80;
/// From here on unsent events are shed as well.
pub const MEMORY_SCARCE_PERCENT: u64 = 90;
/// From here on new messages are refused as well.
pub const MEMORY_FULL_PERCENT: u64 = 95;
/// A level is left so far below where it began.
pub const MEMORY_BACK_PERCENT: u64 = 3;
/// Growth by less is none.
pub const MEMORY_GRAIN_PERCENT: u64 = 1;
/// A level that has lasted for so long without effect is tried without.
pub const MEMORY_PATIENCE: Duration = Duration::from_secs(30);
/// After each try that made memory grow, twice as long; this at most.
pub const MEMORY_PATIENCE_MAX: Duration = Duration::from_mins(10);
/// How often memory is looked at.
pub const MEMORY_LOOK: Duration = Duration::from_millis(250);
/// When to come back after a login that was refused.
pub const LOGIN_RETRY: Duration = Duration::from_secs(5);
/// When to try a message again that was refused.
pub const MEMORY_RETRY: Duration = Duration::from_secs(2);
/// While memory is scarce, unsent events of one channel on one shard, bytes: two records.
pub const SCARCE_CHANNEL_LOG_BYTES: usize = 32 * 1024;
/// While memory is scarce, unsent events of all channels of a shard, bytes.
pub const SCARCE_SHARD_LOG_BYTES: usize = 4 * 1024 * 1024;
/// While memory is scarce, a page of history and the events that answer a resume, bytes.
pub const SCARCE_PAGE_BYTES: usize = 64 * 1024;

// Levels rise, and each is left before the one below it.
const _: () = assert!(MEMORY_TIGHT_PERCENT < MEMORY_SCARCE_PERCENT - MEMORY_BACK_PERCENT);
const _: () = assert!(MEMORY_SCARCE_PERCENT < MEMORY_FULL_PERCENT);
const _: () = assert!(MEMORY_GRAIN_PERCENT < MEMORY_BACK_PERCENT && MEMORY_FULL_PERCENT < 100);
const _: () = assert!(SCARCE_CHANNEL_LOG_BYTES <= SCARCE_SHARD_LOG_BYTES);
