//! What to mend before people depend on this machine.

use super::expect::Expected;
use super::measured::{Clock, Disk, Host, Measured};
use crate::runtime::placement::Shards;

/// Fewer connections than this are soon too few.
const CONNECTIONS_FEW: u64 = 10_000;
/// An ack waits for fdatasync: above this, people notice.
const SYNC_SLOW_US: f64 = 50_000.0;
/// No disk makes anything durable in less.
const SYNC_TOO_FAST_US: f64 = 5.0;
/// The store refuses writes below a quarter of this.
const FREE_FEW_BYTES: u64 = 1 << 30;
/// A thread that comes back from the disk then waits for a core, and the figures with it.
const BUSY_MUCH_PERCENT: f64 = 30.0;
/// Figures that were taken under more of it say little.
const STEAL_MUCH_PERCENT: f64 = 2.0;
/// A clock that goes so wrong is not kept by anybody (NTP slews by 500 at most).
const DRIFT_MUCH_US: f64 = 500.0;

/// What is wrong, with what to do; empty: nothing.
pub(super) fn warnings(measured: &Measured, expected: &Expected) -> Vec<String> {
    let Measured { host, disk, clock } = measured;
    let room = of_room(host, expected);
    let all = of_disk(disk).into_iter().chain(room).chain(of_clock(clock));
    let stolen = told(host.steal_percent > STEAL_MUCH_PERCENT, || {
        format!(
            "a hypervisor gave {:.1} % of the time to others: figures of this run say little, and \
             people will feel it. Measure again, or move",
            host.steal_percent
        )
    });
    let busy = told(host.busy_percent > BUSY_MUCH_PERCENT, || {
        format!(
            "the machine was {:.0} % busy: what fdatasync took is its wait for a core, too. Measure \
             again at rest, and expect less beside such neighbours",
            host.busy_percent
        )
    });
    all.flatten().chain(busy).chain(stolen).collect()
}

fn told(is_so: bool, text: impl FnOnce() -> String) -> Option<String> {
    is_so.then(text)
}

fn of_disk(disk: &Disk) -> [Option<String>; 4] {
    let directory = disk.directory.display();
    [
        told(disk.in_memory, || {
            format!(
                "{directory} is in memory: all is lost at a restart. Choose another with data.dir"
            )
        }),
        told(!disk.in_memory && disk.sync_p50_us < SYNC_TOO_FAST_US, || {
            format!(
                "fdatasync takes {:.1} us, which no disk can: it is skipped (a virtual disk \
                 without flushes, eatmydata), and a power cut loses acknowledged messages. Turn \
                 flushes on",
                disk.sync_p50_us
            )
        }),
        told(disk.sync_p99_us > SYNC_SLOW_US, || {
            format!(
                "fdatasync takes {:.0} ms at p99, and every ack waits for it. Give the data \
                 directory a disk of its own, best one whose cache survives a power cut",
                disk.sync_p99_us / 1e3
            )
        }),
        told(disk.free_bytes < FREE_FEW_BYTES, || {
            format!(
                "{} MiB are free on {directory}: below 256 MiB messages are refused. Make room",
                disk.free_bytes >> 20
            )
        }),
    ]
}

fn of_room(host: &Host, expected: &Expected) -> [Option<String>; 4] {
    [
        told(expected.connections_by_descriptors < CONNECTIONS_FEW, || {
            format!(
                "{} descriptors leave {} for connections. Raise the hard limit: \
                 LimitNOFILE=100000 (systemd), --ulimit nofile=100000 (Docker), or limits.conf",
                host.descriptors_hard, expected.connections_by_descriptors
            )
        }),
        told(expected.connections_by_memory < CONNECTIONS_FEW, || {
            format!(
                "memory holds {} connections. Add memory, or lower limits.shard_log_bytes",
                expected.connections_by_memory
            )
        }),
        told(expected.connections_by_setting > expected.connections, || {
            format!(
                "server.connections asks for {}, and {} fit. Lower it, or give the machine more",
                expected.connections_by_setting, expected.connections
            )
        }),
        told(host.cores > usize::from(Shards::MAX), || {
            format!("a server uses {} cores at most, and here are {}", Shards::MAX, host.cores)
        }),
    ]
}

fn of_clock(clock: &Clock) -> [Option<String>; 3] {
    [
        told(clock.steps > 0, || {
            format!(
                "the time of day leapt {} times in {} ms, by {:.1} ms at most. Let one daemon keep \
                 it (chrony, systemd-timesyncd), and let it slew",
                clock.steps,
                clock.watched_ms,
                clock.step_max_us / 1e3
            )
        }),
        told(clock.drift_us_per_second.abs() > DRIFT_MUCH_US, || {
            format!(
                "the time of day goes wrong by {:.0} us a second. Let a daemon keep it (chrony, \
                 systemd-timesyncd)",
                clock.drift_us_per_second
            )
        }),
        told(clock.before_2026, || {
            "the time of day is before 2026: message ids stand still until then, and tokens look \
             as if they came from the future. Set the clock"
                .to_owned()
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::expect::expect;
    use super::super::expect::tests::sound;
    use super::*;
    use crate::server::config::Config;

    type Fault = fn(&mut Measured);

    #[test]
    fn a_sound_machine_has_no_warning_and_each_fault_has_one() {
        let config = Config { shards: 2, ..Config::default() };
        let found =
            |measured: &Measured, config: &Config| warnings(measured, &expect(measured, config));
        assert_eq!(found(&sound(), &config), [""; 0]);
        let faults: [(Fault, &str); 12] = [
            (|m| m.disk.in_memory = true, "data.dir"),
            (|m| m.disk.sync_p50_us = 1.0, "Turn flushes on"),
            (|m| m.disk.sync_p99_us = 60_000.0, "60 ms at p99"),
            (|m| m.disk.free_bytes = 300 << 20, "300 MiB are free"),
            (|m| m.host.descriptors_hard = 4_096, "LimitNOFILE"),
            (|m| m.host.memory_available_bytes = 500 << 20, "memory holds"),
            (|m| (m.clock.steps, m.clock.step_max_us) = (1, 5e3), "leapt 1 times"),
            (|m| m.clock.drift_us_per_second = -900.0, "goes wrong by -900 us"),
            (|m| m.clock.before_2026 = true, "before 2026"),
            (|m| m.host.steal_percent = 7.0, "7.0 %"),
            (|m| m.host.busy_percent = 60.0, "60 % busy"),
            (|m| m.host.cores = 64, "32 cores at most"),
        ];
        for (fault, word) in faults {
            let mut measured = sound();
            fault(&mut measured);
            let told = found(&measured, &config);
            assert_eq!(told.len(), 1, "{word}: {told:?}");
            assert!(told[0].contains(word), "{word}: {told:?}");
        }
        let told = found(&sound(), &Config { connections: 30_000, ..config });
        assert!(told.len() == 1 && told[0].contains("18500 fit"), "{told:?}");
    }
}
