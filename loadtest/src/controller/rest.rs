//! A server that has nothing to do, and what it holds then.

use std::thread::sleep;
use std::time::Duration;

use super::target::Opponent;
use super::watch::Watch;
use crate::report::stress::Rest;

/// A server that takes less than this share of a core has nothing left to do.
const BUSY_MAX: f64 = 0.05;
/// How often and how many times that is looked at, and how long is waited where it cannot be.
const SETTLE_LOOK: Duration = Duration::from_millis(500);
const SETTLE_LOOKS_MAX: u32 = 40;
const SETTLE_BLIND: Duration = Duration::from_secs(3);
/// How often, and how many times at most, a server's tables are looked at; and for how many looks
/// they must stand still, since budgets are dropped every ten seconds only.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS_MAX: u32 = 45;
const STILL_LOOKS: u32 = 11;

/// Waits until the server takes next to no CPU time. Bounded; without a process to look at, a short
/// while.
pub(super) fn settle(watch: &Watch) {
    let Some(mut before) = watch.read() else { return sleep(SETTLE_BLIND) };
    for _ in 0..SETTLE_LOOKS_MAX {
        sleep(SETTLE_LOOK);
        let Some(now) = watch.read() else { return };
        let busy = Duration::from_nanos(now.cpu_ns.saturating_sub(before.cpu_ns));
        if busy.as_secs_f64() < SETTLE_LOOK.as_secs_f64() * BUSY_MAX {
            return;
        }
        before = now;
    }
}

/// Reads the server's tables until they stand still and, where there is an `earlier` rest, until
/// they hold no more than then. Bounded: what still holds more is reported.
pub(super) fn at_rest(opponent: &Opponent, earlier: Option<&Rest>) -> Rest {
    settle(&opponent.watch);
    let mut rest = read(opponent);
    let mut still = 0;
    for _ in 0..LOOKS_MAX {
        let enough = earlier.map_or(still >= STILL_LOOKS, |earlier| rest.is_within(earlier));
        if enough || rest.tables.is_empty() {
            break;
        }
        sleep(LOOK);
        let now = read(opponent);
        still = if now.tables == rest.tables { still + 1 } else { 0 };
        rest = now;
    }
    rest
}

fn read(opponent: &Opponent) -> Rest {
    // Before the page, whose connection is one of the descriptors.
    let server = opponent.watch.read();
    let files = opponent.watch.files();
    let tables = opponent.page.as_ref().and_then(Watch::tables).unwrap_or_default();
    Rest { server, files, tables }
}
