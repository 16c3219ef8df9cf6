//! What was found, for people and for programs.

use serde::Serialize;

use super::expect::Expected;
use super::measured::Measured;

/// All that is told.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Report {
    pub(super) measured: Measured,
    pub(super) expected: Expected,
    pub(super) assumed: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Report {
    /// As JSON, in lines.
    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// As text.
    pub(super) fn text(&self) -> String {
        let Self { measured, expected, assumed, warnings } = self;
        let mut text = String::from("measured here\n");
        for (name, value) in found(measured) {
            text.push_str(&format!("  {name:<14}{value}\n"));
        }
        text.push_str("\nto be expected here\n");
        for (name, value) in promised(expected) {
            text.push_str(&format!("  {name:<36}{value}\n"));
        }
        text.push_str("\nwhich assumes\n");
        assumed.iter().for_each(|line| text.push_str(&wrapped(line)));
        if warnings.is_empty() {
            text.push_str("\nno warnings\n");
        } else {
            text.push_str("\nwarnings\n");
            warnings.iter().for_each(|line| text.push_str(&wrapped(line)));
        }
        text
    }
}

fn found(measured: &Measured) -> Vec<(&'static str, String)> {
    let Measured { host, disk, clock } = measured;
    let limit = host.memory_limit_bytes.map(|limit| format!(", limit {}", gib(limit)));
    vec![
        (
            "cores",
            format!(
                "{} ({}), {:.0} % busy, steal {:.1} %",
                host.cores, host.processor, host.busy_percent, host.steal_percent
            ),
        ),
        (
            "memory",
            format!(
                "{}, {} available{}",
                gib(host.memory_bytes),
                gib(host.memory_available_bytes),
                limit.unwrap_or_default()
            ),
        ),
        (
            "descriptors",
            format!(
                "{} soft, {} hard; a server raises one to the other",
                host.descriptors_soft, host.descriptors_hard
            ),
        ),
        (
            "disk",
            format!(
                "fdatasync of 4 KiB: p50 {}, p99 {}, at most {} ({} appends)",
                ms(disk.sync_p50_us),
                ms(disk.sync_p99_us),
                ms(disk.sync_max_us),
                disk.appends
            ),
        ),
        ("", format!("{}, {} free", disk.directory.display(), gib(disk.free_bytes))),
        (
            "clock",
            format!(
                "resolution {} ns; in {} ms {} steps, drift {:.1} us a second",
                clock.resolution_ns, clock.watched_ms, clock.steps, clock.drift_us_per_second
            ),
        ),
    ]
}

fn promised(expected: &Expected) -> Vec<(String, String)> {
    let by = match expected {
        Expected { connections: 0, .. } => "memory does not suffice for the stores",
        Expected { connections, connections_by_setting: set, .. } if connections == set => {
            "server.connections"
        }
        Expected { connections, connections_by_memory: memory, .. } if connections == memory => {
            "by memory"
        }
        _ => "by descriptors",
    };
    vec![
        (
            "connections at a time".to_owned(),
            format!(
                "{} ({by}; descriptors allow {}, memory {})",
                expected.connections,
                expected.connections_by_descriptors,
                expected.connections_by_memory
            ),
        ),
        (
            "memory that a server takes".to_owned(),
            format!("{} at most; from 80 % on nobody new", gib(expected.memory_budget_bytes)),
        ),
        (
            "logins".to_owned(),
            format!(
                "{:.0}/s, so that all are back after {:.1} s",
                expected.logins_per_second, expected.all_back_seconds
            ),
        ),
        (
            "one sender who waits for each ack".to_owned(),
            format!(
                "{:.0} messages/s, ack after {:.2} ms",
                expected.messages_per_second_alone, expected.ack_alone_ms
            ),
        ),
        (
            "many senders, groups of ten".to_owned(),
            format!(
                "{:.0} messages/s, {:.0} deliveries/s",
                expected.messages_per_second_grouped, expected.deliveries_per_second_grouped
            ),
        ),
        (
            "their acks' wait for the disk".to_owned(),
            format!("p99 {:.1} ms", expected.ack_disk_p99_ms),
        ),
        (
            format!("one message to {} people", expected.largest_group),
            format!("{:.0} ms to the last of them", expected.largest_group_last_ms),
        ),
    ]
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

fn ms(us: f64) -> String {
    format!("{:.2} ms", us / 1e3)
}

/// A point of a list, in lines of at most 96 characters.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("  -");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > 96 {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("   ");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}
