//! What the operating system says of this process, under Prometheus' usual names.

use std::fs;

use metrics::gauge;

use crate::runtime::memory::Resident;

/// Reads `/proc/self` into gauges. What cannot be read is left as it was.
pub(super) fn measure() {
    if let Some(open) = open_descriptors() {
        gauge!("process_open_fds").set(open as f64);
    }
    gauge!("process_max_fds").set(descriptors() as f64);
    if let Some(resident) = Resident::now() {
        gauge!("process_resident_memory_bytes").set(resident.all as f64);
    }
    gauge!("process_cpu_seconds_total").set(cpu_seconds());
    if let Some(threads) = threads() {
        gauge!("process_threads").set(threads as f64);
    }
}

/// How many descriptors this process may open.
pub fn descriptors() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many descriptors are open.
pub(super) fn open_descriptors() -> Option<usize> {
    // One of them is the listing itself.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// Processor time of all its threads.
pub(super) fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn threads() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()
}
