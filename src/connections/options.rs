//! The limits of this room: each one bounds memory, or the time that one peer takes from others.

use std::time::Duration;

use crate::model::limits;

/// Longest plaintext of a TLS record, bytes (RFC 8446, 5.1).
pub(super) const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Longest chunk of the bulk lane, bytes: what is gathered, or one frame that is longer.
pub(super) const BULK_BYTES_MAX: usize = limits::BULK_CHUNK_BYTES + 64 * 1024;

/// How the connections of a shard are treated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Socket writes of one turn, over all lanes.
    pub sends_per_turn: u32,
    /// Socket writes of one channel in a turn; then it stands at the back again.
    pub sends_per_channel: u32,
    /// Of a turn's writes, kept for answers that ride with no event.
    pub control_sends_per_turn: u32,
    /// Of a turn's writes, kept for replays and pages.
    pub bulk_sends_per_turn: u32,
    /// Answers that wait for one connection, bytes. Reading stops at half of it, so that the
    /// answers to what is in flight still fit.
    pub control_bytes_max: usize,
    /// Unsent events of one channel, bytes.
    pub log_bytes_max: usize,
    /// Of those, kept for members whose socket is full, bytes.
    pub held_bytes_max: usize,
    /// Unsent events of all channels of the shard, bytes.
    pub shard_log_bytes_max: usize,
    /// A connection whose socket took nothing for this long is cut.
    pub stalled_max: Duration,
}

impl Options {
    /// The same for a server that is short of memory: unsent events are kept only for readers who
    /// do not lag.
    #[must_use]
    pub fn scarce(self) -> Self {
        Self {
            log_bytes_max: self.log_bytes_max.min(limits::SCARCE_CHANNEL_LOG_BYTES),
            held_bytes_max: 0,
            shard_log_bytes_max: self.shard_log_bytes_max.min(limits::SCARCE_SHARD_LOG_BYTES),
            ..self
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sends_per_turn: 64,
            sends_per_channel: 16,
            control_sends_per_turn: 16,
            bulk_sends_per_turn: 8,
            control_bytes_max: 32 * 1024,
            log_bytes_max: limits::CHANNEL_LOG_BYTES_MAX,
            held_bytes_max: limits::HELD_LOG_BYTES_MAX,
            shard_log_bytes_max: limits::SHARD_LOG_BYTES_MAX,
            stalled_max: limits::STALLED_MAX,
        }
    }
}
