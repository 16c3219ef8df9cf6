//! Clocks, steal, windows.

use std::fs;
use std::time::Duration;

use rustix::thread::CpuSet;
use rustix::time::{ClockId, clock_gettime};

use super::Outcome;

/// Share of the machine that the hypervisor may take in a window that counts.
const STEAL_MAX: f64 = 0.02;

/// What was sent in a window, and what it cost.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Sent {
    pub(super) deliveries: u64,
    /// Socket writes.
    pub(super) writes: u64,
    /// Ciphertext.
    pub(super) bytes: u64,
    pub(super) cpu: Duration,
}

/// A stretch of time in which one of the two was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) sent: Sent,
    /// Share of the machine that the hypervisor took.
    pub(super) steal: f64,
}

/// A window of each, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) product: Window,
    pub(super) bare: Window,
}

impl Sent {
    /// CPU microseconds per delivery.
    pub(super) fn us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries.max(1) as f64
    }

    /// Socket writes per delivery.
    pub(super) fn writes_each(&self) -> f64 {
        self.writes as f64 / self.deliveries.max(1) as f64
    }
}

impl Window {
    /// Runs `measured`, with an eye on the machine.
    pub(super) fn over(measured: impl FnOnce() -> Outcome<Sent>) -> Outcome<Self> {
        let before = jiffies()?;
        let sent = measured()?;
        let after = jiffies()?;
        let all = after.all.saturating_sub(before.all).max(1);
        Ok(Self { sent, steal: after.steal.saturating_sub(before.steal) as f64 / all as f64 })
    }
}

impl Pair {
    pub(super) fn ratio(&self) -> f64 {
        self.product.sent.us() / self.bare.sent.us()
    }

    /// The machine was ours.
    pub(super) fn counts(&self) -> bool {
        self.product.steal <= STEAL_MAX && self.bare.steal <= STEAL_MAX
    }
}

/// CPU time that this thread has used.
pub(super) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

/// Keeps this thread on one core, if there is such a core.
pub(super) fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    // A machine of one core measures noise, but it measures.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// Memory of this process that is really there.
pub(super) fn resident_bytes() -> Outcome<usize> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).ok_or("statm has no second field")?.parse()?;
    Ok(pages * rustix::param::page_size())
}

struct Jiffies {
    all: u64,
    steal: u64,
}

fn jiffies() -> Outcome<Jiffies> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().ok_or("/proc/stat is empty")?;
    let numbers: Vec<u64> =
        line.split_whitespace().skip(1).take(8).map(str::parse).collect::<Result<_, _>>()?;
    let steal = numbers.get(7).copied().unwrap_or(0);
    Ok(Jiffies { all: numbers.iter().sum(), steal })
}
