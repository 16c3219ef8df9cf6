//! What the routes stand on.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use super::report::Facts;
use super::token::AdminToken;
use crate::requests::{Operator, Revoker};
use crate::runtime::shutdown::Drain;

/// What the page asks to know how the server is.
pub trait Health: Send + Sync {
    /// `Err`: not ready for connections, and why.
    fn ready(&self) -> Result<(), String>;
    /// What is known of the server without asking its shards.
    fn facts(&self) -> Facts;
}

/// What the routes stand on.
pub struct Parts {
    /// Everything that was counted.
    pub metrics: PrometheusHandle,
    /// How the server is.
    pub health: Arc<dyn Health>,
    /// Makes tokens and devices count no more.
    pub revoker: Revoker,
    /// Asks shards.
    pub operator: Operator,
    /// Where the end is asked for.
    pub drain: Arc<Drain>,
    /// The password. `None`: whoever is on this machine may ask.
    pub token: Option<AdminToken>,
}
