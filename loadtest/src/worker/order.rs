//! What the controller and its workers say to each other: one JSON object a line.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::figures::Latencies;
use crate::host::Process;
use crate::report::model::{Counts, Measure, Verdict};
use crate::report::stress::Visits;
use crate::scenario;
use crate::scenario::layout::Class;

/// What a worker is for; its first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Where to, and by which protocol.
    pub target: Aim,
    /// Marks the messages of this run.
    pub run: u64,
    /// Which worker this is, from 0; part of its people's names.
    pub worker: u32,
    /// Connections, each of a person of its own.
    pub people: u32,
    /// Its channels.
    pub classes: Vec<Class>,
    /// Connections begun a second.
    pub connect_per_second: f64,
    /// Connections under way at once: what the target's listen queue holds.
    pub opening_max: usize,
    /// The address to connect from. `None`: the system's choice.
    pub source: Option<IpAddr>,
    /// Never sleep: keeps the core awake, so that sends pay no wake-up.
    pub spin: bool,
    /// Keep the history checker's books: about 150 bytes a message.
    pub check: bool,
}

/// Where to, and by which protocol.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Aim {
    /// A server of damso's protocol.
    Damso {
        /// Connection string; `plain://HOST:PORT` is without TLS.
        url: String,
        /// PKCS#8 key that signs tokens. `None`: the target takes a uid for a token (the bare
        /// loop).
        token_key: Option<PathBuf>,
    },
    /// An MQTT 3.1.1 broker over TLS.
    Mqtt {
        /// Where it listens.
        address: SocketAddr,
        /// Its certificate authority, PEM.
        ca: String,
        /// Quality of service, 0 or 1.
        qos: u8,
    },
}

/// What to do next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Connect and log in everyone. Answered by [`Report::Connected`].
    Connect,
    /// Make the channels. Answered by [`Report::SetUp`].
    SetUp,
    /// Run a phase. [`Report::Second`] every second, then [`Report::Ran`].
    Run(PhaseOrder),
    /// The target is gone and another one is in its place, which has everything that it had: everyone
    /// comes back there. Answered by [`Report::Moved`].
    Move {
        /// Its address, as [`Aim::Damso`] has it.
        url: String,
    },
    /// Send so many messages as fast as they are answered. [`Report::Filled`] now and then, the
    /// last when all are there.
    Fill(FillOrder),
    /// Read the channels back from history, if `history`, and judge. Answered by
    /// [`Report::Judged`].
    Judge {
        /// Read back; where the protocol has no history, it is not.
        history: bool,
    },
}

/// One phase, as this worker is to run it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhaseOrder {
    /// Its number in the run, from 0.
    pub number: u16,
    /// Streams of the scenario, in order; `None`: it rests.
    pub streams: Vec<Option<StreamOrder>>,
    /// How long, its lead included.
    pub seconds: f64,
    /// What is meant to begin in this part of it is not measured.
    pub lead_seconds: f64,
    /// How long to wait for what is still missing at the end.
    pub drain_seconds: f64,
    /// When it starts, nanoseconds of `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    /// Seed of the plan.
    pub seed: u64,
    /// What befalls connections.
    pub storm: Option<scenario::Storm>,
    /// Share of connections that break a minute.
    pub churn_per_minute: f64,
    /// Who reads slowly.
    pub slow: Option<scenario::Slow>,
    /// Who comes and goes; the rate is this worker's share.
    pub visits: Option<scenario::Visits>,
    /// The target ends.
    pub stop: Option<scenario::Stop>,
}

/// One stream, as this worker is to run it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StreamOrder {
    /// As the scenario has it; the rate is this worker's share.
    pub traffic: scenario::Traffic,
    /// Which class of channels it is about.
    pub class: usize,
}

/// How a store is to be filled.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct FillOrder {
    /// Messages, all channels together.
    pub messages: u64,
    /// Payload of each, bytes.
    pub payload_bytes: usize,
    /// Messages on their way at once.
    pub window: u32,
}

/// What came of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// Everyone is logged in.
    Connected(Box<Connected>),
    /// The channels are there.
    SetUp {
        /// Seconds it took.
        seconds: f64,
    },
    /// The addresses of those who stop reading in the phase that begins.
    Stalled(Vec<SocketAddr>),
    /// One second of a phase is over.
    Second(Box<Second>),
    /// The phase is over.
    Ran(Box<Ran>),
    /// Everyone is back.
    Moved {
        /// Seconds it took.
        seconds: f64,
    },
    /// So many messages are stored; `done`: all of them.
    Filled {
        /// Acknowledged.
        messages: u64,
        /// Refused, and sent again.
        refused: u64,
        /// All are there.
        done: bool,
    },
    /// The verdict.
    Judged(Verdict),
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
    /// From the intended beginning to live.
    pub login: Latencies,
    /// From the intended beginning to the end of the TLS handshake.
    pub handshake: Latencies,
    /// Wall time of the ramp, seconds.
    pub seconds: f64,
    /// The worker's own memory before anyone connected, and with everyone connected.
    pub own: (Process, Process),
}

/// One second of a phase, as one worker saw it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the start of the phase, at its end.
    pub at: u32,
    /// Streams with their numbers, those alone in which something happened.
    pub streams: Vec<(u16, StreamSecond)>,
    /// Connections that are live.
    pub live: u64,
    /// Visits that ended in it, broken ones included.
    pub visits: u64,
    /// CPU time that the worker took in it, nanoseconds.
    pub own_cpu_ns: u64,
}

/// One stream in one second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StreamSecond {
    /// Operations planned for it.
    pub offered: u64,
    /// Operations begun.
    pub sent: u64,
    /// Operations answered.
    pub acked: u64,
    /// Deliveries.
    pub delivered: u64,
    /// What was measured.
    pub latencies: Vec<(Measure, Latencies)>,
}

/// Figures of one phase beyond its seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    /// Per stream of the scenario.
    pub counts: Vec<Counts>,
    /// Connections lost without being asked to.
    pub lost: u64,
    /// What the first few of those said.
    pub closings: Vec<String>,
    /// Connections that the scenario reset.
    pub resets: u64,
    /// From the first attempt after a reset to live.
    pub resume: Latencies,
    /// From the beginning of the storm to live again.
    pub again: Latencies,
    /// Connections that read slowly, and those of them that the target cut.
    pub slow: (u64, u64),
    /// Who came and went.
    pub visits: Option<Visits>,
    /// Who lost their connection because the target ended.
    pub stopped: Option<Stopped>,
    /// Ciphertext read, bytes.
    pub bytes_in: u64,
    /// From the start to the last thing heard, seconds.
    pub seconds: f64,
    /// CPU time of the worker, nanoseconds.
    pub own_cpu_ns: u64,
}

/// What clients heard of a target that ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stopped {
    /// Connections that were live when it was asked to.
    pub connections: u64,
    /// Of those, connections that ended.
    pub ended: u64,
    /// Last frames, by code.
    pub closings: BTreeMap<u32, u64>,
    /// Last frames that named another address.
    pub elsewhere: u64,
    /// When they came, counted from the moment at which the target was to be asked.
    pub told: Latencies,
    /// After which time they said to come back.
    pub after: Latencies,
}
