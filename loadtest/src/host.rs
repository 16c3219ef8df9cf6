//! What the system says about a process and about itself, from `/proc`.

use std::fs;

use serde::{Deserialize, Serialize};

/// A reading of one process.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Process {
    /// CPU time of all its live threads, nanoseconds: the scheduler's own account, since ticks of
    /// 10 ms are too coarse for a figure per delivery.
    pub cpu_ns: u64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Process {
    /// Reads process `pid`. `None`: it is gone, or not ours to see.
    pub fn read(pid: u32) -> Option<Self> {
        let mut cpu_ns = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            // A thread may end while we look.
            let Ok(text) = fs::read_to_string(task.ok()?.path().join("schedstat")) else {
                continue;
            };
            cpu_ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        let descriptors =
            fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |all| all.count() as u64);
        let resident_bytes = pages * rustix::param::page_size() as u64;
        Some(Self { cpu_ns, resident_bytes, descriptors })
    }

    /// How many of its descriptors are files with a name. `None`: it is gone, or not ours to see.
    pub fn files(pid: u32) -> Option<u64> {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let links = links.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        // Sockets, pipes and the like are `socket:[...]`.
        Some(links.filter(|link| link.is_absolute()).count() as u64)
    }
}

/// A reading of the whole machine, in clock ticks since its start.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// All ticks of all cores.
    pub total: u64,
    /// Ticks in which nothing ran.
    pub idle: u64,
    /// Ticks that the hypervisor gave to others.
    pub steal: u64,
}

impl Machine {
    /// Reads `/proc/stat`; zeroes where there is none.
    pub fn read() -> Self {
        fs::read_to_string("/proc/stat").map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).filter_map(|tick| tick.parse().ok()).collect();
        let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
        // user nice system idle iowait irq softirq steal; guest time is part of user.
        Self { total: ticks.iter().take(8).sum(), idle: at(3) + at(4), steal: at(7) }
    }

    /// Shares of the time since `earlier`: (busy without steal, steal), 0-1.
    pub fn shares_since(&self, earlier: &Self) -> (f64, f64) {
        let total = self.total.saturating_sub(earlier.total).max(1) as f64;
        let idle = self.idle.saturating_sub(earlier.idle) as f64;
        let steal = self.steal.saturating_sub(earlier.steal) as f64;
        ((total - idle - steal) / total, steal / total)
    }
}

/// One figure of `/proc/meminfo`, such as `MemAvailable`, bytes; 0 where there is none.
pub fn memory_bytes(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Raises the soft limit of descriptors to the hard one and returns it.
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let granted =
        if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    granted.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_memory_and_descriptors() {
        let before = Process::read(std::process::id()).unwrap();
        let mut sum = 0_u64;
        for n in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum ^ n);
        }
        let after = Process::read(std::process::id()).unwrap();
        assert!(after.cpu_ns > before.cpu_ns, "{before:?} {after:?} {sum}");
        assert!(after.resident_bytes > 0 && after.descriptors > 2);
    }

    #[test]
    fn a_process_that_is_gone_has_no_reading() {
        assert_eq!(Process::read(u32::MAX), None);
    }

    #[test]
    fn shares_are_of_the_time_between_two_readings() {
        let early = Machine::parse("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3");
        let late = Machine::parse("cpu  150 0 130 800 100 0 0 20 50 0\ncpu0 1 2 3");
        let (busy, steal) = late.shares_since(&early);
        assert!((busy - 0.4).abs() < 1e-9 && (steal - 0.1).abs() < 1e-9, "{busy} {steal}");
    }
}
