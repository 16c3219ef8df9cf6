//! What the operating system says of memory: this process's, the machine's, a container's.

use std::fs;

/// Memory that this process has now, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resident {
    /// All of it.
    pub all: u64,
    /// Of that, what the kernel cannot take back: no pages of files. There is no swap, as a rule.
    pub own: u64,
}

impl Resident {
    /// Asks the kernel: a few microseconds. `None`: there is no `/proc`.
    pub fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/statm").ok()?)
    }

    /// `size resident shared ...`, in pages; shared are those of files.
    fn parse(statm: &str) -> Option<Self> {
        let mut fields = statm.split_whitespace().skip(1).map(|pages| pages.parse::<u64>().ok());
        let (all, files) = (fields.next()??, fields.next()??);
        let page = rustix::param::page_size() as u64;
        Some(Self { all: all * page, own: all.saturating_sub(files) * page })
    }
}

/// Memory that there is, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Supply {
    /// Of the machine; 0: it does not say.
    pub total: u64,
    /// Of that, what can be had without swapping.
    pub available: u64,
    /// What a container allows. `None`: no limit was found.
    pub limit: Option<u64>,
}

impl Supply {
    /// Asks the kernel.
    pub fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let memory = read("/proc/meminfo");
        let total = kib_of(&memory, "MemTotal").unwrap_or_default();
        let files = limit_files(&read("/proc/self/cgroup"));
        let limits = files.iter().filter_map(|path| read(path).trim().parse().ok());
        Self {
            total,
            available: kib_of(&memory, "MemAvailable").unwrap_or_default(),
            // Without a limit there is a number beyond any memory.
            limit: limits.filter(|limit: &u64| *limit < total).min(),
        }
    }
}

fn kib_of(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// Where a memory limit may stand: of either version of control groups, under the whole name or,
/// inside a container, under none.
fn limit_files(own: &str) -> Vec<String> {
    own.lines()
        .flat_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controller, path) = (parts.next().unwrap_or("-"), parts.next().unwrap_or("/"));
            let (root, file) = match controller {
                "" => ("/sys/fs/cgroup", "memory.max"),
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                _ => return Vec::new(),
            };
            let path = path.trim_end_matches('/');
            vec![format!("{root}{path}/{file}"), format!("{root}/{file}")]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let meminfo = "MemTotal:       24683712 kB\nMemAvailable:      1024 kB\n";
        assert_eq!(kib_of(meminfo, "MemAvailable"), Some(1 << 20));
        assert_eq!(kib_of(meminfo, "Mem"), None);
        let two = limit_files("4:memory:/a/b\n1:cpu:/\n0::/\n");
        assert_eq!(
            two,
            [
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        let page = rustix::param::page_size() as u64;
        let resident = Resident { all: 30 * page, own: 20 * page };
        assert_eq!(Resident::parse("100 30 10 5 0 40 0\n"), Some(resident));
        assert_eq!(Resident::parse("100 30\n"), None);
    }

    #[test]
    fn what_is_filled_here_is_seen_and_fits_into_the_machine() {
        let filled = vec![1_u8; 64 << 20];
        let now = Resident::now().unwrap();
        assert!(now.own >= filled.len() as u64, "{now:?}");
        assert!(now.own <= now.all && now.all < Supply::now().total, "{now:?}");
    }
}
