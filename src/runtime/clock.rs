//! The time, injected: rooms never ask the operating system themselves.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use damso_proto::time::Moment;
use rustix::time::{ClockId, clock_gettime};

/// The time of day beside a clock that nobody can set, read together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Readings {
    /// Milliseconds since 1970, as the operator or NTP set it: may step either way.
    pub unix_ms: u64,
    /// Milliseconds since the machine started, sleep included: never steps.
    pub boot_ms: u64,
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Monotonic time from an origin of the clock's own.
    fn now(&self) -> Moment;

    /// Time of day and boot clock, for whoever must notice that the former was set.
    fn readings(&self) -> Readings;

    /// Time of day, milliseconds since 1970.
    fn unix_ms(&self) -> u64 {
        self.readings().unix_ms
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub struct RealClock {
    origin: Instant,
}

impl RealClock {
    /// A clock whose moments count from here.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> Moment {
        Moment::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn readings(&self) -> Readings {
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or_default();
        let milliseconds = u64::try_from(boot.tv_nsec / 1_000_000).unwrap_or_default();
        Readings { unix_ms: self.unix_ms(), boot_ms: seconds * 1_000 + milliseconds }
    }

    fn unix_ms(&self) -> u64 {
        // A clock set before 1970 reads as 1970.
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(since_1970.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands until it is told to go on. For tests and simulation.
#[derive(Debug)]
pub struct ManualClock {
    /// Touched by the test that moves it and by everyone who reads it.
    state: Mutex<ManualState>,
}

#[derive(Debug)]
struct ManualState {
    elapsed: Duration,
    unix_ms: u64,
}

impl ManualClock {
    /// Moment zero, at this time of day.
    pub fn new(unix_ms: u64) -> Self {
        Self { state: Mutex::new(ManualState { elapsed: Duration::ZERO, unix_ms }) }
    }

    /// Lets time pass: all clocks go on together.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        let before_ms = state.elapsed.as_millis();
        state.elapsed += by;
        let passed_ms = state.elapsed.as_millis() - before_ms;
        state.unix_ms += u64::try_from(passed_ms).unwrap_or(u64::MAX);
    }

    /// Sets the time of day, as an operator or NTP does: the other clocks do not notice.
    pub fn set_unix_ms(&self, unix_ms: u64) {
        self.lock().unix_ms = unix_ms;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ManualState> {
        self.state.lock().expect("no code that holds this lock panics")
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Moment {
        Moment::default().plus(self.lock().elapsed)
    }

    fn readings(&self) -> Readings {
        let state = self.lock();
        let boot_ms = u64::try_from(state.elapsed.as_millis()).unwrap_or(u64::MAX);
        Readings { unix_ms: state.unix_ms, boot_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clocks_never_go_back() {
        let clock = RealClock::new();
        let (moment, boot_ms) = (clock.now(), clock.readings().boot_ms);
        assert!(clock.now() >= moment);
        assert!(clock.readings().boot_ms >= boot_ms && boot_ms > 0);
        assert!(clock.unix_ms() > damso_proto::id::ID_EPOCH_MS, "time of day is set");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(5_000);
        clock.advance(Duration::from_micros(1_500));
        clock.advance(Duration::from_micros(500));
        assert_eq!(clock.now(), Moment::from_micros(2_000));
        assert_eq!(clock.readings(), Readings { unix_ms: 5_002, boot_ms: 2 });
        clock.set_unix_ms(100);
        assert_eq!(clock.readings(), Readings { unix_ms: 100, boot_ms: 2 });
    }
}
