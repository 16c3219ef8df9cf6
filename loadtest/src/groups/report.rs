//! What a run found, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::controller::Options;
use super::order::{Judged, Ran};
use crate::figures::Summary;
use crate::host::Process;
use crate::slo::{Measure, Objectives};

/// Version of the JSON report.
const REPORT_VERSION: u32 = 1;
/// A worker that is busier than this is what was measured, not the server. Share of a core.
const OWN_BUSY_MAX: f64 = 0.9;
/// Above this share of stolen time a window says little. Shown, not judged.
const STEAL_NOTED: f64 = 0.02;

/// What the process ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Ok = 0,
    /// Wrong options, or the target refuses what the run needs.
    Usage = 1,
    /// An objective is broken.
    Slo = 2,
    /// Something was lost, repeated, reordered or damaged.
    Incorrect = 3,
    /// The harness was late: the run says nothing about the target.
    Void = 5,
    /// Nothing answers.
    Unreachable = 6,
}

/// How connecting and making channels went.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ramp {
    /// Intended beginning to Resumed, microseconds.
    pub login: Summary,
    /// Intended beginning to the end of the handshake, microseconds.
    pub handshake: Summary,
    /// Wall time of the connecting, seconds.
    pub seconds: f64,
    /// Wall time of making the channels, seconds.
    pub group_seconds: f64,
    /// Members who heard that they are in.
    pub told: u64,
    /// Memory of the workers with everyone connected, bytes.
    pub own_bytes: u64,
    /// The server's process before anyone connected.
    pub before: Option<Process>,
    /// With everyone connected.
    pub connected: Option<Process>,
    /// With all channels made.
    pub grouped: Option<Process>,
    /// After all phases.
    pub after: Option<Process>,
}

/// One phase against one target.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Messages a second asked for.
    pub rate: f64,
    /// Messages a second that were acknowledged.
    pub achieved: f64,
    /// Counts.
    pub planned: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that had no connection to go out on.
    pub unsent: u64,
    /// Messages acknowledged.
    pub acked: u64,
    /// Messages refused, by code.
    pub refused: BTreeMap<u32, u64>,
    /// Deliveries that should have come.
    pub expected: u64,
    /// Deliveries that came.
    pub delivered: u64,
    /// Messages that came to all members.
    pub complete: u64,
    /// Events that the server said it would not send live.
    pub skipped: u64,
    /// Connections lost.
    pub lost: u64,
    /// What the first few of those said.
    pub closings: Vec<String>,
    /// Latencies, microseconds.
    pub ack: Summary,
    /// To each receiver.
    pub response: Summary,
    /// To each receiver, from the actual send.
    pub service: Summary,
    /// To the last receiver.
    pub last: Summary,
    /// Of the harness.
    pub lateness: Summary,
    /// Ciphertext from the server per delivery, bytes.
    pub bytes_per_delivery: f64,
    /// Server CPU per delivery, microseconds.
    pub server_us_per_delivery: Option<f64>,
    /// Server CPU, share of a core.
    pub server_busy: Option<f64>,
    /// The server's process at the end.
    pub server: Option<Process>,
    /// Workers' CPU per delivery, microseconds.
    pub own_us_per_delivery: f64,
    /// Workers' CPU, share of a core.
    pub own_busy: f64,
    /// Busy share of the machine.
    pub busy: f64,
    /// Stolen share of the machine.
    pub steal: f64,
}

impl Figures {
    pub(super) fn new(
        rate: f64,
        ran: &Ran,
        server: (Option<Process>, Option<Process>),
        (busy, steal): (f64, f64),
    ) -> Self {
        let per_delivery = |n: f64| n / (ran.delivered.max(1) as f64);
        let seconds = ran.seconds.max(1e-9);
        let server_ns = match server {
            (Some(before), Some(after)) => Some(after.cpu_ns.saturating_sub(before.cpu_ns) as f64),
            _ => None,
        };
        Self {
            rate,
            achieved: ran.acked as f64 / seconds,
            planned: ran.planned,
            sent: ran.sent,
            unsent: ran.unsent,
            acked: ran.acked,
            refused: ran.refused.clone(),
            expected: ran.expected,
            delivered: ran.delivered,
            complete: ran.complete,
            skipped: ran.skipped,
            lost: ran.lost,
            closings: ran.closings.clone(),
            ack: ran.ack.summary(),
            response: ran.response.summary(),
            service: ran.service.summary(),
            last: ran.last.summary(),
            lateness: ran.lateness.summary(),
            bytes_per_delivery: per_delivery(ran.bytes_in as f64),
            server_us_per_delivery: server_ns.map(|ns| per_delivery(ns / 1e3)),
            server_busy: server_ns.map(|ns| ns / 1e9 / seconds),
            server: server.1,
            own_us_per_delivery: per_delivery(ran.own_cpu_ns as f64 / 1e3),
            own_busy: ran.own_cpu_ns as f64 / 1e9 / seconds,
            busy,
            steal,
        }
    }

    /// One line of progress.
    pub(super) fn headline(&self) -> String {
        format!(
            "{:.0}/s acked, {} of {} deliveries, last receiver p50 {} p99 {}",
            self.achieved,
            self.delivered,
            self.expected,
            time(self.last.p50),
            time(self.last.p99)
        )
    }

    /// Why this phase says nothing about the target.
    fn void(&self, late_ms_max: f64, workers: u32) -> Option<String> {
        let late_ms = self.lateness.p99 as f64 / 1e3;
        if late_ms > late_ms_max {
            return Some(format!("1 % of the messages left {late_ms:.1} ms late or more"));
        }
        let busy = self.own_busy / f64::from(workers.max(1));
        (busy > OWN_BUSY_MAX).then(|| format!("the workers were busy for {:.0} %", busy * 100.0))
    }
}

/// One target.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Side {
    /// `server` or `bare`.
    pub name: String,
    /// Worker processes.
    pub workers: u32,
    /// Connecting.
    pub ramp: Ramp,
    /// Phases, in order.
    pub phases: Vec<Figures>,
    /// What the checker says.
    pub verdict: Judged,
}

/// CPU of the server per delivery, divided by that of the bare loop.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ratio {
    /// Messages a second.
    pub rate: f64,
    /// Server over bare.
    pub ratio: f64,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// Version of this format.
    pub version: u32,
    /// What it ended with.
    pub outcome: Outcome,
    /// Why, one line each.
    pub reasons: Vec<String>,
    /// Marks the run's people and messages.
    pub run: u64,
    /// Version of the harness.
    pub harness: &'static str,
    /// Kernel, cores and processor.
    pub host: String,
    /// Connections, channels, members, payload bytes.
    pub shape: (u32, u32, u32, usize),
    /// Targets.
    pub sides: Vec<Side>,
    /// Where both targets were measured.
    pub ratios: Vec<Ratio>,
}

impl RunReport {
    pub(super) fn new(options: &Options, run: u64, sides: Vec<Side>) -> Self {
        let (outcome, reasons) = judge(&sides, &options.slo, options.late_ms_max);
        let shape = (options.connections, options.channels, options.members, options.payload);
        Self {
            version: REPORT_VERSION,
            outcome,
            reasons,
            run,
            harness: env!("CARGO_PKG_VERSION"),
            host: host(),
            shape,
            ratios: ratios(&sides),
            sides,
        }
    }
}

/// The outcome and its reasons. What is wrong stays wrong in a late run; how fast it was does not.
fn judge(sides: &[Side], slo: &Objectives, late_ms_max: f64) -> (Outcome, Vec<String>) {
    let (mut wrong, mut void, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    for (number, side) in sides.iter().enumerate() {
        let name = &side.name;
        for (law, count) in &side.verdict.violations {
            wrong.push(format!("{name}: {law} x {count}"));
        }
        if side.verdict.corrupt > 0 {
            wrong.push(format!("{name}: {} damaged payloads", side.verdict.corrupt));
        }
        for phase in &side.phases {
            let rate = phase.rate;
            if phase.lost + phase.unsent > 0 {
                let closings = phase.closings.join("; ");
                wrong.push(format!(
                    "{name} at {rate}/s: {} connections lost, {} messages unsent: {closings}",
                    phase.lost, phase.unsent
                ));
            }
            if let Some(why) = phase.void(late_ms_max, side.workers) {
                void.push(format!("{name} at {rate}/s: {why}"));
            }
            // Objectives are the first target's; the bare loop beside it only lends a yardstick.
            for objective in slo.0.iter().filter(|_| number == 0) {
                let (found, kept) = objective.check(match objective.measure {
                    Measure::Ack => &phase.ack,
                    Measure::Response => &phase.response,
                    Measure::Last => &phase.last,
                });
                if !kept {
                    broken.push(format!("{objective} at {rate}/s: it was {}", time(found)));
                }
            }
        }
    }
    if !wrong.is_empty() {
        (Outcome::Incorrect, wrong)
    } else if !void.is_empty() {
        (Outcome::Void, void)
    } else if !broken.is_empty() {
        (Outcome::Slo, broken)
    } else {
        (Outcome::Ok, Vec::new())
    }
}

fn ratios(sides: &[Side]) -> Vec<Ratio> {
    let [server, bare] = sides else { return Vec::new() };
    let pairs = server.phases.iter().zip(&bare.phases);
    pairs
        .filter_map(|(server, bare)| {
            let ratio = server.server_us_per_delivery? / bare.server_us_per_delivery?;
            Some(Ratio { rate: server.rate, ratio })
        })
        .collect()
}

fn host() -> String {
    let uname = rustix::system::uname();
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} {}, {cores} cores, {}",
        uname.sysname().to_string_lossy(),
        uname.release().to_string_lossy(),
        model.trim_start_matches([' ', '\t', ':'])
    )
}

/// Microseconds as people read them.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..100_000 => format!("{:.2} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, summary: &Summary) -> fmt::Result {
    let Summary { count, p50, p99, p999, max } = *summary;
    writeln!(
        f,
        "    {name:<26}{:>10}{:>10}{:>10}{:>10}{count:>12}",
        time(p50),
        time(p99),
        time(p999),
        time(max)
    )
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: u64 = self.refused.values().sum();
        writeln!(
            f,
            "  {:.0} messages/s asked, {:.0} acknowledged: {} sent, {} acked, {refused} refused {:?}",
            self.rate, self.achieved, self.sent, self.acked, self.refused
        )?;
        writeln!(
            f,
            "    deliveries {} of {}, {} messages complete, {} skipped, {} connections lost",
            self.delivered, self.expected, self.complete, self.skipped, self.lost
        )?;
        writeln!(
            f,
            "    {:<26}{:>10}{:>10}{:>10}{:>10}{:>12}",
            "from the intended send", "p50", "p99", "p99.9", "max", "count"
        )?;
        row(f, "to the ack", &self.ack)?;
        row(f, "to each receiver", &self.response)?;
        row(f, "to the last receiver", &self.last)?;
        row(f, "(naive: actual send)", &self.service)?;
        row(f, "(harness lateness)", &self.lateness)?;
        let us = |us: Option<f64>| us.map_or("-".into(), |us| format!("{us:.2} us"));
        let share =
            |share: Option<f64>| share.map_or("-".into(), |n| format!("{:.0} %", n * 100.0));
        writeln!(
            f,
            "    per delivery: server {} CPU, harness {}, {:.0} bytes on the wire",
            us(self.server_us_per_delivery),
            us(Some(self.own_us_per_delivery)),
            self.bytes_per_delivery
        )?;
        let noted = if self.steal > STEAL_NOTED { "  <- much: do not trust the tails" } else { "" };
        writeln!(
            f,
            "    busy: server {} of a core, harness {}; machine {:.0} %, steal {:.1} %{noted}",
            share(self.server_busy),
            share(Some(self.own_busy)),
            self.busy * 100.0,
            self.steal * 100.0
        )
    }
}

impl Side {
    fn memory(&self, f: &mut fmt::Formatter<'_>, connections: u32) -> fmt::Result {
        let Some(before) = self.ramp.before else { return Ok(()) };
        let per = |process: Option<Process>| {
            process.map_or(0.0, |process| {
                let grown = process.resident_bytes as f64 - before.resident_bytes as f64;
                grown / f64::from(connections.max(1))
            })
        };
        let ramp = &self.ramp;
        let login_ns = ramp.connected.map_or(0, |now| now.cpu_ns.saturating_sub(before.cpu_ns));
        writeln!(
            f,
            "  server memory per connection: {:.0} bytes connected, {:.0} in channels, {:.0} after; \
             {} descriptors; {:.0} us CPU per login",
            per(ramp.connected),
            per(ramp.grouped),
            per(ramp.after),
            ramp.connected.map_or(0, |process| process.descriptors),
            login_ns as f64 / 1e3 / f64::from(connections.max(1))
        )
    }
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, channels, members, payload) = self.shape;
        writeln!(f, "damso-loadtest {} on {}", self.harness, self.host)?;
        writeln!(
            f,
            "{connections} connections, {channels} channels of {members}, payload {payload} bytes"
        )?;
        for side in &self.sides {
            let ramp = &side.ramp;
            writeln!(f, "\n{}", side.name)?;
            writeln!(
                f,
                "  connected in {:.1} s, handshake p50 {} p99 {}, ready p50 {} p99 {}; channels in \
                 {:.1} s; harness {:.0} bytes per connection",
                ramp.seconds,
                time(ramp.handshake.p50),
                time(ramp.handshake.p99),
                time(ramp.login.p50),
                time(ramp.login.p99),
                ramp.group_seconds,
                ramp.own_bytes as f64 / f64::from(connections.max(1))
            )?;
            side.memory(f, connections)?;
            side.phases.iter().try_for_each(|phase| write!(f, "{phase}"))?;
            let verdict = &side.verdict;
            writeln!(
                f,
                "  verdict: {}; {} channels and {} rows read back, {} damaged payloads",
                if verdict.passed { "nothing lost, repeated or reordered" } else { "WRONG" },
                verdict.channels_read,
                verdict.rows_read,
                verdict.corrupt
            )?;
            verdict.text.lines().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        for Ratio { rate, ratio } in &self.ratios {
            writeln!(f, "\nserver CPU per delivery at {rate} messages/s: {ratio:.2} x bare")?;
        }
        writeln!(f, "\n{:?}", self.outcome)?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))
    }
}
