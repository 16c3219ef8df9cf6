//! The figures, with their units; as JSON they have these names.

use std::path::PathBuf;

use serde::Serialize;

/// What was found here.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Measured {
    pub(super) host: Host,
    pub(super) disk: Disk,
    pub(super) clock: Clock,
}

/// What the operating system says.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct Host {
    /// Cores that this process may use.
    pub(super) cores: usize,
    /// The processor, as it calls itself.
    pub(super) processor: String,
    pub(super) memory_bytes: u64,
    pub(super) memory_available_bytes: u64,
    /// What a container allows. `None`: no limit was found.
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) descriptors_soft: u64,
    pub(super) descriptors_hard: u64,
    /// Time of all cores that was used by anybody while this was measured, percent.
    pub(super) busy_percent: f64,
    /// Time that a hypervisor gave to others while this was measured, percent of all.
    pub(super) steal_percent: f64,
}

/// How long the disk takes.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct Disk {
    /// Where it was measured: the data directory, or where that would be made.
    pub(super) directory: PathBuf,
    /// The file system keeps everything in memory.
    pub(super) in_memory: bool,
    pub(super) free_bytes: u64,
    /// Appends of 4 KiB, each with its fdatasync.
    pub(super) appends: usize,
    pub(super) sync_p50_us: f64,
    pub(super) sync_p99_us: f64,
    pub(super) sync_max_us: f64,
}

/// How CLOCK_REALTIME goes against CLOCK_BOOTTIME, which nobody can set.
#[derive(Serialize, Clone, PartialEq, Debug)]
pub(super) struct Clock {
    pub(super) resolution_ns: u64,
    pub(super) watched_ms: u64,
    /// Times that it leapt by more than a millisecond.
    pub(super) steps: usize,
    pub(super) step_max_us: f64,
    /// Apart from steps.
    pub(super) drift_us_per_second: f64,
    /// Before the first millisecond that a message id can have.
    pub(super) before_2026: bool,
}
