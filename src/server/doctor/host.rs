//! What the operating system says: cores, memory, descriptors, and time taken by a hypervisor.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::measured::Host;
use crate::runtime::memory::Supply;

/// Time of all cores so far, in ticks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Ticks {
    all: u64,
    idle: u64,
    stolen: u64,
}

impl Ticks {
    pub(super) fn now() -> Self {
        parse_ticks(&read("/proc/stat"))
    }

    /// Percent of the time since then that was used, and that was taken.
    fn since(self, then: Self) -> (f64, f64) {
        let all = self.all.saturating_sub(then.all);
        let percent = |ticks: u64| 100.0 * ticks.min(all) as f64 / all.max(1) as f64;
        let idle = self.idle.saturating_sub(then.idle);
        let stolen = self.stolen.saturating_sub(then.stolen);
        (percent(all.saturating_sub(idle)), percent(stolen))
    }
}

/// Reads all of it; `begun` is when measuring began.
pub(super) fn look(begun: Ticks) -> Host {
    let memory = Supply::now();
    let limit = getrlimit(Resource::Nofile);
    let (busy_percent, steal_percent) = Ticks::now().since(begun);
    Host {
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
        memory_bytes: memory.total,
        memory_available_bytes: memory.available,
        memory_limit_bytes: memory.limit,
        descriptors_soft: limit.current.unwrap_or(u64::MAX),
        descriptors_hard: limit.maximum.unwrap_or(u64::MAX),
        busy_percent,
        steal_percent,
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `user nice system idle iowait irq softirq steal ...`, the last two of which are in the first.
fn parse_ticks(stat: &str) -> Ticks {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let ticks = line.unwrap_or_default().split_whitespace().filter_map(|n| n.parse::<u64>().ok());
    let ticks: Vec<_> = ticks.take(8).collect();
    let at = |column: usize| ticks.get(column).copied().unwrap_or_default();
    Ticks { all: ticks.iter().sum(), idle: at(3) + at(4), stolen: at(7) }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let stat = "cpu  10 0 20 60 5 1 2 2 9 9\ncpu0 1 1\n";
        let then = parse_ticks(stat);
        assert_eq!(then, Ticks { all: 100, idle: 65, stolen: 2 });
        assert_eq!(Ticks { all: 300, idle: 215, stolen: 12 }.since(then), (25.0, 5.0));
        assert_eq!(then.since(then), (0.0, 0.0));
        assert_eq!(parse_ticks(""), Ticks::default());
    }

    #[test]
    fn this_machine_has_cores_memory_and_descriptors() {
        let host = look(Ticks::now());
        assert!(host.cores > 0 && host.memory_bytes > 0 && host.memory_available_bytes > 0);
        assert!(host.descriptors_soft > 0 && host.descriptors_soft <= host.descriptors_hard);
        assert!([host.steal_percent, host.busy_percent].iter().all(|n| (0.0..=100.0).contains(n)));
    }
}
