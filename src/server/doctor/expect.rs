//! From figures measured elsewhere to what fits here.
//!
//! Every constant is one that `loadtest/README.md` publishes, measured on two cores (AMD EPYC,
//! virtual) that server and harness shared; a test holds the two together. Nothing is known of
//! other processors, nor of more cores: what is said of them is proportion.
//!
//! ```text
//! CPU of a message to n people   m + n d     from 1 x 1,000 and 1,000 x 10, side by side
//! connections                    the least of descriptors, memory, and the setting
//! ack of one message alone       fdatasync p50 + path
//! ack under load                 the sync under way, then its own: 2 x fdatasync p99
//! ```

use serde::Serialize;

use super::measured::Measured;
use crate::runtime::memory::Supply;
use crate::server::config::{Budget, Config};
use crate::server::descriptors;

/// Server CPU per delivery of one message to 1,000 people, microseconds.
const ONE_TO_1000_US: f64 = 11.0;
/// Server CPU per delivery of messages in groups of ten, 1,000 of them a second, microseconds.
const GROUPS_OF_10_US: f64 = 42.0;
/// CPU of each delivery, microseconds.
const PER_DELIVERY_US: f64 = (1_000.0 * ONE_TO_1000_US - 10.0 * GROUPS_OF_10_US) / 990.0;
/// CPU of each message, its share of a commit group included, microseconds.
const PER_MESSAGE_US: f64 = 10.0 * (GROUPS_OF_10_US - PER_DELIVERY_US);
/// From a send to its ack without a disk: the bare loop's p50, microseconds.
const PATH_US: f64 = 320.0;
/// Messages a second in groups of ten at the highest load that held, the lowest of three searches,
/// on two cores that the harness shared.
const HIGHEST_PER_SECOND: f64 = 12_400.0;
const HIGHEST_CORES: f64 = 2.0;
/// CPU of a login, token check, new device and resume included, microseconds.
const LOGIN_US: f64 = 707.0;
/// Memory of the process per connection, in channels, with the stores' caches, bytes.
const CONNECTION_BYTES: u64 = 8_400;
/// Memory of the kernel per connection at rest, bytes: half of what 5,000 pairs on loopback took.
const KERNEL_BYTES: u64 = 6_500;
/// Memory of the process without people: the stores' caches, memtables and backlog at their bounds
/// (64 MiB of cache, which grows by 1.4; 96 MiB that is not flushed; 32 MiB that waits), and 40 MiB.
const STORES_BYTES: u64 = 260 << 20;

/// What to expect of a server here.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Expected {
    /// The least of the next three.
    pub(super) connections: u64,
    pub(super) connections_by_descriptors: u64,
    pub(super) connections_by_memory: u64,
    /// The setting; 0: none.
    pub(super) connections_by_setting: u64,
    /// From 80 % of it on nobody new comes in.
    pub(super) memory_budget_bytes: u64,
    pub(super) logins_per_second: f64,
    /// Until all of them are back after a restart.
    pub(super) all_back_seconds: f64,
    pub(super) ack_alone_ms: f64,
    /// Of one sender who waits for each ack.
    pub(super) messages_per_second_alone: f64,
    /// Of many senders, in groups of ten.
    pub(super) messages_per_second_grouped: f64,
    pub(super) deliveries_per_second_grouped: f64,
    pub(super) ack_disk_p99_ms: f64,
    /// Of the largest group that there may be.
    pub(super) largest_group: u64,
    pub(super) largest_group_last_ms: f64,
}

/// What to expect of a server with this configuration.
pub(super) fn expect(measured: &Measured, config: &Config) -> Expected {
    let Measured { host, disk, .. } = measured;
    let shards = config.shard_count().count() as u64;
    let working = (shards as f64).min(host.cores as f64);
    let memory = host.memory_limit_bytes.unwrap_or(u64::MAX).min(host.memory_available_bytes);
    let machine = Supply {
        total: host.memory_bytes,
        available: host.memory_available_bytes,
        limit: host.memory_limit_bytes,
    };
    let logs = (config.limits.shard_log_bytes as u64).saturating_mul(shards);
    let by_memory = memory.saturating_sub(STORES_BYTES).saturating_sub(logs)
        / (CONNECTION_BYTES + KERNEL_BYTES);
    let by_descriptors = descriptors::for_connections(descriptors::raised(host.descriptors_hard));
    let by_setting = config.connections as u64;
    let allowed = if by_setting == 0 { u64::MAX } else { by_setting };
    let connections = by_descriptors.min(by_memory).min(allowed);
    let logins = working * 1e6 / LOGIN_US;
    let ack_us = disk.sync_p50_us + PATH_US;
    let grouped = working * HIGHEST_PER_SECOND / HIGHEST_CORES;
    let group = config.limits.group_members as u64;
    Expected {
        connections,
        connections_by_descriptors: by_descriptors,
        connections_by_memory: by_memory,
        connections_by_setting: by_setting,
        memory_budget_bytes: Budget::new(config.memory, &machine).bytes,
        logins_per_second: logins,
        all_back_seconds: connections as f64 / logins,
        ack_alone_ms: ack_us / 1e3,
        messages_per_second_alone: 1e6 / ack_us,
        messages_per_second_grouped: grouped,
        deliveries_per_second_grouped: 10.0 * grouped,
        ack_disk_p99_ms: 2.0 * disk.sync_p99_us / 1e3,
        largest_group: group,
        largest_group_last_ms: (PER_MESSAGE_US + group as f64 * PER_DELIVERY_US / working) / 1e3,
    }
}

/// What the figures rest on.
pub(super) fn assumed() -> Vec<String> {
    vec![
        "a core does as much as one of an AMD EPYC (virtual), where the figures are from \
         (loadtest/README.md), and twice the cores do twice as much; measured were two"
            .to_owned(),
        format!(
            "CPU of a message {PER_MESSAGE_US:.0} us and of each delivery {PER_DELIVERY_US:.1} us \
             when each is committed alone; {HIGHEST_PER_SECOND:.0} messages/s on \
             {HIGHEST_CORES:.0} cores, shared with the load, when commits are full"
        ),
        format!(
            "memory: {:.1} KB a connection in the process, {:.1} KB in the kernel, {} MiB for \
             stores, limits.shard_log_bytes a shard",
            CONNECTION_BYTES as f64 / 1e3,
            KERNEL_BYTES as f64 / 1e3,
            STORES_BYTES >> 20,
        ),
        format!(
            "a login takes {LOGIN_US:.0} us of CPU, from a send to its ack {PATH_US:.0} us pass beside the disk"
        ),
        "the network is no limit, and nobody else needs this machine".to_owned(),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use super::super::measured::{Clock, Disk, Host};
    use super::*;

    /// A machine without a fault.
    pub(in super::super) fn sound() -> Measured {
        Measured {
            host: Host {
                cores: 2,
                processor: "a processor".to_owned(),
                memory_bytes: 4 << 30,
                memory_available_bytes: 3 << 30,
                memory_limit_bytes: None,
                descriptors_soft: 1_024,
                descriptors_hard: 20_000,
                busy_percent: 1.0,
                steal_percent: 0.0,
            },
            disk: Disk {
                directory: PathBuf::from("."),
                in_memory: false,
                free_bytes: 100 << 30,
                appends: 200,
                sync_p50_us: 201.0,
                sync_p99_us: 1_000.0,
                sync_max_us: 2_000.0,
            },
            clock: Clock {
                resolution_ns: 1,
                watched_ms: 1_000,
                steps: 0,
                step_max_us: 0.0,
                drift_us_per_second: 0.0,
                before_2026: false,
            },
        }
    }

    #[test]
    fn the_constants_are_those_that_the_harness_publishes() {
        let published = include_str!("../../../loadtest/README.md");
        for line in [
            "| 1 x 1,000, 10/s: server CPU per delivery | 11.0 us |",
            "| 1,000 x 10, 1,000/s: server CPU per delivery | 42.0 us |",
            "| to the ack, p50 / p99 | 668 us / 6.3 ms | 320 us / 1.8 ms |",
            "12,400, 13,700\nand 13,700 messages/s",
            "| CPU per login, token check, new device and resume included | 707 us |",
            "| memory per connection, in channels | 8.4 KB |",
        ] {
            assert!(published.contains(line), "measured anew: {line}");
        }
        // What was taken apart comes together again.
        assert!((PER_MESSAGE_US + 10.0 * PER_DELIVERY_US - 10.0 * GROUPS_OF_10_US).abs() < 1e-6);
        assert!((PER_MESSAGE_US + 1e3 * PER_DELIVERY_US - 1e3 * ONE_TO_1000_US).abs() < 1e-6);
    }

    #[test]
    fn the_scarcest_thing_decides_how_many_connections_fit() {
        let config = Config { shards: 2, ..Config::default() };
        let found = expect(&sound(), &config);
        assert_eq!(found.connections, 18_500, "20,000 less what stores need");
        let mut small = sound();
        small.host.memory_limit_bytes = Some(512 << 20);
        let found = expect(&small, &config);
        let left = (512 << 20) - STORES_BYTES - 2 * (64 << 20);
        assert_eq!(found.connections, left / (CONNECTION_BYTES + KERNEL_BYTES));
        let found = expect(&small, &Config { connections: 100, ..config.clone() });
        assert_eq!(found.connections, 100);
        small.host.memory_limit_bytes = Some(1 << 20);
        assert_eq!(expect(&small, &config).connections, 0);
    }

    #[test]
    fn a_slower_disk_makes_acks_later_and_costs_a_lonely_sender() {
        let config = Config { shards: 2, ..Config::default() };
        let found = expect(&sound(), &config);
        let alone_ms = (sound().disk.sync_p50_us + PATH_US) / 1_000.0;
        assert!((found.ack_alone_ms - alone_ms).abs() < 1e-9);
        assert!((found.messages_per_second_alone - 1_000.0 / alone_ms).abs() < 1e-6);
        assert!((found.messages_per_second_grouped - HIGHEST_PER_SECOND).abs() < 1e-6);
        let mut slow = sound();
        (slow.disk.sync_p50_us, slow.disk.sync_p99_us) = (10_000.0, 50_000.0);
        let slow = expect(&slow, &config);
        assert!(slow.messages_per_second_alone < 100.0 && slow.ack_disk_p99_ms > 99.0);
    }
}
