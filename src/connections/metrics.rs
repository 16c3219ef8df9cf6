//! What this room counts: handles made once per shard, counted up once per turn.

use metrics::{Counter, Gauge, counter, gauge};

use crate::runtime::route::ShardNo;

use super::notice::Turn;

pub(super) struct Metrics {
    deliveries: Counter,
    sends: Counter,
    bytes: Counter,
    blocked: Counter,
    fallen: Counter,
    pub(super) control_full: Counter,
    pub(super) gaps: Counter,
    slow: Counter,
    shed: Counter,
    connections: Gauge,
    channels: Gauge,
    log_bytes: Gauge,
}

impl Metrics {
    pub(super) fn new(shard: ShardNo) -> Self {
        let shard = shard.index().to_string();
        let counter = |name: &'static str| counter!(name, "shard" => shard.clone());
        let gauge = |name: &'static str| gauge!(name, "shard" => shard.clone());
        Self {
            deliveries: counter("damso_deliveries_total"),
            sends: counter("damso_socket_writes_total"),
            bytes: counter("damso_sent_bytes_total"),
            blocked: counter("damso_sockets_blocked_total"),
            fallen: counter("damso_cursors_fallen_total"),
            control_full: counter("damso_control_full_total"),
            gaps: counter("damso_channel_log_gaps_total"),
            slow: counter("damso_slow_readers_cut_total"),
            shed: counter("damso_memory_shed_bytes_total"),
            connections: gauge("damso_connections"),
            channels: gauge("damso_channel_logs"),
            log_bytes: gauge("damso_channel_log_bytes"),
        }
    }

    pub(super) fn count(&self, turn: &Turn) {
        self.deliveries.increment(turn.deliveries);
        self.sends.increment(u64::from(turn.sends));
        self.bytes.increment(turn.bytes);
        if turn.blocked > 0 {
            self.blocked.increment(u64::from(turn.blocked));
        }
        if turn.fallen > 0 {
            self.fallen.increment(u64::from(turn.fallen));
        }
        if turn.slow > 0 {
            self.slow.increment(u64::from(turn.slow));
        }
    }

    /// Unsent events were let go of, for want of memory.
    pub(super) fn shed(&self, bytes: usize) {
        self.shed.increment(bytes as u64);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is an f64")]
    pub(super) fn show(&self, connections: usize, channels: usize, log_bytes: usize) {
        self.connections.set(connections as f64);
        self.channels.set(channels as f64);
        self.log_bytes.set(log_bytes as f64);
    }
}
