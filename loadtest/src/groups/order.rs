//! What the controller and its workers say to each other: one JSON object a line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::figures::Latencies;
use crate::host::Process;
use crate::schedule::Arrival;

/// What a worker is for; its first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Config {
    /// Connection string of the target.
    pub url: String,
    /// PKCS#8 key that signs tokens. `None`: the target takes a uid for a token (the bare loop).
    pub token_key: Option<PathBuf>,
    /// Marks the messages of this run.
    pub run: u64,
    /// Which worker this is, from 0; part of its people's uids.
    pub worker: u32,
    /// Connections, each of a person of its own.
    pub connections: u32,
    /// Channels.
    pub channels: u32,
    /// Members of each.
    pub members: u32,
    /// Length of a message's payload.
    pub payload_bytes: usize,
    /// Connections begun a second.
    pub connect_rate: f64,
    /// Never sleep: keeps the core awake, so that sends pay no wake-up.
    pub spin: bool,
}

/// What to do next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Connect and log in everyone. Answered by [`Report::Connected`].
    Connect,
    /// Make the channels. Answered by [`Report::Grouped`].
    Group,
    /// Send and receive. Answered by [`Report::Ran`].
    Run(Phase),
    /// Read the channels back from history, if `history`, and judge. Answered by
    /// [`Report::Judged`].
    Judge {
        /// The target keeps history.
        history: bool,
    },
}

/// One stretch of sending at one rate.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Phase {
    /// Its number in the run, from 0.
    pub number: u32,
    /// Messages a second, of this worker.
    pub rate: f64,
    /// How long.
    pub seconds: f64,
    /// How they arrive.
    pub arrival: Arrival,
    /// When it starts, nanoseconds of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// How long to wait for what is still missing at the end.
    pub drain_seconds: f64,
    /// Seed of the plan.
    pub seed: u64,
}

/// What came of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// Everyone is logged in.
    Connected(Box<Connected>),
    /// The channels are there.
    Grouped {
        /// Seconds it took.
        seconds: f64,
        /// Members who were told of it so far.
        told: u64,
    },
    /// The phase is over.
    Ran(Box<Ran>),
    /// The verdict.
    Judged(Judged),
    /// It cannot go on.
    Failed {
        /// Nothing answers there.
        unreachable: bool,
        /// What happened.
        what: String,
    },
}

/// Figures of connecting.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Connected {
    /// From the intended beginning to Resumed.
    pub login: Latencies,
    /// From the intended beginning to the end of the TLS handshake.
    pub handshake: Latencies,
    /// Wall time of the ramp, seconds.
    pub seconds: f64,
    /// The worker's own memory and descriptors then.
    pub own: Process,
}

/// Figures of one phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    /// Messages planned.
    pub planned: u64,
    /// Of those, sent.
    pub sent: u64,
    /// Not sent, since the sender's connection was gone.
    pub unsent: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Refused, by code.
    pub refused: BTreeMap<u32, u64>,
    /// Deliveries that the acknowledged and unanswered messages should have caused.
    pub expected: u64,
    /// Deliveries of this phase's messages.
    pub delivered: u64,
    /// Messages that came to all members.
    pub complete: u64,
    /// Events that the server said it would not send live.
    pub skipped: u64,
    /// Connections lost.
    pub lost: u64,
    /// What the first few of those said.
    pub closings: Vec<String>,
    /// Ciphertext read and written, bytes.
    pub bytes_in: u64,
    /// See `bytes_in`.
    pub bytes_out: u64,
    /// From the first intended send to the last delivery, seconds.
    pub seconds: f64,
    /// CPU time of the worker, nanoseconds.
    pub own_cpu_ns: u64,
    /// Intended send to actual send: the harness' own lateness.
    pub lateness: Latencies,
    /// Intended send to acknowledgement.
    pub ack: Latencies,
    /// Intended send to each receiver.
    pub response: Latencies,
    /// Actual send to each receiver: the naive figure, blind to what waited.
    pub service: Latencies,
    /// Intended send to the last receiver of the message.
    pub last: Latencies,
}

impl Ran {
    /// Adds another worker's figures of the same phase.
    pub fn merge(&mut self, other: &Self) {
        self.planned += other.planned;
        self.sent += other.sent;
        self.unsent += other.unsent;
        self.acked += other.acked;
        for (code, count) in &other.refused {
            *self.refused.entry(*code).or_default() += count;
        }
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.complete += other.complete;
        self.skipped += other.skipped;
        self.lost += other.lost;
        self.closings.extend(other.closings.iter().cloned());
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.seconds = self.seconds.max(other.seconds);
        self.own_cpu_ns += other.own_cpu_ns;
        self.lateness.merge(&other.lateness);
        self.ack.merge(&other.ack);
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.last.merge(&other.last);
    }
}

/// What the checker says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Judged {
    /// No law was broken.
    pub passed: bool,
    /// Counts, broken laws and witnesses, as text.
    pub text: String,
    /// Broken laws and how often.
    pub violations: BTreeMap<String, u64>,
    /// Payloads whose checksum did not fit.
    pub corrupt: u64,
    /// Channels read back, and rows in them.
    pub channels_read: u64,
    /// See `channels_read`.
    pub rows_read: u64,
    /// Acknowledged channels that were not read back.
    pub channels_unread: u64,
}
