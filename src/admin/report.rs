//! What the admin port answers, as JSON; `damso status` and its like read it back.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// How the server is: `GET /status`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// What is known without asking anybody.
    #[serde(flatten)]
    pub facts: Facts,
    /// Why it is not ready for connections and messages. `None`: it is.
    pub not_ready: Option<String>,
    /// Memory that the process uses, bytes.
    pub resident_bytes: Option<u64>,
    /// Descriptors that it has open.
    pub descriptors: Option<usize>,
    /// Those that it may have.
    pub descriptors_max: u64,
    /// Processor time that it has used, seconds.
    pub cpu_s: f64,
    /// Each shard, in order. `None`: it does not answer.
    pub shards: Vec<Option<ShardRow>>,
}

/// What is known of a server without asking its shards.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the server.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// It takes no connections any more, and will end.
    pub draining: bool,
    /// How long it has been running, seconds.
    pub uptime_s: u64,
    /// Where clients connect.
    pub chat: SocketAddr,
    /// Where backends ask.
    pub api: SocketAddr,
    /// Connections that are open, logged in or not.
    pub connections: usize,
    /// Most of them.
    pub connections_max: usize,
    /// The certificate is good until then, seconds since 1970.
    pub certificate_until_s: i64,
    /// Memory that the server may take, bytes.
    pub memory_budget_bytes: u64,
    /// How short of it the server is: `free`, `tight`, `scarce` or `full`.
    pub memory_level: String,
}

/// How much there is on a shard.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ShardRow {
    /// People's devices that are logged in.
    pub sessions: usize,
    /// People who are here.
    pub people: usize,
    /// Channels that are ordered here.
    pub channels: usize,
    /// Letters that wait for it.
    pub mail: usize,
    /// How long the oldest event that is not sent has waited, milliseconds.
    pub unsent_oldest_ms: f64,
}

/// A page of the list of connections: `GET /connections`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connections {
    /// In order of their names.
    pub connections: Vec<ConnectionRow>,
    /// The page behind this one begins after this connection. `None`: there is none.
    pub next: Option<String>,
}

/// A connection that is logged in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionRow {
    /// What it is called.
    pub connection: String,
    /// Whose it is.
    pub user: Option<String>,
    /// Their number.
    pub number: u64,
    /// Their device.
    pub device: String,
    /// Where it comes from. `None`: a proxy's own.
    pub address: Option<IpAddr>,
    /// How long it has been there, seconds.
    pub since_s: u64,
    /// Requests that wait for their answer.
    pub in_flight: u32,
    /// `new`: it has not asked for what it missed; `live`; `over`: it was told to go.
    pub state: String,
}

/// Connections that were ended: `POST /kick`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// So many.
    pub connections: usize,
}

/// A server that has begun to end: `POST /drain`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Draining {
    /// Connections that will be told.
    pub connections: usize,
}

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// For the operator.
    pub error: String,
}
