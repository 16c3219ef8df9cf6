//! What a shard's pipes count. Sums are kept plainly and told once a turn.

use metrics::{Counter, Gauge, counter, gauge};

use crate::runtime::route::ShardNo;

/// Sums since the last turn.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) deliveries: u64,
    pub(super) writes: u64,
    pub(super) plain_bytes: u64,
    pub(super) blocked: u64,
    pub(super) fallen: u64,
    pub(super) slow: u64,
    pub(super) gaps: u64,
}

pub(super) struct Metrics {
    deliveries: Counter,
    writes: Counter,
    plain_bytes: Counter,
    blocked: Counter,
    fallen: Counter,
    slow: Counter,
    gaps: Counter,
    pipes: Gauge,
    logs: Gauge,
    queued: Gauge,
}

impl Metrics {
    pub(super) fn new(shard: ShardNo) -> Self {
        let shard = shard.index().to_string();
        let counter = |name: &'static str| counter!(name, "shard" => shard.clone());
        let gauge = |name: &'static str| gauge!(name, "shard" => shard.clone());
        Self {
            deliveries: counter("damso_deliveries_total"),
            writes: counter("damso_socket_writes_total"),
            plain_bytes: counter("damso_sent_bytes_total"),
            blocked: counter("damso_sockets_blocked_total"),
            fallen: counter("damso_cursors_fallen_total"),
            slow: counter("damso_slow_readers_cut_total"),
            gaps: counter("damso_channel_log_gaps_total"),
            pipes: gauge("damso_connections"),
            logs: gauge("damso_channel_logs"),
            queued: gauge("damso_channel_logs_queued"),
        }
    }

    pub(super) fn tell(&self, sums: &mut Sums, (pipes, logs, queued): (usize, usize, usize)) {
        let Sums { deliveries, writes, plain_bytes, blocked, fallen, slow, gaps } =
            std::mem::take(sums);
        for (counter, sum) in [
            (&self.deliveries, deliveries),
            (&self.writes, writes),
            (&self.plain_bytes, plain_bytes),
            (&self.blocked, blocked),
            (&self.fallen, fallen),
            (&self.slow, slow),
            (&self.gaps, gaps),
        ] {
            if sum > 0 {
                counter.increment(sum);
            }
        }
        self.pipes.set(pipes as f64);
        self.logs.set(logs as f64);
        self.queued.set(queued as f64);
    }
}
