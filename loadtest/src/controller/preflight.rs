//! What a run needs of the machine, checked before the first connection: a limit that is hit later
//! looks like a slow server.

use std::fs;
use std::net::SocketAddr;

use crate::host;

/// Descriptors of a worker beside its connections.
const OTHER_DESCRIPTORS: u64 = 32;
/// Memory of a connection in a worker with TLS, bytes, measured; the kernel's part is about as
/// much again at each end.
const BYTES_PER_CONNECTION: u64 = 6_000;
const KERNEL_BYTES_PER_CONNECTION: u64 = 8_000;

/// What was found.
#[derive(Debug)]
pub(super) struct Preflight {
    /// A line or two for people.
    pub(super) text: String,
    /// What cannot work, with what to do about it.
    pub(super) impossible: Vec<String>,
}

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) connections: u32,
    pub(super) workers: u32,
    pub(super) address: SocketAddr,
    /// Each worker has a source address of its own.
    pub(super) many_sources: bool,
}

/// Looks at this machine.
pub(super) fn look(plan: &Plan) -> Preflight {
    let number = |path: &str, at: usize| -> Option<u64> {
        fs::read_to_string(path).ok()?.split_whitespace().nth(at)?.parse().ok()
    };
    let ports = "/proc/sys/net/ipv4/ip_local_port_range";
    judge(
        plan,
        &Limits {
            descriptors: host::raise_descriptor_limit(),
            ports: number(ports, 1)
                .zip(number(ports, 0))
                .map_or(0, |(to, from)| (to + 1).saturating_sub(from)),
            backlog: number("/proc/sys/net/core/somaxconn", 0).unwrap_or(0),
            available_bytes: host::memory_bytes("MemAvailable"),
        },
    )
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    descriptors: u64,
    ports: u64,
    backlog: u64,
    available_bytes: u64,
}

fn judge(plan: &Plan, limits: &Limits) -> Preflight {
    let Limits { descriptors, ports, backlog, available_bytes } = *limits;
    let each = u64::from(plan.connections.div_ceil(plan.workers.max(1)));
    let sources = if plan.many_sources { u64::from(plan.workers) } else { 1 };
    let needed =
        u64::from(plan.connections) * (BYTES_PER_CONNECTION + 2 * KERNEL_BYTES_PER_CONNECTION);
    let mut impossible = Vec::new();
    if each + OTHER_DESCRIPTORS > descriptors {
        impossible.push(format!(
            "{each} connections in a worker need {} descriptors, and a process may have \
             {descriptors}: lower --per-worker, or raise the hard limit (ulimit -Hn)",
            each + OTHER_DESCRIPTORS
        ));
    }
    if ports > 0 && u64::from(plan.connections) > ports * sources {
        impossible.push(format!(
            "{} connections from {sources} address(es) need more than the {ports} ports of each: \
             lower --connections, or widen net.ipv4.ip_local_port_range",
            plan.connections
        ));
    }
    if available_bytes > 0 && needed > available_bytes {
        impossible.push(format!(
            "{} connections take about {} MiB here, server not counted, and {} MiB are available",
            plan.connections,
            needed >> 20,
            available_bytes >> 20
        ));
    }
    let text = format!(
        "{} connections to {} in {} worker(s)\n  descriptors {each} of {descriptors} a worker, ports \
         {} of {}, backlog at most {backlog}, memory about {} of {} MiB",
        plan.connections,
        plan.address,
        plan.workers,
        plan.connections,
        ports * sources,
        needed >> 20,
        available_bytes >> 20
    );
    Preflight { text, impossible }
}

/// Connections that listen queues had no room for since the machine started: each of them waited
/// for a second at least.
pub(super) fn listen_overflows() -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    overflows(&text)
}

fn overflows(netstat: &str) -> u64 {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split_whitespace().position(|name| name == "ListenOverflows");
    at.and_then(|at| values.split_whitespace().nth(at)?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { descriptors: 20_000, ports: 28_232, backlog: 4_096, available_bytes: 8 << 30 };

    fn plan(connections: u32, workers: u32) -> Plan {
        let address = "127.0.0.1:7443".parse().unwrap();
        Plan { connections, workers, address, many_sources: true }
    }

    #[test]
    fn what_fits_is_told_and_what_does_not_is_explained() {
        assert!(judge(&plan(15_000, 1), &LIMITS).impossible.is_empty());
        assert!(judge(&plan(60_000, 4), &LIMITS).impossible.is_empty());
        let cases = [
            (plan(20_000, 1), LIMITS, "--per-worker"),
            (plan(60_000, 4), Limits { ports: 10_000, ..LIMITS }, "ip_local_port_range"),
            (Plan { many_sources: false, ..plan(30_000, 2) }, LIMITS, "ip_local_port_range"),
            (plan(15_000, 1), Limits { available_bytes: 64 << 20, ..LIMITS }, "MiB"),
        ];
        for (plan, limits, hint) in cases {
            let found = judge(&plan, &limits);
            assert_eq!(found.impossible.len(), 1, "{found:?}");
            assert!(found.impossible[0].contains(hint), "{found:?}");
        }
    }

    #[test]
    fn overflows_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 7 9\nIpExt: x\n";
        assert_eq!(overflows(text), 7);
        assert_eq!(overflows(""), 0);
    }
}
