//! Settings and limits of the history store.

use std::path::PathBuf;
use std::time::Duration;

use crate::store::log::Capabilities;

const MIB: u64 = 1 << 20;

/// Most events in one commit group, before its last run.
pub(super) const GROUP_EVENTS_MAX: usize = 4_096;
/// Most bytes of events in one commit group, before its last run.
pub(super) const GROUP_BYTES_MAX: usize = 1 << 20;
/// Most events that wait for the committer; further runs are refused.
pub(super) const BACKLOG_EVENTS_MAX: usize = 65_536;
/// Most bytes of events that wait for the committer; further runs are refused.
pub(super) const BACKLOG_BYTES_MAX: usize = 32 << 20;
/// Heads that the committer remembers, in each of two generations.
pub(super) const HEADS_CACHED_MAX: usize = 65_536;
/// Most keys that `open` returns; beyond it the horizon moves forward.
pub(super) const OPEN_KEYS_MAX: usize = 32_768;
/// Most neighbours that are looked at to say how far damage goes.
pub(super) const DAMAGE_PROBES_MAX: u64 = 1_024;
/// Journals are copied before a recovery; so many copies are kept.
pub(super) const JOURNAL_COPIES_MAX: usize = 2;
/// The watermark is synced at most this often: what could vanish unnoticed.
pub(super) const WATERMARK_EVERY: Duration = Duration::from_millis(10);
/// How often free space is looked at.
pub(super) const SPACE_EVERY: Duration = Duration::from_millis(500);
/// An idle committer writes a heartbeat row this often, to learn that it still can.
pub(super) const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// A commit that takes longer makes the store report itself as not writable.
pub(super) const COMMIT_STUCK_AFTER: Duration = Duration::from_secs(10);
/// The committer waits while more than this is not flushed: the engine does not keep its own
/// journal cap, and what is not flushed is replayed at the next start.
pub(super) const UNFLUSHED_BYTES_MAX: u64 = 96 * MIB;
/// The committer waits at this many sealed memtables: at four the engine sleeps 100 ms at a time.
pub(super) const SEALED_MEMTABLES_MAX: usize = 3;
/// How long the committer waits before it looks again.
pub(super) const HOLD_BACK_STEP: Duration = Duration::from_millis(2);
/// Priority of the committer thread, where the system allows to raise it.
pub(super) const COMMITTER_NICE: i32 = -15;

/// Total size of the engine's journals.
pub(super) const JOURNAL_BYTES_MAX: u64 = 128 * MIB;
/// Memtable of the events.
pub(super) const EVENTS_MEMTABLE_BYTES: u64 = 16 * MIB;
/// Memtable of every other keyspace.
pub(super) const OTHER_MEMTABLE_BYTES: u64 = 8 * MIB;
/// Block size of the events, which are read by the page.
pub(super) const EVENTS_BLOCK_BYTES: u32 = 16 << 10;
/// Descriptors of a partition beyond the cached files: journals, directories, compaction.
const DESCRIPTORS_BESIDE_CACHE: usize = 100;

/// What an engine on disk takes at once.
pub(super) const CAPABILITIES: Capabilities =
    Capabilities { run_events_max: 4_096, run_bytes_max: 1 << 20, runs_in_flight: 1 };

// A group takes at least one largest run, the backlog several groups.
const _: () = assert!(CAPABILITIES.run_events_max <= GROUP_EVENTS_MAX);
const _: () = assert!(BACKLOG_EVENTS_MAX >= 4 * GROUP_EVENTS_MAX);
const _: () = assert!(BACKLOG_BYTES_MAX >= 4 * GROUP_BYTES_MAX);
// A body's parts are numbered in 16 bits.
const _: () = assert!(CAPABILITIES.run_bytes_max / super::record::PART_BYTES < u16::MAX as usize);

/// Whether a commit waits for the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sync {
    /// Durable when acknowledged: fdatasync in every commit.
    Data,
    /// **Loses acknowledged messages at a power cut.** For tests that must see such losses;
    /// the watermark stays behind too, or the store would notice and refuse.
    SkipForTests,
}

impl Sync {
    /// The environment variable that asks for [`Sync::SkipForTests`].
    pub const SKIP_VARIABLE: &str = "DAMSO_UNSAFE_SKIP_FSYNC";

    /// What the value of [`Sync::SKIP_VARIABLE`] asks for: only `1` skips.
    pub fn from_variable(value: Option<&str>) -> Self {
        if value == Some("1") { Self::SkipForTests } else { Self::Data }
    }
}

/// Settings of a history store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The store's own directory; made if absent. Its siblings `<name>.lock` and `<name>.new-*`
    /// belong to it too.
    pub directory: PathBuf,
    /// Partitions of a store that is made now; an existing one keeps its number.
    pub partitions: u16,
    /// Whether commits wait for the disk.
    pub sync: Sync,
    /// Block cache of each partition, bytes. The process grows by about 1.4 times as much.
    pub cache_bytes: u64,
    /// Table files that each partition keeps open.
    pub cached_files_max: usize,
    /// Threads of each partition for flushes and compaction.
    pub workers: usize,
    /// Appends are refused while the file system has less free than this, bytes.
    pub space_reserve_bytes: u64,
}

impl Options {
    /// The defaults for a store in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            partitions: 1,
            sync: Sync::Data,
            cache_bytes: 64 * MIB,
            cached_files_max: 512,
            workers: 2,
            space_reserve_bytes: 256 * MIB,
        }
    }

    /// Descriptors that the store may hold: to be kept out of reach of connections, since one
    /// failed open in the engine's background stops all writing.
    pub fn descriptors_max(&self) -> usize {
        usize::from(self.partitions.max(1)) * (self.cached_files_max + DESCRIPTORS_BESIDE_CACHE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncing_is_skipped_only_when_asked_loudly() {
        for value in [None, Some(""), Some("0"), Some("true"), Some(" 1")] {
            assert_eq!(Sync::from_variable(value), Sync::Data, "{value:?}");
        }
        assert_eq!(Sync::from_variable(Some("1")), Sync::SkipForTests);
    }
}
