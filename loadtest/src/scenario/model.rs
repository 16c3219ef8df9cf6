//! A scenario as it is written in TOML.
//!
//! ```text
//! people                      who is connected
//! [[channels]] name           what they are in together
//! [[traffic]]  name           what they do there: streams with a rate each
//! [[phase]]    name           stretches in which all streams, or some, run; what befalls people
//! ```
//!
//! Without a `[[phase]]` there is one, `steady`. Keys that nobody knows are errors.

use serde::{Deserialize, Serialize};

use crate::schedule::Arrival;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is for, in a sentence.
    #[serde(default)]
    pub about: String,
    /// How the whole run goes.
    #[serde(default)]
    pub run: Run,
    /// Who is connected.
    #[serde(default)]
    pub people: People,
    /// What they are in together.
    #[serde(default)]
    pub channels: Vec<Channels>,
    /// What they do there.
    #[serde(default)]
    pub traffic: Vec<Traffic>,
    /// In which order.
    #[serde(default)]
    pub phase: Vec<Phase>,
}

/// How the whole run goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Length of a phase that does not say.
    pub seconds: f64,
    /// Traffic before the first phase: checked, but not measured.
    pub warmup_seconds: f64,
    /// How long each phase has run when measuring begins, beside its seconds: until what befalls
    /// people in it has taken effect.
    pub lead_seconds: f64,
    /// How long to wait for what is missing at the end of a phase.
    pub drain_seconds: f64,
    /// Share of the time in which a server that is started for the run may run, once its channels
    /// are made; it stands still for the rest, as under a quota of CPU time. So it reaches its limit
    /// long before the harness, which shares its cores, does.
    pub server_share: f64,
    /// How often to run all phases.
    pub repeat: u32,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Read all channels back from history at the end.
    pub read_back: bool,
    /// Where people visit: the server's memory may have grown by this share from the end of the
    /// first such phase to the end of the last one.
    pub memory_growth_max: f64,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            seconds: 30.0,
            warmup_seconds: 3.0,
            lead_seconds: 0.0,
            drain_seconds: 10.0,
            server_share: 1.0,
            repeat: 1,
            seed: 42,
            read_back: true,
            memory_growth_max: 0.02,
        }
    }
}

/// Who is connected: one connection each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct People {
    /// How many.
    pub connections: u32,
    /// Connections begun a second.
    pub connect_per_second: f64,
}

impl Default for People {
    fn default() -> Self {
        Self { connections: 1_000, connect_per_second: 1_000.0 }
    }
}

/// Channels of one kind and size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// Traffic names them by this.
    pub name: String,
    /// What sort.
    #[serde(default)]
    pub kind: Kind,
    /// How many.
    pub count: u32,
    /// Members of each.
    #[serde(default)]
    pub members: Members,
}

/// What sort of channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Members who all write.
    #[default]
    Group,
    /// Two people.
    Direct,
    /// One writes, its maker; the others read.
    Broadcast,
}

/// How many members a channel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// So many.
    Count(u32),
    /// Everybody of a worker; written `"all"`.
    All,
}

impl Default for Members {
    fn default() -> Self {
        Self::Count(2)
    }
}

/// One stream of operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Reports name it by this.
    pub name: String,
    /// What is done.
    #[serde(default)]
    pub op: Op,
    /// Where: the name of some `[[channels]]`.
    pub channels: String,
    /// Operations a second, all channels and workers together.
    pub rate: f64,
    /// How they arrive.
    #[serde(default)]
    pub arrival: Arrival,
    /// 0: every channel alike. Above: the channel of rank r is taken in proportion to r^-zipf, so
    /// that few are busy and most are quiet.
    #[serde(default)]
    pub zipf: f64,
    /// Payload of a message, bytes.
    #[serde(default = "payload_bytes")]
    pub payload_bytes: usize,
    /// Pages read one after the other, each from where the last one ended. `history` only.
    #[serde(default = "pages")]
    pub pages: u32,
    /// Rows of a page. `history` only.
    #[serde(default = "rows")]
    pub rows: u32,
}

fn payload_bytes() -> usize {
    200
}

fn pages() -> u32 {
    3
}

fn rows() -> u32 {
    50
}

/// What is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// A member sends a message.
    #[default]
    Send,
    /// A member scrolls back from the newest message.
    History,
}

impl Op {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::History => "history",
        }
    }
}

/// A stretch of traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Reports name it by this.
    pub name: String,
    /// How long. Absent: as `[run]` says.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// All rates are multiplied by this.
    #[serde(default = "one")]
    pub load: f64,
    /// Streams that rest, by name.
    #[serde(default)]
    pub without: Vec<String>,
    /// Some people's connections break at one moment.
    #[serde(default)]
    pub storm: Option<Storm>,
    /// People come and go: this share of them loses its connection per minute.
    #[serde(default)]
    pub churn_per_minute: f64,
    /// Some people read slowly, or not at all.
    #[serde(default)]
    pub slow: Option<Slow>,
    /// Some people come, log in, resume and go, again and again.
    #[serde(default)]
    pub visits: Option<Visits>,
    /// The server is asked to end, and starts again on its data afterwards.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// It is more than the server can do: refusals are looked at, and the phases before and after
    /// are what it is compared with.
    #[serde(default)]
    pub overload: bool,
}

fn one() -> f64 {
    1.0
}

impl Phase {
    /// A phase of this name in which nothing special happens.
    pub fn plain(name: &str) -> Self {
        Self {
            name: name.into(),
            seconds: None,
            load: 1.0,
            without: Vec::new(),
            storm: None,
            churn_per_minute: 0.0,
            slow: None,
            visits: None,
            stop: None,
            overload: false,
        }
    }
}

/// Connections break at one moment and come back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// Seconds after the start of the phase.
    pub at_seconds: f64,
    /// Share of all connections, 0-1.
    pub share: f64,
    /// Each comes back after a random part of this: full jitter.
    #[serde(default = "jitter")]
    pub jitter_seconds: f64,
}

fn jitter() -> f64 {
    1.0
}

/// People who read slowly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// Share of all connections, 0-1.
    pub share: f64,
    /// Ciphertext that each reads, bytes a second. 0: they stop altogether.
    #[serde(default)]
    pub bytes_per_second: u32,
}

/// The server is asked to end, as an operator does it: by SIGTERM. The phase is over when nobody is
/// connected any more, or when its time is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Seconds after the start of the phase.
    pub at_seconds: f64,
}

/// People who come and go: each visit is a connection, a login, a resume and an end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Visits {
    /// Share of all connections, 0-1. They only visit in this phase, and send nothing.
    pub share: f64,
    /// Visits begun a second, all workers together.
    pub per_second: f64,
    /// Share of the visits that are broken off, in turn at each step of handshake and login.
    #[serde(default = "broken")]
    pub broken: f64,
}

fn broken() -> f64 {
    0.2
}

impl Serialize for Members {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number above 0, or \"all\"")
            }

            fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Members, E> {
                match u32::try_from(count) {
                    Ok(count) if count > 0 => Ok(Members::Count(count)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(count), &self)),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Members, E> {
                match u64::try_from(count) {
                    Ok(count) => self.visit_u64(count),
                    Err(_) => Err(E::invalid_value(serde::de::Unexpected::Signed(count), &self)),
                }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Members, E> {
                match text {
                    "all" => Ok(Members::All),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
