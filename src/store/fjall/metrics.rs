//! What the store counts, registered once for each partition.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Handles of one partition's metrics.
pub(super) struct Metrics {
    /// Commit groups made durable.
    pub(super) commits: Counter,
    /// From the batch's making until it is durable.
    pub(super) commit_seconds: Histogram,
    /// Events in a commit group.
    pub(super) group_events: Histogram,
    /// Bytes of events made durable.
    pub(super) event_bytes: Counter,
    /// Runs that expected another head.
    pub(super) conflicts: Counter,
    /// Runs whose outcome is unknown.
    pub(super) unknown: Counter,
    pub(super) refused_backlog: Counter,
    pub(super) refused_space: Counter,
    pub(super) refused_unsound: Counter,
    pub(super) refused_unreadable: Counter,
    pub(super) refused_stopped: Counter,
    /// Events that wait for the committer.
    pub(super) backlog_events: Gauge,
    /// Times that the committer waited for the engine to flush.
    pub(super) held_back: Counter,
    /// Bytes that a crash now would make the next start replay.
    pub(super) unflushed_bytes: Gauge,
    /// Times that the watermark was synced.
    pub(super) watermark_syncs: Counter,
    /// Groups that the watermark did not know yet when it was written.
    pub(super) watermark_lag: Gauge,
    /// Position of the last durable group.
    pub(super) last_group: Gauge,
    /// Largest durable message id.
    pub(super) high_water: Gauge,
    /// Free bytes of the store's file system.
    pub(super) free_bytes: Gauge,
    /// 1 while writes are taken.
    pub(super) writable: Gauge,
    /// 1 if the committer's priority could be raised.
    pub(super) priority_raised: Gauge,
    /// Reads that met damaged events.
    pub(super) damaged_reads: Counter,
}

impl Metrics {
    pub(super) fn register(partition: u16) -> Self {
        let label = [("partition", partition.to_string())];
        let refused = |reason: &'static str| {
            let labels = [("partition", partition.to_string()), ("reason", reason.to_owned())];
            counter!("damso_store_refused_total", &labels)
        };
        Self {
            commits: counter!("damso_store_commits_total", &label),
            commit_seconds: histogram!("damso_store_commit_seconds", &label),
            group_events: histogram!("damso_store_group_events", &label),
            event_bytes: counter!("damso_store_event_bytes_total", &label),
            conflicts: counter!("damso_store_conflicts_total", &label),
            unknown: counter!("damso_store_unknown_outcomes_total", &label),
            refused_backlog: refused("backlog"),
            refused_space: refused("space"),
            refused_unsound: refused("unsound"),
            refused_unreadable: refused("unreadable"),
            refused_stopped: refused("stopped"),
            backlog_events: gauge!("damso_store_backlog_events", &label),
            held_back: counter!("damso_store_held_back_total", &label),
            unflushed_bytes: gauge!("damso_store_unflushed_bytes", &label),
            watermark_syncs: counter!("damso_store_watermark_syncs_total", &label),
            watermark_lag: gauge!("damso_store_watermark_lag_groups", &label),
            last_group: gauge!("damso_store_last_group", &label),
            high_water: gauge!("damso_store_high_water_id", &label),
            free_bytes: gauge!("damso_store_free_bytes", &label),
            writable: gauge!("damso_store_writable", &label),
            priority_raised: gauge!("damso_store_committer_priority_raised", &label),
            damaged_reads: counter!("damso_store_damaged_reads_total", &label),
        }
    }
}

/// A gauge's number: exact up to 2^53, which counts reach in centuries; ids lose their low bits.
#[expect(clippy::cast_precision_loss)]
pub(super) fn gauged(number: u64) -> f64 {
    number as f64
}
