//! What a run found, as data: the JSON report, and what the text and the HTML report are made of.
//!
//! ```text
//! Report -> Side (one per target) -> Phase -> Stream (one per kind of traffic)
//!                                       \---> Second (one per second of the phase)
//! ```
//!
//! Times are microseconds where a name does not say otherwise. `loadtest/README.md` tells the rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::overload::Overload;
pub use super::saturation::{Saturation, Step, StepVerdict};
use super::stalled::Stalled;
use super::stress::{Growth, Held, Rest, Stop, Visits};
use crate::figures::{Latencies, Summary};
use crate::host::Process;
use crate::scenario::Op;

/// Version of the JSON report; counted up when a field changes its meaning.
pub const REPORT_VERSION: u32 = 2;

/// What the process ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
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

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// What it ended with.
    pub outcome: Outcome,
    /// Why, one line each; empty if all is well.
    pub reasons: Vec<String>,
    /// Marks the run's people and messages; milliseconds since 1970 at its start.
    pub run: u64,
    /// Version of the harness.
    pub harness: String,
    /// Where it ran.
    pub host: Host,
    /// Name of the scenario.
    pub scenario: String,
    /// What it is for.
    pub about: String,
    /// The whole scenario as it was run, overrides included.
    pub configuration: serde_json::Value,
    /// Objectives and whether they were kept.
    pub objectives: Vec<Objective>,
    /// Targets; the first is the one that the objectives are about.
    pub sides: Vec<Side>,
    /// Server CPU per delivery of the first side over that of the others, phase by phase.
    pub ratios: Vec<Ratio>,
    /// What `saturate` found. `None`: nothing was searched.
    #[serde(default)]
    pub saturation: Option<Saturation>,
}

/// The machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    /// Operating system and its version.
    pub system: String,
    /// Processor.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory of the machine, bytes.
    pub memory_bytes: u64,
}

/// One objective of `--slo` in one phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Objective {
    /// As it was written: `ack.p99<50ms`.
    pub text: String,
    /// In which phase.
    pub phase: String,
    /// Of which stream.
    pub stream: String,
    /// What was found.
    pub found: u64,
    /// It is below the limit.
    pub kept: bool,
}

/// One target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Side {
    /// `damso`, `bare`, `mosquitto`, ...
    pub name: String,
    /// What it promises here, so that figures are not compared blindly.
    pub guarantees: String,
    /// Worker processes.
    pub workers: u32,
    /// Connecting.
    pub ramp: Ramp,
    /// Phases, in order.
    pub phases: Vec<Phase>,
    /// What was lost, repeated, reordered or damaged.
    pub verdict: Verdict,
    /// What stayed behind when people had visited; empty: it was not looked at.
    #[serde(default)]
    pub growth: Vec<Growth>,
    /// What came of more than the server can do.
    #[serde(default)]
    pub overloads: Vec<Overload>,
    /// What those who did not read cost.
    #[serde(default)]
    pub stalled: Vec<Stalled>,
}

/// How connecting and making channels went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ramp {
    /// Connections asked for.
    pub connections: u32,
    /// Intended beginning to the end of the TLS handshake.
    pub handshake: Summary,
    /// Intended beginning to live (logged in and resumed).
    pub login: Summary,
    /// Wall time of the connecting, seconds.
    pub seconds: f64,
    /// Wall time of making the channels, seconds.
    pub set_up_seconds: f64,
    /// Memory of the workers before and with everyone connected, bytes.
    pub own_bytes: (u64, u64),
    /// The server's process before anyone connected, with everyone connected, with all channels
    /// made, and after all phases.
    pub server: [Option<Process>; 4],
    /// Connections that the listen queue had no room for, while connecting.
    pub listen_overflows: u64,
}

/// One stretch of traffic against one target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Which repetition, from 1.
    pub repeat: u32,
    /// From the start to the last thing heard, seconds.
    pub seconds: f64,
    /// One entry per stream that ran.
    pub streams: Vec<Stream>,
    /// What it cost.
    pub usage: Usage,
    /// Connections that the target closed, or that broke, without being asked to.
    pub lost: u64,
    /// What the first few of those said.
    pub closings: Vec<String>,
    /// Connections that the scenario reset, and from the first attempt to live again.
    pub resets: u64,
    /// From the first attempt after a reset to live again, everything missed included.
    pub resume: Summary,
    /// Seconds after the beginning of the storm until half, 95 %, 99 % and all of its connections
    /// were live again. 0: there was none.
    pub live_again_seconds: [f64; 4],
    /// Connections that read slowly by scenario, and those of them that the target cut.
    pub slow: u64,
    /// See `slow`.
    pub slow_cut: u64,
    /// Who came and went. `None`: nobody did by scenario.
    #[serde(default)]
    pub visits: Option<Visits>,
    /// The server afterwards, when it had nothing to do. `None`: it was not looked at.
    #[serde(default)]
    pub rest: Option<Rest>,
    /// What the server held at the end of it, in a scenario where some do not read.
    #[serde(default)]
    pub held: Option<Held>,
    /// How the server ended. `None`: it was not asked to.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// How it went, second by second.
    pub series: Vec<Second>,
}

/// One kind of traffic in one phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stream {
    /// Its name in the scenario.
    pub name: String,
    /// `send` or `history`.
    pub op: Op,
    /// Operations a second asked for.
    pub asked: f64,
    /// Operations a second that were answered.
    pub achieved: f64,
    /// Counts.
    pub counts: Counts,
    /// What was measured.
    pub latencies: Vec<Measured>,
}

/// Counts of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Operations planned.
    pub planned: u64,
    /// Of those, begun.
    pub sent: u64,
    /// Not begun, since nobody of the channel was connected.
    pub unsent: u64,
    /// Answered.
    pub acked: u64,
    /// Refused, by code.
    pub refused: BTreeMap<u32, u64>,
    /// Of those, refused without a time to try again.
    #[serde(default)]
    pub untimed: u64,
    /// Deliveries that should have come to connections that read.
    pub expected: u64,
    /// Of those, deliveries that came live.
    pub delivered: u64,
    /// Of those, deliveries that came later, after a reconnect or from history.
    pub caught_up: u64,
    /// Deliveries to connections that read slowly by scenario; in no latency.
    pub delivered_slowly: u64,
    /// Messages that came to everyone who should have them.
    pub complete: u64,
    /// Rows read from history.
    pub rows: u64,
}

impl Counts {
    /// Adds another worker's counts of the same stream.
    pub fn merge(&mut self, other: &Self) {
        self.planned += other.planned;
        self.sent += other.sent;
        self.unsent += other.unsent;
        self.acked += other.acked;
        for (code, count) in &other.refused {
            *self.refused.entry(*code).or_default() += count;
        }
        self.untimed += other.untimed;
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.caught_up += other.caught_up;
        self.delivered_slowly += other.delivered_slowly;
        self.complete += other.complete;
        self.rows += other.rows;
    }

    /// Operations refused, for whatever reason.
    pub fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// One distribution.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Which one.
    pub measure: Measure,
    /// The figures that people read.
    pub summary: Summary,
    /// (share of all that are at most this, microseconds), from the median on: the curve.
    pub curve: Vec<(f64, u64)>,
    /// HdrHistogram V2, base64.
    pub histogram: Latencies,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Intended send to acknowledgement.
    Ack,
    /// Intended send to each receiver.
    Response,
    /// Intended send to the last receiver.
    Last,
    /// Actual send to each receiver.
    Service,
    /// To the ack, as a closed loop would have told it: from the send, or from the answer to the
    /// same sender's message before, whichever was later. Blind to what waited.
    Naive,
    /// Intended to actual send: the harness' own.
    Lateness,
    /// Intended request for a page of history to its last part.
    Page,
    /// Intended send to its refusal.
    Refused,
}

impl Measure {
    /// All of them, in the order of a report.
    pub const ALL: [Self; 8] = [
        Self::Ack,
        Self::Response,
        Self::Last,
        Self::Service,
        Self::Naive,
        Self::Lateness,
        Self::Page,
        Self::Refused,
    ];

    /// As objectives and logs name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Response => "response",
            Self::Last => "last",
            Self::Service => "service",
            Self::Naive => "naive",
            Self::Lateness => "lateness",
            Self::Page => "page",
            Self::Refused => "refused",
        }
    }
}

/// What a phase cost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Deliveries of all streams, history rows not counted.
    pub deliveries: u64,
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
    /// CPU of all workers, share of a core.
    pub own_busy: f64,
    /// CPU of the busiest worker, share of a core.
    pub own_busiest: f64,
    /// Busy share of the machine.
    pub machine_busy: f64,
    /// Stolen share of the machine.
    pub steal: f64,
}

/// One second of a phase, all streams together. Latencies are of what was heard in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the start of the phase, at its end.
    pub at: u32,
    /// Operations planned for it.
    pub offered: u64,
    /// Operations begun.
    pub sent: u64,
    /// Operations answered.
    pub acked: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Connections that are live at its end.
    pub live: u64,
    /// Visits that ended in it.
    #[serde(default)]
    pub visits: u64,
    /// Send to ack.
    pub ack: Summary,
    /// To each receiver.
    pub response: Summary,
    /// To the last receiver.
    pub last: Summary,
    /// The harness' own.
    pub lateness: Summary,
    /// Server CPU, share of a core. `None`: not known.
    pub server_busy: Option<f64>,
    /// Server memory, bytes. `None`: not known.
    pub server_bytes: Option<u64>,
    /// CPU of all workers, share of a core.
    pub own_busy: f64,
    /// Stolen share of the machine.
    pub steal: f64,
}

/// Whether everything came that should, once, in order, unharmed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Nothing is wrong.
    pub passed: bool,
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries that came again.
    pub duplicated: u64,
    /// Deliveries that came after a later one.
    pub reordered: u64,
    /// Deliveries that were damaged.
    pub corrupted: u64,
    /// The first places of each.
    pub witnesses: Vec<Witness>,
    /// Broken laws of the history checker, and how often.
    pub laws: BTreeMap<String, u64>,
    /// What the history checker says, as text, worker by worker.
    pub checker: String,
    /// Channels and rows read back from history at the end.
    pub channels_read: u64,
    /// See `channels_read`.
    pub rows_read: u64,
}

/// A place where something is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Witness {
    /// `lost`, `duplicated`, `reordered` or `corrupted`.
    pub wrong: String,
    /// The channel's number in the run, from 0 in each worker.
    pub channel: String,
    /// Its position there, if the target numbers messages.
    pub seq: Option<u64>,
    /// Which message of the run: phase, stream and number.
    pub message: String,
    /// Which connection did not get it, or got it wrong: worker and number.
    pub connection: String,
}

/// CPU of one side's server per delivery over that of another, in one phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ratio {
    /// The phase.
    pub phase: String,
    /// Whose figure is divided.
    pub of: String,
    /// By whose.
    pub by: String,
    /// The median over the repetitions.
    pub ratio: f64,
    /// The least and the greatest.
    pub spread: (f64, f64),
    /// Repetitions.
    pub repeats: u32,
}
