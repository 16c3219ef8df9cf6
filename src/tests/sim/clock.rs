//! The time, as the paused runtime has it.

use std::sync::atomic::{AtomicI64, Ordering};

use damso::runtime::clock::{Clock, Readings};
use damso_proto::time::Moment;
use tokio::time::Instant;

/// When every simulation begins: a morning of 2027, milliseconds since 1970.
const BEGIN_MS: u64 = 1_800_000_000_000;

/// The clocks of one machine. To be made, and read, on a runtime whose clock is paused.
#[derive(Debug)]
pub(crate) struct SimClock {
    origin: Instant,
    /// What an operator, or NTP, made of the time of day. Everything is on one thread.
    set_by_ms: AtomicI64,
}

impl SimClock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), set_by_ms: AtomicI64::new(0) }
    }

    /// Sets the time of day, forward or back from what it would be by itself.
    pub(crate) fn set_by_ms(&self, ms: i64) {
        self.set_by_ms.store(ms, Ordering::Relaxed);
    }

    /// What the time of day is elsewhere, where nobody sets it: milliseconds since 1970.
    pub(crate) fn elsewhere_unix_ms(&self) -> u64 {
        BEGIN_MS + self.since_origin_ms()
    }

    fn since_origin_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).expect("no simulation is that long")
    }
}

impl Clock for SimClock {
    fn now(&self) -> Moment {
        Moment::default().plus(self.origin.elapsed())
    }

    fn readings(&self) -> Readings {
        let boot_ms = self.since_origin_ms();
        let set_by_ms = self.set_by_ms.load(Ordering::Relaxed);
        let unix_ms = self.elsewhere_unix_ms().saturating_add_signed(set_by_ms);
        Readings { unix_ms, boot_ms }
    }
}
