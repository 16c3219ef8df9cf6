//! The highest load that held, and every load that was tried.

use serde::{Deserialize, Serialize};

/// The highest load that held.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Saturation {
    /// As a multiple of the scenario's rates. `None`: none held.
    pub load: Option<f64>,
    /// Operations a second asked for then.
    pub offered: f64,
    /// Operations a second that were answered then.
    pub achieved: f64,
    /// What had to be kept.
    #[serde(default)]
    pub slo: String,
    /// Whose limit it is.
    pub bound: String,
    /// Every load that was tried, in order.
    pub steps: Vec<Step>,
}

/// One load that was tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// As a multiple of the scenario's rates.
    pub load: f64,
    /// Operations a second asked for.
    pub offered: f64,
    /// Operations a second that were answered.
    pub achieved: f64,
    /// To the ack, of the worst stream, microseconds.
    pub ack_p99: u64,
    /// To the last receiver, of the worst stream, microseconds.
    pub last_p99: u64,
    /// Of the harness, microseconds.
    pub lateness_p99: u64,
    /// Server CPU, share of a core.
    pub server_busy: Option<f64>,
    /// Busy share of the machine.
    pub machine_busy: f64,
    /// Whether it held.
    pub verdict: StepVerdict,
    /// Why not.
    pub why: String,
}

/// Whether a load held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepVerdict {
    /// Objectives kept, everything answered and delivered.
    Held,
    /// Not so, and the target's doing.
    Broke,
    /// Not so, but the harness was late.
    HarnessBound,
}

impl StepVerdict {
    /// As people read it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broke => "broke",
            Self::HarnessBound => "harness-bound",
        }
    }
}
