//! Whether the time of day can be trusted: CLOCK_REALTIME against CLOCK_BOOTTIME.
//!
//! Message ids are made of the time of day. A clock that is set while the server runs costs it
//! either the order of ids in time, or ids from the future; it guards against both, and tells.

use std::thread;
use std::time::{Duration, Instant};

use damso_proto::id::ID_EPOCH_MS;
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use super::measured::Clock;

/// How long it is watched, and how often it is looked at.
const WATCH: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(10);
/// A leap of more than this is a step: no clock is slewed so fast.
const STEP_NS: i64 = 1_000_000;
/// Of so many readings the closest is taken: between the others the thread had to wait.
const TRIES: usize = 5;

/// Watches for a second.
pub(super) fn watch() -> Clock {
    let begun = Instant::now();
    let mut offsets = vec![offset_ns()];
    while begun.elapsed() < WATCH {
        thread::sleep(EVERY);
        offsets.push(offset_ns());
    }
    let watched = begun.elapsed();
    let (steps, step_max_ns, drift_ns) = judge(&offsets);
    let now_ms = ns(clock_gettime(ClockId::Realtime)) / 1_000_000;
    Clock {
        resolution_ns: u64::try_from(ns(clock_getres(ClockId::Realtime))).unwrap_or_default(),
        watched_ms: u64::try_from(watched.as_millis()).unwrap_or(u64::MAX),
        steps,
        step_max_us: step_max_ns as f64 / 1e3,
        drift_us_per_second: drift_ns as f64 / 1e3 / watched.as_secs_f64(),
        before_2026: u64::try_from(now_ms).unwrap_or_default() < ID_EPOCH_MS,
    }
}

/// Steps, the largest of them, and how far it went apart from them.
fn judge(offsets: &[i64]) -> (usize, i64, i64) {
    let moves = offsets.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    let (steps, rest): (Vec<_>, Vec<_>) = moves.partition(|by| by.saturating_abs() > STEP_NS);
    let largest = steps.iter().map(|by| by.saturating_abs()).max().unwrap_or_default();
    (steps.len(), largest, rest.iter().sum())
}

/// How far the time of day is ahead of the boot clock.
fn offset_ns() -> i64 {
    let read = || {
        let before = ns(clock_gettime(ClockId::Boottime));
        let now = ns(clock_gettime(ClockId::Realtime));
        let after = ns(clock_gettime(ClockId::Boottime));
        (after - before, now - (before + after) / 2)
    };
    (0..TRIES).map(|_| read()).min().map_or(0, |(_, offset)| offset)
}

fn ns(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_from_drift() {
        for (offsets, found) in [
            (&[][..], (0, 0, 0)),
            (&[7], (0, 0, 0)),
            (&[0, 100, 250], (0, 0, 250)),
            (&[0, 100, 2_000_100, 2_000_200], (1, 2_000_000, 200)),
            (&[0, -5_000_000, 0], (2, 5_000_000, 0)),
        ] {
            assert_eq!(judge(offsets), found, "{offsets:?}");
        }
    }
}
